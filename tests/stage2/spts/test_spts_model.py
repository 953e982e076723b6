import copy

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from tests.stage2.spts.helpers import (
    KINDS,
    TRAINED,
    instances,
    make_image,
    tiny_config,
    tiny_model,
    trained_model,
    training_batch,
)
from wecromcl_d2.data.text import CharsetError


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind):
    torch.manual_seed(0)
    model = build_model(tiny_config(kind, "MODEL.SPTS.DROP_PATH", 0.0))
    with EventStorage() as storage:
        losses = model(training_batch())
        assert 0 <= storage.latest()["token_accuracy"][0] <= 1
    assert list(losses) == ["loss_sequence"]
    losses["loss_sequence"].backward()
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # A softmax does not feel a shift of all keys.
    assert {name for name in idle if not name.endswith("k.bias")} == set()


@pytest.mark.parametrize("kind", KINDS)
def test_training_in_half_precision_gives_a_loss(kind):
    model = build_model(tiny_config(kind))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(training_batch())["loss_sequence"]
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("kind", KINDS)
def test_images_without_words_can_be_learned(kind):
    model = build_model(tiny_config(kind))
    batch = [{"image": make_image(48, 64), "instances": instances((48, 64), [], [])}]
    loss = model(batch)["loss_sequence"]
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("kind", ["padded", "compact", "iad_prd"])
def test_unknown_places_teach_texts_but_no_place(kind):
    model = build_model(tiny_config(kind, "MODEL.SPTS.DROPOUT", 0.0, "MODEL.SPTS.DROP_PATH", 0.0))
    size = (48, 64)
    losses = set()
    for point in ([10.0, 10.0], [50.0, 40.0]):
        own = instances(size, ["ab", "c"], [point, [5, 5]], weights=[0.0, 1.0])
        torch.manual_seed(0)
        losses.add(model([{"image": make_image(*size), "instances": own}])["loss_sequence"].item())
    assert len(losses) == 1
    bins = model.decoder.token_embedding.weight[: model.vocabulary.bins]
    own = instances(size, ["ab"], located=[False])
    model([{"image": make_image(*size), "instances": own}])["loss_sequence"].backward()
    gradient = model.decoder.token_embedding.weight.grad[: len(bins)]
    assert not gradient.any()


def test_words_that_do_not_fit_are_counted():
    model = build_model(tiny_config("padded"))
    own = instances((48, 64), ["abcdefgh", "b", "cc", "dd", "e"], [[5, 5]] * 5)
    with EventStorage() as storage:
        model([{"image": make_image(48, 64), "instances": own}])
        latest = storage.latest()
    assert (latest["words_left_out"][0], latest["words_cut"][0]) == (1, 0)


@pytest.mark.trains
@pytest.mark.parametrize("kind", ["padded", "compact", "iad_prd"])
def test_a_few_images_are_learned_by_heart(kind):
    found = trained_model(kind)(training_batch())
    wanted = [x["instances"] for x in training_batch()]
    right = sum(
        list(f["instances"].pred_texts) == list(w.gt_texts)
        for f, w in zip(found, wanted, strict=True)
    )
    assert right >= 3
    for f, w in zip(found, wanted, strict=True):
        if list(f["instances"].pred_texts) == list(w.gt_texts):
            bins = torch.tensor([w.image_size[1], w.image_size[0]]) / 32
            assert ((f["instances"].pred_points - w.gt_points).abs() <= 2 * bins).all()


def test_trained_models_cover_each_way_to_read():
    assert set(TRAINED) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_results_have_the_fields_of_a_spotter(kind):
    model = tiny_model(kind)
    (result,) = model([{"image": make_image(48, 64), "height": 480, "width": 320}])
    words = result["instances"]
    assert words.image_size == (480, 320)
    assert words.pred_points.dtype == torch.float64
    assert ((words.pred_points >= 0) & (words.pred_points <= torch.tensor([320, 480]))).all()
    assert len(words.pred_texts) == len(words.char_scores) == len(words.scores)
    for text, characters in zip(words.pred_texts, words.char_scores, strict=True):
        assert characters.shape == (len(text), 36)
    for name in ("scores", "det_scores", "rec_scores"):
        values = words.get(name)
        assert values.dtype == torch.float32
        assert ((values >= 0) & (values <= 1 + 1e-6)).all()
    torch.testing.assert_close(words.scores, (words.det_scores * words.rec_scores).sqrt())


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (200, 3)])
def test_images_of_odd_sizes_are_read(size):
    (result,) = tiny_model("padded")([{"image": make_image(*size)}])
    assert result["instances"].image_size == size


def test_no_image_gives_no_result():
    assert tiny_model("padded")([]) == []


def test_weights_that_are_not_finite_are_noticed():
    model = copy.deepcopy(tiny_model("padded"))
    with torch.no_grad():
        model.input_proj.bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="weights"):
        model([{"image": make_image(48, 64)}])


def test_a_checkpoint_of_another_alphabet_is_refused():
    state = tiny_model("padded", "MODEL.TEXT_ENCODER.CHARSET", "wecromcl").state_dict()
    with pytest.raises(CharsetError, match="another alphabet"):
        tiny_model("padded").load_state_dict(state, strict=False)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("MODEL.SPTS.LAYOUT", "loose"), "LAYOUT is 'loose'.*'compact', 'padded'"),
        (("MODEL.SPTS.ORDER", "size"), "ORDER is 'size'"),
        (("MODEL.SPTS.DECODER", "spts"), "DECODER is 'spts'.*'iad_prd'"),
        (("MODEL.SPTS.ENCODER", "none"), "ENCODER is 'none'"),
        (("MODEL.SPTS.POINTS", False, "MODEL.SPTS.ORDER", "raster"), "ORDER 'raster' needs"),
        (("MODEL.SPTS.POINTS", False, "MODEL.SPTS.DECODER", "iad_prd"), "'iad_prd' needs points"),
        (("MODEL.SPTS.HEADS", 5), "WIDTH 32"),
        (("MODEL.SPTS.BINS", 1), "BINS is 1"),
        (("MODEL.SPTS.MAX_WORDS", 0), "MAX_WORDS is 0"),
        (("MODEL.SPTS.IN_FEATURE", "res5"), r"IN_FEATURE is 'res5'.*\['p3', 'p4'\]"),
    ],
)
def test_configs_that_cannot_be_built_say_why(opts, message):
    with pytest.raises(ValueError, match=message):
        build_model(tiny_config("padded", *opts))


def words_found(*opts):
    model = tiny_model("padded", *opts)
    with torch.no_grad():
        return len(model([{"image": make_image(48, 64)}])[0]["instances"])


def test_a_bias_of_the_end_token_changes_how_many_words_are_found():
    duplicates = ("MODEL.SPTS.TEST.DUPLICATE_DISTANCE", 0.0)
    assert words_found("MODEL.SPTS.TEST.EOS_BIAS", 100.0, *duplicates) == 0
    assert words_found("MODEL.SPTS.TEST.EOS_BIAS", -100.0, *duplicates) > 0


def test_the_config_chooses_the_published_loss_and_the_distance_of_duplicates():
    losses = []
    for official in (False, True):
        torch.manual_seed(0)
        model = build_model(
            tiny_config(
                "padded",
                *("MODEL.SPTS.DROPOUT", 0.0, "MODEL.SPTS.LOSS.OFFICIAL", official),
                *("MODEL.SPTS.TEST.DUPLICATE_DISTANCE", 0.1),
            )
        )
        assert model.recipe.official is official and model.duplicate_distance == 0.1
        losses.append(model(training_batch())["loss_sequence"].item())
    assert losses[0] != losses[1]
