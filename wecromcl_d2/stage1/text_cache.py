"""Cache of the projected queries of texts, which do not depend on the image.

Letters: Q texts, C channels of the fused map.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

# Texts whose queries are cached, and texts that share a pass of the text encoder.
MAX_CACHED_TEXTS = 2**16
TEXTS_PER_PASS = 256


class QueryCache:
    """Projected queries by text, valid for one state of the weights.

    The cache is emptied if a weight is another tensor than before (its `id`) or was changed in
    place (its `_version`).

    Args:
        modules: the modules that compute the queries.
    """

    def __init__(self, modules: Sequence[nn.Module]):
        self._modules = tuple(modules)
        self._queries: dict[str, Tensor] = {}
        self._weights: list[tuple[int, int]] = []

    def clear(self) -> None:
        """Forget all queries."""
        self._queries.clear()

    def update(self, keys: Iterable[str], queries: Tensor) -> None:
        """Add queries that the caller has computed.

        Args:
            keys: Q texts, see `Charset.key`.
            queries: (Q, C), on the device of the model.
        """
        self._clear_if_outdated()
        self._queries.update(zip(keys, queries, strict=True))

    def get(self, keys: Sequence[str], compute: Callable[[list[str]], Tensor]) -> Tensor:
        """(Q, C) queries of texts; a full cache drops those added first.

        Args:
            keys: Q texts, see `Charset.key`.
            compute: gives the queries of texts that are not cached.
        """
        self._clear_if_outdated()
        new = [key for key in dict.fromkeys(keys) if key not in self._queries]
        for start in range(0, len(new), TEXTS_PER_PASS):
            block = new[start : start + TEXTS_PER_PASS]
            self._queries.update(zip(block, compute(block), strict=True))
        queries = torch.stack([self._queries[key] for key in keys])
        for key in list(self._queries)[: max(0, len(self._queries) - MAX_CACHED_TEXTS)]:
            del self._queries[key]
        return queries

    def _clear_if_outdated(self) -> None:
        weights = [w for m in self._modules for w in (*m.parameters(), *m.buffers())]
        state = [(id(weight), weight._version) for weight in weights]
        if state != self._weights:
            self.clear()
            self._weights = state
