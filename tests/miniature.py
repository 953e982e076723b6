"""Miniatures of the eight published sets: rendered scenes, ground truth in their own formats."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from wecromcl_d2.data.datasets import read_labels
from wecromcl_d2.data.synthetic import SceneRecipe
from wecromcl_d2.data.synthetic.cache import build_cache

# Per image: its pixels, its words and their corners, clockwise from the upper left.
Scene = tuple[Image.Image, list[tuple[str, np.ndarray]]]
# What each split of a miniature has.
IMAGES = 3


def render_scenes(folder: Path, count: int) -> list[Scene]:
    """Scenes of two to four words in a folder of their own."""
    recipe = SceneRecipe(size=(128, 160), num_words=(2, 4), difficulty=0.0, word_lengths=(3, 6))
    labels = build_cache(recipe, count, folder, workers=1, progress=False)
    scenes = []
    for record in read_labels(labels):
        corners = [np.array(p).reshape(-1, 2) for p in record["polygons"]]
        quads = [np.stack([c[0], c[len(c) // 2 - 1], c[len(c) // 2], c[-1]]) for c in corners]
        with Image.open(record["file_name"]) as image:
            scenes.append((image.convert("RGB"), list(zip(record["texts"], quads, strict=True))))
    return scenes


def build_all(root: Path, scenes: Sequence[Scene]) -> None:
    """Every set below a folder, as it is downloaded and unpacked."""
    assert len(scenes) >= 2 * IMAGES
    train, test = scenes[:IMAGES], scenes[IMAGES : 2 * IMAGES]
    build_icdar2013(root / "icdar2013", train, test)
    build_icdar2015(root / "icdar2015", train, test)
    build_totaltext(root / "totaltext", train, test)
    build_ctw1500(root / "ctw1500", train, test)
    build_synthtext(root / "synthtext", train)
    build_curvedsyntext(root / "curvedsyntext", train)
    build_mlt(root / "mlt2017", "ch8_training_images", train, "gt_img_{}")
    build_mlt(root / "mlt2017", "ch8_validation_images", test, "gt_img_{}")
    build_mlt(root / "mlt2019", "train_images", train, "tr_img_{:05d}")


def flat(points: np.ndarray) -> str:
    """Whole coordinates with commas."""
    return ",".join(str(round(float(value))) for value in np.asarray(points).ravel())


def outline(corners: np.ndarray, side: int) -> np.ndarray:
    """Corners as an outline of `2 * side` vertices."""
    times = np.linspace(0, 1, side)[:, None]
    upper = corners[0] * (1 - times) + corners[1] * times
    lower = corners[2] * (1 - times) + corners[3] * times
    return np.concatenate([upper, lower])


def save_images(folder: Path, names: Sequence[str], scenes: Sequence[Scene]) -> None:
    """The scenes' pixels under given names."""
    folder.mkdir(parents=True)
    for name, (image, _) in zip(names, scenes, strict=True):
        image.save(folder / name)


def write_zip(path: Path, files: Mapping[str, str], encoding: str = "utf-8") -> None:
    """Text files as an archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text.encode(encoding))


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """A text file of a line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def truth(
    scene: Scene, line: Callable[[str, np.ndarray], str], end: str = "\n", unreadable: int = 1
) -> str:
    """One line a word, the last of which nobody can read."""
    readable = len(scene[1]) - unreadable
    words = [(text if n < readable else "###", c) for n, (text, c) in enumerate(scene[1])]
    return "".join(line(text, corners) + end for text, corners in words)


def build_icdar2013(root: Path, train: Sequence[Scene], test: Sequence[Scene]) -> None:
    """Boxes, with blanks for training and with commas for testing; two words in quotes."""

    def box(corners: np.ndarray) -> list[str]:
        return flat([corners.min(axis=0), corners.max(axis=0)]).split(",")

    for scenes, split, first, name, separator in (
        (train, "Training", 100, "{}", " "),
        (test, "Test", 1, "img_{}", ", "),
    ):
        names = [name.format(first + number) for number in range(len(scenes))]
        save_images(root / f"Challenge2_{split}_Task12_Images", [f"{n}.jpg" for n in names], scenes)
        files = {
            f"gt_{n}.txt": truth(
                s, lambda t, c, separator=separator: separator.join([*box(c), f'"{t}"']), "\r\n"
            )
            for n, s in zip(names, scenes, strict=True)
        }
        write_zip(root / f"Challenge2_{split}_Task1_GT.zip", files)
    _write_icdar_lexicons(root / "lexicons", "ch2", test)


def build_icdar2015(root: Path, train: Sequence[Scene], test: Sequence[Scene]) -> None:
    """Quadrilaterals behind a byte-order mark, with the line ends of Windows."""
    for scenes, images, archive in (
        (train, "ch4_training_images", "ch4_training_localization_transcription_gt.zip"),
        (test, "ch4_test_images", "Challenge4_Test_Task4_GT.zip"),
    ):
        names = [f"img_{number}" for number in range(1, len(scenes) + 1)]
        save_images(root / images, [f"{name}.jpg" for name in names], scenes)
        files = {
            f"gt_{name}.txt": truth(scene, lambda t, c: f"{flat(c)},{t}", "\r\n")
            for name, scene in zip(names, scenes, strict=True)
        }
        # As in some published images, nobody can read anything in the last one.
        nothing = truth(scenes[-1], lambda t, c: f"{flat(c)},{t}", "\r\n", len(scenes[-1][1]))
        files[f"gt_{names[-1]}.txt"] = nothing
        write_zip(root / archive, files, "utf-8-sig")
    _write_icdar_lexicons(root / "lexicons", "ch4", test)


def _write_icdar_lexicons(folder: Path, challenge: str, scenes: Sequence[Scene]) -> None:
    words = sorted({text.upper() for _, own in scenes for text, _ in own})
    write_lines(folder / "GenericVocabulary_new.txt", [*words, "ELSEWHERE"])
    write_lines(folder / "GenericVocabulary_pair_list.txt", [f"{w} {w}" for w in words])
    write_lines(folder / f"{challenge}_test_vocabulary_new.txt", words)
    write_lines(folder / f"{challenge}_test_vocabulary_pair_list.txt", [f"{w} {w}" for w in words])
    strong = {}
    for number, (_, own) in enumerate(scenes, start=1):
        listed = [text.upper() for text, _ in own]
        strong[f"new_voc_img_{number}.txt"] = "".join(f"{word}\r\n" for word in listed)
        strong[f"pair_voc_img_{number}.txt"] = "".join(f"{word} {word}\r\n" for word in listed)
    write_zip(folder / "new_strong_lexicon.zip", strong, "utf-8-sig")


def build_totaltext(root: Path, train: Sequence[Scene], test: Sequence[Scene]) -> None:
    """MATLAB tables for training, native text for testing; unreadable words are `#`."""
    folders = root / "Images" / "Train", root / "Images" / "Test"
    names = [[f"img{first + n}" for n in range(IMAGES)] for first in (11, 1)]
    for folder, own, scenes in zip(folders, names, (train, test), strict=True):
        save_images(folder, [f"{name}.jpg" for name in own], scenes)
    for name, (_, words) in zip(names[0], train, strict=True):
        table = np.empty((len(words), 6), dtype=object)
        for row, (text, corners) in enumerate(words):
            xs, ys = np.round(outline(corners, 3)).astype(np.int16).T[:, None]
            table[row] = "x:", xs, "y:", ys, text, "m"
        table[-1, 4:] = "#", "#"
        path = root / "Groundtruth" / "Polygon" / "Train" / f"poly_gt_{name}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {"polygt": table})

    def line(text: str, corners: np.ndarray) -> str:
        xs, ys = (" ".join(flat(values).split(",")) for values in outline(corners, 3).T)
        text = text.replace("###", "#")
        return f"x: [[{xs}]], y: [[{ys}]], ornt: [u'm'], transcriptions: [u'{text}']"

    for name, scene in zip(names[1], test, strict=True):
        path = root / "Groundtruth" / "Polygon" / "Test" / f"poly_gt_{name}.txt"
        write_lines(path, truth(scene, line).splitlines())
    words = sorted({text for _, own in test for text, _ in own})
    write_lines(root / "lexicons" / "weak_voc_new.txt", [word.upper() for word in words])
    pairs = [f"{word.upper()} {word}" for word in words]
    write_lines(root / "lexicons" / "weak_voc_pair_list.txt", pairs)


def build_ctw1500(root: Path, train: Sequence[Scene], test: Sequence[Scene]) -> None:
    """Lines of text with 14 vertices: XML for training, text for testing."""
    save_images(root / "train_images", [f"{n:04d}.jpg" for n in range(1, len(train) + 1)], train)
    for number, (_, words) in enumerate(train, start=1):
        boxes = "".join(
            f'<box height="9" left="1" top="1" width="9"><label>{text}</label>'
            f"<segs>{flat(outline(corners, 7))}</segs></box>"
            for text, corners in words
        )
        content = f'<Annotations><image file="{number:04d}.jpg">{boxes}</image></Annotations>'
        write_lines(root / "ctw1500_train_labels" / f"{number:04d}.xml", [content])
    save_images(root / "test_images", [f"{n}.jpg" for n in range(1001, 1001 + len(test))], test)
    files = {
        f"{1000 + number:07d}.txt": truth(scene, lambda t, c: f"{flat(outline(c, 7))},####{t}")
        for number, scene in enumerate(test, start=1)
    }
    write_zip(root / "gt_ctw1500.zip", files)
    words = sorted({text for _, own in test for text, _ in own})
    write_lines(root / "lexicons" / "weak_voc_new.txt", words)


def build_synthtext(root: Path, scenes: Sequence[Scene]) -> None:
    """One MATLAB file for all images."""
    names = [f"8/scene_{number}.jpg" for number in range(len(scenes))]
    save_images(root / "SynthText" / "8", [Path(name).name for name in names], scenes)
    columns = np.empty((3, 1, len(scenes)), dtype=object)
    for number, (name, (_, words)) in enumerate(zip(names, scenes, strict=True)):
        boxes = np.stack([corners.T for _, corners in words], axis=2)
        columns[:, 0, number] = name, boxes, np.array([text for text, _ in words])
    content = dict(zip(("imnames", "wordBB", "txt"), columns, strict=True))
    savemat(root / "SynthText" / "gt.mat", content)


def build_curvedsyntext(root: Path, scenes: Sequence[Scene]) -> None:
    """Two parts of JSON with Bezier outlines and coded words."""
    for part, images in (("syntext1", "syntext_word_eng"), ("syntext2", "emcs_imgs")):
        names = [f"{number:07d}.jpg" for number in range(len(scenes))]
        save_images(root / part / images, names, scenes)
        listed, annotations = [], []
        for number, (name, (image, words)) in enumerate(zip(names, scenes, strict=True)):
            size = {"height": image.height, "width": image.width}
            listed.append({"id": number, "file_name": name} | size)
            for text, corners in words:
                codes = [ord(character) - 32 for character in text]
                annotation = {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [1, 1, 9, 9],
                    "bezier_pts": outline(corners, 4).ravel().tolist(),
                    "rec": codes + [96] * (25 - len(codes)),
                }
                annotations.append(annotation)
        content = {"images": listed, "annotations": annotations, "categories": []}
        (root / part / "train.json").write_text(json.dumps(content), encoding="utf-8")


def build_mlt(root: Path, images: str, scenes: Sequence[Scene], name: str) -> None:
    """Quadrilaterals with a script; images of several formats."""
    suffixes = [(".jpg", ".png", ".gif")[number % 3] for number in range(len(scenes))]
    stems = [name.format(number).removeprefix("gt_") for number in range(1, len(scenes) + 1)]
    save_images(
        root / images, [stem + suffix for stem, suffix in zip(stems, suffixes, strict=True)], scenes
    )
    archive = {
        "ch8_training_images": "ch8_training_localization_transcription_gt_v2.zip",
        "ch8_validation_images": "ch8_validation_localization_transcription_gt_v2.zip",
    }.get(images, "train_gts.zip")
    files = {
        f"{name.format(number)}.txt": truth(scene, lambda t, c: f"{flat(c)},Latin,{t}")
        for number, scene in enumerate(scenes, start=1)
    }
    write_zip(root / archive, files, "utf-8-sig")
