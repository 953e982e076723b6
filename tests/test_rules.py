"""House rules: import layers, file lengths, banned calls, buildable configs, docstrings."""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "wecromcl_d2"
PROJECTS = sorted(path for path in (ROOT / "projects").iterdir() if path.is_dir())
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
LONGEST_FILE = 400

# Floors of the package, lowest first. A file imports from its own and from lower floors; within a
# floor no imports go in circles.
FLOORS = (
    (
        "files",
        "geometry",
        "fonts",
        "config",
        "weights_file",
        "shipped_models",
        "visualizer",
        "own_modules",
    ),
    ("data",),
    ("layers", "evaluation"),
    ("engine",),
    ("stage1",),
    ("stage2",),
    ("tasks",),
    ("export",),
    ("predictor",),
    ("web",),
    ("cli",),
)
# Entrances of the package, which may import from every floor.
ENTRANCES = {"__init__", "__main__"}

BANNED = {"eval", "exec", "os.system", "pickle.load", "pickle.loads", "yaml.unsafe_load"}
# Files that may make a banned call all the same.
ALLOWED = {
    # Reads back what the same process has just packed to save memory, never a file.
    "projects/detectron2_slim/detectron2/data/common.py": {"pickle.loads"},
}

# Import name -> distribution, where the two differ.
DISTRIBUTIONS = {"cv2": "opencv-python", "PIL": "pillow"}

# Words that keep their capital where a docstring's entry starts with them.
PROPER_NAMES = {"Detectron", "Pillow"}


def source_files() -> list[Path]:
    """All Python files of the project except its tests."""
    folders = [PACKAGE, *PROJECTS, ROOT / "tools"]
    found = [path for folder in folders for path in folder.rglob("*.py")]
    return sorted([*ROOT.glob("*.py"), *found])


def relative(path: Path) -> str:
    """The file's name as the messages and the table show it."""
    return path.relative_to(ROOT).as_posix()


def syntax_tree(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_modules(path: Path, root: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports, wherever in it the import stands.

    Args:
        path: the file.
        root: folder that holds the file's top-level package, for relative imports.
    """
    parents = path.relative_to(root).with_suffix("").parts
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parents[: len(parents) - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                is_module = file_of(inner, root) is not None
                yield inner if is_module else module


def file_of(module: str, root: Path) -> Path | None:
    """The file that a dotted module name means below a folder, None if there is none."""
    stem = root.joinpath(*module.split("."))
    for candidate in (stem.with_name(stem.name + ".py"), stem / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def floor_of(path: Path) -> int:
    """Number of the floor that a file of the package stands on."""
    top = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return next(number for number, names in enumerate(FLOORS) if top in names)


def package_imports(path: Path) -> set[Path]:
    """Files of the package that a file imports."""
    found = {file_of(module, ROOT) for module in imported_modules(path, ROOT)}
    return {file for file in found if file is not None and file.is_relative_to(PACKAGE)}


def test_every_file_of_the_package_stands_on_a_floor() -> None:
    tops = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in package_files()}
    named = {name for names in FLOORS for name in names}
    assert tops - ENTRANCES <= named


def package_files() -> list[Path]:
    """All Python files of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def test_imports_never_go_up() -> None:
    wrong = []
    for path in package_files():
        if path.parent == PACKAGE and path.stem in ENTRANCES:
            continue
        for target in sorted(package_imports(path)):
            up = target.parent == PACKAGE and target.stem in ENTRANCES
            if up or floor_of(target) > floor_of(path):
                wrong.append(f"{relative(path)} imports {relative(target)}")
    assert not wrong


def test_no_two_files_import_each_other_in_a_circle() -> None:
    graph = {path: package_imports(path) for path in package_files()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_nothing_imports_what_stands_above_it() -> None:
    entries = {path.stem for path in (*ROOT.glob("*.py"), *(ROOT / "tools").glob("*.py"))}
    entries |= {"tools", "tests", "projects"}
    slim = ROOT / "projects" / "detectron2_slim"
    wrong = []
    for path in source_files():
        inside = path.is_relative_to(slim)
        if not inside and not path.is_relative_to(PACKAGE):
            continue
        refused = entries | {"wecromcl_d2"} if inside else entries
        modules = set(imported_modules(path, slim if inside else ROOT))
        above = {module for module in modules if module.split(".")[0] in refused}
        wrong += [f"{relative(path)} imports {name}" for name in sorted(above)]
    assert not wrong


def test_the_package_declares_what_it_imports() -> None:
    extras = setup_argument("extras_require")
    lines = [*setup_argument("install_requires"), *extras["web"], *extras["export"]]
    declared = {re.split("[<>=]", line)[0].lower() for line in lines}
    third_party = {
        module.split(".")[0]
        for path in PACKAGE.rglob("*.py")
        for module in imported_modules(path, ROOT)
    } - set(sys.stdlib_module_names)
    needed = {DISTRIBUTIONS.get(name, name) for name in third_party}
    # Detectron2 is left undeclared on purpose; docs/INSTALL.md says why.
    assert needed - {"wecromcl_d2", "detectron2"} <= declared


def setup_argument(name: str) -> Any:
    """A literal argument of the call in setup.py, which is not run."""
    for node in ast.walk(syntax_tree(ROOT / "setup.py")):
        if isinstance(node, ast.keyword) and node.arg == name:
            return ast.literal_eval(node.value)
    raise LookupError(f"setup.py has no {name}")


def test_no_source_file_is_too_long() -> None:
    lengths = {
        relative(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in source_files()
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def refused_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each call in a syntax tree that the house rules refuse."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        method = name.rpartition(".")[2]
        binary = any(
            isinstance(argument, ast.Constant) and "b" in str(argument.value)
            for argument in node.args[1:2]
        )
        if (
            name in BANNED
            or (method == "cuda" and name != "cuda")
            or (name == "torch.load" and keywords.get("weights_only") != "True")
            or keywords.get("shell") == "True"
        ):
            yield node.lineno, name
        elif (
            (name == "open" and not binary) or method in ("read_text", "write_text")
        ) and "encoding" not in keywords:
            yield node.lineno, f"{name} without encoding="


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "exec(text)",
        "os.system(text)",
        "pickle.load(file)",
        "model.cuda()",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "subprocess.run(text, shell=True)",
        "open(path)",
        "open(path, 'w')",
        "path.read_text()",
    ],
)
def test_the_check_of_calls_sees_each_of_them(line: str) -> None:
    assert list(refused_calls(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        "model.eval()",
        "torch.load(path, weights_only=True)",
        "open(path, 'rb')",
        "open(path, encoding='utf-8')",
    ],
)
def test_the_check_of_calls_lets_good_ones_pass(line: str) -> None:
    assert not list(refused_calls(ast.parse(line)))


def test_no_banned_calls() -> None:
    wrong = [
        f"{relative(path)}:{line}: {name}"
        for path in source_files()
        for line, name in refused_calls(syntax_tree(path))
        if name not in ALLOWED.get(relative(path), set())
    ]
    assert not wrong


@pytest.mark.usefixtures("uninitialised")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_config_builds_its_model(path: Path) -> None:
    from detectron2.modeling import build_model

    from wecromcl_d2.tasks import load_config

    cfg = load_config(path, ["MODEL.DEVICE", "cpu"])
    assert any(parameter.requires_grad for parameter in build_model(cfg).parameters())


def test_there_are_configs() -> None:
    assert CONFIGS


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring of a syntax tree, without its indentation."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def faults_of_docstring(text: str) -> Iterator[str]:
    """What a docstring does against the way that the package writes them."""
    if "``" in text:
        yield "double backticks"
    if re.match(r"(Return|Get|Yield)s?\b", text):
        yield "a first line that tells what to do instead of what it is"
    section = ""
    for line in text.splitlines():
        if line[:1].strip():
            section = line
        entry = re.match(r"    \*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*: ([A-Z][a-z]+)", line)
        named = section in ("Args:", "Attributes:", "Raises:")
        if named and entry and entry[1] not in PROPER_NAMES:
            yield f"an entry that starts with a capital: {line.strip()}"


@pytest.mark.parametrize(
    "text",
    [
        "A ``name``.",
        "Return the name.",
        "Get a name.",
        "A name.\n\nArgs:\n    first: The first name.",
        "A name.\n\nRaises:\n    ValueError: If there is none.",
    ],
)
def test_the_check_of_docstrings_sees_each_of_them(text: str) -> None:
    assert len(list(faults_of_docstring(text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "A `name`.",
        "Returned goods.",
        "A name.\n\nArgs:\n    first: of its parts.\n    x: N names, in EXIF order.",
        "A name.\n\nReturns:\n    Two things.\n    first: The colon is part of the sentence.",
        "A name.\n\nArgs:\n    image: Pillow image.",
    ],
)
def test_the_check_of_docstrings_lets_good_ones_pass(text: str) -> None:
    assert not list(faults_of_docstring(text))


def test_docstrings_follow_one_way_of_writing() -> None:
    wrong = [
        f"{relative(path)}:{line}: {fault}"
        for path in package_files()
        for line, text in docstrings(syntax_tree(path))
        for fault in faults_of_docstring(text)
    ]
    assert not wrong


def test_imports_inside_the_package_are_relative() -> None:
    wrong = []
    for path in package_files():
        for node in ast.walk(syntax_tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            wrong += [relative(path) for name in names if name.split(".")[0] == PACKAGE.name]
    assert not wrong
