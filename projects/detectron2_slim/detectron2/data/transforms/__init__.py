"""Image transforms, which are deterministic, and augmentations, which choose them.

Coordinates are continuous: points are (x, y) in [0, W] x [0, H], boxes (x0, y0, x1, y1) in the
same frame.
"""

# ruff: noqa: F403, I001
from fvcore.transforms.transform import *
from .transform import *
from .augmentation import *
