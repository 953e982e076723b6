import copy

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.stage1 import text_cache


@pytest.fixture
def model():
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file("configs/quick/anchors.yaml")
    return build_model(cfg).eval()


@pytest.fixture
def encoded(model, monkeypatch):
    """How many texts each call of the text encoder was given."""
    calls = []
    model.text_encoder.register_forward_pre_hook(lambda m, inputs: calls.append(len(inputs[0])))
    return calls


def ask(model, *texts):
    image = torch.zeros(3, 32, 48, dtype=torch.uint8)
    image[:, 8:20, 5:30] = 200
    return model([{"image": image, "texts": list(texts)}])[0]["instances"].pred_maps


def test_each_text_is_encoded_once(model, encoded):
    first = ask(model, "alpha", "beta", "ALPHA")
    again = ask(model, "beta", "gamma", "alpha")
    assert encoded == [2, 1]
    assert torch.equal(again[[2, 0, 2]], first)


def spoil(model):
    with torch.no_grad():
        model.text_encoder.norm.weight.mul_(-1.5)


CHANGES = {
    "one step in place": spoil,
    "other weights": lambda model: model.load_state_dict(
        {k: v + 0.1 if v.is_floating_point() else v for k, v in model.state_dict().items()}
    ),
    "other weights of a part": lambda model: model.activation.load_state_dict(
        {name: value - 0.1 for name, value in model.activation.state_dict().items()}
    ),
    "training": lambda model: (model.train(), spoil(model), model.eval()),
    "another number format": lambda model: model.double().float(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_weights_make_kept_features_void(model, encoded, change):
    ask(model, "alpha", "beta")
    change(model)
    found = ask(model, "alpha", "beta")
    assert encoded == [2, 2]
    fresh = copy.deepcopy(model)
    fresh.train().eval()
    assert torch.equal(ask(fresh, "alpha", "beta"), found)


def test_a_copy_does_not_trust_what_the_original_kept(model):
    ask(model, "alpha")
    other = copy.deepcopy(model)
    spoil(other)
    assert not torch.allclose(ask(other, "alpha"), ask(model, "alpha"))


def test_what_is_kept_is_bounded(model, encoded, monkeypatch):
    monkeypatch.setattr(text_cache, "MAX_CACHED_TEXTS", 3)
    monkeypatch.setattr(text_cache, "TEXTS_PER_PASS", 2)
    ask(model, "a", "b", "c", "d", "e")
    assert encoded == [2, 2, 1]
    ask(model, "c", "d", "e")
    assert len(encoded) == 3
    ask(model, "a")
    assert len(encoded) == 4


def test_kept_features_are_no_part_of_the_weights(model):
    names = set(model.state_dict())
    ask(model, "alpha")
    assert set(model.state_dict()) == names


def test_training_encodes_its_distinct_texts_in_one_pass(model, encoded):
    batch = [
        {
            "image": torch.zeros(3, 32, 48, dtype=torch.uint8),
            "queries": [f"word{i}"],
            "negatives": ["one", f"TWO{i}", "word2", "Two0"],
        }
        for i in range(2)
    ]
    model.train()(batch)
    # word0, word1, one, two0, two1, word2
    assert encoded == [6]
