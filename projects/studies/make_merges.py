"""The byte pairs of the training words of the quick anchor detector, as a file.

python -m projects.studies.make_merges --output projects/studies/merges.txt
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from detectron2.data import DatasetCatalog

from wecromcl_d2.data.records import index_texts
from wecromcl_d2.files import replace_file
from wecromcl_d2.stage1 import build_charset
from wecromcl_d2.tasks import load_config

from .byte_pairs import learn_merges

CONFIG = "configs/quick/anchors.yaml"
MERGES = 512


def training_words() -> Counter[str]:
    """Words of all phases of the quick anchor detector's training, with their frequencies."""
    cfg = load_config(CONFIG)
    charset = build_charset(cfg)
    found: Counter[str] = Counter()
    for name in chain(*cfg.SOLVER.CURRICULUM.DATASETS, cfg.DATASETS.TRAIN):
        index = index_texts(DatasetCatalog.get(name))
        found.update(charset.key(index.texts[i], cfg.MODEL.TEXT_ENCODER.MAX_LENGTH)
                     for i in index.ids)  # fmt: skip
    del found[""]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Learn the merges and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)
    merges = learn_merges(training_words(), MERGES)
    with replace_file(args.output) as stream:
        stream.write("".join(f"{first} {second}\n" for first, second in merges).encode("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
