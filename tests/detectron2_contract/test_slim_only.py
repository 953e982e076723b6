import ast
import importlib
import io
import os
import subprocess
import sys
import tokenize
from pathlib import Path

import detectron2.engine.hooks
import pytest
from detectron2.config import get_cfg
from detectron2.data import build_detection_train_loader
from detectron2.modeling import build_backbone
from detectron2.utils.env import setup_environment

from . import slim_only

pytestmark = slim_only

PROJECT = Path(__file__).resolve().parents[2] / "projects" / "detectron2_slim"
MOST_CODE_LINES = 2000
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> int:
    """Lines that hold a token other than a comment or a part of a docstring."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_counting_of_code_lines():
    source = '"""Doc\nstring."""\n\nx = [\n    1,  # one\n]\n# note\ndef f():\n    """Doc."""\n'
    assert code_lines(source) == 4


def test_the_package_stays_slim():
    counts = {
        path.relative_to(PROJECT).as_posix(): code_lines(path.read_text(encoding="utf-8"))
        for path in (PROJECT / "detectron2").rglob("*.py")
    }
    assert len(counts) > 20
    assert sum(counts.values()) <= MOST_CODE_LINES, sorted(counts.items(), key=lambda x: -x[1])


def run(code: str, **environment: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(PROJECT), **environment}
    result = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    return result.stdout


def test_the_import_pulls_in_no_heavy_package():
    code = (
        "import sys, detectron2.engine, detectron2.evaluation, detectron2.data.transforms\n"
        "names = {'torchvision', 'matplotlib', 'omegaconf', 'pycocotools', 'tensorboard'}\n"
        "print(sorted(names & set(sys.modules)))"
    )
    assert run(code).strip() == "[]"


@pytest.mark.parametrize(
    "statement",
    [
        "import detectron2.model_zoo",
        "from detectron2 import model_zoo",
        "from detectron2.utils import visualizer",
        "from detectron2.utils.visualizer import Visualizer",
        "from detectron2.modeling.backbone import swin",
        "from detectron2.modeling import FPN",
        "from detectron2.structures import Boxes",
        "from detectron2.structures.masks import PolygonMasks",
        "from detectron2.layers import ROIAlign",
        "from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts",
        "from detectron2.data import DatasetMapper",
        "from detectron2.data.samplers import RepeatFactorTrainingSampler",
        "from detectron2.data.transforms import RandomCrop",
        "import detectron2._C",
    ],
)
def test_absent_names_are_explained(statement):
    with pytest.raises(ImportError, match="not part of detectron2 slim; install Detectron2"):
        exec(statement, {})


def test_a_name_absent_from_a_module_is_an_ordinary_error():
    with pytest.raises(ImportError, match="cannot import name 'PreciseBN'"):
        exec("from detectron2.engine.hooks import PreciseBN", {})
    with pytest.raises(AttributeError, match="PreciseBN"):
        _ = detectron2.engine.hooks.PreciseBN


def test_other_missing_modules_are_not_touched():
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module("detectron2_other.part")
    assert "slim" not in str(caught.value)


def test_the_version_and_the_declared_version_agree():
    assert detectron2.__version__ == "0.6+slim"
    assert 'version = "0.6+slim"' in (PROJECT / "pyproject.toml").read_text(encoding="utf-8")


def test_opencl_is_off():
    code = "import detectron2, cv2, os; print(cv2.ocl.useOpenCL(), os.environ['%s'])"
    assert run(code % "OPENCV_OPENCL_RUNTIME").split() == ["False", "disabled"]


def test_users_own_setup_runs(tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    path.write_text("def setup_environment():\n    print('set up')\n", encoding="utf-8")
    assert run("import detectron2", DETECTRON2_ENV_MODULE=str(path)) == "set up\n"
    monkeypatch.setenv("DETECTRON2_ENV_MODULE", "no_such_module")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        setup_environment()


def test_version_1_configs_are_refused(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text("VERSION: 1\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="VERSION 2"):
        get_cfg().merge_from_file(str(path))


def test_other_samplers_are_refused():
    cfg = get_cfg()
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    with pytest.raises(AssertionError, match="SAMPLER_TRAIN 'RepeatFactorTrainingSampler'"):
        build_detection_train_loader(cfg, dataset=[{}], mapper=None)


def test_deformable_stages_are_refused():
    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False, True, True, True]
    with pytest.raises(ValueError, match="DEFORM_ON_PER_STAGE"):
        build_backbone(cfg)
