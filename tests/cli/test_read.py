"""`wecromcl read`, run in this process on a spotter without learning."""

import json

import pytest
from PIL import Image

from wecromcl_d2.cli import inputs, read


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_folder_is_read_drawn_and_written(model, photos, tmp_path, capsys):
    output, lines = tmp_path / "out", tmp_path / "words.jsonl"
    argv = [str(photos), *model, "--output", str(output), "--json", str(lines)]
    for _ in range(2):  # the second time over what the first has written
        assert read.main(argv) == 0
        records = read_lines(lines)
        assert [r["file_name"] for r in records] == ["more/one.png", "one.png", "two.png"]
        assert [r["texts"] for r in records] == [["way"], ["hill"], ["street"]]
        drawn = sorted(p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_file())
        assert drawn == ["more/one.png", "one.png", "two.png"]
    assert capsys.readouterr().out == ""
    with Image.open(output / "one.png") as image:
        assert image.size == (80 * 8, 48 * 8)


def test_without_outputs_the_words_are_printed(model, photos, capsys):
    assert read.main([str(photos / "two.png"), *model]) == 0
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert record["texts"] == ["street"]


def test_the_words_of_each_image_are_printed_on_demand(model, photos, tmp_path, capsys):
    assert read.main([str(photos), *model, "--print", "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert said.out == "more/one.png: way\none.png: hill\ntwo.png: street\n"
    assert said.err.endswith(f"3 images done, drawn in {tmp_path / 'out'}\n")


def test_patterns_and_repeats(photos):
    found = inputs.collect_inputs(
        [str(photos / "**" / "*.png"), str(photos), str(photos / "one.png")]
    )
    assert [item.path.relative_to(photos).as_posix() for item in found] == [
        "more/one.png",
        "one.png",
        "two.png",
    ]
    assert [item.name.as_posix() for item in found] == ["one.png", "one-2.png", "two.png"]


def test_images_of_one_name_do_not_overwrite_each_other(model, photos, tmp_path):
    (photos / "one.bmp").write_bytes((photos / "two.png").read_bytes())
    files = [str(photos / name) for name in ("one.png", "more/one.png", "one.bmp")]
    lines = tmp_path / "words.jsonl"
    assert read.main([*files, *model, "--output", str(tmp_path / "out"), "--json", str(lines)]) == 0
    assert [r["file_name"] for r in read_lines(lines)] == ["one.png", "one-2.png", "one-3.bmp"]
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_unreadable_files_are_skipped_and_listed(model, photos, tmp_path, capsys):
    (photos / "more" / "bad.jpg").write_bytes(b"\xff\xd8 no image")
    lines = tmp_path / "words.jsonl"
    argv = [str(photos), str(photos / "notes.txt"), *model, "--json", str(lines)]
    assert read.main([*argv, "--batch-size", "2"]) == 1
    assert [r["texts"] for r in read_lines(lines)] == [["way"], ["hill"], ["street"]]
    error = capsys.readouterr().err
    assert "3 images done" in error
    assert "2 skipped:" in error
    assert str(photos / "more" / "bad.jpg") in error
    assert str(photos / "notes.txt") in error


def test_ctrl_c_keeps_what_is_done(model, photos, tmp_path, monkeypatch, capsys):
    read_image = inputs.read_image

    def interrupted(path):
        if path.name == "two.png":
            raise KeyboardInterrupt
        return read_image(path)

    monkeypatch.setattr(inputs, "read_image", interrupted)
    output, lines = tmp_path / "out", tmp_path / "words.jsonl"
    argv = [str(photos), *model, "--output", str(output), "--json", str(lines)]
    assert read.main([*argv, "--batch-size", "1"]) == 130
    assert [r["file_name"] for r in read_lines(lines)] == ["more/one.png", "one.png"]
    assert (output / "one.png").is_file()
    assert "interrupted" in capsys.readouterr().err


def test_the_threshold_and_tiles_reach_the_spotter(model, photos, capsys):
    assert read.main([str(photos / "two.png"), *model, "--threshold", "0.9"]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] == []
    assert read.main([str(photos / "two.png"), *model, "--tile", "64", "--tile-overlap", "64"]) == 2
    assert "the overlap must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["missing.png"], "missing.png: no such file"),
        (["nothing-*.png"], "nothing-*.png: no such file"),
    ],
)
def test_inputs_that_stand_for_nothing_are_refused(model, argv, message, capsys):
    assert read.main([*argv, *model]) == 2
    assert message in capsys.readouterr().err


def test_inputs_are_never_overwritten(model, photos, capsys):
    before = (photos / "one.png").read_bytes()
    assert read.main([str(photos), *model, "--output", str(photos)]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert read.main([str(photos), *model, "--json", str(photos / "one.png")]) == 2
    assert (photos / "one.png").read_bytes() == before


def test_a_model_that_fails_to_load_leaves_old_results_alone(model, photos, tmp_path, capsys):
    lines = tmp_path / "words.jsonl"
    lines.write_text("old", encoding="utf-8")
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no weights")
    argv = [str(photos), *model[:3], str(broken), "--json", str(lines)]
    assert read.main(argv) == 2
    assert "broken.pth" in capsys.readouterr().err
    assert lines.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize(
    "wrong",
    [
        ["--weights", "x.pth"],
        ["--model", "quick", "--config-file", "x", "--weights", "y"],
        ["--model", "unknown"],
        ["--batch-size", "0"],
        ["--threshold", "7"],
        ["--threshold", "nan"],
        ["--max-side", "-1"],
    ],
)
def test_wrong_options_are_refused(wrong, capsys):
    with pytest.raises(SystemExit) as error:
        read.main(["x.png", *wrong])
    assert error.value.code == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "banana"], "'banana' is no device"),
        (["--tile", "0"], "tiles of 0 pixels"),
    ],
)
def test_values_that_cannot_be_are_one_sentence(model, photos, options, message, capsys):
    assert read.main([str(photos / "one.png"), *model, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("wecromcl read: ") and error.count("\n") == 1


def test_a_url_ends_in_a_sentence(model, capsys):
    assert read.main(["https://example.org/a.jpg", *model]) == 2
    assert "is a URL, and nothing is downloaded" in capsys.readouterr().err


def test_images_without_a_word_are_listed_with_what_to_try(model, photos, capsys):
    Image.new("RGB", (640, 480)).save(photos / "empty.png")
    assert read.main([str(photos), *model, "--max-side", "320"]) == 0
    error = capsys.readouterr().err
    assert "1 without a word:" in error
    assert "empty.png: nothing found at this scale, 320 x 240 pixels of 640 x 480; try" in error
