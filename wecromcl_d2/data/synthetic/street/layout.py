"""Which words stand where: blocks of text, their pose in space, and a free place for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from .fonts import FontPool, covers
from .lettering import Lettering, Line, Setting, set_block
from .pose import Bend, Pose
from .recipe import StreetRecipe
from .surface import BOARD_SHAPES
from .texts import TextSource, change_case

Rng = np.random.Generator

_CAP_HEIGHT = 0.72  # of the em: capitals and digits
_CELL = 4  # image pixels of a cell of the grid on which free places are looked up
_MARGIN = 1.0  # image pixels between a word and the image's border
_LARGEST_CANVAS = 500_000  # pixels; boards that were larger would fill the memory
_SKEW = 1.3  # above 1, low lines are more frequent than log-uniform heights give
_CANDIDATES = 5  # free places compared for one that is calm
_TRIES = 3  # heights tried for a block
_FAILURES = 6  # blocks without a place after which an image is full


@dataclass(frozen=True, eq=False)
class Block:
    """A block of text that has its place.

    Attributes:
        lettering: the flat block, with room for its board.
        pose: how it lies.
        board: the board's shape, or None.
        origin: (x, y) in the image of the block's centre.
        outlines: per word (n, 2), in the image.
        hull: (m, 2), the block's outline in the image, board included.
    """

    lettering: Lettering
    pose: Pose
    board: str | None
    origin: np.ndarray
    outlines: list[np.ndarray]
    hull: np.ndarray


@dataclass(frozen=True)
class Habit:
    """What the blocks of one image have in common: tilt and rotation of the camera, radians."""

    tilt: tuple[float, float]
    rotation: float

    @classmethod
    def draw(cls, rng: Rng) -> Habit:
        """A random habit; half of the images are seen from the front."""
        if rng.random() < 0.5:
            return cls((0.0, 0.0), float(rng.normal(0, 0.03)))
        side, up = rng.normal(0, 0.45), rng.normal(0, 0.2)
        return cls((float(np.clip(up, -0.8, 0.8)), float(np.clip(side, -1, 1))),
                   float(rng.normal(0, 0.1)))  # fmt: skip


class Layout:
    """Places blocks in one image.

    Args:
        rng: decides everything.
        recipe: heights and numbers of words.
        fonts: where fonts come from.
        texts: where words come from.
        tones: (height, width) luminance of the background; calm places are preferred.
    """

    def __init__(
        self,
        rng: Rng,
        recipe: StreetRecipe,
        fonts: FontPool,
        texts: TextSource,
        tones: np.ndarray,
    ) -> None:
        self._rng = rng
        self._recipe = recipe
        self._fonts = fonts
        self._texts = texts
        self._habit = Habit.draw(rng)
        rows, columns = (side // _CELL for side in recipe.image_size)
        self._taken = np.zeros((rows, columns), np.float32)
        small = cv2.resize(tones, (columns, rows), interpolation=cv2.INTER_AREA)
        self._sums = cv2.integral2(small, sdepth=cv2.CV_64F, sqdepth=cv2.CV_64F)
        self._used: set[str] = set()

    def place_all(self) -> list[Block]:
        """Blocks of as many words as the recipe wants, fewer where there is no room."""
        rng, (fewest, most) = self._rng, self._recipe.word_count
        wanted, blocks, count = int(rng.integers(fewest, most + 1)), [], 0
        low, high = np.log(self._recipe.height_range)
        # The first blocks are placed from high to low: the lowest find room between the others.
        shares = np.sort(rng.random(-(-wanted // 3)) ** _SKEW)[::-1]
        heights = np.exp(low + (high - low) * shares).tolist()
        failures = 0
        while count < wanted and failures < _FAILURES:
            height = (
                heights.pop(0) if heights else np.exp(low + (high - low) * rng.random() ** _SKEW)
            )
            block = self._place_block(float(height), wanted - count)
            if block is None:
                failures += 1
                high = low + 0.7 * (high - low)
            else:
                blocks.append(block)
                count += len(block.outlines)
        return blocks

    def ground(self, hull: np.ndarray) -> tuple[float, float]:
        """Mean and deviation of the background's luminance under a polygon's box."""
        cells = np.array(self._taken.shape[::-1])
        low = np.clip(np.floor(hull.min(axis=0) / _CELL).astype(int), 0, cells - 1)
        high = np.clip(np.ceil(hull.max(axis=0) / _CELL).astype(int), low + 1, cells)
        (x0, y0), (x1, y1) = low.tolist(), high.tolist()
        area = (x1 - x0) * (y1 - y0)
        mean, square = (
            float(s[y1, x1] - s[y0, x1] - s[y1, x0] + s[y0, x0]) / area for s in self._sums
        )
        return mean, max(0.0, square - mean**2) ** 0.5

    def _place_block(self, height: float, room: int) -> Block | None:
        rng = self._rng
        board = BOARD_SHAPES[int(rng.choice(4, p=(0.5, 0.22, 0.08, 0.2)))]
        board_or_none = board if rng.random() < 0.55 else None
        setting = self._draw_setting()
        lines = self._draw_lines(setting, height, room)
        if lines is None:
            return None
        pose = self._draw_pose(lines, board_or_none)
        pads = self._draw_pads(board_or_none)
        pads = np.minimum(pads, 0.35 * min(self._recipe.image_size) / height)
        floor = self._recipe.height_range[0]
        for _ in range(_TRIES):
            block, fit = self._try_block(lines, setting, pose, board_or_none, pads, height)
            if block is not None:
                self._claim(block)
                return block
            if height <= floor:
                return None
            height = max(float(floor), height * min(0.7, fit))
        return None

    def _draw_setting(self) -> Setting:
        rng = self._rng
        tracking = 0.0
        if rng.random() < 0.25:
            tracking = rng.uniform(-0.04, 0.12) if rng.random() < 0.8 else rng.uniform(0.12, 0.5)
        return Setting(
            tracking=tracking,
            word_gap=rng.uniform(0.2, 0.55),
            leading=rng.uniform(0.08, 0.6),
            align=(0.0, 0.5, 0.5, 1.0)[int(rng.integers(4))],
            stacked=rng.random() < 0.015,
            weight=rng.uniform(0.005, 0.045) if rng.random() < 0.4 else 0.0,
        )

    def _draw_lines(self, setting: Setting, height: float, room: int) -> tuple[Line, ...] | None:
        """Lines of words with fonts, sized for an image in which the first has this height."""
        rng = self._rng
        shape = self._draw_shape(setting, height, room)
        font, lines, share = None, [], 1.0
        for number, count in enumerate(shape):
            texts = self._draw_texts(count, setting.stacked)
            if not texts:
                continue
            if font is None or rng.random() < 0.2:
                font = self._fonts.draw(rng, "".join(texts))
                share = 1.0 if number == 0 else rng.uniform(0.5, 1.1)
            elif not covers(font, "".join(texts)):
                continue
            if font is None:
                continue
            lines.append((tuple(texts), font, share))
        if not lines:
            return None
        em = _canvas_em(height)
        floor = self._recipe.height_range[0] / height
        return tuple(
            Line(texts, font, max(8, round(em * max(share, min(1.0, floor)))))
            for texts, font, share in lines
        )

    def _draw_shape(self, setting: Setting, height: float, room: int) -> list[int]:
        """Numbers of words of the lines of a block."""
        rng = self._rng
        kind = rng.random()
        if room == 1 or kind < 0.35 or setting.stacked:
            return [1]
        # A word takes some four times its height in width, a line one and a half times.
        across = max(1, int(self._recipe.image_size[1] / (4 * height)))
        down = max(1, int(self._recipe.image_size[0] / (1.6 * height)))
        if kind < 0.6 or down == 1:
            return [int(rng.integers(1, 1 + min(room, across, 5)))]
        shape: list[int] = []
        for _ in range(int(rng.integers(2, 1 + max(2, min(down, 6))))):
            left = room - sum(shape)
            if left > 0:
                shape.append(int(rng.integers(1, 1 + min(left, across, 4))))
        return shape

    def _draw_texts(self, count: int, stacked: bool) -> list[str]:
        texts: list[str] = []
        for _ in range(4 * count):
            text = self._texts.draw(self._rng)
            if text.lower() in self._used or (stacked and len(text) > 9):
                continue
            self._used.add(text.lower())
            texts.append(text)
            if len(texts) == count:
                break
        return change_case(self._rng, texts)

    def _draw_pose(self, lines: tuple[Line, ...], board: str | None) -> Pose:
        """A pose at scale 1; bends are in units of the block's width until it is set."""
        rng = self._rng
        jitter = rng.normal(0, 0.12, 2)
        tilt = np.clip(np.array(self._habit.tilt) + jitter, -1.05, 1.05)
        kind = rng.random()
        turn = rng.normal(0, 0.05)
        if kind > 0.93:
            turn = rng.uniform(-np.pi / 2, np.pi / 2) if kind < 0.99 else rng.uniform(-np.pi, np.pi)
        elif kind > 0.75:
            turn = rng.uniform(-np.pi / 4, np.pi / 4)
        bend = Bend()
        if rng.random() < (0.06 if board else 0.16):
            bend = self._draw_bend(len(lines))
        shear = rng.normal(0, 0.12) if rng.random() < 0.2 else 0.0
        width = float(np.exp(rng.normal(0, 0.12)))
        return Pose((width, 1.0), shear, bend, (float(tilt[0]), float(tilt[1])),
                    float(self._habit.rotation + turn), rng.uniform(1.2, 4))  # fmt: skip

    def _draw_bend(self, lines: int) -> Bend:
        rng = self._rng
        kind = rng.random()
        if kind < 0.6:
            most = 2.6 if lines == 1 else 0.8
            sign = 1 if rng.random() < 0.65 else -1
            return Bend(arc=sign * rng.uniform(0.25, most))
        if kind < 0.8:
            number = rng.uniform(2, 7)
            return Bend(wave=(rng.uniform(0.1, 0.35) / number, number, rng.uniform(0, 6.3)))
        return Bend(roll=rng.uniform(0.8, 1.8))

    def _draw_pads(self, board: str | None) -> np.ndarray:
        """Room around the text in ems: left, top, right, bottom."""
        rng = self._rng
        if board is None:
            return np.zeros(4)
        pads = rng.uniform(-0.15, 0.7, 2)[[0, 1, 0, 1]]
        if board == "band":
            pads[[0, 2]] = rng.uniform(0, 6, 2)
        elif rng.random() < 0.25:
            pads += rng.uniform(0, 2, 4)
        return pads

    def _try_block(
        self,
        lines: tuple[Line, ...],
        setting: Setting,
        pose: Pose,
        board: str | None,
        pads: np.ndarray,
        height: float,
    ) -> tuple[Block | None, float]:
        """Set, pose and place a block; without room, None and the factor that makes it fit."""
        em = _canvas_em(height)
        lettering = _padded(set_block(_sized(lines, em), setting), pads, board)
        area = lettering.size[0] * lettering.size[1]
        if area > _LARGEST_CANVAS:
            em = int(em * (_LARGEST_CANVAS / area) ** 0.5)
            lettering = _padded(set_block(_sized(lines, em), setting), pads, board)
        scale = height / (_CAP_HEIGHT * em)
        pose = _scaled(pose, scale, lettering)
        size = lettering.size
        outlines = [pose.outline(box, size) for box in lettering.boxes]
        hull = pose.outline(np.array([0, 0, size[1], size[0]], np.float64), size)
        inner = np.concatenate(outlines)
        space = np.array(self._recipe.image_size[::-1]) - 2 * _MARGIN
        fit = float((space / np.ptp(inner, axis=0)).min())
        if fit < 1 or not _is_sound(outlines):
            return None, 0.95 * fit
        hull = hull if board is not None else _box(inner)
        shift = self._find_place(inner, hull, calm=board is None)
        if shift is None:
            return None, 1.0
        outlines = [pose.outline(box, size) + shift for box in lettering.ink_boxes()]
        return Block(lettering, pose, board, shift, outlines, hull + shift), 1.0

    def _find_place(self, inner: np.ndarray, hull: np.ndarray, calm: bool) -> np.ndarray | None:
        """A shift that brings words into the image and the hull to free cells."""
        rng, cells = self._rng, np.array(self._taken.shape[::-1])
        limit = cells * _CELL - _MARGIN - inner.max(axis=0)
        low, high = np.ceil((_MARGIN - inner.min(axis=0)) / _CELL), np.floor(limit / _CELL)
        low, high = low.astype(int), high.astype(int)
        if (high < low).any():
            return None
        # The template covers the part of the hull that can come to lie in the image.
        start = np.floor(hull.min(axis=0) / _CELL).astype(int)
        end = np.ceil(hull.max(axis=0) / _CELL).astype(int)
        start, end = np.maximum(start, -high), np.minimum(end, cells - low)
        width, height = (end - start).tolist()
        shape = np.zeros((height, width), np.uint8)
        points = np.round((hull / _CELL - start - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(shape, [points], 1, cv2.LINE_8, 4)
        cv2.polylines(shape, [points], True, 1, 1, cv2.LINE_8, 4)
        before, after = np.maximum(-(low + start), 0), np.maximum(high + end - cells, 0)
        (left, top), (right, bottom) = before.tolist(), after.tolist()
        padded = cv2.copyMakeBorder(
            self._taken, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0
        )
        origin = low + start + before
        reach = high - low + (width, height)
        window = padded[origin[1] : origin[1] + reach[1], origin[0] : origin[0] + reach[0]]
        overlap = cv2.matchTemplate(window, shape.astype(np.float32), cv2.TM_CCORR)
        free = np.flatnonzero(overlap < 0.5)
        if not len(free):
            return None
        picks = free[rng.integers(len(free), size=_CANDIDATES if calm else 1)]
        rows, columns = np.divmod(picks, overlap.shape[1])
        shifts = (np.stack([columns, rows], axis=1) + low) * _CELL
        rough = [self.ground(inner + shift)[1] for shift in shifts]
        return shifts[int(np.argmin(rough))].astype(np.float64)

    def _claim(self, block: Block) -> None:
        grown = [np.round((block.hull / _CELL - 0.5) * 16).astype(np.int32)]
        cv2.fillPoly(self._taken, grown, 1.0, cv2.LINE_8, 4)
        cv2.polylines(self._taken, grown, True, 1.0, 1, cv2.LINE_8, 4)


def _canvas_em(height: float) -> int:
    """Font size of the canvas for capitals of a height in the image: finer where they are low."""
    finer = 1.7 if height < 24 else 1.35 if height < 60 else 1.0
    return max(10, round(height / _CAP_HEIGHT * finer))


def _sized(lines: tuple[Line, ...], em: int) -> tuple[Line, ...]:
    """The lines, the first with this font size, the others in proportion."""
    first = lines[0].em
    return tuple(replace(line, em=max(6, round(line.em * em / first))) for line in lines)


def _padded(lettering: Lettering, pads: np.ndarray, board: str | None) -> Lettering:
    """The block with more, or less, empty canvas around it."""
    height, width = lettering.size
    if board == "oval":
        pads = pads + np.array([0.2 * width, 0.25 * height] * 2) / lettering.em
    tight = [lettering.boxes[:, :2].min(axis=0), lettering.boxes[:, 2:].max(axis=0)]
    least = 2 - np.array([*tight[0], width - tight[1][0], height - tight[1][1]])
    grow = np.maximum(np.round(pads * lettering.em), np.ceil(least)).astype(int)
    return lettering.padded(*grow.tolist())


def _scaled(pose: Pose, scale: float, lettering: Lettering) -> Pose:
    """The pose in image pixels, its bend and perspective in proportion to the text's width."""
    size = np.array(lettering.size[::-1])
    sx, sy = pose.scale[0] * scale, pose.scale[1] * scale
    text = lettering.boxes[:, 2].max() - lettering.boxes[:, 0].min()
    unit, bend = max(1.0, float(text) * sx), pose.bend
    amplitude, number, phase = bend.wave
    arc = bend.arc / unit
    if arc:
        # The inner side of the arc keeps a radius of a third of the block's height.
        tightest = 1 / (0.85 * size[1] * sy)
        arc = float(np.clip(arc, -tightest, tightest))
    roll = min(bend.roll / unit, 2.8 / (float(size[0]) * sx))
    bend = Bend(arc, (amplitude * unit, number / unit, phase), roll)
    focal = pose.focal * float(max(size * (sx, sy)))
    return replace(pose, scale=(sx, sy), bend=bend, focal=focal)


def _is_sound(outlines: Sequence[np.ndarray]) -> bool:
    """Whether all outlines run clockwise, as they do unless a point lies behind the camera."""
    return all(
        np.isfinite(o).all()
        and float(np.sum(o[:, 0] * np.roll(o[:, 1], -1) - o[:, 1] * np.roll(o[:, 0], -1))) > 0
        for o in outlines
    )


def _box(points: np.ndarray) -> np.ndarray:
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
