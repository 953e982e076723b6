from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from wecromcl_d2.data.datasets import read_labels
from wecromcl_d2.data.synthetic import SceneRecipe, build_cache, cache, render

RECIPE = SceneRecipe(family="words", size=(24, 64), max_size=(32, 80), difficulty=0.25)
COUNT = 5


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cache(
        RECIPE, COUNT, tmp_path_factory.mktemp("cache") / "done", workers=1, progress=False
    ).parent


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "set"))


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices that are rendered while a test runs."""
    indices: list[int] = []

    def counted(recipe: SceneRecipe, index: int) -> object:
        indices.append(index)
        return render(recipe, index)

    monkeypatch.setattr(cache, "render", counted)
    return indices


def _build(folder: Path, **options: object) -> Path:
    return build_cache(RECIPE, COUNT, folder, **{"workers": 1, "progress": False, **options})


def test_labels_and_images_are_the_rendered_scenes(finished: Path) -> None:
    records = read_labels(finished / "labels.jsonl")
    assert len(records) == COUNT
    for index, record in enumerate(records):
        scene = render(RECIPE, index)
        assert record["texts"] == scene.texts
        for flat, polygon in zip(record["polygons"], scene.polygons, strict=True):
            np.testing.assert_allclose(np.reshape(flat, (-1, 2)), polygon, atol=0.006)
        image = cv2.imread(record["file_name"])
        assert image.shape == scene.image.shape == (record["height"], record["width"], 3)
        # JPEG at high quality stays close; swapped channels or another image would not.
        difference = np.abs(image[:, :, ::-1].astype(int) - scene.image)
        assert difference.mean() < 8


def test_manifest_lists_size_and_checksum_of_each_image(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["count"] == COUNT
    assert manifest["recipe"]["max_size"] == [32, 80]
    data = [(finished / "images" / f"{i:06d}.jpg").read_bytes() for i in range(COUNT)]
    assert manifest["files"] == [[len(d), zlib.crc32(d)] for d in data]


def test_bytes_do_not_depend_on_the_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_CHUNK", 2)
    one, two = tmp_path / "one", tmp_path / "two"
    _build(one)
    _build(two, workers=2)
    assert _contents(one) == _contents(two)
    assert len(_contents(one)) == COUNT + 2


def test_whole_folder_is_used_as_it_is(folder: Path, rendered: list[int]) -> None:
    assert _build(folder) == folder / "labels.jsonl"
    assert rendered == []


def test_read_only_copy_can_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(target: Path) -> None:
        raise PermissionError(f"{target} is read-only")

    monkeypatch.setattr(cache, "_lock", refuse)
    assert _build(folder).is_file()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "image missing": lambda f: (f / "images/000003.jpg").unlink(),
    "image cut": lambda f: _cut(f / "images/000003.jpg"),
    "image empty": lambda f: (f / "images/000000.jpg").write_bytes(b""),
    "images missing": lambda f: shutil.rmtree(f / "images"),
    "labels missing": lambda f: (f / "labels.jsonl").unlink(),
    "labels cut": lambda f: _cut(f / "labels.jsonl"),
    "manifest missing": lambda f: (f / "manifest.json").unlink(),
    "manifest cut": lambda f: _cut(f / "manifest.json"),
    "manifest of another kind": lambda f: (f / "manifest.json").write_text("[1]"),
    "everything missing": lambda f: [shutil.rmtree(f / "images"), (f / "labels.jsonl").unlink(),
                                     (f / "manifest.json").unlink()],
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folder_is_rendered_anew(
    damage: str, folder: Path, finished: Path, rendered: list[int]
) -> None:
    DAMAGES[damage](folder)
    _build(folder)
    assert rendered == list(range(COUNT))
    assert _contents(folder) == _contents(finished)


def test_other_recipe_count_or_version_is_rendered_anew(
    folder: Path, rendered: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SceneRecipe(family="words", size=(24, 64))
    build_cache(other, COUNT, folder, workers=1, progress=False)
    build_cache(other, 2, folder, workers=1, progress=False)
    assert len(list((folder / "images").iterdir())) == 2
    monkeypatch.setattr(cache, "renderer_version", lambda recipe: -1)
    build_cache(other, 2, folder, workers=1, progress=False)
    assert rendered == [0, 1, 2, 3, 4, 0, 1, 0, 1]


def test_rest_of_a_dead_run_is_removed(folder: Path) -> None:
    dead = folder.parent / ".set.part-dead"
    shutil.copytree(folder, dead)
    (folder / "manifest.json").unlink()
    neighbour = folder.parent / ".settee.part-live"
    neighbour.mkdir()
    _build(folder)
    assert not dead.exists()
    assert neighbour.exists()


def test_foreign_files_are_never_replaced(tmp_path: Path) -> None:
    holiday = tmp_path / "holiday.jpg"
    holiday.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"'holiday.jpg'.*name another folder"):
        _build(tmp_path)
    with pytest.raises(FileExistsError, match="is a file: name another folder"):
        _build(holiday)
    assert holiday.read_bytes() == b"precious"


def test_full_disk_is_explained_and_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _contents(folder)
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "000003.jpg":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"no space left .* ask for fewer images") as caught:
        build_cache(RECIPE, COUNT + 1, folder, workers=1, progress=False)
    assert caught.value.errno == errno.ENOSPC
    assert _contents(folder) == before
    assert not list(folder.parent.glob("*.part-*"))


def test_second_builder_waits_and_shares_the_result(tmp_path: Path, rendered: list[int]) -> None:
    threads = [threading.Thread(target=_build, args=(tmp_path / "set",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(rendered) == list(range(COUNT))
    assert len(_contents(tmp_path / "set")) == COUNT + 2


@pytest.mark.parametrize(("count", "workers", "message"), [(0, 1, "count 0"), (3, 0, "workers 0")])
def test_bad_numbers_are_refused(tmp_path: Path, count: int, workers: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_cache(RECIPE, count, tmp_path / "set", workers=workers)
    assert not (tmp_path / "set").exists()


ROOT = Path(__file__).resolve().parents[2]


# Scripts that build caches import the renderer alone, because the whole package takes seconds.
LIGHT_IMPORTS = f"""
import sys, types
for name in ("wecromcl_d2", "wecromcl_d2.data"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [{str(ROOT)!r} + "/" + name.replace(".", "/")]
from wecromcl_d2.data.synthetic import SceneRecipe, build_cache
"""


def _script(folder: Path, code: str) -> list[str]:
    path = folder / "script.py"
    path.write_text(LIGHT_IMPORTS + code, encoding="utf-8")
    return [sys.executable, str(path)]


def test_script_without_main_guard_ends_with_the_reason(tmp_path: Path) -> None:
    code = "build_cache(SceneRecipe(), 130, 'set', workers=2, progress=False)"
    command = _script(tmp_path, code)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 1
    assert "if __name__ == '__main__'" in done.stderr
    assert not (tmp_path / "set").exists()


def test_killed_builder_leaves_no_process_and_no_lock(tmp_path: Path) -> None:
    code = (
        "if __name__ == '__main__':\n"
        "    build_cache(SceneRecipe(), 100000, 'set', workers=2, progress=False)\n"
    )
    builder = subprocess.Popen(_script(tmp_path, code), cwd=tmp_path, stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    while not any(tmp_path.glob(".set.part-*/images/*.jpg")):
        assert time.monotonic() < end and builder.poll() is None, "the builder does not start"
        time.sleep(0.1)
    builder.kill()
    # The pipe ends when the last process that holds it does.
    builder.communicate(timeout=120)
    _build(tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["set"]
