"""The recipes hold the published numbers, and differ from them only where they say."""

from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

from tests.configs import learning_rates
from wecromcl_d2.cli.console import flatten
from wecromcl_d2.engine.solver import build_schedule
from wecromcl_d2.tasks import load_config

# name -> updates of 350 epochs in batches of 8
FINETUNING = {"icdar2013": 10000, "icdar2015": 43800, "totaltext": 54900, "ctw1500": 43800}
MILLION = 1e6
# The published side of each free choice.
FREE_CHOICES = {
    "MODEL.SPTS.LOSS.OFFICIAL": True,
    "MODEL.SPTS.TEST.OFFICIAL": True,
    "MODEL.SPTS.TEST.DUPLICATE_DISTANCE": 0.0,
    "DATALOADER.COPIES": 2,
    "TEST.MODE": "official",
}

# Structures and numbers of parameters.
pytestmark = pytest.mark.usefixtures("uninitialised")


def read(name, *opts):
    return load_config(f"configs/{name}.yaml", ["MODEL.DEVICE", "cpu", *opts])


def parameters(cfg):
    return sum(p.numel() for p in build_model(cfg).parameters())


@pytest.mark.parametrize("name", ["pretrain", *FINETUNING])
def test_official_variants_switch_back_the_free_choices_alone(name):
    ours, official = (flatten(read(f"stage2/spts/{prefix}{name}")) for prefix in ("", "official_"))
    changed = {key: official[key] for key in ours if ours[key] != official[key]}
    assert changed.pop("OUTPUT_DIR") == f"./output/spts/official_{name}"
    # The same images in a batch, each of them twice.
    assert changed.pop("SOLVER.IMS_PER_BATCH") == 2 * ours["SOLVER.IMS_PER_BATCH"]
    if name == "pretrain":
        assert changed.pop("SOLVER.BASE_LR_END") == 1e-5
    else:
        start = flatten(read("stage2/spts/official_pretrain"))["OUTPUT_DIR"].removeprefix("./")
        assert changed.pop("MODEL.WEIGHTS") == f"{start}/model_final.pth"
    assert changed == FREE_CHOICES


def test_each_free_choice_is_explained():
    page = Path("docs/SPTS.md").read_text(encoding="utf-8")
    keys = (*FREE_CHOICES, "SOLVER.BASE_LR_END")
    assert [key for key in keys if f"`{key}`" not in page] == []


def test_the_last_rate_is_the_published_one():
    cfg = read(
        "stage2/spts/official_pretrain", "SOLVER.MAX_ITER", "300", "SOLVER.WARMUP_ITERS", "10"
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    schedule = build_schedule(cfg, optimizer)
    rates = learning_rates(optimizer, schedule, 300)
    # It falls by 5e-4 / 300 a step, and stops at 1e-5, which is the sixth last value.
    assert rates[0] == pytest.approx(1e-4) and rates[150] == pytest.approx(2.5e-4)
    assert rates[293] == pytest.approx(5e-4 * 7 / 300) and rates[-6:] == pytest.approx([1e-5] * 6)


def test_the_published_model():
    cfg = read("stage2/spts/Base-SPTS")
    keys = cfg.MODEL.SPTS
    assert (*("sequence", "padded", "random", "global"),) == (
        keys.DECODER,
        keys.LAYOUT,
        keys.ORDER,
        keys.ENCODER,
    )
    assert (keys.BINS, keys.MAX_WORDS, keys.MAX_LENGTH) == (1000, 60, 25)
    assert (keys.WIDTH, keys.HEADS, keys.FEEDFORWARD, keys.DROPOUT) == (256, 8, 1024, 0.1)
    assert (keys.ENCODER_LAYERS, keys.DECODER_LAYERS, keys.LOSS.EOS_WEIGHT) == (6, 6, 0.01)
    assert (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (1000, 1824)
    assert (cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE, cfg.SOLVER.BACKBONE_FACTOR) == (0.1, 0.1)
    model = build_model(cfg)
    assert (len(model.vocabulary), model.layout.max_inputs, model.stride) == (1100, 1621, 32)
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(n.startswith(("backbone.stem", "backbone.res2")) for n in frozen)


def test_pretraining():
    cfg = read("stage2/spts/pretrain")
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_FACTOR * cfg.SOLVER.BASE_LR) == (5e-4, 1e-4)
    images = 1255 + 7200 + 229 + 1000 + 149050
    assert pytest.approx(150 * images / 32, rel=1e-3) == cfg.SOLVER.MAX_ITER
    assert pytest.approx(cfg.SOLVER.MAX_ITER * 5 / 150) == cfg.SOLVER.WARMUP_ITERS
    assert (
        pytest.approx(280 * images / 32, rel=1e-3)
        == read("stage2/spts/sptsv2_pretrain").SOLVER.MAX_ITER
    )


@pytest.mark.parametrize("name", FINETUNING)
def test_finetuning(name):
    cfg = read(f"stage2/spts/{name}")
    assert FINETUNING[name] == cfg.SOLVER.MAX_ITER
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.STEPS) == (1e-5, 8, ())
    assert read("stage2/spts/pretrain").OUTPUT_DIR[2:] + "/model_final.pth" == cfg.MODEL.WEIGHTS
    assert (f"{name}_test",) == cfg.DATASETS.TEST
    assert all(test in DatasetCatalog.list() for test in cfg.DATASETS.TEST)


VARIANTS = {
    "npts": {
        "MODEL.SPTS.POINTS": False,
        "INPUT.REQUIRE_POINTS": False,
        "INPUT.CROP.ENABLED": False,
        "TEST.PROTOCOLS": ("edit_distance", "bag_of_words"),
    },
    "sptsv2": {
        "MODEL.RESNETS.NORM": "BN",
        "MODEL.SPTS.DECODER": "iad_prd",
        "MODEL.SPTS.ENCODER": "window",
    },
}


@pytest.mark.parametrize("kind", VARIANTS)
@pytest.mark.parametrize("name", ["pretrain", *FINETUNING])
def test_variants_differ_from_spts_in_their_kind_alone(kind, name):
    spts, variant = (flatten(read(f"stage2/spts/{prefix}{name}")) for prefix in ("", f"{kind}_"))
    changed = {key: variant[key] for key in spts if spts[key] != variant[key]}
    assert changed.pop("OUTPUT_DIR") == f"./output/{kind}/{name}"
    if name != "pretrain":
        assert changed.pop("MODEL.WEIGHTS") == f"output/{kind}/pretrain/model_final.pth"
    elif kind == "sptsv2":
        changed.pop("SOLVER.MAX_ITER")
    if kind == "npts":
        # The same sets, as they were published and not with found points.
        found = [Path(path.partition("@")[0]).stem for path in spts["DATASETS.TRAIN"]]
        assert changed.pop("DATASETS.TRAIN") == tuple(found)
    assert changed == VARIANTS[kind]


def test_the_two_published_sizes():
    # ResNet-50 23.5 M; six encoder and six decoder layers 4.7 M and 6.3 M; tables and head 1.6 M
    assert parameters(read("stage2/spts/Base-SPTS")) == pytest.approx(36.6 * MILLION, rel=0.02)
    assert parameters(read("stage2/spts/sptsv2_pretrain")) == pytest.approx(
        36.2 * MILLION, rel=0.02
    )


@pytest.mark.parametrize("name", ["spts", "npts", "iad_prd"])
def test_quick_models_are_small_and_share_their_set(name):
    cfg = read(f"quick/{name}")
    assert parameters(cfg) < 1.3 * MILLION
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (
        ("synth_closed_train",),
        ("synth_closed_val",),
    )
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH) == (2500, 16)
    assert cfg.MODEL.SPTS.POINTS is cfg.INPUT.REQUIRE_POINTS is (name != "npts")


def test_quick_models_can_start_from_the_quick_anchor_detector():
    own = build_model(read("quick/spts")).backbone.state_dict()
    other = build_model(read("quick/anchors")).backbone.state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in other.items()}
