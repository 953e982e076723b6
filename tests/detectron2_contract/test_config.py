import logging

import pytest
import yaml
from detectron2.config import CfgNode, configurable, get_cfg, global_cfg, set_global_cfg
from fvcore.common.config import CfgNode as BaseCfgNode

from . import DATA, FLAVOURS

TUPLES = {
    "DATASETS.PROPOSAL_FILES_TEST": (),
    "DATASETS.PROPOSAL_FILES_TRAIN": (),
    "DATASETS.TEST": (),
    "DATASETS.TRAIN": (),
    "INPUT.MIN_SIZE_TRAIN": (800,),
    "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS": (
        (10.0, 10.0, 5.0, 5.0),
        (20.0, 20.0, 10.0, 10.0),
        (30.0, 30.0, 15.0, 15.0),
    ),
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": (0.5, 0.6, 0.7),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": (512,) * 8,
    "MODEL.RETINANET.BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),
    "MODEL.RPN.BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),
    "SOLVER.STEPS": (30000,),
    "TEST.AUG.MIN_SIZES": (400, 500, 600, 700, 800, 900, 1000, 1100, 1200),
}


def leaves(node, prefix=""):
    for name, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_defaults_have_the_stored_names_values_and_types():
    stored = yaml.safe_load((DATA / "defaults.yaml").read_text(encoding="utf-8"))
    expected = {**dict(leaves(stored)), **TUPLES}
    actual = dict(leaves(get_cfg()))
    assert len(actual) == 192
    assert actual == expected
    assert {key: type(value) for key, value in actual.items()} == {
        key: type(value) for key, value in expected.items()
    }
    assert get_cfg().VERSION == 2
    assert [key for key, value in actual.items() if value is None] == ["SOLVER.WEIGHT_DECAY_BIAS"]


def test_two_default_configs_share_nothing():
    first = get_cfg()
    first.MODEL.PIXEL_MEAN.append(1.0)
    first.SOLVER.BASE_LR = 7.0
    assert get_cfg().MODEL.PIXEL_MEAN == [103.53, 116.28, 123.675]
    assert get_cfg().SOLVER.BASE_LR == 0.001


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_written_config_merges_and_dumps_equal(flavour):
    cfg = get_cfg()
    cfg.merge_from_file(str(DATA / f"config_{flavour}.yaml"))
    assert cfg.DATASETS.TRAIN == ("mine",)
    assert cfg.OUTPUT_DIR == "./väri"
    stored = yaml.safe_load((DATA / f"config_{flavour}.yaml").read_text(encoding="utf-8"))
    assert yaml.safe_load(cfg.dump()) == stored


def test_bases_are_relative_to_the_including_file_and_merge_in_order(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "a.yaml", "VERSION: 2\nSEED: 1\nSOLVER: {BASE_LR: 0.5, MAX_ITER: 10}\n")
    write(tmp_path / "sub" / "b.yaml", "SEED: 2\nSOLVER: {MAX_ITER: 20}\n")
    write(tmp_path / "sub" / "c.yaml", "_BASE_: ../a.yaml\nSOLVER: {MAX_ITER: 30}\n")
    several = "_BASE_: [../a.yaml, b.yaml]\nSOLVER: {BASE_LR: 1e-3}\n"
    cfg = get_cfg()
    cfg.merge_from_file(write(tmp_path / "sub" / "d.yaml", several))
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (2, 20, 0.001)
    cfg.merge_from_file(str(tmp_path / "sub" / "c.yaml"))
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (1, 30, 0.5)


def test_merged_dump_is_a_fixed_point(tmp_path):
    first, second = get_cfg(), get_cfg()
    first.merge_from_file(write(tmp_path / "a.yaml", get_cfg().dump()))
    second.merge_from_file(write(tmp_path / "b.yaml", first.dump()))
    assert second.dump() == first.dump()
    assert yaml.safe_load(first.dump()) == yaml.safe_load(get_cfg().dump())
    assert isinstance(first.DATASETS.TRAIN, tuple)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("VERSION: 2\nNO_SUCH_KEY: 1\n", KeyError),
        ("VERSION: 2\nSOLVER: {BASE_LR: 1}\n", ValueError),
        ("VERSION: 2\nSOLVER: {MAX_ITER: 1.0}\n", ValueError),
        ("VERSION: 3\n", AssertionError),
        ("", TypeError),
    ],
)
def test_bad_files_are_refused(tmp_path, text, error):
    with pytest.raises(error):
        get_cfg().merge_from_file(write(tmp_path / "bad.yaml", text))


def test_other_errors():
    cfg = get_cfg()
    with pytest.raises(AssertionError, match=r"missing\.yaml"):
        cfg.merge_from_file("missing.yaml")
    with pytest.raises(AssertionError):
        cfg.merge_from_list(["NO.SUCH_KEY", "1"])
    with pytest.raises(ValueError, match="Type mismatch"):
        cfg.merge_from_list(["SOLVER.BASE_LR", "1"])
    cfg.merge_from_list(["SOLVER.STEPS", "[1, 2]", "SOLVER.BASE_LR", "1e-2"])
    assert cfg.SOLVER.STEPS == (1, 2)
    assert cfg.SOLVER.BASE_LR == 0.01
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.SEED = 1


def test_a_file_without_version_counts_as_version_2(tmp_path, caplog):
    logger = logging.getLogger("detectron2")
    logger.addHandler(caplog.handler)
    cfg = get_cfg()
    cfg.merge_from_file(write(tmp_path / "a.yaml", "SEED: 5\n"))
    logger.removeHandler(caplog.handler)
    assert cfg.SEED == 5
    assert "has no VERSION" in caplog.text


def test_new_keys_and_the_global_config():
    cfg = get_cfg()
    cfg.MODEL.MINE = CfgNode({"DEPTH": 3})
    set_global_cfg(cfg)
    assert global_cfg.MODEL.MINE.DEPTH == 3


class Built:
    @configurable
    def __init__(self, a, b=2, *, c=3):
        self.values = (a, b, c)

    @classmethod
    def from_config(cls, cfg, factor=1):
        return {"a": cfg.SEED * factor, "b": 20}


class Child(Built):
    @classmethod
    def from_config(cls, cfg):
        return {"a": "child", "c": 30}


@configurable(from_config=lambda cfg, a: {"a": a, "b": cfg.SEED})
def function(a, b, c=3):
    return a, b, c


@configurable(from_config=lambda cfg, *args, **kwargs: {"got": (args, kwargs)})
def forwarding(got):
    return got


def test_configurable_constructors():
    cfg = get_cfg()
    assert Built(1).values == (1, 2, 3)
    assert Built(1, 5, c=6).values == (1, 5, 6)
    assert Built(cfg).values == (-1, 20, 3)
    assert Built(cfg=cfg).values == (-1, 20, 3)
    assert Built(cfg, b=4, c=5).values == (-1, 4, 5)
    assert Built(cfg, 7).values == (-7, 20, 3)
    assert Built(cfg, factor=8, a=0).values == (0, 20, 3)
    assert Child(cfg).values == ("child", 2, 30)
    assert Built(BaseCfgNode({"SEED": 9})).values == (9, 20, 3)


def test_configurable_functions():
    cfg = get_cfg()
    assert function(1, 2) == (1, 2, 3)
    assert function(cfg, 1) == (1, -1, 3)
    assert function(cfg, a=1, c=4) == (1, -1, 4)
    assert function(a=1, cfg=cfg) == (1, -1, 3)
    assert function.from_config(cfg, 5) == {"a": 5, "b": -1}
    assert forwarding(cfg, 1, x=2) == ((1,), {"x": 2})


def test_configurable_misuse():
    class NoSource:
        @configurable
        def __init__(self, a):
            pass

    class PlainSource(NoSource):
        def from_config(self, cfg):
            return {"a": 1}

    class WrongName(NoSource):
        @classmethod
        def from_config(cls, config):
            return {"a": 1}

    with pytest.raises(AttributeError, match="from_config"):
        NoSource(get_cfg())
    with pytest.raises(AttributeError, match="from_config"):
        NoSource(1)
    with pytest.raises(TypeError, match="from_config"):
        PlainSource(get_cfg())
    with pytest.raises(TypeError, match="cfg"):
        WrongName(get_cfg())
    with pytest.raises(AssertionError):
        configurable(lambda a: a)
