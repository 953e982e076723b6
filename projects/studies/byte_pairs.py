"""Byte-pair encoding: frequent pairs of neighbouring tokens are merged, learned from words."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

Pair = tuple[str, str]


def learn_merges(words: Mapping[str, int], count: int) -> list[Pair]:
    """The `count` merges of words and their frequencies, fewer if all words are one token before.

    Each merges the most frequent pair, of equally frequent ones the first in the alphabet.
    """
    tokens = {word: list(word) for word in words}
    frequency: Counter[Pair] = Counter()
    # Words that have, or once had, a pair.
    where: dict[Pair, set[str]] = defaultdict(set)
    for word, own in tokens.items():
        for pair in pairwise(own):
            frequency[pair] += words[word]
            where[pair].add(word)
    merges: list[Pair] = []
    while len(merges) < count and frequency:
        best = min(frequency, key=lambda pair: (-frequency[pair], pair))
        if frequency[best] <= 0:
            break
        merges.append(best)
        for word in where.pop(best):
            for pair in pairwise(tokens[word]):
                frequency[pair] -= words[word]
            tokens[word] = merge_pair(tokens[word], best)
            for pair in pairwise(tokens[word]):
                frequency[pair] += words[word]
                where[pair].add(word)
        del frequency[best]
    return merges


def merge_pair(tokens: Sequence[str], pair: Pair) -> list[str]:
    """The tokens with each occurrence of a pair, from the left, as one token."""
    merged: list[str] = []
    for token in tokens:
        if merged and (merged[-1], token) == pair:
            merged[-1] += token
        else:
            merged.append(token)
    return merged


def split_word(word: str, ranks: Mapping[Pair, int]) -> list[str]:
    """The tokens of a word, known or not: what no pair covers stays a character.

    Args:
        word: any string.
        ranks: place of each pair among the merges, by which they are applied.
    """
    tokens = list(word)
    while True:
        known = [pair for pair in pairwise(tokens) if pair in ranks]
        if not known:
            return tokens
        tokens = merge_pair(tokens, min(known, key=ranks.__getitem__))


def read_merges(path: Path) -> list[Pair]:
    """The merges of a file with two tokens a line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" ") for line in lines]
    return [(first, second) for first, second in pairs]
