import torch

from wecromcl_d2.stage2.srsts_a.targets import (
    PaddedTargets,
    choose_anchors,
    confidence_targets,
    ignore_extents,
)

YES, NO = True, False


def make_words(points, is_positive, is_ignored=None, weights=None, radii=None):
    points = torch.tensor([points], dtype=torch.float32)
    count = points.shape[1]
    is_positive = torch.tensor([is_positive])
    return PaddedTargets(
        points=points,
        labels=torch.ones(1, count, 3, dtype=torch.int64),
        weights=torch.tensor([weights or [1.0] * count]),
        is_positive=is_positive,
        is_ignored=torch.tensor([is_ignored]) if is_ignored else ~is_positive,
        radii=torch.tensor([radii or [4.0] * count]),
    )


def drawn(targets):
    """+ positive, - negative, . ignored."""
    rows = []
    for positive, counts in zip(targets.positive[0], targets.counts[0], strict=True):
        pairs = zip(positive.tolist(), counts.tolist(), strict=True)
        rows.append("".join("+" if p else "-" if c else "." for p, c in pairs))
    return rows


def test_a_lone_point_has_a_disk_and_a_ring():
    targets = confidence_targets(make_words([[5.5, 5.5]], [YES]), (11, 11), None)
    # Radii 1.5 and 4 around the center of cell (5, 5).
    assert drawn(targets) == [
        "-----------",
        "-----.-----",
        "---.....---",
        "--.......--",
        "--..+++..--",
        "-...+++...-",
        "--..+++..--",
        "--.......--",
        "---.....---",
        "-----.-----",
        "-----------",
    ]


def test_soft_values_fall_like_a_bell():
    targets = confidence_targets(make_words([[5.5, 5.5]], [YES]), (11, 11), None)
    # sigma is half of the ignored radius: exp(-3^2 / (2 * 2^2)) three cells away.
    torch.testing.assert_close(targets.soft[0, 5, 8], torch.tensor(-9 / 8).exp())
    assert targets.soft[0, 5, 5] == 1


def test_near_points_shrink_each_other_but_keep_a_cell():
    words = make_words([[2.5, 2.5], [4.5, 2.5]], [YES, YES])
    # 0.4 * 2 = 0.8 and 0.5 * 2 = 1.
    targets = confidence_targets(words, (5, 7), None)
    assert drawn(targets) == ["-------", "--.-.--", "-.+.+.-", "--.-.--", "-------"]
    assert targets.owner[0, 2].tolist() == [0, 0, 0, 0, 1, 1, 1]
    words = make_words([[2.5, 2.5], [2.6, 2.5]], [YES, YES])
    assert confidence_targets(words, (5, 5), None).positive[0, 2, 2]


def test_hidden_words_are_ignored_and_shrink_their_neighbours():
    words = make_words([[2.5, 2.5], [4.5, 2.5]], [YES, NO], radii=[4.0, 1.0])
    targets = confidence_targets(words, (5, 7), None)
    assert drawn(targets) == ["-------", "--.-.--", "-.+...-", "--.-.--", "-------"]


def test_padding_counts_nowhere():
    valid = torch.ones(1, 3, 6, dtype=torch.bool)
    valid[..., 3:] = False
    targets = confidence_targets(make_words([[2.5, 1.5]], [YES]), (3, 6), valid)
    assert not targets.counts[..., 3:].any() and not targets.positive[..., 3:].any()
    assert targets.positive[..., 2].any()


def test_without_words_everything_is_negative():
    targets = confidence_targets(make_words([[0.0, 0.0]], [NO], is_ignored=[NO]), (3, 4), None)
    assert drawn(targets) == ["----"] * 3


def test_without_words_one_cell_is_chosen_for_the_gradients():
    words = make_words([[0.0, 0.0]], [NO], is_ignored=[NO], weights=[0.0])
    targets = confidence_targets(words, (3, 4), None)
    image, word, cells = choose_anchors(targets, words, per_word=4, per_image=256)
    assert len(cells) == 1 and words.weights[image, word] == 0


def test_anchors_are_positive_cells_of_their_words():
    words = make_words([[3.5, 3.5], [12.5, 3.5], [12.5, 12.5]], [YES, YES, NO])
    targets = confidence_targets(words, (16, 16), None)
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        image, word, cells = choose_anchors(targets, words, per_word=4, per_image=256)
        assert torch.bincount(word).tolist() == [4, 4] and not image.any()
        assert len(set(map(tuple, cells.tolist()))) == 8
        assert targets.positive[0, cells[:, 1], cells[:, 0]].all()
        assert (targets.owner[0, cells[:, 1], cells[:, 0]] == word).all()
        seen |= set(map(tuple, cells.tolist()))
    assert len(seen) == 18, "every cell of both disks gets its turn"


def test_an_image_gives_a_bounded_number_of_anchors_heavy_words_first():
    words = make_words([[3.5, 3.5], [12.5, 3.5]], [YES, YES], weights=[1.0, 0.01])
    targets = confidence_targets(words, (8, 16), None)
    chosen = [choose_anchors(targets, words, per_word=4, per_image=4)[1] for _ in range(50)]
    assert {len(word) for word in chosen} == {4}
    assert torch.cat(chosen).float().mean() < 0.2


def test_cells_along_a_word_are_no_background():
    targets = confidence_targets(make_words([[2.5, 4.5]], [YES]), (9, 20), None)
    line = torch.stack([torch.linspace(2, 16, 40), torch.full((40,), 4.5)], 1)[None]
    counts = ignore_extents(targets, torch.tensor([0]), line, torch.tensor([2.0]))
    assert not counts[0, 3:6, 5:18].any()
    assert counts[0, 4, 2], "the positive cell stays"
    assert counts[0, 0, 5:].all() and counts[0, :, 19].all()
