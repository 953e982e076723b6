"""`wecromcl evaluate`, from the command line to files."""

import json

import numpy as np
import pytest
from PIL import Image

from wecromcl_d2.cli import evaluate, visualize


@pytest.fixture(scope="module")
def tool():
    return evaluate


def outline(x):
    return [x, 10, x + 20, 10, x + 20, 20, x, 20]


@pytest.fixture
def files(tmp_path):
    """Ground truth of two images as text files, and SPTS results with one wrong word."""
    folder = tmp_path / "gt"
    folder.mkdir()
    for number, words in ((1, ["HILL", "ROAD"]), (2, ["BAR", "###"])):
        lines = [
            f"{','.join(map(str, outline(50 * i)))},####{word}\n" for i, word in enumerate(words)
        ]
        (folder / f"{number:07d}.txt").write_text("".join(lines), encoding="utf-8")
    rows = [(1, 10, "hill", 0.95), (1, 60, "rod", 0.9), (2, 10, "bar", 0.85), (2, 60, "x", 0.99)]
    entries = [
        {"image_id": image, "polys": [[x, 15]], "rec": text, "score": score}
        for image, x, text, score in rows
    ]
    (tmp_path / "results.json").write_text(json.dumps(entries), encoding="utf-8")
    return tmp_path


def run(tool, files, *options, task="spotting"):
    gt, results = str(files / "gt"), str(files / "results.json")
    return tool.main([task, "--truth", gt, "--results", results, *options])


def results_of(files):
    content = json.loads((files / "out" / "spotting.json").read_text(encoding="utf-8"))
    return content["results"], content


def test_table_json_and_csv(tool, files, capsys):
    assert run(tool, files, "--output", str(files / "out"), "--dataset", "toy") == 0
    printed = capsys.readouterr().out
    assert "dataset: toy; images: 2; mode: robust" in printed
    assert "0.8 (fixed)" in printed
    (result,), content = results_of(files)
    counts = [result[key] for key in ("true_positives", "ground_truth", "predictions")]
    assert counts == [2, 3, 3]
    assert content["worst_images"][0] == {"image_id": 1, "file_name": "", "wrong": 1, "missed": 1}
    assert "images" not in content
    assert len((files / "out" / "spotting.csv").read_text(encoding="utf-8").splitlines()) == 2


def test_sweep_and_validation_have_their_own_names(tool, files):
    validation = ["--validation-truth", str(files / "gt")]
    validation += ["--validation-results", str(files / "results.json")]
    assert run(tool, files, "--output", str(files / "out"), "--sweep", *validation) == 0
    (chosen, sweep), _ = results_of(files)
    assert chosen["threshold_choice"] == "best on validation split gt"
    assert sweep["threshold_choice"].startswith("best of a sweep over this very set")
    assert chosen["threshold"] == sweep["threshold"] == pytest.approx(0.85, abs=0.011)


def test_lexicons(tool, files):
    (files / "words.txt").write_text("HILL\nROAD\nBAR\n", encoding="utf-8")
    (files / "pairs.txt").write_text("HILL Hill\nROAD Road\nBAR Bär\n", encoding="utf-8")
    lexicon = ["--lexicon", str(files / "words.txt"), "--output", str(files / "out")]
    assert run(tool, files, *lexicon, "--lexicon-kind", "full") == 0
    (result,), _ = results_of(files)
    assert (result["true_positives"], result["predictions"]) == (3, 3)
    assert result["lexicon"] == "words.txt (3 words, distance < 0.4, else dropped)"
    generic = ["--lexicon-kind", "generic", "--pairs", str(files / "pairs.txt")]
    assert run(tool, files, *lexicon, *generic) == 0
    (result,), _ = results_of(files)
    assert (result["true_positives"], result["lexicon"]) == (2, "words.txt (3 words, no limit)")


def test_strong_lexicons(tool, files):
    for number, words in ((1, "HILL\nROAD\n"), (2, "BAR\n")):
        (files / f"voc_img_{number}.txt").write_text(words, encoding="utf-8")
    strong = ["--lexicon", str(files), "--lexicon-kind", "strong"]
    assert run(tool, files, *strong, "--output", str(files / "out")) == 0
    (result,), _ = results_of(files)
    assert result["true_positives"] == 3


def test_metrics_and_filters_reach_the_result(tool, files):
    options = ["--metric", "bag_of_words", "--word-spotting", "--output", str(files / "out")]
    assert run(tool, files, *options, "--details") == 0
    (result,), content = results_of(files)
    assert result["protocol"] == "no point, bag of words, word spotting"
    assert [image["image_id"] for image in content["images"]] == [1, 2]


def draw(files, *options):
    images = ["--results", str(files / "out/spotting.json"), "--image-root", str(files)]
    return visualize.main(["results", *images, "--output", str(files / "out"), *options])


def test_worst_images_are_drawn_from_the_details(tool, files, capsys):
    image = Image.fromarray(np.full((40, 100, 3), 128, np.uint8))
    image.save(files / "0000001.jpg")
    assert run(tool, files, "--output", str(files / "out")) == 0
    assert draw(files) == 2
    assert "--details" in capsys.readouterr().err
    assert run(tool, files, "--output", str(files / "out"), "--details") == 0
    assert draw(files, "--worst") == 0
    assert "1 wrong, 1 missed" in capsys.readouterr().out
    drawn = np.asarray(Image.open(files / "out" / "worst_001_0000001.png"))
    assert drawn.shape == (40, 100, 3)
    reds = (drawn[..., 0] > drawn[..., 1] + 60).sum()
    greens = (drawn[..., 1] > drawn[..., 0] + 60).sum()
    assert reds > 20
    assert greens > 20


def test_anchors_of_the_authors_json(tool, tmp_path, capsys):
    gt = {"a.jpg": {"text": ["one", "two"], "points": [[0, 0], [10, 0]]}}
    found = {"a.jpg": {"text": ["One", "one"], "points": [[1, 0], [9, 0]], "scores": [0.5, 0.02]}}
    (tmp_path / "t.json").write_text(json.dumps(gt), encoding="utf-8")
    (tmp_path / "r.json").write_text(json.dumps(found), encoding="utf-8")
    files = ["--truth", str(tmp_path / "t.json"), "--results", str(tmp_path / "r.json")]
    options = ["--mode", "official", "--sweep", "--output", str(tmp_path / "out")]
    assert tool.main(["anchors", *files, *options]) == 0
    content = json.loads((tmp_path / "out" / "anchors.json").read_text(encoding="utf-8"))
    fixed, sweep = content["results"]
    assert (fixed["threshold"], fixed["precision"], fixed["recall"]) == (0, 0.5, 0.5)
    assert (sweep["threshold"], sweep["precision"]) == (0.05, 1)
    assert "mode: official" in capsys.readouterr().out


def test_anchors_with_outlines_are_also_measured_for_accuracy(tool, files, capsys):
    assert run(tool, files, task="anchors") == 0
    assert "inside_rate: 0.6667" in capsys.readouterr().out


def test_images_without_common_identity_are_refused(tool, files, capsys):
    for number in (1, 2):
        (files / "gt" / f"{number:07d}.txt").rename(files / "gt" / f"img_{number}.txt")
    assert run(tool, files) == 2
    assert "--image-key number" in capsys.readouterr().err
    assert run(tool, files, "--image-key", "number") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--lexicon", "words.txt"], "--lexicon-kind"),
        (["--pairs", "pairs.txt"], "need --lexicon"),
        (["--validation-truth", "gt"], "go together"),
        (["--lexicon", "w", "--lexicon-kind", "generic", "--keep-unmatched"], "no effect"),
        (["--metric", "points"], "invalid choice"),
    ],
)
def test_contradicting_options_stop_with_an_explanation(tool, files, capsys, options, said):
    with pytest.raises(SystemExit) as stopped:
        run(tool, files, *options)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_bad_files_stop_with_one_line(tool, files, capsys):
    (files / "results.json").write_text("[{", encoding="utf-8")
    assert run(tool, files) == 2
    error = capsys.readouterr().err
    assert error.startswith("wecromcl evaluate: ")
    assert "results.json:1: not valid JSON" in error
    assert error.count("\n") == 1


def test_help_explains_formats(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(["--help"])
    shown = capsys.readouterr().out
    assert "one per image" in shown


def write_lines(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def record(name, text, **changes):
    return {"file_name": name, "height": 9, "width": 9, "texts": [text]} | changes


@pytest.mark.parametrize(("root", "other"), [("", "photos/day/"), ("photos/day/", "")])
def test_names_may_be_relative_to_either_root(tool, tmp_path, root, other, capsys):
    words = ["hill", "way"]
    truth = [record(f"{root}{w}.png", w, points=[[4, 4]]) for w in words]
    found = [record(f"{other}{w}.png", w, points=[[4, 4]], scores=[0.9]) for w in words]
    gt = write_lines(tmp_path / "gt.jsonl", truth)
    results = write_lines(tmp_path / "found.jsonl", found)
    options = ["--truth", str(gt), "--results", str(results), "--output", str(tmp_path / "out")]
    assert tool.main(["spotting", *options]) == 0
    (result,), _ = results_of(tmp_path)
    assert [result[key] for key in ("true_positives", "ground_truth", "predictions")] == [2, 2, 2]
    assert "not in" not in capsys.readouterr().err


def test_images_outside_the_ground_truth_are_named(tool, tmp_path, capsys):
    gt = write_lines(tmp_path / "gt.jsonl", [record("a.png", "hill", points=[[4, 4]])])
    found = [record(n, "hill", points=[[4, 4]], scores=[0.9]) for n in ("a.png", "b.png")]
    results = write_lines(tmp_path / "found.jsonl", found)
    assert tool.main(["spotting", "--truth", str(gt), "--results", str(results)]) == 0
    error = capsys.readouterr().err
    assert f"1 of 2 predicted images are not in {gt}, such as 'b'; their words count as" in error


def test_words_without_positions_name_the_metric_that_fits(tool, tmp_path, capsys):
    gt = write_lines(tmp_path / "gt.jsonl", [record("a.png", "hill")])
    found = [record("a.png", "hill", points=[[4, 4]], scores=[0.9])]
    results = write_lines(tmp_path / "found.jsonl", found)
    options = ["spotting", "--truth", str(gt), "--results", str(results)]
    assert tool.main(options) == 2
    assert "--metric bag_of_words" in capsys.readouterr().err
    assert tool.main([*options, "--metric", "bag_of_words"]) == 0
