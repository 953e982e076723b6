"""Suppression of predicted words by lines and by points."""

import torch

from wecromcl_d2.stage2.suppression import greedy_nms, line_nms, point_nms


def level_line(left, right, y):
    return torch.stack([torch.linspace(left, right, 6), torch.full((6,), float(y))], 1)


def kept_lines(words, images=None, scales=None):
    """Indices kept of (left, right, y, text, score, confidence)."""
    return line_nms(
        torch.tensor(images or [0] * len(words)),
        torch.tensor(scales or [0] * len(words)),
        torch.stack([level_line(*word[:3]) for word in words]),
        [word[3] for word in words],
        torch.tensor([word[4] for word in words]),
        torch.tensor([word[5] for word in words]),
    ).tolist()


def test_a_dropped_word_drops_no_other():
    # 0 drops 1, so 1 can no longer drop 2.
    assert greedy_nms([0.9, 0.8, 0.7], [(0, 1), (1, 2)], lambda best, other: True) == [0, 2]


def test_of_equal_scores_the_earlier_word_is_kept():
    assert greedy_nms([0.5, 0.5], [(0, 1)], lambda best, other: True) == [0]


def test_lines_on_one_word_give_the_better_reading():
    # Characters are 4 cells wide: 0.75 of that is 3 cells.
    words = [(0, 16, 0, "word", 0.6, 0.5), (0, 16, 2.9, "ward", 0.8, 0.5)]
    assert kept_lines(words) == [1]
    assert kept_lines(words, images=[0, 1]) == [0, 1]
    assert kept_lines([words[0], (0, 16, 3.1, "ward", 0.8, 0.5)]) == [0, 1]


def test_a_different_text_in_one_place_is_dropped_only_if_it_is_weak():
    best = (0, 16, 0, "word", 0.8, 0.8)
    assert kept_lines([best, (0, 16, 1, "xyzu", 0.5, 0.41)]) == [0, 1]
    assert kept_lines([best, (0, 16, 1, "xyzu", 0.5, 0.39)]) == [0]


def test_of_two_scales_the_better_reading_of_one_place_stays_alone():
    words = [
        (0, 16, 0, "word", 0.8, 0.8),
        (0, 16, 1, "xyzu", 0.9, 0.8),
        (0, 16, 9, "far", 0.1, 0.1),
    ]
    assert kept_lines(words) == [0, 1, 2]
    assert kept_lines(words, scales=[0, 1, 1]) == [1, 2]


def test_points_of_equal_texts_must_keep_their_distance():
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [0.0, 9.0]], dtype=torch.float64)
    texts, scores = ["a", "a", "b", "a"], torch.tensor([0.1, 0.9, 0.2, 0.3])
    assert point_nms(points, texts, scores, 5.1).tolist() == [1, 2, 3]
    assert point_nms(points, texts, scores, 5.0).tolist() == [0, 1, 2, 3]
    assert point_nms(points[:0], [], scores[:0], 5.0).tolist() == []
