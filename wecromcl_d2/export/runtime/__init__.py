"""Exported models with numpy and onnxruntime alone, without PyTorch and Detectron2.

`wecromcl export-model` writes a copy of this folder, `wecromcl_onnx`, beside the graphs of a model:

    from wecromcl_onnx import OnnxSpotter
    result = OnnxSpotter(".")(image)   # an (H, W, 3) uint8 RGB array
"""

from .finder import OnnxAnchorFinder
from .spotter import OnnxSpotter

__all__ = ["OnnxAnchorFinder", "OnnxSpotter"]
