import pytest
import torch

from wecromcl_d2.stage1.peaks import (
    PeakDecoder,
    ScaleMaps,
    assign_distinct_peaks,
    find_peaks,
    mean_of_peaks,
)


def test_peaks_are_cell_centres_of_local_maxima_in_order():
    grid = torch.zeros(7, 9)
    grid[1, 2], grid[1, 3], grid[5, 8], grid[6, 0] = 0.9, 0.8, 0.5, 0.3
    points, scores = find_peaks(grid, 3, window=3)
    assert points.tolist() == [[2.5, 1.5], [8.5, 5.5], [0.5, 6.5]]
    assert scores.tolist() == pytest.approx([0.9, 0.5, 0.3])


def test_a_plateau_is_one_peak_its_first_cell():
    grid = torch.zeros(1, 5, 5)
    grid[0, 2, 1:4] = 0.5
    points, scores = find_peaks(grid, 2, window=5)
    assert points[0, 0].tolist() == [1.5, 2.5]
    assert scores.tolist() == [[0.5, 0.0]]


def test_as_published_all_of_a_plateau_are_peaks():
    """D11: one occurrence of a word takes the places of several."""
    grid = torch.zeros(1, 5, 5)
    grid[0, 2, 1:4] = 0.5
    points, scores = find_peaks(grid, 3, window=5, ties="all")
    assert sorted(points[0].tolist()) == [[1.5, 2.5], [2.5, 2.5], [3.5, 2.5]]
    assert scores.tolist() == [[0.5] * 3]


def test_missing_peaks_repeat_the_strongest_with_score_zero():
    grid = torch.zeros(2, 2)
    grid[1, 0] = 1.0
    points, scores = find_peaks(grid, 6, window=5)
    assert scores.tolist() == [1.0, 0, 0, 0, 0, 0]
    assert points.tolist() == [[0.5, 1.5]] * 6


def test_the_mean_of_a_peak_is_weighed_by_the_map_inside_the_window():
    maps = torch.zeros(2, 5, 7)
    maps[0, 2, 3], maps[0, 2, 4], maps[0, 0, 0] = 3.0, 1.0, 2.0
    maps[1, 0, 6], maps[1, 1, 6] = 1.0, 1.0
    points = torch.tensor([[[3.5, 2.5]], [[6.5, 0.5]]])
    moved = mean_of_peaks(maps, points, 3)
    assert moved.tolist() == [[[3.75, 2.5]], [[6.5, 1.0]]]
    assert mean_of_peaks(torch.zeros(2, 5, 7), points, 3).tolist() == points.tolist()


def test_words_are_placed_apart_the_surer_one_first():
    points = torch.tensor(
        [
            [[1.0, 1.0], [5.0, 1.0], [9.0, 1.0]],
            [[1.5, 1.0], [5.0, 1.0], [0.0, 0.0]],
            [[1.0, 1.0], [1.0, 2.0], [0.0, 0.0]],
        ]
    )
    scores = torch.tensor([[0.9, 0.2, 0.1], [0.8, 0.4, 0.0], [0.3, 0.2, 0.0]])
    # The second word yields to the first and is surer of (5, 1); the third finds nothing free.
    assert assign_distinct_peaks(points, scores, ["a", "b", "c"], 2.0) == [0, 1, 0]
    assert assign_distinct_peaks(points, scores, ["a", "b", "c"], 0.1) == [0, 0, 1]


def test_copies_of_a_word_get_its_peaks_strongest_first():
    points = torch.tensor([[[1.0, 1.0], [5.0, 1.0]]]).expand(2, -1, -1)
    scores = torch.tensor([[0.6, 0.4]]).expand(2, -1)
    assert assign_distinct_peaks(points, scores, ["a", "a"], 2.0) == [0, 1]


def test_the_order_of_equally_sure_words_does_not_matter():
    points = torch.tensor([[[1.0, 1.0], [5.0, 1.0]], [[1.0, 1.0], [9.0, 1.0]]])
    scores = torch.tensor([[0.5, 0.1], [0.5, 0.1]])
    assert assign_distinct_peaks(points, scores, ["a", "b"], 2.0) == [0, 1]
    assert assign_distinct_peaks(points.flip(0), scores, ["b", "a"], 2.0) == [1, 0]


def two_peaks(similarity, candidates=None, size=(32, 64)):
    """A scale whose two maps have peaks in cells (1, 1) and (6, 2), the first one stronger."""
    maps = torch.zeros(2, size[0] // 8, size[1] // 8)
    maps[:, 1, 1], maps[:, 2, 6] = 0.6, 0.4
    given = None if candidates is None else torch.tensor(candidates)
    return ScaleMaps(maps, torch.tensor(similarity), size, given)


def places(scales, keys, distance):
    rule = PeakDecoder(8, 3, "first", "peak", distance)
    found = rule(scales, keys, keys, (32, 64), (32, 64))
    assert found.similarity.tolist() == pytest.approx(
        torch.stack([scale.similarity for scale in scales]).amax(0).tolist()
    )
    return (found.pred_points / 8 - 0.5).tolist(), found.scores.tolist()


STRONGER, WEAKER = [1.0, 1.0], [6.0, 2.0]


def test_a_word_takes_the_peak_whose_surroundings_are_most_similar():
    alike = two_peaks([0.7, 0.5], [[0.2, 0.7], [0.5, 0.1]])
    points, scores = places([alike], ["a", "b"], 0)
    assert points == [WEAKER, STRONGER] and scores == pytest.approx([0.4, 0.6])
    points, _ = places([two_peaks([0.7, 0.5])], ["a", "b"], 0)
    assert points == [STRONGER, STRONGER]


def test_of_two_words_for_one_peak_the_more_similar_one_gets_it():
    alike = two_peaks([0.7, 0.8], [[0.2, 0.7], [0.1, 0.8]])
    assert places([alike], ["a", "b"], 2.0)[0] == [STRONGER, WEAKER]
    assert places([alike], ["a", "a"], 2.0)[0] == [STRONGER, WEAKER]


def test_copies_of_a_word_get_its_candidates_most_similar_first():
    alike = two_peaks([0.7, 0.7], [[0.2, 0.7], [0.2, 0.7]])
    assert places([alike], ["a", "a"], 0)[0] == [WEAKER, STRONGER]


def test_candidates_of_the_most_similar_scale_are_taken():
    coarse = two_peaks([0.3, 0.9], [[0.3, 0.1], [0.1, 0.9]], (32, 64))
    fine = two_peaks([0.8, 0.4], [[0.1, 0.8], [0.4, 0.2]], (64, 128))
    points, _ = places([coarse, fine], ["a", "b"], 0)
    assert points[1] == WEAKER
    assert points[0] == [(6 + 0.5) / 2 - 0.5, (2 + 0.5) / 2 - 0.5]
