"""Names of one image in two files whose paths start at different folders."""

import posixpath
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TypeVar

ImageId = int | str
Value = TypeVar("Value")


def by_path_end(
    predictions: Mapping[ImageId, Value], known: Collection[ImageId]
) -> dict[ImageId, Value]:
    """Predictions under the identities of the ground truth, where only the root differs.

    `photos/a` and `a` are one image if one path is the end of the other, both belong to no other
    image, and neither is in the other file.

    Args:
        predictions: by identity.
        known: identities of the ground truth.
    """
    free = [image for image in known if isinstance(image, str) and image not in predictions]
    open_names = [image for image in predictions if isinstance(image, str) and image not in known]
    ends: dict[str, list[str]] = {}
    for image in free:
        ends.setdefault(posixpath.basename(image), []).append(image)
    pairs = [
        (image, other)
        for image in open_names
        for other in ends.get(posixpath.basename(image), [])
        if f"/{image}".endswith(f"/{other}") or f"/{other}".endswith(f"/{image}")
    ]
    counts = Counter(image for image, _ in pairs), Counter(other for _, other in pairs)
    sure = {a: b for a, b in pairs if counts[0][a] == 1 and counts[1][b] == 1}
    return {sure.get(image, image): value for image, value in predictions.items()}  # type: ignore[arg-type]
