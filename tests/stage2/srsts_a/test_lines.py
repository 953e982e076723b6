"""Lines of text, CTW1500: enough sampling points, the published size, and weights for them."""

import pytest
import torch
from detectron2.modeling import build_model

from wecromcl_d2.data.augmentation import build_resize
from wecromcl_d2.engine.loading import CheckedCheckpointer
from wecromcl_d2.stage2.srsts_a.heads import resample_line
from wecromcl_d2.tasks import load_config
from wecromcl_d2.weights_file import WeightsError

QUICK = "configs/quick/srsts_a.yaml"


def test_the_longer_side_becomes_704():
    resize = build_resize(load_config("configs/stage2/srsts_a/ctw1500.yaml"), False)
    for height, width in ((300, 400), (1600, 900)):
        transform = resize.get_transform(torch.zeros(height, width, 3).numpy())
        assert max(transform.new_h, transform.new_w) == 704


def test_a_line_of_60_characters_fits():
    cfg = load_config("configs/stage2/srsts_a/ctw1500.yaml")
    assert cfg.MODEL.SRSTS_A.NUM_POINTS >= 60
    joint = load_config("configs/stage2/srsts_a/joint.yaml")
    assert cfg.MODEL.SRSTS_A.NUM_POINTS != joint.MODEL.SRSTS_A.NUM_POINTS


def model(points):
    torch.manual_seed(points)
    return build_model(load_config(QUICK, ["MODEL.SRSTS_A.NUM_POINTS", str(points)])).eval()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_for_fewer_points_are_interpolated_along_the_line(tmp_path, prefix):
    words, lines = model(5), model(9)
    torch.nn.init.normal_(words.sampler.offset.weight)
    state = {f"{prefix}{key}": value for key, value in words.state_dict().items()}
    torch.save({"model": state}, tmp_path / "words.pth")
    CheckedCheckpointer(lines, partial=True).load(str(tmp_path / "words.pth"), checkpointables=[])
    feature = torch.randn(1, words.sampler.tower[0].in_channels, 6, 8)
    image, cells = torch.tensor([0, 0]), torch.tensor([[1, 2], [6, 4]])
    with torch.no_grad():
        few, many = (m.sampler.dense(feature, image, cells) for m in (words, lines))
    # The old points are every second one of the new ones, the others lie halfway.
    assert many[:, ::2].allclose(few, atol=1e-4)
    assert many[:, 1::2].allclose((few[:, 1:] + few[:, :-1]) / 2, atol=1e-4)
    number = lines.recognizer.sequence.number
    assert number[::2].allclose(words.recognizer.sequence.number)


def test_a_model_for_inference_is_not_resized(tmp_path):
    torch.save({"model": model(5).state_dict()}, tmp_path / "words.pth")
    with pytest.raises(WeightsError, match="another shape"):
        CheckedCheckpointer(model(9)).load(str(tmp_path / "words.pth"))


def test_ends_of_a_line_stay():
    values = torch.tensor([[0.0, 10.0], [3.0, 10.0], [9.0, 40.0]])
    assert resample_line(values, 5).tolist() == [[0, 10], [1.5, 10], [3, 10], [6, 25], [9, 40]]
