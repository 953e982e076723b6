"""With masked padding, texts are computed at their own length, which changes nothing else."""

import pytest
import torch

from wecromcl_d2.stage1.text_encoder import LENGTH_STEP, CharacterTextEncoder, group_by_length

LENGTHS = [1, 10, 3, 4, 5, 8, 9, 2, 4, 7]
LONGEST = 10


def make_encoder(mask_padding):
    torch.manual_seed(0)
    return CharacterTextEncoder(
        vocabulary=20, max_length=LONGEST, width=16, layers=2, heads=4, mask_padding=mask_padding
    ).double()


def labels_of(lengths):
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(1, 20, (len(lengths), LONGEST), generator=generator)
    return labels.masked_fill(torch.arange(LONGEST) >= torch.tensor(lengths)[:, None], 0)


def encode_untrimmed(encoder, labels):
    """The encoder written down for all L places."""
    x = encoder.token_embedding(labels) + encoder.positional_embedding
    seen = labels > 0
    for layer in encoder.layers:
        x = layer(x, seen[:, None, None] if encoder.mask_padding else None)
    x = encoder.projection(encoder.norm(x))
    if not encoder.mask_padding:
        return x.mean(1)
    return (x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)


def gradients(encoder, features):
    weights = torch.linspace(-1, 1, features.numel(), dtype=features.dtype).view_as(features)
    return torch.autograd.grad((features * weights).sum(), list(encoder.parameters()))


@pytest.fixture
def shapes():
    return []


def watch(encoder, shapes):
    encoder.layers[0].register_forward_pre_hook(lambda m, inputs: shapes.append(inputs[0].shape))


def test_trimmed_texts_have_the_features_and_gradients_of_untrimmed_ones(shapes):
    encoder, labels = make_encoder(True), labels_of(LENGTHS)
    expected = encode_untrimmed(encoder, labels)
    watch(encoder, shapes)
    found = encoder(labels)
    assert [tuple(shape[:2]) for shape in shapes] == [(5, 4), (3, 8), (2, 10)]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(gradients(encoder, found), gradients(encoder, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_unmasked_padding_is_computed_to_the_last_bit_as_published(shapes):
    encoder, labels = make_encoder(False), labels_of(LENGTHS)
    expected = encode_untrimmed(encoder, labels)
    watch(encoder, shapes)
    found = encoder(labels)
    assert [tuple(shape[:2]) for shape in shapes] == [(len(LENGTHS), LONGEST)]
    assert torch.equal(found, expected)
    for ours, theirs in zip(gradients(encoder, found), gradients(encoder, expected), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("others", [[], [10, 9], [3, 1, 2], [4] * 50])
def test_texts_of_other_lengths_change_no_bit_of_a_text(others):
    """Nor does the order; texts of the same length share products, as in any batch."""
    encoder, labels = make_encoder(True).float(), labels_of([5, 8, 7, 6])
    alone = encoder(labels)
    batch = torch.cat([labels_of(others or [1])[: len(others)], labels])
    assert torch.equal(encoder(batch)[len(others) :], alone)
    assert torch.equal(encoder(labels.flip(0)).flip(0), alone)


def test_texts_of_the_same_length_change_a_text_by_rounding_alone():
    encoder, labels = make_encoder(True), labels_of([5, 8, 7, 6])
    more = torch.cat([labels, labels_of([6] * 40)])
    torch.testing.assert_close(encoder(more)[:4], encoder(labels), rtol=1e-12, atol=1e-12)


def test_the_length_of_a_text_depends_on_it_alone():
    labels = labels_of([0, *LENGTHS])
    found = {int(row): length for length, rows in group_by_length(labels) for row in rows}
    assert found == {
        row: min(LONGEST, -(-max(length, 1) // LENGTH_STEP) * LENGTH_STEP)
        for row, length in enumerate([0, *LENGTHS])
    }
