import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from wecromcl_d2.data.text import Charset
from wecromcl_d2.stage2.spts.output import ArrayList, to_instances
from wecromcl_d2.stage2.spts.readers import FoundWord
from wecromcl_d2.stage2.spts.vocabulary import Vocabulary

V = Vocabulary(Charset("abc"), 10)


def word(text, place, det=0.81, rec=0.49):
    return FoundWord(place, text, det, rec, torch.full((len(text), 3), 0.5))


def test_words_become_instances_in_original_pixels():
    instances = to_instances([word("ab", [3, 9]), word("c", [0, 0])], (50, 200), V, 0.015)
    assert instances.image_size == (50, 200)
    assert instances.pred_points.dtype == torch.float64
    assert instances.pred_points.tolist() == [[70.0, 47.5], [10.0, 2.5]]
    assert list(instances.pred_texts) == ["ab", "c"]
    assert instances.scores.tolist() == pytest.approx([0.63, 0.63])
    assert instances.det_scores.tolist() == pytest.approx([0.81, 0.81])
    assert instances.rec_scores.tolist() == pytest.approx([0.49, 0.49])
    assert [x.shape for x in instances.char_scores] == [(2, 3), (1, 3)]


def test_of_equal_words_in_one_place_the_best_stays():
    # 100 x 100 pixels: 20 % of the diagonal are 28 pixels, bins are 10 pixels wide
    words = [
        word("ab", [5, 5], det=0.5),
        word("ab", [6, 5], det=0.9),
        word("ab", [9, 5], det=0.1),
        word("c", [5, 5], det=0.1),
    ]
    instances = to_instances(words, (100, 100), V, 0.2)
    assert list(instances.pred_texts) == ["ab", "ab", "c"]
    assert instances.pred_points.tolist() == [[65.0, 55.0], [95.0, 55.0], [55.0, 55.0]]
    assert len(instances.char_scores) == 3
    assert len(to_instances(words, (100, 100), V, 0.0)) == 4


def test_an_image_without_words_has_empty_fields():
    instances = to_instances([], (50, 200), V, 0.015)
    assert len(instances) == 0
    assert instances.pred_points.shape == (0, 2)
    assert list(instances.pred_texts) == []


def test_without_places_points_are_the_middle_and_repeats_stay():
    v = Vocabulary(Charset("abc"), 0)
    instances = to_instances([word("ab", []), word("ab", [])], (50, 200), v, 0.5)
    assert instances.pred_points.tolist() == [[100.0, 25.0], [100.0, 25.0]]


def test_arrays_are_a_field_of_instances():
    arrays = ArrayList(np.full((n, 2), n) for n in (1, 2, 3))
    instances = Instances((10, 10), char_scores=arrays)
    assert [len(a) for a in instances[torch.tensor([True, False, True])].char_scores] == [1, 3]
    assert [len(a) for a in instances[torch.tensor([2, 0])].char_scores] == [3, 1]
    assert [len(a) for a in instances[1:].char_scores] == [2, 3]
    assert arrays[1].shape == (2, 2)
    assert len(Instances.cat([instances, instances]).char_scores) == 6
    assert instances.to("cpu").char_scores[2].shape == (3, 2)


def test_published_points_are_lower_edges_and_scores_are_means():
    found = word("ab", [3, 9])._replace(total=20.25, tokens=27)
    instances = to_instances([found], (50, 200), V, 0.0, official=True)
    assert instances.pred_points.tolist() == [[60.0, 45.0]]
    assert instances.scores.tolist() == [0.75]
