"""The recipes of SRSTS-A, and those after SRSTS v2 beside them."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances

from wecromcl_d2.cli.console import flatten
from wecromcl_d2.data.text import TextList
from wecromcl_d2.tasks import load_config

START = {"pretrain_synthtext": None, "joint": "pretrain_synthtext"}
START |= dict.fromkeys(("icdar2013", "icdar2015", "totaltext", "ctw1500"), "joint")
V2 = {
    "MODEL.IMAGE_ENCODER.MAPS": [["p5", "p4", "p3"], ["p4", "p3", "p2"]],
    "MODEL.IMAGE_ENCODER.HEAD_CHANNELS": 64,
    "MODEL.IMAGE_ENCODER.LAYERS": 6,
    "MODEL.IMAGE_ENCODER.CHECKPOINT": True,
    "MODEL.SRSTS_A.SEQUENCE_LAYERS": 4,
}


def read(name, *opts):
    return load_config(f"configs/stage2/srsts_a/{name}.yaml", ["MODEL.DEVICE", "cpu", *opts])


@pytest.mark.parametrize("name", START)
def test_v2_differs_in_its_layers_alone_and_starts_where_its_own_chain_ends(name):
    plain, v2 = flatten(read(name)), flatten(read(f"v2_{name}"))
    changed = {key: v2[key] for key in plain if plain[key] != v2[key]}
    assert changed.pop("OUTPUT_DIR") == f"./output/srsts_a_v2/{name}"
    if START[name] is not None:
        weights = f"output/srsts_a_v2/{START[name]}/model_final.pth"
        assert changed.pop("MODEL.WEIGHTS") == weights
    assert changed == V2


def test_v2_learns_and_reads():
    """One step and one answer of the whole model, over maps of two strides."""
    torch.manual_seed(0)
    model = build_model(read("v2_icdar2015", "MODEL.RESNETS.NUM_BLOCKS", "[1, 1, 1, 1]"))
    assert (model.stride, len(model.image_encoder.heads)) == (4, 2)
    words = Instances((64, 96))
    words.gt_points = torch.tensor([[40.0, 30.0]])
    words.gt_texts = TextList(["inn"])
    words.gt_point_weights, words.gt_ignore_radii = torch.ones(1), torch.zeros(1)
    words.gt_ignore, words.gt_located = torch.tensor([False]), torch.tensor([True])
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    losses = model.train()([{"image": image, "instances": words}])
    sum(losses.values()).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    answer = model.eval()([{"image": image, "height": 64, "width": 96}])
    assert answer[0]["instances"].image_size == (64, 96)
