import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, BoxMode, ImageList, Instances, pairwise_iou

from wecromcl_d2.data.text import TextList


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_box_modes_convert_within_the_type(kind):
    given = [10.0, 20.0, 30.0, 50.0] if kind in (list, tuple) else [[10.0, 20.0, 30.0, 50.0]]
    box = kind(given)
    out = BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert type(out) is type(box)
    assert np.ravel(out).tolist() == [10, 20, 40, 70]
    back = BoxMode.convert(out, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    assert np.ravel(back).tolist() == np.ravel(given).tolist() == np.ravel(box).tolist()
    assert BoxMode.convert(box, BoxMode.XYXY_ABS, BoxMode.XYXY_ABS) is box


def test_boxes_are_float32_matrices():
    assert Boxes(np.array([[0, 1, 2, 3]])).tensor.dtype == torch.float32
    assert Boxes(torch.ones(2, 4, dtype=torch.float64)).tensor.dtype == torch.float32
    assert Boxes([]).tensor.shape == Boxes(torch.zeros(0)).tensor.shape == (0, 4)
    with pytest.raises(AssertionError):
        Boxes(torch.zeros(3))
    with pytest.raises(AssertionError):
        Boxes(torch.zeros(2, 5))


def test_boxes_index_like_tensors():
    boxes = Boxes([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]])
    assert len(boxes[1]) == 1
    assert boxes[-1].tensor.tolist() == [[0, 0, 3, 3]]
    assert boxes[1:].area().tolist() == [4, 9]
    assert boxes[torch.tensor([True, False, True])].area().tolist() == [1, 9]
    assert boxes[torch.tensor([2, 0])].area().tolist() == [9, 1]
    assert [box.tolist()[2] for box in boxes] == [1, 2, 3]
    assert Boxes.cat([boxes, boxes[0]]).area().tolist() == [1, 4, 9, 1]
    assert len(Boxes.cat([])) == 0
    assert boxes.clone().to("cpu").device == torch.device("cpu")


def test_boxes_geometry():
    boxes = Boxes([[-5, 2, 8, 30], [1, 1, 1, 9], [2, 3, 4, 5]])
    assert boxes.nonempty().tolist() == [True, False, True]
    assert boxes.nonempty(threshold=2).tolist() == [True, False, False]
    boxes.clip((10, 6))
    assert boxes.tensor.tolist() == [[0, 2, 6, 10], [1, 1, 1, 9], [2, 3, 4, 5]]
    with pytest.raises(AssertionError):
        Boxes([[0, 0, float("nan"), 1]]).clip((5, 5))


def test_iou_of_touching_nested_and_empty_boxes():
    first = Boxes([[0, 0, 4, 4], [1, 1, 1, 1]])
    second = Boxes([[4, 0, 8, 4], [1, 1, 3, 3], [0, 0, 4, 4], [2, 0, 6, 4]])
    assert pairwise_iou(first, second).tolist() == [
        pytest.approx([0, 0.25, 1, 1 / 3]),
        [0, 0, 0, 0],
    ]
    assert pairwise_iou(Boxes([]), second).shape == (0, 4)


def test_image_list_pads_right_and_bottom():
    images = [torch.arange(35.0).view(1, 5, 7), torch.ones(1, 6, 4)]
    batch = ImageList.from_tensors(images, 4, pad_value=-1)
    assert batch.tensor.shape == (2, 1, 8, 8)
    assert batch.image_sizes == [(5, 7), (6, 4)]
    assert torch.equal(batch[0], images[0])
    assert torch.equal(batch[1], images[1])
    assert (batch.tensor == -1).sum() == 2 * 64 - 35 - 24
    assert len(batch) == 2
    assert batch.to(torch.float64).tensor.dtype == torch.float64
    assert batch.device == torch.device("cpu")


def test_image_list_constraints():
    images = [torch.zeros(3, 5, 7)]
    assert ImageList.from_tensors(images).tensor.shape == (1, 3, 5, 7)
    square = {"square_size": 10}
    assert ImageList.from_tensors(images, 4, 0.0, square).tensor.shape == (1, 3, 12, 12)
    both = {"square_size": 0, "size_divisibility": 3}
    assert ImageList.from_tensors(images, 4, 0.0, both).tensor.shape == (1, 3, 6, 9)
    with pytest.raises(AssertionError):
        ImageList.from_tensors([torch.zeros(3, 5, 7), torch.zeros(1, 5, 7)])
    with pytest.raises(AssertionError):
        ImageList.from_tensors([])


def test_image_list_carries_gradients():
    image = torch.ones(1, 2, 3, requires_grad=True)
    ImageList.from_tensors([image, torch.ones(1, 4, 4)]).tensor.sum().backward()
    assert torch.equal(image.grad, torch.ones(1, 2, 3))


def make_instances() -> Instances:
    return Instances(
        (10, 20),
        gt_boxes=Boxes([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]]),
        scores=torch.tensor([0.1, 0.2, 0.3]),
        texts=TextList(["a", "b", "c"]),
    )


def test_instances_fields():
    instances = make_instances()
    assert instances.image_size == (10, 20)
    assert len(instances) == 3
    assert instances.has("scores")
    assert instances.get("scores") is instances.scores
    assert set(instances.get_fields()) == {"gt_boxes", "scores", "texts"}
    instances.names = ["x", "y", "z"]
    instances.remove("names")
    assert not instances.has("names")
    instances._private = 1
    assert not instances.has("_private")
    assert instances.to("cpu").texts == instances.texts
    assert "scores" in str(instances)


def test_instances_are_filtered_with_the_projects_text_list():
    instances = make_instances()
    kept = instances[torch.tensor([True, False, True])]
    assert list(kept.texts) == ["a", "c"]
    assert kept.gt_boxes.area().tolist() == [1, 9]
    assert list(instances[torch.tensor([2, 1])].texts) == ["c", "b"]
    assert list(instances[-1].texts) == ["c"]
    assert len(instances[5:]) == 0
    assert list(Instances.cat([kept, instances[1]]).texts) == ["a", "c", "b"]


def test_instances_cat_by_type():
    parts = [Instances((4, 4), a=torch.ones(2), b=[1, 2], c=Boxes(torch.ones(2, 4)))] * 2
    joined = Instances.cat(parts)
    assert joined.a.shape == (4,)
    assert joined.b == [1, 2, 1, 2]
    assert len(joined.c) == 4
    assert Instances.cat(parts[:1]) is parts[0]
    with pytest.raises(ValueError, match="concatenat"):
        Instances.cat([Instances((4, 4), a=(1, 2))] * 2)
    with pytest.raises(AssertionError):
        Instances.cat([Instances((4, 4), b=[1]), Instances((5, 4), b=[1])])


def test_instances_errors():
    instances = make_instances()
    with pytest.raises(AssertionError):
        instances.labels = torch.zeros(2)
    with pytest.raises(AttributeError):
        _ = instances.labels
    with pytest.raises(NotImplementedError):
        len(Instances((4, 4)))
    with pytest.raises(NotImplementedError):
        iter(instances)
    with pytest.raises(IndexError):
        _ = instances[3]
    with pytest.raises(TypeError):
        _ = Instances((4, 4), names=["a", "b"])[torch.tensor([True, False])]
