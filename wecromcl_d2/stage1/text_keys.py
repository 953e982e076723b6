"""What the model reads of a text, and the distinct words of a dataset."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from detectron2.config import CfgNode

from ..data.datasets import Record
from ..data.records import index_texts
from ..data.text import Charset
from .text_encoder import build_charset


def key_reader(cfg: CfgNode) -> Callable[[Sequence[str]], list[str]]:
    """Function that gives the `Charset.key` of texts, empty without any character of the set."""
    return partial(_keys, build_charset(cfg), cfg.MODEL.TEXT_ENCODER.MAX_LENGTH)


def _keys(charset: Charset, longest: int, texts: Sequence[str]) -> list[str]:
    return [charset.key(text, longest) for text in texts]


def vocabulary(cfg: CfgNode, records: Sequence[Record]) -> list[str]:
    """The distinct keys of all texts that are neither ignored nor unreadable, by first use."""
    index = index_texts(records)
    used = np.unique(index.ids).tolist()
    keys = key_reader(cfg)([index.texts[number] for number in used])
    return list(dict.fromkeys(filter(None, keys)))
