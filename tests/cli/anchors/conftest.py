"""The labels of an undisturbed run, which all others are compared with."""

import cv2
import numpy as np
import pytest
import torch

from wecromcl_d2.cli import anchors as tool
from wecromcl_d2.data import write_labels

from .toy import IMAGES, SIZES, arguments, make_model, make_record


@pytest.fixture(autouse=True, scope="module")
def denormals():
    """The tool turns them off for its process, which other tests need them in."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with images, labels and weights."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("source")
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    for index in range(IMAGES):
        shape = (*SIZES[index % 3], 3)
        image = generator.integers(0, 256, shape, dtype=np.uint8)
        cv2.imwrite(str(folder / f"images/{index}.png"), image)
    write_labels(folder / "labels.jsonl", map(make_record, range(IMAGES)))
    torch.manual_seed(1)
    torch.save({"model": make_model().state_dict()}, folder / "weights.pth")
    return folder


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """Output of the undisturbed run."""
    output = tmp_path_factory.mktemp("whole") / "anchors.jsonl"
    assert tool.main(arguments(source, output)) == 0
    return output
