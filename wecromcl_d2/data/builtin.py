"""The built-in synthetic datasets: rendered on first use, never downloaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from .datasets import dataset_root, load_dataset
from .records import LabelRecords
from .synthetic.cache import build_cache
from .synthetic.recipe import SceneRecipe

# A closed vocabulary of 50 words in all splits, for small spotters that memorise whole words.
_CLOSED = SceneRecipe(
    size=(160, 224),
    difficulty=0.25,
    num_words=(2, 5),
    font_heights=(18, 30),
    word_lengths=(3, 6),
    vocabulary_size=50,
    vocabulary_split="train",
)

# Name -> recipe and number of images. Except in the closed sets, no two splits share a word.
SYNTHETIC_DATASETS: dict[str, tuple[SceneRecipe, int]] = {
    "synth_words_clean_train": (SceneRecipe(family="words", size=(32, 96), difficulty=0.0), 4000),
    "synth_words_train": (SceneRecipe(family="words", size=(32, 96), difficulty=0.25), 4000),
    "synth_groups_train": (SceneRecipe(size=(64, 112), num_words=(1, 3)), 8000),
    "synth_scenes_train": (SceneRecipe(), 6000),
    "synth_dense_scenes_train": (SceneRecipe(seed=1, num_words=(5, 11)), 6000),
    "synth_scenes_val": (SceneRecipe(split="val"), 100),
    "synth_scenes_test": (SceneRecipe(split="test"), 300),
    "synth_closed_train": (_CLOSED, 6000),
    "synth_closed_val": (replace(_CLOSED, split="val"), 100),
    "synth_closed_test": (replace(_CLOSED, split="test"), 300),
}


def register_synthetic(name: str, recipe: SceneRecipe, count: int, **metadata: Any) -> None:
    """Register a rendered dataset; its first use renders it into `<root>/synthetic/<name>`."""

    def load() -> LabelRecords:
        labels = build_cache(recipe, count, dataset_root() / "synthetic" / name)
        return load_dataset(name, labels)

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(**metadata)


def register_builtin_datasets() -> None:
    """Register every dataset of `SYNTHETIC_DATASETS`, without rendering."""
    for name, (recipe, count) in SYNTHETIC_DATASETS.items():
        register_synthetic(name, recipe, count)
