"""Rendered datasets of the studies, beside those of the package."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog

from wecromcl_d2.data.builtin import SYNTHETIC_DATASETS, register_synthetic
from wecromcl_d2.data.records import MappedRecords
from wecromcl_d2.data.synthetic.recipe import SceneRecipe

# Wide scenes, in which words of 40 characters can be read.
WIDE = SceneRecipe(size=(160, 320), num_words=(1, 5), font_heights=(14, 24), word_lengths=(1, 40))
TRAINING_LENGTHS = ((3, 8), (1, 25), (1, 40))
TRAINING_IMAGES = 6000

# Wide scenes of lines, each of 1 to 5 words and at most 39 characters.
LINES = replace(WIDE, word_lengths=(2, 7), line_words=(1, 5))

ALPHABETS = Path(__file__).parent / "alphabets"
# Fewest and most characters of a word of each script that has an alphabet.
SCRIPTS = {"arabic": (3, 8), "chinese": (2, 4), "devanagari": (3, 8)}
RIGHT_TO_LEFT = ("arabic",)
# Searched, with all folders below, for fonts that have the whole alphabet.
FONTS = os.environ.get("STUDIES_FONTS", "/usr/share/fonts")


def register_datasets() -> None:
    """Register the datasets of long words, lines and other scripts, without rendering.

    Those of a script are the datasets of the package with other words, such as
    `synth_arabic_scenes_train`; `synth_arabic_scenes_train_visual` has the same images, but its
    texts from left to right.
    """
    for lengths in TRAINING_LENGTHS:
        recipe = replace(WIDE, word_lengths=lengths)
        register_synthetic(f"synth_long_{lengths[1]}_train", recipe, TRAINING_IMAGES)
    for name, recipe in (("long_40", WIDE), ("lines", LINES)):
        register_synthetic(f"synth_{name}_val", replace(recipe, split="val"), 100)
        register_synthetic(f"synth_{name}_test", replace(recipe, split="test"), 300)
    register_synthetic("synth_lines_train", LINES, TRAINING_IMAGES)
    for script, lengths in SCRIPTS.items():
        characters = read_alphabet(script)
        for name, (recipe, count) in SYNTHETIC_DATASETS.items():
            if recipe.vocabulary_size is None:
                of_script = name.replace("synth", f"synth_{script}", 1)
                if script in RIGHT_TO_LEFT:
                    load = partial(_load_reversed, of_script)
                    DatasetCatalog.register(f"{of_script}_visual", load)
                own = replace(recipe, characters=characters, fonts=FONTS, word_lengths=lengths)
                register_synthetic(of_script, own, count)


def reverse_texts(record: dict[str, Any]) -> dict[str, Any]:
    """The record with its texts as they stand in the image from left to right."""
    return record | {"texts": [text[::-1] for text in record["texts"]]}


def _load_reversed(name: str) -> MappedRecords:
    return MappedRecords(DatasetCatalog.get(name), reverse_texts)


def read_alphabet(script: str) -> str:
    """The characters of a script, one a line of its file."""
    return "".join((ALPHABETS / f"{script}.txt").read_text(encoding="utf-8").split())
