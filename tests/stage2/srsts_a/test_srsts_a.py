"""The whole model: losses of odd batches, answers that depend on nothing but the image."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances

from wecromcl_d2.data.text import TextList
from wecromcl_d2.layers.image_batch import scale_image
from wecromcl_d2.stage2.srsts_a.heads import LSTMBlock
from wecromcl_d2.tasks import load_config

CONFIG = "configs/quick/srsts_a.yaml"
SMALL = ["MODEL.SRSTS_A.TOWER_CHANNELS", "[16]", "MODEL.SRSTS_A.NUM_POINTS", "6"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make_model(*opts):
    return build_model(load_config(CONFIG, [*SMALL, *opts]))


def make_input(size=(48, 64), words=(("cat", (20, 20), 1.0),), **changes):
    instances = Instances(size)
    count = len(words)
    instances.gt_points = torch.tensor([w[1] for w in words], dtype=torch.float32).view(-1, 2)
    instances.gt_texts = TextList(w[0] for w in words)
    instances.gt_point_weights = torch.tensor([w[2] for w in words], dtype=torch.float32)
    instances.gt_ignore = torch.zeros(count, dtype=torch.bool)
    instances.gt_located = torch.ones(count, dtype=torch.bool)
    instances.gt_ignore_radii = torch.zeros(count)
    for name, value in changes.items():
        instances.set(name, value)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    return {"image": image, "instances": instances, "height": size[0], "width": size[1]}


def check_losses(model, batch):
    losses = model(batch)
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    assert all(p.grad is not None for p in model.parameters()), "other processes would wait"
    return losses


def test_losses_and_gradients_of_a_mixed_batch():
    words = (("cat", (20, 20), 1.0), ("a" * 30, (50, 30), 1.0), ("dog", (20, 40), 0.0))
    losses = check_losses(make_model(), [make_input(words=words), make_input(words=())])
    assert set(losses) == {
        *("loss_confidence", "loss_reading", "loss_consistency"),
        *("loss_smoothness", "loss_order", "loss_spread"),
    }


@pytest.mark.parametrize("loss", ["focal", "dice"])
@pytest.mark.parametrize(
    "words",
    [(), (("---", (20, 20), 1.0),), (("a" * 30, (20, 20), 1.0),), (("cat", (64, 48), 1.0),)],
    ids=["none", "unreadable", "too long", "in the corner"],
)
def test_odd_words_give_finite_losses(words, loss):
    model = make_model("MODEL.SRSTS_A.LOSS.CONFIDENCE", loss)
    losses = check_losses(model, [make_input(words=words)] * 2)
    if words == () or words[0][0] != "cat":
        assert losses["loss_reading"] == 0


def test_a_word_of_weight_zero_teaches_nothing_and_is_no_background():
    model = make_model()
    base = make_input(words=(("cat", (20, 20), 1.0),))
    more = dict(base, instances=make_input(words=(("cat", (20, 20), 1.0), ("dog", (52, 36), 0.0))))
    more["instances"] = more["instances"]["instances"]
    words = model.prepare_words([base["instances"], more["instances"]])
    assert words.is_positive.tolist() == [[True, False], [True, False]]
    assert words.is_ignored.tolist() == [[False, False], [False, True]]
    assert words.weights.tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_a_given_radius_says_how_far_an_ignored_place_reaches():
    record = make_input(gt_ignore=torch.tensor([True]), gt_ignore_radii=torch.tensor([32.0]))
    words = make_model().prepare_words([record["instances"]])
    assert words.radii.tolist() == [[8.0]] and words.is_ignored.all()


def found(model, inputs):
    with torch.no_grad():
        return [output["instances"] for output in model(inputs)]


@pytest.fixture(scope="module")
def reader():
    """Untrained, but so sure of itself that it finds many words."""
    torch.manual_seed(0)
    model = make_model("MODEL.SRSTS_A.TEST.CONFIDENCE", "0.0", "MODEL.SRSTS_A.TEST.SCORE", "0.0")
    model.train()
    for _ in range(3):
        model([make_input(), make_input(size=(64, 64))])
    return model.eval()


def test_answers_do_not_depend_on_the_batch(reader):
    inputs = [make_input((h, w)) for h, w in ((48, 64), (70, 50), (48, 64), (33, 47))]
    together = found(reader, inputs)
    assert min(map(len, together)) > 2
    for one, x in zip(together, inputs, strict=True):
        (alone,) = found(reader, [x])
        assert alone.pred_texts == one.pred_texts
        for name in ("pred_points", "pred_polylines", "scores", "det_scores", "char_scores"):
            torch.testing.assert_close(alone.get(name), one.get(name), rtol=1e-5, atol=1e-5)


def coarse_input(size=(96, 128)):
    """Noise in squares of 2 x 2 pixels, which half the size still shows."""
    x = make_input(size)
    small = x["image"][:, ::2, ::2]
    return x | {"image": small.repeat_interleave(2, 1).repeat_interleave(2, 2)}


def at_scales(reader, monkeypatch, *factors):
    monkeypatch.setattr(reader, "pyramid", factors)
    return reader


def test_one_scale_reads_what_the_resized_image_holds(reader, monkeypatch):
    """Compared with the image resized outside of the model, its words in the same pixels."""
    x = coarse_input()
    (outside,) = found(reader, [x | {"image": scale_image(x["image"], 0.5)}])
    (inside,) = found(at_scales(reader, monkeypatch, 0.5), [x])
    assert len(inside) and inside.pred_texts == outside.pred_texts
    for name in ("pred_points", "pred_polylines", "scores", "char_scores"):
        torch.testing.assert_close(inside.get(name), outside.get(name), rtol=1e-5, atol=1e-4)


def test_of_all_scales_the_best_reading_of_a_place_stays(reader, monkeypatch):
    """Words (text, left, row, score) in cells; "hat" lies on "cat", the others alone."""
    by_scale = {
        1.0: [("cat", 2.0, 3.0, 0.6), ("dog", 2.0, 12.0, 0.7)],
        0.5: [("hat", 2.0, 3.5, 0.8), ("sun", 2.0, 20.0, 0.5)],
    }

    def read(inputs, factor):
        words = by_scale[factor]
        count = len(words)
        along = torch.linspace(0, 6, reader.num_points)
        lines = [torch.stack([left + along, along * 0 + row], 1) for _, left, row, _ in words]
        scores = torch.tensor([score for *_, score in words])
        return {
            "texts": [text for text, *_ in words],
            "image": torch.ones(count, dtype=torch.int64),
            "points": torch.stack([line[0] for line in lines]),
            "lines": torch.stack(lines),
            "char_scores": torch.zeros(count, reader.num_points),
            **dict.fromkeys(("scores", "det_scores", "rec_scores"), scores),
        }

    monkeypatch.setattr(reader, "_read", read)
    none, both = found(at_scales(reader, monkeypatch, 1.0, 0.5), [make_input((96, 128))] * 2)
    assert len(none) == 0
    assert both.pred_texts == ["hat", "dog", "sun"]
    assert both.scores.tolist() == pytest.approx([0.8, 0.7, 0.5])
    assert both.pred_points.tolist() == [[8.0, 14.0], [8.0, 48.0], [8.0, 80.0]]
    (one,) = found(at_scales(reader, monkeypatch, 1.0), [make_input((96, 128))] * 2)[1:]
    assert one.pred_texts == ["dog", "cat"]


def test_scales_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"TEST\.PYRAMID"):
        make_model("MODEL.SRSTS_A.TEST.PYRAMID", [0.0])


def test_patches_and_the_whole_map_give_the_same_words(reader):
    inputs = [make_input((48, 64)), make_input((48, 64))]
    patch = found(reader, inputs)
    reader.sampler_eval = "dense"
    dense = found(reader, inputs)
    reader.sampler_eval = "patch"
    for a, b in zip(patch, dense, strict=True):
        assert a.pred_texts == b.pred_texts
        torch.testing.assert_close(a.pred_polylines, b.pred_polylines, rtol=1e-4, atol=1e-3)


def test_points_are_given_in_the_original_image(reader):
    x = make_input((48, 64))
    (own,) = found(reader, [x])
    (scaled,) = found(reader, [dict(x, height=96, width=32)])
    assert scaled.image_size == (96, 32)
    torch.testing.assert_close(scaled.pred_points, own.pred_points * torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(scaled.pred_polylines, own.pred_polylines * torch.tensor([0.5, 2.0]))
    assert (scaled.pred_points >= 0).all() and (scaled.pred_points <= torch.tensor([32, 96])).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (16, 16)])
def test_tiny_images_and_images_without_words_have_answers(size):
    model = make_model().eval()
    (nothing,) = found(model, [make_input(size)])
    assert len(nothing) == 0 and nothing.pred_polylines.shape == (0, 6, 2)
    assert nothing.image_size == size and list(nothing.pred_texts) == []


def test_weights_that_are_not_finite_are_refused():
    model = make_model().eval()
    with torch.no_grad():
        next(model.anchor_head.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"MODEL\.WEIGHTS"):
        found(model, [make_input()])


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.SRSTS_A.SAMPLER_EVAL", "both"], "SAMPLER_EVAL is 'both'"),
        (["MODEL.SRSTS_A.LOSS.CONFIDENCE", "hinge"], "LOSS.CONFIDENCE is 'hinge'"),
        (["MODEL.SRSTS_A.TEST.POINT", "box"], "TEST.POINT is 'box'"),
        (["MODEL.SRSTS_A.NORM", "GN"], "NORM normalises"),
    ],
)
def test_bad_choices_are_named(opts, message):
    with pytest.raises(ValueError, match=message):
        make_model(
            *("MODEL.SRSTS_A.ANCHOR_CHANNELS", "32", "MODEL.SRSTS_A.SAMPLER_CHANNELS", "[32]"),
            *("MODEL.SRSTS_A.TOWER_CHANNELS", "[32]", *opts),
        )


def test_the_config_chooses_the_sequence_block_and_every_number():
    model = make_model(
        *("MODEL.SRSTS_A.SEQUENCE", "bilstm", "MODEL.SRSTS_A.TEST.POINT", "line"),
        *("MODEL.SRSTS_A.LOSS.EXTENT_WARMUP", "0.7", "MODEL.SRSTS_A.LOSS.JITTER", "0.3"),
        *("MODEL.SRSTS_A.LOSS.ANCHORS_PER_WORD", "3", "MODEL.SRSTS_A.TEST.MAX_ANCHORS", "7"),
        *("MODEL.SRSTS_A.TEST.CONFIDENCE", "0.4", "MODEL.SRSTS_A.TEST.SCORE", "0.2"),
    )
    assert isinstance(model.recognizer.sequence, LSTMBlock) and model.point == "line"
    assert (model.criterion.extent_warmup, model.jitter) == (0.7, 0.3)
    assert (model.anchors_per_word, model.max_anchors) == (3, 7)
    assert (model.min_confidence, model.min_score) == (0.4, 0.2)


@pytest.mark.parametrize("name", ["SAMPLER_CHANNELS", "TOWER_CHANNELS"])
def test_a_tower_without_channels_names_its_key(name):
    cfg = load_config("configs/quick/srsts_a.yaml", [f"MODEL.SRSTS_A.{name}", "[]"])
    with pytest.raises(ValueError, match=rf"MODEL\.SRSTS_A\.{name} is \[\]"):
        build_model(cfg)
