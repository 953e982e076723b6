import shutil

import pytest
import torch

from . import toy


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    toy.render(root)
    return root


@pytest.fixture
def root(rendered, tmp_path):
    """A fresh copy of the toy datasets."""
    shutil.copytree(rendered, tmp_path / "toy")
    torch.set_num_threads(1)
    return tmp_path / "toy"


@pytest.fixture(scope="session")
def reference(rendered, tmp_path_factory):
    """Losses and weights of the uninterrupted run."""
    torch.set_num_threads(1)
    output = tmp_path_factory.mktemp("reference")
    return toy.train(toy.toy_config(rendered, "OUTPUT_DIR", str(output)))
