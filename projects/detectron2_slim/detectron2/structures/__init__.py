"""Containers for instances and for padded images."""

# ruff: noqa: F401
from .image_list import ImageList
from .instances import Instances
