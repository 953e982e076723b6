"""The table of commands, and how every command ends."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import wecromcl_d2.cli
from wecromcl_d2.__main__ import COMMANDS, main
from wecromcl_d2.cli.status import DONE, INTERRUPTED, WRONG_COMMAND, command
from wecromcl_d2.data.images import ImageError

NOT_COMMANDS = {
    "__init__", "anchor_labels", "bulk", "comparison", "console", "film", "forecast", "inputs",
    "label_scale", "labelling_speed", "profiler", "reading_speed", "reproduction", "start",
    "status", "steps", "tiny", "validation", "work",
}  # fmt: skip


@pytest.mark.parametrize("option", [[], ["-h"], ["--help"], ["--version"]])
def test_commands_are_listed_without_torch(option: list[str]) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.orig_argv = [sys.executable, '-m', 'wecromcl_d2', *{option}]\n"
        f"sys.argv = ['wecromcl', *{option}]\n"
        "try:\n    runpy.run_module('wecromcl_d2', run_name='__main__')\n"
        "except SystemExit as end:\n    status = end.code\n"
        "print('torch' in sys.modules, 'detectron2' in sys.modules, status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False False 0\n")


def test_what_only_some_commands_need_is_not_loaded_by_all() -> None:
    code = (
        "import sys, wecromcl_d2.cli.train\n"
        "print(sorted({'scipy.optimize', 'scipy.stats', 'scipy.io'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_commands_are_listed_in_under_a_second() -> None:
    seconds = []
    for _ in range(3):  # the first one may have to read Python from the disk
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "wecromcl_d2", "--help"], check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1


@pytest.mark.parametrize("start", [["-c", "{}"], ["-m", "wecromcl_d2", "train"], ["train_net.py"]])
def test_everything_is_registered_in_any_other_process(start: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.orig_argv = [sys.executable, *{start}]\n"
        "import wecromcl_d2\n"
        "from detectron2.modeling import META_ARCH_REGISTRY\n"
        "assert META_ARCH_REGISTRY.get('WeCromCL')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == DONE
    shown = capsys.readouterr().out
    for name, line in COMMANDS.items():
        assert f"  {name} " in shown and line in shown


def test_every_module_is_in_the_table() -> None:
    modules = {path.stem for path in Path(wecromcl_d2.cli.__file__).parent.glob("*.py")}
    assert modules - NOT_COMMANDS <= {name.replace("-", "_") for name in COMMANDS}


def test_unknown_command_is_refused_with_the_nearest_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["trian"]) == WRONG_COMMAND
    assert "'trian'; did you mean train?" in capsys.readouterr().err
    assert main(["xyzxyz"]) == WRONG_COMMAND
    assert "--help" in capsys.readouterr().err


class OwnError(Exception):
    """What only one command knows as the user's mistake."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no words"), "no words"),
        (KeyError("no dataset 'x'"), "no dataset 'x'"),
        (FileNotFoundError(2, "No such file", "a.png"), "a.png: No such file"),
        (FileExistsError(17, "File exists", __file__), f"{__file__} is a file; name a folder"),
        (OwnError("mine"), "mine"),
    ],
)
def test_errors_of_the_user_become_one_line(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @command("read", OwnError)
    def run(argv: Sequence[str] | None = None) -> int:
        raise error

    assert run([]) == WRONG_COMMAND
    assert capsys.readouterr().err == f"wecromcl read: {said}\n"


def test_defects_keep_their_trace() -> None:
    @command("read")
    def run(argv: Sequence[str] | None = None) -> int:
        raise AttributeError("a defect")

    with pytest.raises(AttributeError):
        run([])


def test_interruption_has_its_own_status(capsys: pytest.CaptureFixture[str]) -> None:
    @command("read")
    def run(argv: Sequence[str] | None = None) -> int:
        raise KeyboardInterrupt

    assert run([]) == INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("start", "status"), [(["-m", "wecromcl_d2", "train"], INTERRUPTED), (["-c", "..."], -2)]
)
def test_a_command_is_interrupted_in_its_imports_without_a_trace(
    start: list[str], status: int
) -> None:
    code = (
        "import sys\n"
        f"sys.orig_argv = [sys.executable, *{start}]\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'detectron2':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "import wecromcl_d2"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == status
    assert (done.stderr == "interrupted\n") == (status == INTERRUPTED)


def test_an_interruption_before_the_command_begins_has_its_status_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupt)
    assert main(["train"]) == INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


class Damaged(torch.utils.data.Dataset):
    """Images of which none can be read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise ImageError("cannot use image a.jpg: its record says 3 and 4")


def test_an_error_in_a_worker_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    @command("train")
    def run(argv: Sequence[str] | None = None) -> int:
        return len(list(torch.utils.data.DataLoader(Damaged(), num_workers=1)))

    assert run([]) == WRONG_COMMAND
    said = "wecromcl train: cannot use image a.jpg: its record says 3 and 4\n"
    assert capsys.readouterr().err == said
