"""The recipes of stage 1 hold the published numbers, and differ from them only where they say."""

from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg

from tests.configs import learning_rates
from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.cli.console import flatten
from wecromcl_d2.engine.solver import build_optimizer, build_schedule

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "stage1"
# name -> smallest and largest side at test, 0 standing for "the largest rules"
FINETUNING = {
    "icdar2013": (0, 1152),
    "icdar2015": (0, 1696),
    "totaltext": (896, 8192),
    "ctw1500": (896, 8192),
}
# The release's side of each free choice.
FREE_CHOICES = {
    "MODEL.WECROMCL.MASK_PADDING": False,
    "MODEL.WECROMCL.PEAK_TIES": "all",
    "INPUT.AUG.ROTATION_BORDER": "black",
    "DATALOADER.SAMPLING.EXCLUSION": "earlier",
    "DATALOADER.SAMPLING.COMPARE": "spelling",
    "INPUT.MIN_TEXT_LENGTH": 3,
    "TEST.MODE": "official",
}

# What fast_*.yaml change.
FAST = {
    "MODEL.TEXT_ENCODER.MASK_PADDING": True,
    "MODEL.IMAGE_ENCODER.CHECKPOINT": True,
    "DATALOADER.SAMPLING.NEGATIVES": "shared",
    "SOLVER.FUSED": True,
    "SOLVER.AMP.ENABLED": True,
    "SOLVER.AMP.PRECISION": "bfloat16",
}


def read(name):
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file(str(FOLDER / f"{name}.yaml"))
    return cfg


def assert_holds(cfg, expected):
    found = flatten(cfg)
    assert {key: found[key] for key in expected} == expected


def test_pretraining_is_the_published_one():
    expected = {
        "DATASETS.TRAIN": ("synthtext_train",),
        "SOLVER.BASE_LR": 1e-3,
        "SOLVER.MAX_ITER": 200_000,
        "SOLVER.IMS_PER_BATCH": 16,
        "INPUT.MIN_SIZE_TRAIN": (640,),
        "INPUT.MAX_SIZE_TRAIN": 640,
        "INPUT.MIN_SIZE_TEST": 672,
    }
    assert_holds(read("pretrain_synthtext"), expected)


@pytest.mark.parametrize("name", FINETUNING)
def test_finetuning_is_the_published_one(name):
    smallest, largest = FINETUNING[name]
    expected = {
        "DATASETS.TRAIN": (f"{name}_train",),
        "DATASETS.TEST": (f"{name}_test",),
        "SOLVER.BASE_LR": 1e-4,
        "SOLVER.MAX_ITER": 80_000,
        "SOLVER.IMS_PER_BATCH": 4,
        "INPUT.MIN_SIZE_TRAIN": (640, 672, 704, 736, 768, 800, 832, 864, 896),
        "INPUT.MAX_SIZE_TRAIN": 1280,
        "INPUT.MIN_SIZE_TEST": smallest,
        "INPUT.MAX_SIZE_TEST": largest,
        "MODEL.WEIGHTS": "output/stage1/pretrain_synthtext/model_final.pth",
    }
    assert_holds(read(name), expected)


def test_finetuning_starts_where_pretraining_ends():
    for prefix in ("", "official_"):
        folder = read(f"{prefix}pretrain_synthtext").OUTPUT_DIR
        weights = read(f"{prefix}icdar2015").MODEL.WEIGHTS
        assert Path(weights) == Path(folder) / "model_final.pth"


@pytest.mark.parametrize("name", ["pretrain_synthtext", *FINETUNING])
def test_what_all_recipes_share(name):
    expected = {
        "SOLVER.OPTIMIZER": "SGD",
        "SOLVER.CLIP_GRADIENTS.ENABLED": False,
        "SOLVER.AMP.ENABLED": False,
        "SOLVER.CURRICULUM.DATASETS": [],
        "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.RESNETS.NORM": "BN",
        "MODEL.WECROMCL.TEMPERATURE": 0.07,
        "MODEL.WECROMCL.PEAK_WINDOW": 5,
        "INPUT.RESIZE": "multiple",
        "INPUT.SIZE_DIVISIBILITY": 32,
        "INPUT.AUG.ROTATION": 10.0,
        "INPUT.AUG.BLUR_PROB": 0.1,
        "INPUT.AUG.JITTER_PROB": 0.5,
        "INPUT.AUG.JITTER": [0.5, 0.5, 0.5, 0.5],
        "INPUT.RANDOM_FLIP": "none",
        "INPUT.CROP.ENABLED": False,
        "DATALOADER.SAMPLING.NUM_NEGATIVES": 16,
        "DATALOADER.SAMPLING.NEGATIVES": "random",
    }
    assert_holds(read(name), expected)


def test_every_weight_decays_and_the_rate_follows_its_power():
    cfg = read("icdar2015")
    cfg.SOLVER.MAX_ITER = 4
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    model.logit_scale = torch.nn.Parameter(torch.zeros(()))
    optimizer = build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        assert (group["weight_decay"], group["momentum"], group["nesterov"]) == (1e-5, 0.9, False)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 5
    schedule = build_schedule(cfg, optimizer)
    rates = learning_rates(optimizer, schedule, 4)
    # 1e-4 times 1, 0.75, 0.5 and 0.25, each to the power of 0.9
    assert rates == pytest.approx([1e-4, 7.7190e-5, 5.3589e-5, 2.8717e-5], rel=1e-4)
    # The release's formula, which has no real value there, ended its training before the last save.
    assert optimizer.param_groups[0]["lr"] == 0


@pytest.mark.parametrize("name", ["pretrain_synthtext", "icdar2013", "icdar2015", "totaltext"])
def test_official_variants_switch_back_the_free_choices_alone(name):
    ours, official = flatten(read(name)), flatten(read(f"official_{name}"))
    changed = {key: official[key] for key in ours if ours[key] != official[key]}
    changed.pop("OUTPUT_DIR")
    changed.pop("MODEL.WEIGHTS", None)
    # The release's converter of SynthText, and this one alone, keeps words of any length.
    real_sets_alone = {"INPUT.MIN_TEXT_LENGTH"} if name == "pretrain_synthtext" else set()
    assert changed == {k: v for k, v in FREE_CHOICES.items() if k not in real_sets_alone}


@pytest.mark.parametrize("name", ["pretrain_synthtext", *FINETUNING])
def test_fast_variants_change_what_they_say_alone(name):
    ours, fast = flatten(read(name)), flatten(read(f"fast_{name}"))
    changed = {key: fast[key] for key in ours if ours[key] != fast[key]}
    assert changed.pop("OUTPUT_DIR") == f"./output/stage1/fast_{name}"
    weights = changed.pop("MODEL.WEIGHTS", None)
    pretraining = "output/stage1/fast_pretrain_synthtext/model_final.pth"
    assert weights == (None if name == "pretrain_synthtext" else pretraining)
    assert changed == FAST


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_fused_optimisers_make_the_same_steps(optimizer):
    models = []
    for fused in (False, True):
        cfg = read("icdar2015")
        cfg.SOLVER.OPTIMIZER, cfg.SOLVER.FUSED = optimizer, fused
        torch.manual_seed(0)
        models.append(torch.nn.Linear(5, 3))
        steps = build_optimizer(cfg, models[-1])
        assert all(bool(group.get("fused")) == fused for group in steps.param_groups)
        for size in (1.0, -2.0, 0.5):
            models[-1].weight.grad = size * models[-1].weight.detach().abs()
            models[-1].bias.grad = torch.full((3,), size)
            steps.step()
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other)


def test_each_free_choice_is_explained():
    page = (FOLDER.parents[1] / "docs/METHOD.md").read_text(encoding="utf-8")
    assert [key for key in FREE_CHOICES if f"`{key}`" not in page] == []
