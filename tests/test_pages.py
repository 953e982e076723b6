"""README, docs and `--help` name only commands, options, files, modules and keys that exist."""

import contextlib
import functools
import importlib
import io
import os
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from wecromcl_d2.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "wecromcl_d2"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
COMMAND_LINE = re.compile(
    r"(?<![\w.-])(?:(wecromcl|python -m wecromcl_d2) +([\w-]+)|python train_net\.py)([^\n`#]*)"
)
CONFIG_KEY = re.compile(r"\b[A-Z][A-Z_0-9]*(?:\.[A-Z_][A-Z_0-9]*)+\b")
# What a page may write in place of a command, and what stands there without being one.
PLACEHOLDERS = {"COMMAND", "--help", "--version"}
# How the options of the real Detectron2 call any config key.
ANY_KEY = "PATH.KEY"


def one_line(text: str) -> str:
    """The text with its continued lines, and the code that a paragraph wraps, on one line each."""
    text = re.sub(r"\\\n\s*", " ", text)
    pieces, start = [], 0
    for fence in FENCE.finditer(text):
        pieces += [unwrapped(text[start : fence.start()]), fence[0]]
        start = fence.end()
    return "".join([*pieces, unwrapped(text[start:])])


def unwrapped(prose: str) -> str:
    """Prose whose inline code contains no line ends."""
    return re.sub(r"`[^`]+`", lambda code: re.sub(r"\s*\n\s*", " ", code[0]), prose)


def code_of(text: str) -> list[str]:
    """Inline code and code blocks of a page, fenced or indented."""
    text = one_line(text)
    blocks = [fence[0] for fence in FENCE.finditer(text)]
    prose = FENCE.sub("", text)
    indented = re.findall(r"^    .+$", prose, re.MULTILINE)
    return [*blocks, *indented, *re.findall(r"`([^`]+)`", prose)]


@functools.cache
def help_of(*words: str) -> str:
    """What `wecromcl WORDS --help` prints, without wrapped names; empty if it is refused."""
    shown = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "1000"}),
        contextlib.redirect_stdout(shown),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(SystemExit),
    ):
        main([*words, "--help"])
    return shown.getvalue()


def wrong_commands(text: str) -> Iterator[str]:
    """Commands that there are not, and options that their command does not have."""
    for prefix, name, rest in COMMAND_LINE.findall(one_line(text)):
        if not prefix:
            name = "train"
        if name in PLACEHOLDERS:
            continue
        if name not in COMMANDS:
            yield f"wecromcl {name}"
            continue
        # The first word may be a command of the command, with options of its own.
        first = re.match(r" +([a-z]\w*)(?![\w./])", rest)
        words = (name, first[1]) if first and "--" in rest else (name,)
        options = set(re.findall(r"--[a-z][\w-]*", help_of(*words)))
        named = re.findall(r"(?<![\w-])--[a-z][\w-]*", rest)
        yield from (
            f"wecromcl {' '.join(words)} {option}" for option in named if option not in options
        )


def named_files(text: str) -> set[str]:
    """Files and folders of the repository that a Markdown page names in links or code."""
    links = re.findall(r"\]\(([^)#\s]+)", text)
    code = re.findall(
        r"(?<![\w/.-])(?:\.ci|configs|docs|projects|tests|tools|wecromcl_d2)/[\w./-]*[\w/]",
        text,
    )
    return {name for name in (*links, *code) if "://" not in name}


def wrong_files(text: str, folder: Path = ROOT) -> Iterator[str]:
    """Files that are neither in the page's folder nor in the repository or the package."""
    floors = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    inside = {
        code
        for code in code_of(text)
        if re.fullmatch(r"[\w/]+\.py", code)
        or (re.fullmatch(r"[\w/]+/", code) and code.split("/")[0] in floors)
    }
    for name in sorted(named_files(text) | inside):
        if not any((base / name).exists() for base in (folder, ROOT, PACKAGE)):
            yield name


def wrong_modules(text: str) -> Iterator[str]:
    """Modules of the package or its tests, and names in them, that there are not."""
    imported = re.findall(r"^from (wecromcl_d2[\w.]*) import (.+)$", text, re.MULTILINE)
    names = [f"{module}:{name.strip()}" for module, line in imported for name in line.split(",")]
    names += re.findall(r"(?<![\w./])wecromcl_d2(?:\.[a-z_]\w*)+", text)
    for name in names:
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            yield name
    for name in re.findall(r"python -m (tests(?:\.\w+)+)", text):
        if not ROOT.joinpath(*name.split(".")).with_suffix(".py").exists():
            yield name


def wrong_targets(text: str) -> Iterator[str]:
    """Targets of `make` that the Makefile does not have."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for code in code_of(text):
        for name in re.findall(r"^\s*make ([a-z]+)", code, re.MULTILINE):
            if name not in targets:
                yield f"make {name}"


def wrong_keys(text: str) -> Iterator[str]:
    """Config keys that no config has."""
    for name in sorted(set(CONFIG_KEY.findall(text)) - {ANY_KEY}):
        node: object = full_config()
        for key in name.split("."):
            if not isinstance(node, dict) or key not in node:
                yield name
                break
            node = node[key]


@functools.cache
def full_config() -> dict[str, object]:
    """A config, which has the keys of both stages whatever its task."""
    from wecromcl_d2.tasks import load_config

    return load_config(ROOT / "configs" / "quick" / "anchors.yaml")


CHECKS: list[Callable[[str], Iterator[str]]] = [
    wrong_commands,
    wrong_files,
    wrong_modules,
    wrong_targets,
    wrong_keys,
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_name_what_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = [*wrong_files(text, page.parent)]
    wrong += [name for check in CHECKS if check is not wrong_files for name in check(text)]
    assert not wrong


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_names_what_exists(command: str) -> None:
    text = help_of(command)
    assert text.startswith(f"usage: wecromcl {command} ")
    assert not [name for check in CHECKS for name in check(text)]


def test_each_command_has_its_module() -> None:
    for command in COMMANDS:
        module = command.replace("-", "_")
        assert callable(importlib.import_module(f"wecromcl_d2.cli.{module}").main)


@pytest.mark.parametrize(
    ("check", "text", "wrong"),
    [
        (wrong_commands, "`wecromcl paint`", ["wecromcl paint"]),
        (wrong_commands, "python -m wecromcl_d2 paint", ["wecromcl paint"]),
        (wrong_commands, "wecromcl read a.jpg \\\n    --nose", ["wecromcl read --nose"]),
        (wrong_commands, "so `wecromcl read\n--nose`", ["wecromcl read --nose"]),
        (
            wrong_commands,
            "wecromcl evaluate anchors --lexicon a",
            ["wecromcl evaluate anchors --lexicon"],
        ),
        (wrong_commands, "python train_net.py --nose", ["wecromcl train --nose"]),
        (wrong_files, "`docs/NOWHERE.md`", ["docs/NOWHERE.md"]),
        (wrong_files, "[a page](NOWHERE.md)", ["NOWHERE.md"]),
        (wrong_files, "`stage1/nowhere.py`", ["stage1/nowhere.py"]),
        (wrong_files, "`losses.py`", ["losses.py"]),
        (wrong_files, "`stage1/nowhere/`", ["stage1/nowhere/"]),
        (wrong_modules, "`wecromcl_d2.nowhere`", ["wecromcl_d2.nowhere"]),
        (wrong_modules, "from wecromcl_d2 import nothing", ["wecromcl_d2:nothing"]),
        (wrong_modules, "python -m tests.nowhere", ["tests.nowhere"]),
        (wrong_targets, "```\nmake coffee\n```", ["make coffee"]),
        (wrong_targets, "Then `make coffee`.", ["make coffee"]),
        (wrong_keys, "`MODEL.WECROMCL.NOSE`", ["MODEL.WECROMCL.NOSE"]),
    ],
)
def test_the_checks_see_what_does_not_exist(
    check: Callable[[str], Iterator[str]], text: str, wrong: list[str]
) -> None:
    assert list(check(text)) == wrong


@pytest.mark.parametrize(
    "text",
    [
        "`wecromcl COMMAND`, `wecromcl --help`",
        "`wecromcl evaluate spotting --lexicon words.txt`",
        "python train_net.py --config-file configs/quick/anchors.yaml --resume SEED 1",
        "`stage1/losses.py`, `data/readers/`, `train_net.py`, `photos/`",
        "from wecromcl_d2.predictor import Spotter",
        "`make demo`, to make coffee",
        "`MODEL.WECROMCL.ANCHOR_DISTANCE`, `MODEL.SPTS.BINS`, `MODEL.SRSTS_A.TEST.POINT`",
    ],
)
def test_the_checks_let_pass_what_exists(text: str) -> None:
    assert not [name for check in CHECKS for name in check(text)]
