"""`wecromcl env`: what a bug report needs."""

import platform

import torch

from wecromcl_d2 import __version__
from wecromcl_d2.cli import env


def test_versions_and_machine_are_printed(capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    assert env.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    values = dict(line.split(maxsplit=1) for line in lines[: lines.index("")])
    assert values["wecromcl_d2"] == __version__
    assert values["Python"].startswith(platform.python_version())
    assert values["OMP_NUM_THREADS"] == "3"
    assert values["DETECTRON2_DATASETS"] == "not set"
    assert values["threads"].startswith(f"{torch.get_num_threads()} of torch")
    assert any(torch.__version__ in line for line in lines[lines.index("") :])


def test_every_opencv_distribution_is_named(monkeypatch):
    both = {"cv2": ["opencv-python", "opencv-python-headless"]}
    monkeypatch.setattr(env.metadata, "packages_distributions", lambda: both)
    monkeypatch.setattr(env.metadata, "version", lambda name: "4.0")
    wanted = ["rapidfuzz>=3.0", 'x; extra == "d"']
    monkeypatch.setattr(env.metadata, "requires", lambda name: wanted)
    found = dict(env.facts())
    assert found["cv2"] == "opencv-python 4.0, opencv-python-headless 4.0"
    assert found["detectron2"] == "from a folder, not installed"
    assert found["rapidfuzz"] == "4.0"
    assert "x" not in found
