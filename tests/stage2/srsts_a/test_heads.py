import pytest
import torch
import torch.nn.functional as F

from wecromcl_d2.stage2.srsts_a.heads import Recognizer, Sampler, sample_points


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def trained(module):
    """Give the module's normalisations the statistics of some training."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(layer.weight)
            torch.nn.init.normal_(layer.bias)
    return module.eval()


@pytest.mark.parametrize("depth", [1, 3])
def test_the_sampler_on_patches_equals_the_dense_one(depth):
    sampler = trained(Sampler(5, [8, 7, 6][:depth], num_points=4, reach=2.0, norm="BN"))
    torch.nn.init.normal_(sampler.offset.weight)
    feature = torch.randn(2, 5, 6, 9)
    y, x = torch.meshgrid(torch.arange(6), torch.arange(9), indexing="ij")
    cells = torch.stack([x, y], -1).flatten(0, 1).repeat(2, 1)
    image = torch.arange(2).repeat_interleave(54)
    with torch.no_grad():
        dense, patch = sampler.dense(feature, image, cells), sampler.patch(feature, image, cells)
    torch.testing.assert_close(patch, dense, rtol=0, atol=1e-4 * dense.abs().max().item())


def test_an_untrained_sampler_lays_a_horizontal_line_over_the_anchor():
    sampler = Sampler(5, [8], num_points=5, reach=8.0, norm="BN").eval()
    cells = torch.tensor([[3, 4]])
    line = sampler.dense(torch.randn(1, 5, 9, 9), torch.tensor([0]), cells)[0]
    expected = torch.tensor([[3.5 + dx, 4.5] for dx in (-8, -4, 0, 4, 8)])
    torch.testing.assert_close(line, expected, rtol=0, atol=0.1)


def test_samples_at_cell_centres_are_the_cells_and_the_border_goes_on():
    feature = torch.arange(24.0).view(2, 1, 3, 4)
    image = torch.tensor([0, 1, 1])
    positions = torch.tensor(
        [[[0.5, 0.5], [1.0, 0.5]], [[3.5, 2.5], [3.5, 2.0]], [[-9.0, 1.5], [99.0, 99.0]]]
    )
    samples = sample_points(feature, image, positions)[..., 0]
    expected = torch.tensor([[0.0, 0.5], [23.0, 21.0], [16.0, 23.0]])
    torch.testing.assert_close(samples, expected, rtol=0, atol=1e-5)


def test_reading_samples_equals_sampling_a_dense_reading():
    recognizer = trained(
        Recognizer(
            5, [6, 8], num_points=3, num_classes=4, sequence="none", layers=1, heads=1, norm="BN"
        )
    )
    feature = torch.randn(2, 5, 6, 7)
    image, positions = torch.tensor([0, 1, 1]), torch.rand(3, 3, 2) * 9 - 1
    with torch.no_grad():
        got = recognizer(feature, image, positions)
        dense = recognizer.classifier(recognizer.tower(feature).permute(0, 2, 3, 1))
        expected = sample_points(dense.permute(0, 3, 1, 2), image, positions)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sequence", ["self_attn", "bilstm", "none"])
def test_words_of_a_batch_do_not_touch_each_other(sequence):
    recognizer = trained(
        Recognizer(
            5, [8], num_points=3, num_classes=4, sequence=sequence, layers=1, heads=2, norm="BN"
        )
    )
    feature = torch.randn(2, 5, 6, 7)
    image, positions = torch.tensor([0, 1, 1]), torch.rand(3, 3, 2) * 6
    with torch.no_grad():
        together = recognizer(feature, image, positions)
        alone = recognizer(feature, image[2:], positions[2:])
    torch.testing.assert_close(together[2:], alone, rtol=1e-4, atol=1e-5)


def test_an_unknown_sequence_block_is_refused():
    with pytest.raises(ValueError, match=r"SEQUENCE is 'gru'.*bilstm"):
        Recognizer(5, [8], num_points=3, num_classes=4, sequence="gru", layers=1, heads=1, norm="")


def test_sampling_equals_pytorchs_grid_sampling():
    feature = torch.randn(3, 5, 6, 7, requires_grad=True)
    image = torch.tensor([2, 0, 2, 0, 2])
    positions = (torch.rand(5, 4, 2) * 10 - 1.5).requires_grad_()
    grid = positions * torch.tensor([2 / 7, 2 / 6]) - 1
    expected = F.grid_sample(
        feature[image], grid[:, None], padding_mode="border", align_corners=False
    )
    samples = sample_points(feature, image, positions)
    torch.testing.assert_close(samples, expected[:, :, 0].transpose(1, 2))
    weights = torch.randn_like(samples)
    got = torch.autograd.grad((samples * weights).sum(), (feature, positions))
    wanted = torch.autograd.grad(
        (expected[:, :, 0].transpose(1, 2) * weights).sum(), (feature, positions)
    )
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_place_that_is_not_a_number_gives_no_number_and_spoils_no_other():
    positions = torch.tensor([[[float("nan"), 1.0], [1.0, float("nan")], [1.0, 1.0]]])
    samples = sample_points(torch.ones(1, 2, 3, 4), torch.tensor([0]), positions)
    assert samples.isnan().all(2).tolist() == [[True, True, False]]


def test_sampling_has_the_gradients_of_bilinear_interpolation():
    feature = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    positions = (torch.rand(2, 3, 2, dtype=torch.float64) * 3 + 0.7).requires_grad_()
    image = torch.tensor([0, 0])
    assert torch.autograd.gradcheck(
        lambda f, p: sample_points(f, image, p), (feature, positions), atol=1e-4
    )
