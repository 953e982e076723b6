"""SRSTS-A and its criterion, built from numbers alone, without any config."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.structures import Instances

from wecromcl_d2.data.text import Charset, TextList
from wecromcl_d2.layers import ImageEncoder
from wecromcl_d2.stage2 import SRSTSA
from wecromcl_d2.stage2.srsts_a.criterion import Criterion
from wecromcl_d2.stage2.srsts_a.heads import AnchorHead, Recognizer, Sampler

POINTS = 5


class Stem(Backbone):
    """One convolution of stride 4."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 4, stride=4)

    @property
    def size_divisibility(self):
        return 4

    def output_shape(self):
        return {"p2": ShapeSpec(channels=8, stride=4)}

    def forward(self, x):
        return {"p2": self.conv(x)}


def make_model(criterion=None, **numbers):
    torch.manual_seed(0)
    backbone, charset = Stem(), Charset("ab")
    encoder = ImageEncoder(
        input_shape=backbone.output_shape(),
        maps=[["p2"]],
        head_channels=8,
        norm="BN",
        layers=0,
        heads=1,
        points=1,
        feedforward=8,
        dropout=0.0,
    )
    return SRSTSA(
        backbone=backbone,
        image_encoder=encoder,
        anchor_head=AnchorHead(8, 4, "BN"),
        sampler=Sampler(8, [8], POINTS, norm="BN", reach=2.0),
        recognizer=Recognizer(
            8,
            [8],
            num_points=POINTS,
            num_classes=len(charset) + 1,
            sequence="none",
            layers=1,
            heads=1,
            norm="BN",
        ),
        charset=charset,
        criterion=criterion or Criterion(max_iter=10),
        pixel_mean=[127.0] * 3,
        pixel_std=[64.0] * 3,
        **numbers,
    )


def make_input():
    torch.manual_seed(0)
    words = Instances((32, 40))
    words.gt_points = torch.tensor([[10.0, 10.0], [30.0, 22.0]])
    words.gt_texts = TextList(["ab", "b"])
    words.gt_point_weights = torch.ones(2)
    words.gt_ignore = torch.zeros(2, dtype=torch.bool)
    words.gt_located = torch.ones(2, dtype=torch.bool)
    words.gt_ignore_radii = torch.zeros(2)
    image = torch.randint(0, 256, (3, 32, 40), dtype=torch.uint8)
    return {"image": image, "instances": words}


def losses_of(criterion=None, **numbers):
    model = make_model(criterion, **numbers)
    batch = [make_input()]
    torch.manual_seed(1)
    return {name: loss.item() for name, loss in model(batch).items()}


def words_of(**numbers):
    model = make_model(**numbers).eval()
    with torch.no_grad():
        return model([make_input()])[0]["instances"]


def test_each_weight_scales_its_own_loss():
    plain = losses_of()
    weights = {
        "confidence_weight": 2.0,
        "reading_weight": 3.0,
        "consistency_weight": 0.4,
        "smoothness_weight": 0.25,
        "order_weight": 0.3,
        "spread_weight": 0.35,
    }
    factors = {"confidence": 2, "reading": 3, "consistency": 4, "smoothness": 5}
    factors |= {"order": 6, "spread": 7}
    scaled = losses_of(Criterion(max_iter=10, **weights))
    for name, factor in factors.items():
        assert scaled[f"loss_{name}"] == pytest.approx(factor * plain[f"loss_{name}"], rel=1e-4)
    assert plain["loss_reading"] > 0 and plain["loss_confidence"] > 0


def test_jitter_and_the_number_of_anchors_change_what_is_read():
    reading = losses_of(jitter=0.0)["loss_reading"]
    assert losses_of(jitter=0.0)["loss_reading"] == reading
    assert losses_of(jitter=2.0)["loss_reading"] != reading
    assert losses_of(jitter=0.0, anchors_per_word=1)["loss_reading"] != reading
    assert losses_of(jitter=0.0, anchors_per_image=1)["loss_reading"] != reading


def test_thresholds_and_the_number_of_anchors_bound_the_words_found():
    everything = {"min_confidence": 0.0, "min_score": 0.0}
    assert len(words_of(**everything)) > 1
    assert len(words_of(**everything, max_anchors=1)) == 1
    assert len(words_of(min_confidence=0.999, min_score=0.0)) == 0
    assert len(words_of(min_confidence=0.0, min_score=0.999)) == 0


def test_a_words_point_is_its_anchor_or_the_midpoint_of_its_line():
    everything = {"min_confidence": 0.0, "min_score": 0.0}
    anchor, line = words_of(**everything), words_of(**everything, point="line")
    # Anchors are centers of cells of 4 x 4 pixels.
    assert torch.equal(anchor.pred_points % 4, torch.full_like(anchor.pred_points, 2))
    polylines = line.pred_polylines
    inside = ((polylines > 0) & (polylines < 32)).flatten(1).all(1)
    assert inside.any()
    torch.testing.assert_close(line.pred_points[inside], polylines[inside, POINTS // 2])
    with pytest.raises(ValueError, match=r"TEST\.POINT is 'box'"):
        make_model(point="box")


def test_cells_along_predicted_lines_are_background_until_the_warmup_ends():
    early, late = (
        losses_of(Criterion(max_iter=10, extent_warmup=share), jitter=0.0) for share in (1.0, 0.0)
    )
    assert late["loss_confidence"] < early["loss_confidence"]
    assert {k: v for k, v in late.items() if k != "loss_confidence"} == {
        k: v for k, v in early.items() if k != "loss_confidence"
    }
