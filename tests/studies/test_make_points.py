"""Labels with points of detectors that have no text features."""

import json
from itertools import compress

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

import projects.studies  # noqa: F401  (registers the parts)
from projects.studies import make_points
from projects.studies.grid import GridError, Run, read_grid
from projects.studies.ifl import AttentionSPTS
from wecromcl_d2.data.datasets import ensure_registered, read_labels, write_labels
from wecromcl_d2.data.synthetic import SceneRecipe, build_cache
from wecromcl_d2.tasks import load_config

IFL = "projects/studies/configs/ifl.yaml"
OURS, SPOTTER = "configs/quick/anchors.yaml", "configs/quick/srsts_a.yaml"


@pytest.fixture
def labels(tmp_path):
    recipe = SceneRecipe(size=(64, 96), num_words=(2, 3))
    path = build_cache(recipe, 4, tmp_path / "scenes", workers=1, progress=False)
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    records[0]["texts"][0] = "?"  # none of its characters is known
    write_labels(path, records)
    return path


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "model.pth"
    torch.save({"model": build_model(load_config(IFL)).state_dict()}, path)
    return str(path)


def test_every_readable_word_gets_a_point(labels, weights, tmp_path, capsys):
    output = tmp_path / "found" / "points.jsonl"
    arguments = ["--config-file", IFL, "--weights", weights, "--dataset", str(labels)]
    assert make_points.main([*arguments, "--output", str(output)]) == 0
    report = json.loads((output.parent / "points_report.json").read_text(encoding="utf-8"))
    assert report["dataset_name"] in capsys.readouterr().out
    ensure_registered(report["dataset_name"])
    found, given = DatasetCatalog.get(report["dataset_name"]), read_labels(labels)
    assert [x["texts"] for x in found] == [x["texts"] for x in given]
    assert [x["file_name"] for x in found] == [x["file_name"] for x in given]
    assert found[0]["points"][0] is None
    points = [p for x in found for p in x["points"]][1:]
    assert all(0 <= x <= 96 and 0 <= y <= 64 for x, y in points)


def test_points_are_those_of_the_detector(labels, weights, monkeypatch):
    cfg, records = load_config(IFL), read_labels(labels)
    plain = list(make_points.find_points(cfg, weights, records))
    locate = AttentionSPTS._locate

    def shifted(self, x):
        found = locate(self, x)
        found.pred_points += 1
        found.scores[:1] = 0  # a peak that does not exist
        return found

    monkeypatch.setattr(AttentionSPTS, "_locate", shifted)
    for before, after in zip(plain, make_points.find_points(cfg, weights, records), strict=True):
        readable = [text != "?" for text in before["texts"]]
        first, *rest = compress(after["points"], readable)
        kept = [*compress(before["points"], readable)]
        assert first is None
        assert rest == [[x + 1, y + 1] for x, y in kept[1:]]


@pytest.mark.parametrize(
    ("config", "spotter", "apart"), [(IFL, SPOTTER, True), (IFL, "", False), (OURS, SPOTTER, False)]
)
def test_only_spotters_from_other_detectors_are_trained_apart(config, spotter, apart):
    run = Run("one", None, 0, config, spotter, "synth_scenes_test", ())
    assert run.is_apart == apart


def test_another_detector_cannot_share_one(tmp_path):
    path = tmp_path / "few.yaml"
    path.write_text(
        f"""
question: Which?
metric: spotting/f
detector: configs/quick/anchors.yaml
spotter: configs/quick/srsts_a.yaml
variants:
  ifl: {{config: {IFL}}}
""",
        encoding="utf-8",
    )
    with pytest.raises(GridError, match="'ifl': its detector cannot share the 'detector'"):
        read_grid(path)
