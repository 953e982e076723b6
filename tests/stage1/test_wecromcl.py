import copy

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.data.text import CharsetError
from wecromcl_d2.layers.image_batch import scale_image
from wecromcl_d2.stage1 import build_charset

# Padding reaches the bilinear upsampling and the convolutions, so nothing but exact size groups
# keeps answers apart; this is float32 rounding of another batch size.
ROUNDING = 1e-5


def quick_config(*opts):
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file("configs/quick/anchors.yaml")
    cfg.merge_from_list(list(opts))
    return cfg


@pytest.fixture(scope="module")
def model():
    """Places each word by itself, so that answers can be compared word by word."""
    torch.manual_seed(0)
    return build_model(quick_config("MODEL.WECROMCL.ANCHOR_DISTANCE", "0.0")).eval()


@pytest.fixture(scope="module")
def candidate_model():
    """Two scales, and of each map the peak with the most similar surroundings."""
    torch.manual_seed(0)
    opts = ["MODEL.WECROMCL.PEAK_CANDIDATES", 2, "MODEL.WECROMCL.PYRAMID", [1.0, 0.5]]
    return build_model(quick_config("MODEL.WECROMCL.ANCHOR_DISTANCE", "0.0", *opts)).eval()


def make_image(height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def entry(height, width, texts, seed=0):
    return {
        "image": make_image(height, width, seed),
        "texts": texts,
        "height": height,
        "width": width,
    }


def anchors(model, *entries):
    return [output["instances"] for output in model(list(entries))]


def assert_same_answer(a, b):
    torch.testing.assert_close(a.pred_maps, b.pred_maps, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(a.scores, b.scores, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(a.similarity, b.similarity, rtol=0, atol=ROUNDING)
    # Pixels: a mean over the maps of many sums, so their rounding grows.
    torch.testing.assert_close(a.pred_points, b.pred_points, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["model", "candidate_model"])
def test_batch_composition_never_changes_an_answer(request, name):
    model = request.getfixturevalue(name)
    mine = entry(64, 96, ["alpha", "beta"], seed=1)
    alone = anchors(model, mine)[0]
    others = [
        entry(64, 96, ["gamma"], 2),
        entry(96, 160, ["a", "b", "c"], 3),
        entry(40, 200, [], 4),
    ]
    for position in range(4):
        batch = [*others[:position], mine, *others[position:]]
        assert_same_answer(anchors(model, *batch)[position], alone)


@pytest.mark.parametrize("name", ["model", "candidate_model"])
def test_word_order_never_changes_an_answer(request, name):
    model = request.getfixturevalue(name)
    texts = ["alpha", "beta", "gamma", "delta"]
    there = anchors(model, entry(64, 96, texts))[0]
    back = anchors(model, entry(64, 96, texts[::-1]))[0]
    assert list(back.pred_texts) == texts[::-1]
    assert_same_answer(back[torch.arange(3, -1, -1)], there)


def test_maps_are_distributions_over_the_true_image(model):
    instances = anchors(model, entry(50, 70, ["alpha", "beta"]))[0]
    assert instances.pred_maps.shape == (2, 7, 9)
    torch.testing.assert_close(instances.pred_maps.sum((1, 2)), torch.ones(2))


def test_points_are_in_pixels_of_the_original_image(model):
    small = entry(64, 96, ["alpha"])
    large = dict(small, height=128, width=288)
    a, b = anchors(model, small)[0], anchors(model, large)[0]
    assert b.image_size == (128, 288)
    torch.testing.assert_close(b.pred_points, a.pred_points * torch.tensor([3.0, 2.0]))


def test_repeated_words_get_different_peaks(model):
    instances = anchors(model, entry(96, 160, ["Word", "other", "WORD", "w-o-r-d"]))[0]
    same = instances[torch.tensor([0, 2, 3])]
    assert len({tuple(point) for point in same.pred_points.tolist()}) == 3
    assert same.scores.tolist() == sorted(same.scores.tolist(), reverse=True)
    assert torch.equal(same.pred_maps[0], same.pred_maps[1])


@pytest.mark.parametrize("texts", [[], ["???"], [""]])
def test_images_without_readable_text_give_no_anchor(model, texts):
    instances = anchors(model, entry(64, 96, texts))[0]
    assert len(instances) == 0 and instances.pred_points.shape == (0, 2)


@pytest.fixture(scope="module")
def deformable_model():
    torch.manual_seed(0)
    maps = "[['p4', 'p3'], ['p4', 'p3']]"
    return build_model(
        quick_config("MODEL.IMAGE_ENCODER.LAYERS", 2, "MODEL.IMAGE_ENCODER.MAPS", maps)
    ).eval()


@pytest.mark.parametrize("name", ["model", "deformable_model", "candidate_model"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (17, 33)])
def test_odd_sizes_give_finite_anchors_inside(request, name, size):
    model = request.getfixturevalue(name)
    instances = anchors(model, entry(*size, ["word"]))[0]
    x, y = instances.pred_points[0].tolist()
    assert 0 <= x <= size[1] and 0 <= y <= size[0]
    assert torch.isfinite(instances.scores).all()


def test_a_thousand_words_in_one_image(model):
    texts = [f"w{i}" for i in range(999)] + ["w500"]
    instances = anchors(model, entry(64, 96, texts))[0]
    assert list(instances.pred_texts) == texts
    assert instances.pred_maps.shape == (1000, 8, 12)
    few = anchors(model, entry(64, 96, ["w500", "w7", "w500"]))[0]
    assert_same_answer(instances[torch.tensor([500, 7, 999])], few)


def test_words_placed_apart_stay_apart_in_any_order():
    torch.manual_seed(0)
    model = build_model(quick_config()).eval()
    texts = ["alpha", "beta", "alpha", "gamma"]
    (there,) = anchors(model, entry(64, 96, texts))
    (back,) = anchors(model, entry(64, 96, texts[::-1]))
    apart = torch.pdist(there.pred_points)
    assert apart.min() >= 2 * model.stride
    for text in set(texts):
        own = [i for i, t in enumerate(texts) if t == text]
        other = [i for i, t in enumerate(texts[::-1]) if t == text]
        torch.testing.assert_close(there.pred_points[own], back.pred_points[other])


def test_weights_that_are_not_finite_are_noticed(model):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.text_encoder.norm.bias[3] = float("nan")
    with pytest.raises(FloatingPointError, match="weights"):
        anchors(broken, entry(64, 96, ["word"]))


@pytest.fixture(scope="module")
def pyramid_model(model):
    """The same weights at two scales, words kept apart."""
    two = build_model(quick_config("MODEL.WECROMCL.PYRAMID", [1.0, 0.5])).eval()
    two.load_state_dict(model.state_dict())
    return two


def test_each_word_comes_from_the_scale_where_it_is_most_similar(model, pyramid_model):
    """Compared with the model at either scale, its image resized outside of it."""
    texts = [f"word{i}" for i in range(12)]
    whole = entry(96, 160, texts, seed=3)
    half = whole | {"image": scale_image(whole["image"], 0.5)}
    assert half["image"].shape == (3, 48, 80)
    pyramid_model.decode_peaks = model.decode_peaks
    (both,) = anchors(pyramid_model, whole)
    (large,), (small,) = anchors(model, whole), anchors(model, half)
    finer = large.similarity >= small.similarity
    assert finer.any() and not finer.all()
    for name in ("similarity", "scores", "peak_over_flat", "pred_points"):
        a, b = large.get(name), small.get(name)
        expected = torch.where(finer.view(-1, *[1] * (a.dim() - 1)), a, b)
        torch.testing.assert_close(both.get(name), expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(both.pred_maps[finer], large.pred_maps[finer])
    assert both.pred_maps.shape == large.pred_maps.shape
    torch.testing.assert_close(both.pred_maps.sum((1, 2)), torch.ones(12), rtol=0.05, atol=0)
    assert both.peak_over_flat[0] == both.scores[0] * (12 * 20 if finer[0] else 6 * 10)


def test_scales_neither_mix_images_nor_words(pyramid_model):
    texts = ["alpha", "beta", "gamma", "alpha"]
    mine, other = entry(64, 96, texts, 1), entry(64, 96, ["delta"], 2)
    (alone,) = anchors(pyramid_model, mine)
    assert_same_answer(anchors(pyramid_model, other, mine)[1], alone)
    (back,) = anchors(pyramid_model, mine | {"texts": texts[2::-1] + texts[3:]})
    assert_same_answer(back[torch.tensor([2, 1, 0, 3])], alone)


def test_one_scale_of_one_changes_no_bit(model):
    x = entry(50, 70, ["alpha", "beta"])
    assert scale_image(x["image"], 1.0) is x["image"]
    by_hand, valid = model.encode_images(model.preprocess_images([x]))
    (found,) = anchors(model, x)
    words = model.encode_words(["alpha", "beta"])
    maps = model.activation(words[None, :, : by_hand.shape[1]], by_hand, valid)
    assert torch.equal(found.pred_maps, maps[0, :, :7, :9])
    assert torch.equal(found.scores, maps[0, :, :7, :9].flatten(1).amax(1))


def test_the_number_of_candidates_must_be_one_or_more():
    with pytest.raises(ValueError, match="PEAK_CANDIDATES must be 1 or more, not 0"):
        build_model(quick_config("MODEL.WECROMCL.PEAK_CANDIDATES", 0))


def test_candidates_choose_another_peak_for_some_words(model):
    words = [f"word{i}" for i in range(24)]
    two = build_model(
        quick_config("MODEL.WECROMCL.ANCHOR_DISTANCE", "0.0", "MODEL.WECROMCL.PEAK_CANDIDATES", 2)
    ).eval()
    two.load_state_dict(model.state_dict())
    (one,), (other,) = anchors(model, entry(64, 96, words)), anchors(two, entry(64, 96, words))
    torch.testing.assert_close(one.pred_maps, other.pred_maps)
    moved = (one.pred_points != other.pred_points).any(1)
    assert moved.any() and not moved.all()
    assert (other.scores[moved] < one.scores[moved]).all()
    assert torch.equal(other.scores[~moved], one.scores[~moved])


@pytest.mark.parametrize("factors", [[], [0.0], [1.0, -0.5], [float("inf")]])
def test_scales_that_are_none_are_refused(factors):
    with pytest.raises(ValueError, match="PYRAMID"):
        build_model(quick_config("MODEL.WECROMCL.PYRAMID", factors))


@pytest.mark.parametrize("name", ["model", "candidate_model"])
def test_negatives_change_no_anchor(request, name):
    model = request.getfixturevalue(name)
    mine = entry(64, 96, ["alpha", "beta"], 1)
    plain, *_ = model([mine])
    asked, *_ = model([mine | {"negatives": ["gamma", "alpha"], "second_scale": 0.5}])
    assert_same_answer(asked["instances"], plain["instances"])
    assert asked["negative_similarity"].shape == (2,)
    torch.testing.assert_close(
        asked["negative_similarity"][1], plain["instances"].similarity[0], rtol=0, atol=ROUNDING
    )
    half = mine | {"image": scale_image(mine["image"], 0.5)}
    (second,) = anchors(model, half)
    torch.testing.assert_close(asked["second_points"], second.pred_points)


def region_text_cosines(model, image, texts):
    """Cosine of region and text in one encoded image, with the library's cross-attention."""
    x = image.flatten(1).t() @ model.activation.channel_proj.weight.t()
    k, v = model.activation.k_proj(x), model.activation.v_proj(x)
    cosines = []
    for text in texts:
        t = model.encode_texts([text])[0]
        share = (model.activation.q_proj(t) @ k.t() / x.shape[1] ** 0.5).softmax(-1)
        cosines.append(torch.cosine_similarity(model.activation.out_proj(share @ v), t))
    return torch.cat(cosines)


def test_similarity_is_the_cosine_that_training_optimises(model):
    images = [entry(64, 96, ["alpha", "beta", "ALPHA"], 1), entry(64, 96, ["gamma"], 2)]
    found = anchors(model, *images)
    with torch.no_grad():
        features, _ = model.encode_images(model.preprocess_images(images))
        for feature, x, instances in zip(features, images, found, strict=True):
            by_hand = region_text_cosines(model, feature, x["texts"])
            torch.testing.assert_close(instances.similarity, by_hand, rtol=0, atol=ROUNDING)
    assert found[0].similarity[0] == found[0].similarity[2] != found[0].similarity[1]


def training_batch(negatives=("one", "two")):
    return [
        {
            "image": make_image(32, 96, i),
            "queries": [f"word{i}"],
            "negatives": list(negatives),
        }
        for i in range(3)
    ]


def test_the_loss_is_the_one_written_down(model):
    """Each term recomputed text by text with loops and the library's cross-attention."""
    batch = training_batch()
    losses = model.train()(batch)
    with torch.no_grad():
        features, _ = model.encode_images(model.preprocess_images(batch))
        texts = [x["queries"][0] for x in batch] + batch[0]["negatives"]
        cosine = torch.stack([region_text_cosines(model, image, texts) for image in features])
        logits = cosine / 0.07
        i2t = -torch.stack([logits[i].log_softmax(0)[i] for i in range(3)]).mean()
        t2i = -torch.stack([logits[:, i].log_softmax(0)[i] for i in range(3)]).mean()
    model.eval()
    assert losses["loss_i2t"].item() == pytest.approx(i2t.item() / 2, abs=1e-4)
    assert losses["loss_t2i"].item() == pytest.approx(t2i.item() / 2, abs=1e-4)


def test_every_parameter_learns(model):
    model.train()
    model.zero_grad()
    sum(model(training_batch()).values()).backward()
    # The softmax does not feel a shift of all keys.
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    model.eval()
    assert idle == {"activation.k_proj.bias"}


def test_a_text_encoder_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"EMBED_DIM is 64.*gives 128"):
        build_model(quick_config("MODEL.WECROMCL.EMBED_DIM", 64))


def test_the_config_decides_what_happens_to_unknown_characters():
    assert build_charset(quick_config()).normalize("a☃") == "a"
    strict = quick_config("MODEL.TEXT_ENCODER.UNKNOWN", "error")
    with pytest.raises(CharsetError, match="2603"):
        build_charset(strict).normalize("a☃")


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match=r"\['p7'\].*it has \['p3', 'p4'\]"):
        build_model(quick_config("MODEL.IMAGE_ENCODER.MAPS", [["p7", "p3"]]))
