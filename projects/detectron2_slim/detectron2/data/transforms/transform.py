"""Transforms of images and coordinates that fvcore does not have."""

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from fvcore.transforms.transform import BlendTransform, Transform
from PIL import Image
from torch.nn.functional import interpolate

with suppress(ImportError):  # only rotation needs OpenCV
    import cv2

_TORCH_MODES = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # by Pillow's constants


class ResizeTransform(Transform):
    """Resize by Pillow (uint8, antialiased) or by torch (floats, not antialiased)."""

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None) -> None:
        """From size (h, w) to (new_h, new_w); `interp` is Pillow's constant, bilinear if None."""
        interp = Image.Resampling.BILINEAR if interp is None else interp
        self._set_attributes(locals())

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize (h, w) or (h, w, C) pixels, or (h, w, C, N) of floats."""
        assert img.shape[:2] == (self.h, self.w), f"{img.shape}, but made for {self.h, self.w}"
        size, interp = (self.new_h, self.new_w), self.interp if interp is None else interp
        if img.dtype == np.uint8:
            one_channel = img.shape[2:] == (1,)
            resized = Image.fromarray(img[:, :, 0] if one_channel else img)
            pixels = np.asarray(resized.resize(size[::-1], interp))
            return pixels[:, :, None] if one_channel else pixels
        planes = torch.from_numpy(np.ascontiguousarray(img)).reshape(1, self.h, self.w, -1)
        planes = interpolate(planes.permute(0, 3, 1, 2), size, mode=_TORCH_MODES[interp])
        return planes[0].permute(1, 2, 0).reshape(*size, *img.shape[2:]).numpy()

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale (N, 2) points in place."""
        coords[:] = coords * (self.new_w / self.w, self.new_h / self.h)
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize (h, w) labels without mixing them."""
        return self.apply_image(segmentation, interp=Image.Resampling.NEAREST)

    def inverse(self) -> Transform:
        """The resize back."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


class RotationTransform(Transform):
    """Rotate around a center, counter-clockwise as seen on the screen."""

    def __init__(
        self,
        h: int,
        w: int,
        angle: Any,
        expand: bool = True,
        center: Any = None,
        interp: Any = None,
    ) -> None:
        """Rotate an image of size (h, w).

        Args:
            h: height.
            w: width.
            angle: degrees.
            expand: grow the canvas so that nothing is cut off.
            center: (x, y), the image's center if None; without effect on an expanded canvas.
            interp: OpenCV's constant, linear if None.
        """
        image_center = np.array((w / 2, h / 2))
        center = image_center if center is None else center
        interp = cv2.INTER_LINEAR if interp is None else interp
        cos, sin = abs(np.cos(np.deg2rad(angle))), abs(np.sin(np.deg2rad(angle)))
        bounds = (h * sin + w * cos, h * cos + w * sin) if expand else (w, h)
        bound_w, bound_h = np.rint(bounds).astype(int).tolist()
        self._set_attributes(locals())
        self.rm_coords = self.create_rotation_matrix()
        # The origin of warpAffine is the center of a pixel, half a pixel away from ours.
        self.rm_image = self.create_rotation_matrix(offset=-0.5)

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Rotate (h, w) or (h, w, C) pixels onto a canvas of (bound_h, bound_w)."""
        assert img.shape[:2] == (self.h, self.w), f"{img.shape}, but made for {self.h, self.w}"
        flags = self.interp if interp is None else interp
        return cv2.warpAffine(img, self.rm_image, (self.bound_w, self.bound_h), flags=flags)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Rotate (N, 2) points; returns float64."""
        return np.asarray(coords, dtype=float) @ self.rm_coords[:, :2].T + self.rm_coords[:, 2]

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Rotate (h, w) labels without mixing them."""
        return self.apply_image(segmentation, interp=cv2.INTER_NEAREST)

    def create_rotation_matrix(self, offset: float = 0) -> np.ndarray:
        """The 2x3 matrix in a frame whose origin is `offset` away from the image's corner."""
        center = float(self.center[0] + offset), float(self.center[1] + offset)
        matrix = cv2.getRotationMatrix2D(center, self.angle, 1)
        if self.expand:
            canvas_center = np.array([self.bound_w, self.bound_h]) / 2 + offset
            matrix[:, 2] += canvas_center - matrix @ [*(self.image_center + offset), 1.0]
        return matrix


class ColorTransform(BlendTransform):
    """A change of pixel values that leaves every place where it is, as a blend does."""

    def __init__(self, op: Any) -> None:
        """Apply `op`, which takes and returns an array."""
        if not callable(op):
            raise ValueError(f"op must be callable, got {op!r}")
        self.op = op

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The changed pixels."""
        return self.op(img)
