"""Whatever the slim package offers, Detectron2 offers under the same name and with the same use."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "projects" / "detectron2_slim" / "detectron2"
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def module_name(file: str) -> str:
    parts = ("detectron2", *Path(file).with_suffix("").parts)
    return ".".join(part for part in parts if part != "__init__")


def public_definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Dotted names of a file's public functions, classes and methods, constructors included."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if node.name.startswith("_") and node.name != "__init__":
                continue
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{prefix}{node.name}.")


def parameters(node: ast.FunctionDef) -> Iterator[tuple[str, object]]:
    """Names and defaults of all but the variable parameters; ``empty`` if none or no literal."""
    spec = node.args
    named = [*spec.posonlyargs, *spec.args]
    defaults = [None] * (len(named) - len(spec.defaults)) + spec.defaults + spec.kw_defaults
    for argument, default in zip([*named, *spec.kwonlyargs], defaults, strict=True):
        try:
            yield argument.arg, ast.literal_eval(default) if default else inspect.Parameter.empty
        except ValueError:
            yield argument.arg, inspect.Parameter.empty


def resolve(module: str, name: str) -> object:
    """The object of that name in a module, or in the package that the module belongs to."""
    first, *rest = name.split(".")
    try:
        owner = importlib.import_module(module)
        found = inspect.getattr_static(owner, first)
    except (AttributeError, ModuleNotFoundError):
        found = inspect.getattr_static(importlib.import_module(module.rpartition(".")[0]), first)
    for part in rest:
        found = inspect.getattr_static(found, part)
    return getattr(found, "__func__", found)


def disagreements(file: str) -> Iterator[str]:
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    for name, node in public_definitions(tree.body):
        try:
            target = resolve(module_name(file), name)
        except AttributeError:
            yield name
            continue
        if not isinstance(node, ast.FunctionDef) or not callable(target):
            continue
        expected = inspect.signature(target).parameters
        takes_more = any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in expected.values())
        for parameter, default in parameters(node):
            if parameter not in expected and not takes_more:
                yield f"{name}({parameter})"
            elif parameter in expected and default is not inspect.Parameter.empty:
                actual = expected[parameter].default
                if (type(actual), actual) != (type(default), default):
                    yield f"{name}({parameter}={default!r}), not {actual!r}"


@pytest.mark.parametrize("file", FILES)
def test_names_and_parameters_are_detectron2s(file):
    assert list(disagreements(file)) == []
