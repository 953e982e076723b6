"""What `setup.py`, `constraints.txt` and `tools/bootstrap.py` promise."""

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import detectron2
import pytest
import tomllib
import torch
from detectron2.modeling import build_model
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from PIL import Image

from tests.scripts import load_script
from wecromcl_d2.data.synthetic import SceneRecipe, build_cache
from wecromcl_d2.tasks import load_config

ROOT = Path(__file__).resolve().parent.parent
SLIM = ROOT / "projects" / "detectron2_slim"


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    """The set-up script as a module; importing it changes nothing."""
    return load_script("tools/bootstrap.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the files that a clone would have, away from this folder."""
    source = tmp_path_factory.mktemp("clone ü")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation"]
    result = source / "dist"
    subprocess.run([*pip, "--wheel-dir", str(result), str(source)], check=True)
    return next(result.glob("*.whl"))


def setup_argument(name: str) -> Any:
    """A literal argument of the call in setup.py."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == name:
            return ast.literal_eval(node.value)
    raise LookupError(f"setup.py has no {name}")


def requirements() -> list[str]:
    """What the set-up installs: all that setup.py declares but the extras for other tools."""
    return [*setup_argument("install_requires"), *setup_argument("extras_require")["dev"]]


def pins() -> dict[str, Version]:
    """The exact versions in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_wheel_brings_every_file_that_is_not_python_too(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {
        f"wecromcl_d2/{path.relative_to(ROOT).as_posix()}"
        for path in (ROOT / "configs").rglob("*.yaml")
    }
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "wecromcl_d2").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert configs and package >= {"wecromcl_d2/py.typed", "wecromcl_d2/config.py"}
    assert names >= configs | package


def test_wheel_works_away_from_the_clone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import wecromcl_d2; print(wecromcl_d2.__version__, wecromcl_d2.__file__)"
    command = [sys.executable, "-P", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, check=True, capture_output=True, encoding="utf-8"
    )
    version, file = result.stdout.strip().split(" ", 1)
    assert wheel.name.startswith(f"wecromcl_d2-{version}-py3-none-any")
    assert Path(file).is_relative_to(tmp_path)


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment that holds the wheel alone; its requirements are lent to it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(scripts / "python")]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    (packages,) = {path.parent for path in folder.rglob("wecromcl_d2") if path.is_dir()}
    lent = {Path(module.__file__).parents[1] for module in (torch, detectron2)}
    lent |= {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    # Searched after the environment's own packages, and without following installations of clones.
    (packages / "lent.pth").write_text("\n".join(map(str, lent)), encoding="utf-8")
    return scripts / "wecromcl"


def run_installed(program: Path, folder: Path, *arguments: str) -> str:
    """What an installed command says, run in a folder without anything of the clone."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_installation_trains_from_another_folder(installation: Path, tmp_path: Path) -> None:
    recipe = SceneRecipe(size=(64, 64), num_words=(1, 2))
    build_cache(recipe, 4, tmp_path / "scenes", workers=1, progress=False)
    changes = {
        "DATASETS.TRAIN": "('scenes/labels.jsonl',)",
        "DATASETS.TEST": "()",
        "SOLVER.CURRICULUM.DATASETS": "[]",
        "SOLVER.CURRICULUM.ITERS": "[]",
        "SOLVER.CURRICULUM.IMS_PER_BATCH": "[]",
        "SOLVER.IMS_PER_BATCH": "2",
        "SOLVER.WARMUP_ITERS": "1",
        "SOLVER.MAX_ITER": "2",
        "DATALOADER.SAMPLING.NUM_NEGATIVES": "2",
        "TEST.BEST_METRIC": "",
    }
    config = ("--config-file", "configs/quick/anchors.yaml")
    opts = [part for change in changes.items() for part in change]
    run_installed(installation, tmp_path, "train", *config, *opts, "OUTPUT_DIR", "out")
    weights = torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)
    assert weights["iteration"] == 1


def test_installation_reads_from_another_folder(installation: Path, tmp_path: Path) -> None:
    config = "configs/quick/srsts_a.yaml"
    torch.save({"model": build_model(load_config(config)).state_dict()}, tmp_path / "model.pth")
    Image.new("RGB", (64, 48)).save(tmp_path / "photo.png")
    model = ("--config-file", config, "--weights", "model.pth")
    (line,) = run_installed(installation, tmp_path, "read", "photo.png", *model).splitlines()
    assert json.loads(line)["file_name"].endswith("photo.png")


def test_installation_lists_its_commands(installation: Path, tmp_path: Path) -> None:
    said = run_installed(installation, tmp_path, "--help")
    assert "wecromcl COMMAND" in said and " train " in said


def test_pins_lie_in_the_declared_ranges() -> None:
    slim = tomllib.loads((SLIM / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = pins()
    # The same library without windows, for machines that have no display libraries.
    versions["opencv-python"] = versions["opencv-python-headless"]
    for requirement in map(Requirement, [*requirements(), *slim["dependencies"]]):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} excludes {version}"


@pytest.mark.parametrize(
    ("variable", "extra"), [("SITE", "docs"), ("EXTRA_ray", "ray"), ("EXTRA_export", "export")]
)
def test_make_installs_the_ranges_of_the_extras(variable: str, extra: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^{variable} := (.+)$", makefile, re.MULTILINE)
    assert re.findall(r'"([^"]+)"', line) == setup_argument("extras_require")[extra]


def test_detectron2_is_no_requirement() -> None:
    names = {Requirement(line).name for line in requirements()}
    assert "torch" in names and "detectron2" not in names
    assert "detectron2" not in pins()


def test_real_detectron2_keeps_the_packages_it_was_built_with(bootstrap: ModuleType) -> None:
    real = {
        "installed": ["NumPy", "opencv-contrib-python", "PyYAML", "setuptools", "typing.extensions"]
    }
    names = {pin.split("==")[0].lower() for pin in bootstrap.missing_pins(real)}
    assert not names & {"torch", "numpy", "opencv-python-headless", "pyyaml", "typing_extensions"}
    assert {"shapely", "setuptools", "wheel"} < names
    everything = {canonicalize_name(pin.split("==")[0]) for pin in bootstrap.missing_pins(None)}
    assert everything == set(pins())


@pytest.mark.parametrize(
    ("output", "word"),
    [
        ("ERROR: ... due to an OSError: [Errno 28] No space left on device", "disk"),
        ("NewConnectionError: [Errno -3] Temporary failure in name resolution", "network"),
        ("ERROR: Could not find a version of torch (from versions: none)", "network"),
        ("was not created successfully because ensurepip is not available", "venv"),
    ],
)
def test_failures_outside_the_project_get_a_remedy(
    bootstrap: ModuleType, output: str, word: str
) -> None:
    assert word in bootstrap.explain(output)


def test_other_failures_are_left_to_their_own_words(bootstrap: ModuleType) -> None:
    assert bootstrap.explain("error: command 'gcc' failed") is None


def test_environment_of_somebody_else_is_not_deleted(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    monkeypatch.setattr(bootstrap, "OWNER", tmp_path / "made-by-make")
    (tmp_path / "mine").mkdir()
    with pytest.raises(SystemExit, match="not made by make"):
        bootstrap.remove_environment()
    assert (tmp_path / "mine").is_dir()
    (tmp_path / "made-by-make").touch()
    bootstrap.remove_environment()
    assert not tmp_path.exists()


def test_set_up_is_redone_only_where_something_changed(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    state = {"root": "r", "python": "p", "detectron2": "slim", "inputs": "1"}
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "setup-done.json")
    monkeypatch.setattr(bootstrap, "find_real", lambda: None)
    monkeypatch.setattr(bootstrap, "describe", lambda real: dict(state))
    monkeypatch.setattr(bootstrap, "create_environment", lambda real: steps.append("create"))
    monkeypatch.setattr(bootstrap, "install", lambda real: steps.append("install"))
    bootstrap.set_up()
    bootstrap.set_up()
    assert steps == ["create", "install"]
    state["inputs"] = "2"
    bootstrap.set_up()
    assert steps[2:] == ["install"]
    state["detectron2"] = "real"
    bootstrap.set_up()
    assert steps[3:] == ["create", "install"]


def test_interrupted_installation_is_redone(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "setup-done.json")
    monkeypatch.setattr(bootstrap, "find_real", lambda: None)
    monkeypatch.setattr(bootstrap, "create_environment", lambda real: None)
    bootstrap.STAMP.write_text('{"inputs": "old"}', encoding="utf-8")

    def stop(real: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "install", stop)
    with pytest.raises(KeyboardInterrupt):
        bootstrap.set_up()
    assert bootstrap.read_stamp() == {}


def test_the_recipe_for_the_headless_opencv_names_every_requirement() -> None:
    page = (ROOT / "docs" / "INSTALL.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = [line for line in page.splitlines() if "numpy opencv-python-headless" in line]
    named = {canonicalize_name(word) for word in line.split()[4:]}
    wanted = {Requirement(line).name for line in setup_argument("install_requires")}
    wanted = {canonicalize_name(name) for name in wanted} - {"opencv-python"}
    assert named - {"opencv-python-headless"} == wanted
