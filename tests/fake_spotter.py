"""A spotter without weights, for tests of the code around a spotter.

It reads the words that `paint` has drawn: rows of 8x8 blocks, one per character, whose red value
is the character, on a background without green. A word that is cut by a tile is read in part.
"""

import cv2
import numpy as np
import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances

from wecromcl_d2.data.text import TextList

BLOCK = 8
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CONFIG = """
TASK: "spotting"
MODEL:
  META_ARCHITECTURE: "BlockSpotter"
  DEVICE: "cpu"
INPUT:
  FORMAT: "{order}"
  MIN_SIZE_TEST: {side}
  MAX_SIZE_TEST: 100000
TEST:
  SPOTTING_THRESHOLD: 0.5
"""


def paint(image, word, left, top, score=200, block=BLOCK, vertical=False):
    """Write a word into an RGB array; its score is that of 255."""
    for place, letter in enumerate(word):
        x, y = (left, top + place * block) if vertical else (left + place * block, top)
        image[y : y + block, x : x + block] = (4 * LETTERS.index(letter) + 50, 255, score)


@META_ARCH_REGISTRY.register()
class BlockSpotter(torch.nn.Module):
    """Notes the sizes of the batches it gets."""

    @configurable
    def __init__(self, *, order, lines):
        super().__init__()
        self.order, self.lines = order, lines
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.batches = []

    @classmethod
    def from_config(cls, cfg):
        return {"order": cfg.INPUT.FORMAT, "lines": True}

    def forward(self, batched_inputs):
        assert not self.training
        assert not torch.is_grad_enabled()
        self.batches.append([tuple(x["image"].shape[1:]) for x in batched_inputs])
        return [{"instances": self.read(x)} for x in batched_inputs]

    def read(self, x):
        pixels = x["image"].numpy()
        red, green, blue = pixels if self.order == "RGB" else pixels[::-1]
        marked = (green > 127).astype(np.uint8)
        _, _, boxes, _ = cv2.connectedComponentsWithStats(marked, connectivity=4)
        words = [w for w in (self.read_box(red, blue, box) for box in boxes[1:]) if w]
        scale = np.array([x["width"] / red.shape[1], x["height"] / red.shape[0]])
        result = Instances((x["height"], x["width"]))
        lines = np.array([w[1] for w in words]).reshape(-1, 2, 2) * scale
        result.pred_points = torch.from_numpy(lines.mean(axis=1))
        result.pred_texts = TextList(w[0] for w in words)
        scores = torch.tensor([w[2] for w in words])
        result.scores, result.det_scores, result.rec_scores = scores, scores, scores
        if self.lines:
            result.pred_polylines = torch.from_numpy(lines)
        return result

    @staticmethod
    def read_box(red, blue, box):
        left, top, width, height = box[:4].tolist()
        vertical = height > width
        count = max(height, width) // BLOCK
        along = (np.arange(count) + 0.5) * BLOCK
        across = np.full(count, min(height, width) / 2)
        centers = np.stack([across, along] if vertical else [along, across], axis=1)
        centers += np.array([left, top])
        if not count:
            return None
        columns, rows = centers.astype(int).T
        text = "".join(LETTERS[round((int(v) - 50) / 4)] for v in red[rows, columns])
        return text, centers[[0, -1]], float(blue[rows[0], columns[0]]) / 255


def write_model(folder, order="RGB", side=0):
    """Config and weights of a `BlockSpotter` in a folder."""
    (folder / "config.yaml").write_text(CONFIG.format(order=order, side=side), encoding="utf-8")
    torch.save({"model": {"weight": torch.ones(3)}}, folder / "model.pth")
    return folder / "config.yaml", folder / "model.pth"
