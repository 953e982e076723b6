"""Models that come with the package: how one is put there, found, checked and described."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from detectron2.modeling import build_model
from PIL import Image

from tests.fake_spotter import paint, write_model
from wecromcl_d2 import shipped_models
from wecromcl_d2.cli import convert, find, pipeline, read, train
from wecromcl_d2.cli.start import start_weights
from wecromcl_d2.data.datasets import read_labels
from wecromcl_d2.engine.backbone_weights import load_backbone
from wecromcl_d2.engine.loading import CheckedCheckpointer, load_model
from wecromcl_d2.predictor import AnchorFinder, Spotter, model_names, register_model
from wecromcl_d2.tasks import load_config
from wecromcl_d2.weights_file import WeightsError

QUICK = "configs/quick/anchors.yaml"
SCENES = Path(__file__).resolve().parents[1] / "docs" / "scenes"
NAMES = ("street", "street-anchors")
MOST_BYTES = 40e6  # of all weights together
HEADINGS = ("Data and licences", "Training", "Metrics", "Limits", "Checksum")


def ship(config, weights, name):
    command = ["--source", "trained", "--config-file", str(config), str(weights)]
    assert convert.main([*command, f"shipped://{name}"]) == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Config and checkpoint of a spotter and of a detector, both without learning."""
    folder = tmp_path_factory.mktemp("trained")
    model = build_model(load_config(QUICK))
    torch.save({"model": model.state_dict(), "iteration": 7}, folder / "anchors.pth")
    return {"street": write_model(folder), "street-anchors": (QUICK, folder / "anchors.pth")}


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A folder of models in place of the package's own, and another working directory."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(shipped_models, "models_folder", lambda: tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def models(empty, trained):
    for name in NAMES:
        ship(*trained[name], name)
    return empty


def photo(path):
    image = np.zeros((48, 80, 3), np.uint8)
    paint(image, "hill", 8, 16)
    Image.fromarray(image).save(path)
    return str(path)


def faults_of(folder):
    """What a model that is shipped lacks."""
    parts = ("config.yaml", "model.pth", "model.sha256", "card.md")
    missing = [name for name in parts if not (folder / name).is_file()]
    if missing:
        return [f"no {name}" for name in missing]
    card = (folder / "card.md").read_text(encoding="utf-8")
    checksum = hashlib.sha256((folder / "model.pth").read_bytes()).hexdigest()
    wanted = [*(f"## {heading}" for heading in HEADINGS), checksum]
    return [f"its card does not say {text!r}" for text in wanted if text not in card]


def test_a_training_becomes_a_model_of_the_package_by_one_command(models, trained):
    folder = models / "street-anchors"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "model.pth",
        "model.sha256",
    ]
    checksum = hashlib.sha256((folder / "model.pth").read_bytes()).hexdigest()
    assert (folder / "model.sha256").read_text(encoding="utf-8") == f"{checksum}  model.pth\n"
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    assert not re.search("^(SOLVER|DATASETS|OUTPUT_DIR)", config, re.MULTILINE)
    assert "DEVICE: cuda" in config
    own, source = load_config(folder / "config.yaml"), load_config(QUICK)
    assert own.TASK == source.TASK
    for key in ("MODEL", "INPUT", "TEST"):
        assert yaml.safe_load(own[key].dump()) == yaml.safe_load(source[key].dump())
    shipped = load_model(own, str(folder / "model.pth")).state_dict()
    before = torch.load(trained["street-anchors"][1], weights_only=True)["model"]
    name = "backbone.bottom_up.stem.conv1.weight"
    torch.testing.assert_close(shipped[name], before[name], rtol=2**-11, atol=1e-6)


def test_a_card_that_lacks_something_is_told(models):
    folder = models / "street"
    assert faults_of(folder) == ["no card.md"]
    checksum = hashlib.sha256((folder / "model.pth").read_bytes()).hexdigest()
    sections = "\n".join(f"## {heading}" for heading in HEADINGS)
    (folder / "card.md").write_text(f"{sections}\n{checksum}\n", encoding="utf-8")
    assert faults_of(folder) == []
    (folder / "card.md").write_text(f"{sections}\n{checksum[1:]}\n", encoding="utf-8")
    assert len(faults_of(folder)) == 1


def test_the_models_of_this_version_are_small_whole_and_described():
    folder = shipped_models.models_folder()
    names = shipped_models.shipped_names()
    faults = {name: faults_of(folder / name) for name in names}
    assert faults == {name: [] for name in names}
    for name in names:
        shipped_models.check_shipped(shipped_models.shipped_files(name)[1])
    sizes = [(folder / name / "model.pth").stat().st_size for name in names]
    assert sum(sizes) <= MOST_BYTES


def test_they_are_the_defaults_from_any_folder(models, capsys):
    assert set(NAMES) <= set(model_names())
    path = photo("photo.png")
    assert Spotter.from_name()(path).words == Spotter.from_name("street")(path).words == ["hill"]
    assert AnchorFinder.from_name()(path, ["hill"]).words == ["hill"]
    assert read.main([path]) == 0
    assert '"texts": ["hill"]' in capsys.readouterr().out
    assert find.main([path, "--words", "hill"]) == 0
    assert '"texts": ["hill"]' in capsys.readouterr().out


def test_their_checksum_is_computed_once(models, monkeypatch):
    seen = []
    digest = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda data: seen.append(len(data)) or digest(data))
    Spotter.from_name("street")
    assert seen.count((models / "street" / "model.pth").stat().st_size) == 1


def test_a_training_starts_from_them(models):
    weights = str(models / "street-anchors" / "model.pth")
    args = pipeline.parse_args(["--config-file", QUICK, "--output", "o", "--start"])
    assert args.start == "street"
    cfg = load_config(QUICK, ["MODEL.WEIGHTS", "shipped://street-anchors"])
    assert weights == cfg.MODEL.WEIGHTS
    model = build_model(cfg)
    CheckedCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    theirs = torch.load(weights, weights_only=True)["model"]
    name = "backbone.bottom_up.stem.conv1.weight"
    assert torch.equal(model.state_dict()[name], theirs[name].float())
    opts = ["MODEL.BACKBONE.WEIGHTS", "shipped://street-anchors"]
    assert weights == load_config(QUICK, opts).MODEL.BACKBONE.WEIGHTS


def test_a_name_of_theirs_is_taken(models, trained):
    with pytest.raises(ValueError, match="'street' is taken, by one of this package"):
        register_model("street", *trained["street"])


@pytest.mark.parametrize("part", ["model.pth", "model.sha256", "config.yaml"])
def test_a_missing_part_is_one_sentence_with_the_remedy(part, models, capsys):
    os.remove(models / "street" / part)
    assert read.main([photo("photo.png")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(models / "street" / part) in said
    assert "install the package again, or in a clone run `git checkout -- " in said


def test_damaged_weights_are_used_nowhere(models, capsys):
    weights = models / "street-anchors" / "model.pth"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    assert find.main([photo("photo.png"), "--words", "hill"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{weights} is damaged" in said and "git checkout" in said
    model = build_model(load_config(QUICK))
    with pytest.raises(WeightsError, match="is damaged"):
        CheckedCheckpointer(model).load(str(weights))
    with pytest.raises(WeightsError, match="is damaged"):
        load_backbone(model.backbone, str(weights))
    with pytest.raises(WeightsError, match="is damaged"):
        start_weights(QUICK, [], "street-anchors", weights.parent)


def test_a_version_without_them_says_so(empty, capsys):
    assert read.main([photo("photo.png")]) == 2
    said = capsys.readouterr().err
    assert "the model 'street' does not come with this version; name another one, of" in said
    assert "quick" in said and said.count("\n") == 1
    cfg = load_config(QUICK, ["MODEL.WEIGHTS", "shipped://street-anchors"])
    with pytest.raises(WeightsError, match="no model 'street-anchors' comes with this version"):
        load_model(cfg)
    for command in (pipeline.main, train.main):
        given = (
            ["MODEL.WEIGHTS"] if command is train.main else ["--output", "o", "--anchors-weights"]
        )
        assert command(["--config-file", QUICK, *given, "shipped://street-anchors"]) == 2
        assert "no model 'street-anchors' comes with this version" in capsys.readouterr().err


def test_the_scenes_of_make_read_have_their_words():
    records = read_labels(SCENES / "labels.jsonl")
    assert len(records) == 6
    for record in records:
        with Image.open(record["file_name"]) as image:
            assert image.size == (record["width"], record["height"])
        assert len(record["texts"]) >= 5
    assert sum(path.stat().st_size for path in SCENES.iterdir()) < 5e5


def test_other_files_are_not_checked(models, tmp_path):
    other = tmp_path / "mine" / "model.pth"
    other.parent.mkdir()
    other.write_bytes(b"anything")
    shipped_models.check_shipped(other)
    assert Path(shipped_models.shipped_weights(str(other))) == other
