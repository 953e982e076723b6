"""How a flat block lies in the image: bent, tilted out of the image plane, turned.

Frames: *canvas* pixels of the flat block; *plane*, the same centred, in image pixels before bend
and perspective; *image*, (x, y) with y down, relative to the block's centre until it is placed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

_SIDE_POINTS = 7  # vertices of the long side of a bent word's outline
_INK_MARGIN = 0.6  # image pixels between ink and outline


@dataclass(frozen=True)
class Bend:
    """A bend of the plane: one of three shapes, or none where all are 0.

    Attributes:
        arc: 1 / radius of the circle that a baseline follows, above 0 like a rainbow.
        wave: (amplitude, wave number, phase) of a baseline that waves.
        roll: 1 / radius of an upright cylinder that the block is stuck on.
    """

    arc: float = 0.0
    wave: tuple[float, float, float] = (0.0, 0.0, 0.0)
    roll: float = 0.0

    @property
    def is_flat(self) -> bool:
        """Whether nothing is bent."""
        return not (self.arc or self.wave[0] or self.roll)

    def forward(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From flat to bent coordinates."""
        if self.arc:
            radius = 1 / self.arc
            return (radius - y) * np.sin(x / radius), radius - (radius - y) * np.cos(x / radius)
        if self.roll:
            return np.sin(x * self.roll) / self.roll, y
        amplitude, number, phase = self.wave
        return x, y + amplitude * np.sin(number * x + phase)

    def backward(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From bent to flat coordinates."""
        if self.arc:
            radius = 1 / self.arc
            sign = math.copysign(1.0, radius)
            up = radius - y
            return radius * np.arctan2(sign * x, sign * up), radius - sign * np.hypot(x, up)
        if self.roll:
            turned = x * self.roll
            hidden = np.abs(turned) > 1
            return np.where(hidden, 1e6, np.arcsin(np.clip(turned, -1, 1)) / self.roll), y
        amplitude, number, phase = self.wave
        return x, y - amplitude * np.sin(number * x + phase)


@dataclass(frozen=True)
class Pose:
    """A block's place in space; angles in radians.

    Attributes:
        scale: (horizontal, vertical) image pixels per canvas pixel.
        shear: horizontal shift per vertical image pixel, as in slanted writing.
        bend: how the plane is bent.
        tilt: turns about the horizontal and the vertical axis.
        rotation: turn in the image plane, clockwise on the screen.
        focal: focal length in image pixels; shorter is stronger perspective.
    """

    scale: tuple[float, float]
    shear: float
    bend: Bend
    tilt: tuple[float, float]
    rotation: float
    focal: float

    def view(self) -> np.ndarray:
        """(3, 3) homography from the bent plane to the image."""
        sin_a, sin_b, sin_c = map(math.sin, (*self.tilt, self.rotation))
        cos_a, cos_b, cos_c = map(math.cos, (*self.tilt, self.rotation))
        tilted = np.array(
            [
                [cos_b, sin_a * sin_b, 0],
                [0, cos_a, 0],
                [-sin_b / self.focal, sin_a * cos_b / self.focal, 1],
            ]
        )
        return np.array([[cos_c, -sin_c, 0], [sin_c, cos_c, 0], [0, 0, 1]]) @ tilted

    def from_canvas(self, size: tuple[int, int]) -> np.ndarray:
        """(3, 3) matrix from the canvas of (height, width) pixels to the flat plane."""
        sx, sy = self.scale
        middle_x, middle_y = size[1] / 2, size[0] / 2
        skew = self.shear * sy
        return np.array(
            [[sx, skew, -sx * middle_x - skew * middle_y], [0, sy, -sy * middle_y], [0, 0, 1]]
        )

    def outline(self, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The outline in the image of a box of the canvas.

        Args:
            box: (x0, y0, x1, y1) in canvas pixels.
            size: (height, width) of the canvas.

        Returns:
            (n, 2) float64, clockwise from the box's own top-left; n = 4, or 14 when bent.
        """
        margin = _INK_MARGIN / np.array(self.scale)
        (left, top), (right, bottom) = box[:2] - margin, box[2:] + margin
        count = 2 if self.bend.is_flat else _SIDE_POINTS
        across = np.linspace(left, right, count)
        x = np.concatenate([across, across[::-1]])
        y = np.repeat([top, bottom], count)
        return self.to_image(np.stack([x, y], axis=1), size)

    def to_image(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Map (n, 2) points of a canvas of (height, width) pixels into the image."""
        flat = np.column_stack([points, np.ones(len(points))]) @ self.from_canvas(size).T
        bent = np.stack([*self.bend.forward(flat[:, 0], flat[:, 1]), flat[:, 2]], axis=1)
        seen = bent @ self.view().T
        return seen[:, :2] / seen[:, 2:]

    def warp(
        self, canvas: np.ndarray, origin: tuple[float, float], size: tuple[int, int]
    ) -> np.ndarray:
        """Draw a canvas into a patch of the image.

        Args:
            canvas: (h, w) or (h, w, channels), uint8 or float32; 0 lies around it.
            origin: (x, y) in the patch of the block's centre.
            size: (height, width) of the patch.
        """
        view = _translation(*origin) @ self.view()
        to_plane = self.from_canvas(canvas.shape[:2])
        if self.bend.is_flat:
            # OpenCV counts from the centre of the first pixel, we from its corner.
            matrix = _translation(-0.5, -0.5) @ view @ to_plane @ _translation(0.5, 0.5)
            return cv2.warpPerspective(canvas, matrix, size[::-1], flags=cv2.INTER_LINEAR)
        back = np.linalg.inv(view)
        x, y = np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5)
        depth = back[2, 0] * x + back[2, 1] * y + back[2, 2]
        plane_x = (back[0, 0] * x + back[0, 1] * y + back[0, 2]) / depth
        plane_y = (back[1, 0] * x + back[1, 1] * y + back[1, 2]) / depth
        flat = np.stack(self.bend.backward(plane_x, plane_y))
        inverse = np.linalg.inv(to_plane)
        maps = np.tensordot(inverse[:2, :2], flat, 1) + inverse[:2, 2][:, None, None] - 0.5
        map_x, map_y = maps.astype(np.float32)
        return cv2.remap(canvas, map_x, map_y, cv2.INTER_LINEAR)


def _translation(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)
