import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wecromcl_d2.stage2.srsts_a.ctc import fits, read_greedily, reading_loss


def logits_of(paths, classes=4, sure=8.0):
    return torch.nn.functional.one_hot(torch.tensor(paths), classes).float() * sure


def collapse(path):
    return [label for label, _ in itertools.groupby(path) if label > 0]


def test_equal_neighbours_need_a_blank_between_them():
    labels = torch.tensor([[1, 2, 3, 0], [1, 1, 2, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
    assert fits(labels, 3).tolist() == [True, False, False, True]
    assert fits(labels, 4).tolist() == [True, True, False, True]
    assert fits(labels, 5).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=4))
def test_the_greedy_reading_drops_repetitions_and_blanks(paths):
    reading = read_greedily(logits_of(paths))
    for row, path in enumerate(paths):
        expected = collapse(path)
        assert reading.labels[row].tolist() == expected + [0] * (6 - len(expected))
        written = [i for i, label in enumerate(path) if label]
        if written:
            assert (reading.first[row], reading.last[row]) == (written[0], written[-1])
        else:
            assert (reading.first[row], reading.last[row]) == (0, 5)
            assert reading.scores[row] == 0


def test_scores_are_geometric_means_of_the_written_characters():
    logits = torch.tensor([[[0.0, 0.0], [9.0, 0.0], [0.0, 2.0]]])
    logits[0, 0, 1] = 1.0
    p = logits.softmax(-1)[0]
    reading = read_greedily(logits)
    torch.testing.assert_close(reading.scores[0], (p[0, 1] * p[2, 1]).sqrt())
    torch.testing.assert_close(
        reading.probabilities[0], torch.stack([p[0, 1], p[2, 1], p[0, 0] * 0])
    )


def test_the_loss_is_minus_the_log_of_all_paths_per_character():
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 3)
    probs = logits.softmax(-1)[0]
    target = [1, 2]
    total = sum(
        torch.stack([probs[i, label] for i, label in enumerate(path)]).prod()
        for path in itertools.product(range(3), repeat=4)
        if collapse(path) == target
    )
    loss = reading_loss(logits, torch.tensor([[1, 2, 0]]))
    torch.testing.assert_close(loss[0], -total.log() / 2)
