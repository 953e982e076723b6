"""Ours in stock models, stock parts in ours and a user's own, as docs/PLUGINS.md has them."""

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from detectron2.modeling.backbone import BACKBONE_REGISTRY
from detectron2.utils.events import EventStorage

from tests.scripts import load_script
from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.data.synthetic import SceneRecipe, build_cache
from wecromcl_d2.stage1.text_encoder import TEXT_ENCODER_REGISTRY

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/PLUGINS.md").read_text(encoding="utf-8")
STEPS = 3
# Small enough for steps that take no time; nothing of it is what the page is about.
SMALL_RESNET = [
    *("MODEL.DEVICE", "cpu"),
    *("MODEL.RESNETS.DEPTH", 18),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
    *("MODEL.BACKBONE.FREEZE_AT", 0),
    *("MODEL.BIFPN.OUT_CHANNELS", 64),
]
FEW_PROPOSALS = [
    *("MODEL.RPN.PRE_NMS_TOPK_TRAIN", 16),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 16),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 8),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", 32),
    *("MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", 1),
]
SMALL_WECROMCL = [*("MODEL.IMAGE_ENCODER.LAYERS", 1), *("MODEL.TEXT_ENCODER.LAYERS", 1)]

DETECTORS = pytest.mark.skipif(
    not all(name in META_ARCH_REGISTRY for name in ("RetinaNet", "GeneralizedRCNN")),
    reason="the slim package has no detectors",
)
FPN = pytest.mark.skipif(
    "build_resnet_fpn_backbone" not in BACKBONE_REGISTRY, reason="the slim package has no FPN"
)


@pytest.mark.parametrize("only_real", ["model_zoo", "build_resnet_fpn_backbone"])
def test_sections_that_the_slim_package_cannot_run_say_so(only_real):
    marks = (f"{only_real}/", f'"{only_real}"')
    (section,) = [part for part in PAGE.split("\n## ") if any(mark in part for mark in marks)]
    assert "needs the real Detectron2" in section


def block(language, mark):
    """The one block of code of the page that has a mark in it."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (found,) = [text for text in blocks if mark in text]
    return found.replace('_BASE_: "configs', f'_BASE_: "{ROOT}/configs')


def config_file(folder, name, mark):
    path = folder / name
    path.write_text(block("yaml", mark), encoding="utf-8")
    return str(path)


def read_config(path, *opts):
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file(path)
    cfg.merge_from_list(list(opts))
    return cfg


def train(cfg, batch):
    """Losses of each step, and names of the backbone's weights that get no gradient."""
    torch.manual_seed(0)
    model = build_model(cfg).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.001)
    history = []
    for _ in range(STEPS):
        with EventStorage():
            losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append(sum(float(loss.detach()) for loss in losses.values()))
    weights = model.backbone.named_parameters()
    return history, [name for name, p in weights if p.grad is None or not p.grad.any()]


def images(count=2, size=(64, 96)):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
        for _ in range(count)
    ]


def boxes_batch():
    from detectron2.structures import Boxes, Instances

    batch = []
    for image in images():
        instances = Instances(tuple(image.shape[-2:]))
        instances.gt_boxes = Boxes(torch.tensor([[10.0, 10.0, 50.0, 40.0]]))
        instances.gt_classes = torch.tensor([1])
        batch.append({"image": image, "instances": instances})
    return batch


def words_batch():
    return [
        {"image": image, "queries": [f"word{i}"], "negatives": ["one", "two"]}
        for i, image in enumerate(images())
    ]


@pytest.mark.trains
@DETECTORS
@pytest.mark.parametrize(
    ("stock", "mark"),
    [
        ("COCO-Detection/retinanet_R_50_FPN_1x.yaml", "RETINANET:"),
        ("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml", "RPN:"),
    ],
)
def test_our_backbone_in_stock_detectors(tmp_path, monkeypatch, stock, mark):
    monkeypatch.chdir(tmp_path)
    config_file(tmp_path, "retinanet_bifpn.yaml", mark)
    assert stock in PAGE
    code = block("python", "model_zoo").replace("COCO-Detection/retinanet_R_50_FPN_1x.yaml", stock)
    cfg = run(tmp_path / "setup.py", code).cfg
    cfg.merge_from_list([*SMALL_RESNET, *FEW_PROPOSALS])
    assert type(build_model(cfg).backbone).__name__ == "BiFPN"
    # Without its compiled part, torchvision would compile the pooling of regions first.
    with getattr(torch.compiler, "set_stance", nullcontext)("force_eager"):
        history, idle = train(cfg, boxes_batch())
    assert history[-1] < history[0]
    assert idle == []


@pytest.mark.trains
@DETECTORS
def test_a_stock_detector_with_our_backbone_learns_the_words_of_a_label_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config_file(tmp_path, "retinanet_bifpn.yaml", "RETINANET:")
    recipe = SceneRecipe(size=(64, 96), num_words=(1, 2))
    build_cache(recipe, 2, tmp_path / "scenes", workers=1, progress=False)
    few = [
        *(*SMALL_RESNET, "MODEL.WEIGHTS", "", "MODEL.RESNETS.NORM", "BN"),
        *("SOLVER.MAX_ITER", 1, "SOLVER.IMS_PER_BATCH", 1, "DATALOADER.NUM_WORKERS", 0),
        *("INPUT.MIN_SIZE_TRAIN", (64,)),
    ]
    changes = f"cfg.merge_from_list({few!r})\n"
    parts = (block("python", "model_zoo"), changes, block("python", "DefaultTrainer"))
    trainer = run(tmp_path / "train.py", "".join(parts)).trainer
    assert (tmp_path / "output" / "model_final.pth").exists()
    assert trainer.model.num_classes == 1


@pytest.mark.trains
@FPN
def test_a_stock_backbone_in_our_model(tmp_path):
    path = config_file(tmp_path, "fpn.yaml", "build_resnet_fpn_backbone")
    cfg = read_config(path, *SMALL_RESNET, *SMALL_WECROMCL)
    history, idle = train(cfg, words_batch())
    assert history[-1] < history[0]
    assert idle == []


@pytest.mark.trains
def test_a_text_encoder_of_ones_own(tmp_path):
    run(tmp_path / "recurrent.py", block("python", "RecurrentTextEncoder"))
    assert "RecurrentTextEncoder" in TEXT_ENCODER_REGISTRY
    cfg = read_config(config_file(tmp_path, "recurrent.yaml", "RecurrentTextEncoder"))
    history, _ = train(cfg, words_batch())
    assert history[-1] < history[0]
    model = build_model(cfg).eval()
    assert type(model.text_encoder).__name__ == "RecurrentTextEncoder"
    found = model([{"image": images()[0], "texts": ["word", "other", "word"]}])
    assert len(found[0]["instances"]) == 3


def run(path, code):
    """Import code as a file of the user's."""
    path.write_text(code, encoding="utf-8")
    return load_script(path)


def test_every_block_of_the_page_is_run():
    marks = ["model_zoo", "RETINANET:", "RPN:", "build_resnet_fpn_backbone", "class Recurrent"]
    marks.append("DefaultTrainer")
    marks.append('NAME: "RecurrentTextEncoder"')
    blocks = re.findall(r"```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert sorted(i for m in marks for i, b in enumerate(blocks) if m in b) == list(
        range(len(blocks))
    )
