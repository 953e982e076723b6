"""Anchor points: the peaks of soft activation maps.

Letters: Q texts of an image, P peaks per map, H x W cells.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from detectron2.structures import Instances
from torch import Tensor

from ..config import check_choice
from ..data.text import TextList

# Additional peaks per map that `assign_distinct_peaks` may choose from.
SPARE_PEAKS = 5


@dataclass(frozen=True)
class ScaleMaps:
    """What the model sees of an image's Q texts at one scale, or of N images' with another axis.

    Attributes:
        maps: (Q, H, W) soft activation maps.
        similarity: (Q,) cosines of region and text.
        input_size: (height, width) of the image at this scale, in pixels.
        candidates: (Q, P) cosines of the surroundings of each map's P strongest peaks and its text,
            among which a word takes the highest, or None: it takes the strongest peak.
    """

    maps: Tensor
    similarity: Tensor
    input_size: tuple[int, int]
    candidates: Tensor | None = None

    def of_image(self, number: int, count: int) -> "ScaleMaps":
        """The first `count` texts of one of N images."""
        own = None if self.candidates is None else self.candidates[number, :count]
        maps, similarity = self.maps[number, :count], self.similarity[number, :count]
        return ScaleMaps(maps, similarity, self.input_size, own)


@dataclass(frozen=True)
class PeakDecoder:
    """The rule that turns the activation maps of an image into its anchor points.

    Attributes:
        stride: side of a cell in pixels of the network input.
        window: side in cells of the window whose maximum a peak must be, odd.
        ties: "first" or "all", which of equal cells in a window are peaks; see `find_peaks`.
        anchor: "peak", the center of the peak's cell, or "mean", see `mean_of_peaks`.
        distance: least distance in cells between the words of an image, see
            `assign_distinct_peaks`; 0 decodes each word by itself.

    Raises:
        ValueError: for an even window or an unknown choice.
    """

    stride: int
    window: int
    ties: str
    anchor: str
    distance: float

    def __post_init__(self) -> None:
        if self.window % 2 == 0:
            raise ValueError(f"MODEL.WECROMCL.PEAK_WINDOW must be odd, not {self.window}")
        check_choice("MODEL.WECROMCL.PEAK_TIES", self.ties, ("first", "all"))
        check_choice("MODEL.WECROMCL.ANCHOR", self.anchor, ("peak", "mean"))

    def __call__(
        self,
        scales: Sequence[ScaleMaps],
        texts: Sequence[str],
        keys: Sequence[str],
        input_size: tuple[int, int],
        image_size: tuple[int, int],
    ) -> Instances:
        """The anchors of one image, each from the scale where its word is most similar.

        Args:
            scales: maps of the image at each scale of the pyramid.
            texts: Q transcriptions as given.
            keys: Q keys, see `Charset.key`; the n-th of equal keys gets the n-th peak, by strength
                or by similarity.
            input_size: (height, width) of the network input, whose cells are the unit of
                `distance` and the grid of the returned maps.
            image_size: (height, width) of the original image.

        Returns:
            Instances with `pred_points` (Q, 2), float64, in pixels of the original image, `scores`
            (Q,), `peak_over_flat` (Q,), score times number of cells, `similarity` (Q,),
            `pred_maps` (Q, H, W), and `pred_texts`.
        """
        similarity = torch.stack([scale.similarity for scale in scales])
        best = similarity.argmax(0)
        row = torch.arange(len(texts), device=best.device)
        ranks = [keys[:i].count(key) for i, key in enumerate(keys)]
        count = max(ranks) + 1 + (SPARE_PEAKS if self.distance else 0)
        peaks = [self._ranked(scale, count) for scale in scales]
        points, scores, worth = (
            torch.stack(values)[best, row] for values in zip(*peaks, strict=True)
        )
        # Pixels of the input at each word's scale, over those of the network input.
        shrink = points.new_tensor(
            [[w / input_size[1], h / input_size[0]] for h, w in (s.input_size for s in scales)]
        )[best]
        if self.distance:
            places = points / shrink[:, None]
            ranks = assign_distinct_peaks(places, worth, keys, self.distance)
        rank = torch.tensor(ranks, device=best.device)
        (height, width) = image_size
        to_image = points.new_tensor(
            [[width / w, height / h] for h, w in (s.input_size for s in scales)],
            dtype=torch.float64,
        )[best]
        pixels = points[row, rank].double() * self.stride * to_image
        instances = Instances(image_size)
        instances.pred_points = torch.minimum(pixels, pixels.new_tensor([width, height]))
        instances.scores = scores[row, rank]
        cells = best.new_tensor([scale.maps[0].numel() for scale in scales])[best]
        instances.peak_over_flat = (instances.scores.double() * cells).float()
        instances.similarity = similarity[best, row]
        instances.pred_maps = _maps_on_one_grid(scales, best, self._grid(input_size))
        instances.pred_texts = TextList(texts)
        return instances

    def cut(self, maps: Tensor, similarity: Tensor, input_size: tuple[int, int]) -> ScaleMaps:
        """The maps of a padded network input without the cells of padding.

        Args:
            maps: (..., Q, H, W).
            similarity: (..., Q).
            input_size: (height, width) before the padding.
        """
        return ScaleMaps(self.cut_cells(maps, input_size), similarity, input_size)

    def cut_cells(self, cells: Tensor, input_size: tuple[int, int]) -> Tensor:
        """Values (..., H, W) of a padded network input without the cells of padding."""
        height, width = self._grid(input_size)
        return cells[..., :height, :width]

    def _grid(self, input_size: tuple[int, int]) -> tuple[int, int]:
        return math.ceil(input_size[0] / self.stride), math.ceil(input_size[1] / self.stride)

    def find(self, scale: ScaleMaps, count: int) -> tuple[Tensor, Tensor]:
        """(Q, count, 2) points in cells and (Q, count) values of the strongest peaks."""
        points, scores = find_peaks(scale.maps, count, self.window, self.ties)
        if self.anchor == "mean":
            points = mean_of_peaks(scale.maps, points, self.window)
        return points, scores

    def _ranked(self, scale: ScaleMaps, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """What `find` gives and the worth (Q, count) of each peak, best first; 0 for no peak.

        The worth is the peak over a flat map, by which words compare exactly as by their scores
        where all come from one scale, or above all of these the similarity of a candidate.
        """
        if scale.candidates is None:
            points, scores = self.find(scale, count)
            return points, scores, scores.double() * scale.maps[0].numel()
        number = scale.candidates.shape[1]
        points, scores = self.find(scale, max(count, number))
        contrast = scores.double() * scale.maps[0].numel()
        worth = contrast / (1 + contrast)
        worth[:, :number] = torch.where(scores[:, :number] > 0, 2 + scale.candidates.double(), 0)
        worth, order = worth.sort(dim=1, descending=True, stable=True)
        worth, order = worth[:, :count], order[:, :count]
        points = points.gather(1, order[..., None].expand(-1, -1, 2))
        return points, scores.gather(1, order), worth


def no_anchors(image_size: tuple[int, int], device: torch.device) -> Instances:
    """What `PeakDecoder` gives for an image without texts."""
    instances = Instances(image_size)
    instances.pred_points = torch.zeros(0, 2, dtype=torch.float64, device=device)
    for name in ("scores", "peak_over_flat", "similarity"):
        instances.set(name, torch.zeros(0, device=device))
    instances.pred_maps = torch.zeros(0, 0, 0, device=device)
    instances.pred_texts = TextList([])
    return instances


def _maps_on_one_grid(scales: Sequence[ScaleMaps], best: Tensor, grid: tuple[int, int]) -> Tensor:
    """(Q, H, W) each word's map of its best scale (Q,), resampled if the grid is another one."""
    result = torch.zeros(0, device=best.device)
    for number, scale in enumerate(scales):
        maps = scale.maps
        if maps.shape[1:] != grid:
            share = maps[0].numel() / (grid[0] * grid[1])
            maps = F.interpolate(maps[None], grid, mode="bilinear")[0] * share
        result = maps if number == 0 else torch.where(best[:, None, None] == number, maps, result)
    return result


def find_peaks(maps: Tensor, count: int, window: int, ties: str = "first") -> tuple[Tensor, Tensor]:
    """The strongest local maxima of each map.

    A cell is a peak if it is the maximum of the window around it. If a map has
    fewer than `count` peaks, the remaining values are zero.

    Args:
        maps: (..., H, W) non-negative maps.
        count: peaks per map.
        window: side of the window in cells, odd.
        ties: of equal cells in one window, "first" takes the first in row-major order, and the
            points of missing peaks repeat the strongest; "all" takes all of them, and the points
            of missing peaks are arbitrary cells.

    Returns:
        (..., count, 2) peaks (x, y) in cells, the center of the first cell being (0.5, 0.5), and
        (..., count) their values, strongest first.
    """
    height, width = maps.shape[-2:]
    flat = maps.reshape(-1, height, width)
    is_peak = flat == window_maximum(flat, window)
    if ties == "first":
        # Exact in float32: a map has far fewer than 2**24 cells.
        order = torch.arange(height * width, 0, -1, device=maps.device, dtype=torch.float32)
        order = order.view(height, width) * is_peak
        is_peak &= order == window_maximum(order, window)
    values = torch.where(is_peak, flat, flat.new_zeros(())).flatten(1)
    scores, cells = values.topk(min(count, values.shape[1]), dim=-1)
    if scores.shape[1] < count:
        scores = F.pad(scores, (0, count - scores.shape[1]))
        cells = F.pad(cells, (0, count - cells.shape[1]))
    if ties == "first":
        cells = torch.where(scores > 0, cells, cells[:, :1])
    points = torch.stack([cells % width, cells.div(width, rounding_mode="floor")], -1) + 0.5
    return points.view(*maps.shape[:-2], count, 2), scores.view(*maps.shape[:-2], count)


def window_maximum(x: Tensor, window: int) -> Tensor:
    """The maximum of the window around each cell of (..., H, W) non-negative maps.

    Maxima over shifted copies of the map, along rows, then along columns: some twenty times faster
    on a CPU than `max_pool2d`, which does not vectorise over a single channel.

    Args:
        x: maps.
        window: side in cells, odd.
    """
    reach = window // 2
    for dim, padding in ((-1, (reach, reach)), (-2, (0, 0, reach, reach))):
        padded = F.pad(x, padding)
        x = reduce(torch.maximum, (padded.narrow(dim, i, x.shape[dim]) for i in range(window)))
    return x


def mean_of_peaks(maps: Tensor, points: Tensor, window: int) -> Tensor:
    """The centroid of the map's values in a window around each peak.

    The peak's cell may lie at the edge of a word; the values around it are larger on the word's
    side, so that the centroid lies closer to the word's center.

    Args:
        maps: (Q, H, W) non-negative maps.
        points: (Q, P, 2) cell centers (x, y), see `find_peaks`.
        window: side of the window in cells, odd.

    Returns:
        (Q, P, 2) points in cells; a peak whose window sums to zero is not moved.
    """
    reach = window // 2
    cells = (points - 0.5).long()
    steps = torch.arange(window, device=maps.device)
    rows = (cells[..., 1, None] + steps)[..., :, None]
    columns = (cells[..., 0, None] + steps)[..., None, :]
    around = F.pad(maps, (reach,) * 4)
    share = around[torch.arange(len(maps), device=maps.device)[:, None, None, None], rows, columns]
    total = share.sum((-2, -1))
    offset = (steps - reach).to(maps.dtype)
    x = (share.sum(-2) * offset).sum(-1)
    y = (share.sum(-1) * offset).sum(-1)
    tiny = torch.finfo(maps.dtype).tiny
    return points + torch.stack([x, y], -1) / total.clamp(min=tiny)[..., None]


def assign_distinct_peaks(
    points: Tensor, scores: Tensor, texts: Sequence[str], distance: float
) -> list[int]:
    """One peak for each word of an image, no two closer than `distance` where possible.

    Greedy over the peaks of all words by falling score: a peak is chosen if its word has none yet
    and no chosen peak is closer than `distance`.

    Args:
        points: (Q, P, 2) peaks in cells.
        scores: (Q, P) their values, strongest first; 0 where there is no further peak.
        texts: Q words; equal scores are taken in the order of their words, so that the order in
            which the words are given does not matter.
        distance: least distance between the peaks of two words, in cells.

    Returns:
        For each word the index of its peak; 0, the strongest, if all of its peaks are too close to
        chosen ones.
    """
    places, values = points.tolist(), scores.tolist()
    peaks = [
        (-score, texts[q], q, p)
        for q, own in enumerate(values)
        for p, score in enumerate(own)
        if score > 0
    ]
    chosen: dict[int, int] = {}
    for _, _, q, p in sorted(peaks):
        taken = (places[other][peak] for other, peak in chosen.items())
        if q not in chosen and all(math.dist(places[q][p], place) >= distance for place in taken):
            chosen[q] = p
    return [chosen.get(q, 0) for q in range(len(values))]
