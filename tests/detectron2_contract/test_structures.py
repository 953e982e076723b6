import pytest
import torch
from detectron2.structures import ImageList, Instances

from wecromcl_d2.data.text import TextList


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
        gt_points=torch.tensor([[0, 0], [1, 2], [2, 4]]),
        scores=torch.tensor([0.1, 0.2, 0.3]),
        texts=TextList(["a", "b", "c"]),
    )


def test_instances_fields():
    instances = make_instances()
    assert instances.image_size == (10, 20)
    assert len(instances) == 3
    assert instances.has("scores")
    assert instances.get("scores") is instances.scores
    assert set(instances.get_fields()) == {"gt_points", "scores", "texts"}
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
    assert kept.gt_points.tolist() == [[0, 0], [2, 4]]
    assert list(instances[torch.tensor([2, 1])].texts) == ["c", "b"]
    assert list(instances[-1].texts) == ["c"]
    assert len(instances[5:]) == 0
    assert list(Instances.cat([kept, instances[1]]).texts) == ["a", "c", "b"]


def test_instances_cat_by_type():
    parts = [Instances((4, 4), a=torch.ones(2), b=[1, 2], c=TextList(["x", "y"]))] * 2
    joined = Instances.cat(parts)
    assert joined.a.shape == (4,)
    assert joined.b == [1, 2, 1, 2]
    assert list(joined.c) == ["x", "y", "x", "y"]
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
