"""Negatives of the studies: what is offered, and what the models keep of it."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

import projects.studies  # noqa: F401  (registers the parts)
from projects.studies.negatives import hardest_candidates, random_to_hard
from wecromcl_d2.stage1 import NEGATIVE_SAMPLERS
from wecromcl_d2.tasks import load_config

VOCABULARY = [f"{a}{b}{c}" for a in "abcd" for b in "efgh" for c in "ijkl"]
CONFIG = "configs/quick/anchors.yaml"


def draw(name, texts, queries, count):
    rng = np.random.default_rng(0)
    return NEGATIVE_SAMPLERS.get(name)(rng, VOCABULARY, texts, queries, count)


def test_candidates_are_four_times_as_many_and_in_no_image():
    drawn = draw("candidates", [{0, 1}, {2}], [["aei"], ["aek"]], 5)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 20
    assert not {0, 1, 2} & set(drawn[0])


def test_offers_of_the_curriculum_are_random_first_and_then_alike():
    place = VOCABULARY.index("aei")
    (offered,) = draw("random_and_hard", [{place}], [["aei"]], 2)
    assert len(offered) == 4
    assert place not in offered
    # The eight nearest texts of a vocabulary of three letters differ in one of them.
    assert all(sum(a != b for a, b in zip(VOCABULARY[i], "aei", strict=True)) == 1
               for i in offered[2:])  # fmt: skip


def test_the_share_of_hard_negatives_grows():
    offered = ["r1", "r2", "r3", "r4", "h1", "h2", "h3", "h4"]
    assert random_to_hard(offered, 0.0) == ["r1", "r2", "r3", "r4"]
    assert random_to_hard(offered, 0.5) == ["r1", "r2", "h1", "h2"]
    assert random_to_hard(offered, 1.0) == ["h1", "h2", "h3", "h4"]
    assert random_to_hard([], 0.5) == []


def test_the_hardest_candidates_are_most_similar_to_any_query():
    queries = torch.eye(3)[:2]
    offered = torch.tensor([[0.0, 0.0, 1.0], [0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [0.8, 0.6, 0.0]])
    assert hardest_candidates(queries, offered, 3).tolist() == [2, 3, 1]


def batch(size, negatives):
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.randint(0, 256, (3, 32, 48), generator=generator, dtype=torch.uint8),
            "queries": [f"word{i}", f"text{i}"],
            "negatives": negatives,
        }
        for i in range(size)
    ]


def loss(model, inputs, iteration=0):
    with EventStorage(iteration):
        return sum(float(value.detach()) for value in model(inputs).values())


@pytest.fixture
def models():
    """The named model and a plain one of the same weights."""

    def build(name):
        opts = ["MODEL.META_ARCHITECTURE", name, "SOLVER.MAX_ITER", "10"]
        mined = build_model(load_config(CONFIG, opts)).train()
        plain = build_model(load_config(CONFIG)).train()
        plain.load_state_dict(mined.state_dict())
        return mined, plain

    return build


def test_the_mined_model_learns_from_the_hardest_quarter(models):
    mined, plain = models("MinedWeCromCL")
    offered = ["word9", "xy", "text9", "qq", "zz", "kk", "wor9", "vv"]
    inputs = batch(2, offered)
    kept = mined.keep_negatives(inputs)
    features, rows = mined.encode_texts([*inputs[0]["queries"], *offered])
    unit = torch.nn.functional.normalize(features, dim=-1)[rows]
    by_hand = (unit[2:] @ unit[:2].T).amax(1).argsort(descending=True)[:2]
    assert kept[0] == [offered[i] for i in by_hand.tolist()]
    expected = [x | {"negatives": own} for x, own in zip(inputs, kept, strict=True)]
    assert loss(mined, inputs) == pytest.approx(loss(plain, expected), rel=1e-6)
    assert mined.encode_texts(["word9"])[0].requires_grad


def test_the_curriculum_ends_with_hard_negatives(models):
    model, plain = models("CurriculumWeCromCL")
    inputs = batch(2, ["aa", "bb", "word8", "text8"])
    for iteration, kept in ((0, ["aa", "bb"]), (5, ["aa", "word8"]), (10, ["word8", "text8"])):
        expected = [x | {"negatives": kept} for x in inputs]
        assert loss(model, inputs, iteration) == pytest.approx(loss(plain, expected), rel=1e-6)


def test_both_models_find_anchors_like_the_plain_one(models):
    image = {"image": batch(1, [])[0]["image"], "texts": ["word", "word", "other"]}
    for name in ("MinedWeCromCL", "CurriculumWeCromCL"):
        model, plain = (m.eval() for m in models(name))
        found, expected = (m([image])[0]["instances"].pred_points for m in (model, plain))
        assert found.tolist() == expected.tolist()
