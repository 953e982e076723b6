"""PseudoBox: boxes cut from thresholded activation maps, whose centers take the place of peaks.

Our realisation of the idea that the name describes; the system itself is not public.

Letters: Q texts of an image, P peaks of a map, H x W cells.
"""

from dataclasses import fields
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from wecromcl_d2.stage1 import WeCromCL
from wecromcl_d2.stage1.peaks import PeakDecoder, ScaleMaps, find_peaks

# Cells of a box have at least this share of the peak's value.
THRESHOLD = 0.5


class BoxDecoder(PeakDecoder):
    """`PeakDecoder` whose points are the centers of boxes around the peaks."""

    def find(self, scale: ScaleMaps, count: int) -> tuple[Tensor, Tensor]:
        """(Q, count, 2) points in cells and (Q, count) values of the strongest peaks."""
        points, scores = find_peaks(scale.maps, count, self.window, self.ties)
        return box_centers(scale.maps, points, THRESHOLD), scores


@META_ARCH_REGISTRY.register()
class PseudoBoxWeCromCL(WeCromCL):
    """`WeCromCL` that places a word at the center of a box cut from its map.

    It is trained as `WeCromCL`; MODEL.WECROMCL.ANCHOR has no effect.

    Args:
        **parts: see `WeCromCL`.
    """

    @configurable
    def __init__(self, **parts: Any):
        super().__init__(**parts)
        rule = self.decode_peaks
        self.decode_peaks = BoxDecoder(**{f.name: getattr(rule, f.name) for f in fields(rule)})


def box_centers(maps: Tensor, points: Tensor, threshold: float) -> Tensor:
    """Centers of the boxes around the connected cells that are high enough, one for each peak.

    Args:
        maps: (Q, H, W) non-negative maps.
        points: (Q, P, 2) cell centers (x, y), see `find_peaks`.
        threshold: share of the peak's value that a cell of the box has at least.

    Returns:
        (Q, P, 2) points in cells.
    """
    cells = (points - 0.5).long().cpu().numpy()
    centers = np.empty(points.shape, np.float32)
    for q, own in enumerate(maps.float().cpu().numpy()):
        for p, (x, y) in enumerate(cells[q]):
            high = (own >= threshold * own[y, x]).astype(np.uint8)
            _, labels, boxes, _ = cv2.connectedComponentsWithStats(high, connectivity=4)
            left, top, width, height, _ = boxes[labels[y, x]]
            centers[q, p] = left + width / 2, top + height / 2
    return torch.from_numpy(centers).to(points)
