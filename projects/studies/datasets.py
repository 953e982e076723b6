"""Rendered datasets of the studies, beside those of the package."""

from dataclasses import replace

from wecromcl_d2.data.builtin import register_synthetic
from wecromcl_d2.data.synthetic.recipe import SceneRecipe

# Wide scenes, in which words of 40 characters can be read.
WIDE = SceneRecipe(size=(160, 320), num_words=(1, 5), font_heights=(14, 24), word_lengths=(1, 40))
TRAINING_LENGTHS = ((3, 8), (1, 25), (1, 40))
TRAINING_IMAGES = 6000


def register_datasets() -> None:
    """Register the datasets of long words, without rendering."""
    for lengths in TRAINING_LENGTHS:
        recipe = replace(WIDE, word_lengths=lengths)
        register_synthetic(f"synth_long_{lengths[1]}_train", recipe, TRAINING_IMAGES)
    register_synthetic("synth_long_40_val", replace(WIDE, split="val"), 100)
    register_synthetic("synth_long_40_test", replace(WIDE, split="test"), 300)
