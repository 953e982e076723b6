"""Boxes cut from maps."""

import torch
from detectron2.modeling import build_model

from projects.studies.pseudo_box import box_centers
from wecromcl_d2.tasks import load_config

CONFIG = "configs/quick/anchors.yaml"


def test_the_center_of_the_box_is_that_of_the_connected_high_cells():
    # The box of the peak at (3.5, 0.5) has the cells 1 to 3 of the first row and one below them;
    # the high cell in the corner is not connected with it.
    row = torch.tensor([[0.1, 0.5, 0.7, 1.0, 0.4, 0.9], [0.0, 0.6, 0.0, 0.0, 0.0, 0.0], [0.0] * 6])
    peak = torch.tensor([[[3.5, 0.5]]])
    assert box_centers(row[None], peak, 0.5).tolist() == [[[2.5, 1.0]]]
    assert box_centers(row[None], peak, 0.95).tolist() == [[[3.5, 0.5]]]


def test_each_peak_of_a_map_has_its_own_box():
    maps = torch.zeros(1, 3, 7)
    maps[0, 1, :2] = 0.4
    maps[0, 0, 4:] = 0.1
    peaks = torch.tensor([[[0.5, 1.5], [5.5, 0.5]]])
    assert box_centers(maps, peaks, 0.5).tolist() == [[[1.0, 1.5], [5.5, 0.5]]]


def test_the_model_differs_from_ours_in_the_places_alone():
    boxes = build_model(
        load_config(CONFIG, ["MODEL.META_ARCHITECTURE", "PseudoBoxWeCromCL"])
    ).eval()
    plain = build_model(load_config(CONFIG)).eval()
    plain.load_state_dict(boxes.state_dict())
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 64, 96), generator=generator).to(torch.uint8)
    x = {"image": image, "texts": ["word", "other"]}
    (found,), (expected,) = boxes([x]), plain([x])
    assert torch.equal(found["instances"].pred_maps, expected["instances"].pred_maps)
    assert torch.equal(found["instances"].scores, expected["instances"].scores)
    assert boxes.decode_peaks.distance == plain.decode_peaks.distance == 2.0
    assert not torch.equal(found["instances"].pred_points, expected["instances"].pred_points)
