"""Cache of what is computed from a text alone, whatever the image.

Letters: Q texts, C channels of the fused map, D channels of a text feature.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

# Texts that are cached, and texts that share a pass of the text encoder.
MAX_CACHED_TEXTS = 2**16
TEXTS_PER_PASS = 256


class WordCache:
    """Projected query and text feature by text, valid for one state of the weights.

    The cache is emptied if a weight is another tensor than before (its `id`) or was changed in
    place (its `_version`).
    """

    def __init__(self, modules: Sequence[nn.Module]):
        self._modules = tuple(modules)
        self._words: dict[str, Tensor] = {}
        self._weights: list[tuple[int, int]] = []

    def clear(self) -> None:
        """Forget all texts."""
        self._words.clear()

    def update(self, keys: Iterable[str], words: Tensor) -> None:
        """Add texts that the caller has encoded.

        Args:
            keys: Q texts, see `Charset.key`.
            words: (Q, C + D), see `WeCromCL.encode_words`, on the device of the model.
        """
        self._clear_if_outdated()
        self._words.update(zip(keys, words, strict=True))

    def get(self, keys: Sequence[str], compute: Callable[[list[str]], Tensor]) -> Tensor:
        """(Q, C + D) of texts, see `WeCromCL.encode_words`; a full cache drops those added first.

        Args:
            keys: Q texts, see `Charset.key`.
            compute: encodes texts that are not cached.
        """
        self._clear_if_outdated()
        new = [key for key in dict.fromkeys(keys) if key not in self._words]
        for start in range(0, len(new), TEXTS_PER_PASS):
            block = new[start : start + TEXTS_PER_PASS]
            self._words.update(zip(block, compute(block), strict=True))
        words = torch.stack([self._words[key] for key in keys])
        for key in list(self._words)[: max(0, len(self._words) - MAX_CACHED_TEXTS)]:
            del self._words[key]
        return words

    def _clear_if_outdated(self) -> None:
        weights = [w for m in self._modules for w in (*m.parameters(), *m.buffers())]
        state = [(id(weight), weight._version) for weight in weights]
        if state != self._weights:
            self.clear()
            self._weights = state
