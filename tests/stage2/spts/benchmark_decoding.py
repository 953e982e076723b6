#!/usr/bin/env python
"""Time and memory of decoding at the published size, with random weights and given words.

    python -m tests.stage2.spts.benchmark_decoding --threads 2
    python -m tests.stage2.spts.benchmark_decoding --words 5 20 --every 1 --output decoding.json
    python -m tests.stage2.spts.benchmark_decoding --words 5 20 60 --batch 8 --no-plain

The decoder is made to say sequences of so many words of so many letters, about the memory of an
image of 1000x1824 pixels. "plain" is the loop of `plain.py`, the published arithmetic: no cache,
one image at a time, all 27 tokens of a word, each step on the whole sequence and with the image's
projections anew. Of its steps every n-th is run (--every) and stands for n. Both choose from the
same logits; neither includes backbone and encoder. Seconds are wall time and CPU time, which
other programs disturb less; the ratio is that of the CPU's, per image. Memory is what the peak of a
process of its own grows by during the decoding.
"""

import argparse
import json
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from tests.stage2.spts.helpers import to_official
from tests.stage2.spts.plain import PlainSPTS
from wecromcl_d2.data.text import Charset
from wecromcl_d2.engine.precision import prepare_cpu
from wecromcl_d2.files import replace_file
from wecromcl_d2.stage2.spts.decoding import GreedyDecoder
from wecromcl_d2.stage2.spts.grammar import Grammar
from wecromcl_d2.stage2.spts.sequence import Layout
from wecromcl_d2.stage2.spts.transformer import TokenDecoder
from wecromcl_d2.stage2.spts.vocabulary import Vocabulary

WIDTH, HEADS, LAYERS, FEEDFORWARD = 256, 8, 6, 1024
# Cells of an image of 1000x1824 pixels at stride 32.
CELLS = 32 * 57
MAX_WORDS = 60


class ForcedDecoder(GreedyDecoder):
    """Computes everything and then says what it was given."""

    def __init__(self, decoder, grammar, tokens):
        super().__init__(decoder, grammar)
        self.tokens, self.said = tokens, 0

    def choose(self, logits, place):
        tokens, log_probs = super().choose(logits, place)
        forced = torch.full_like(tokens, self.tokens[self.said])
        self.said += 1
        return forced, log_probs


def build(layout_name):
    """Decoder, its vocabulary and layout, in published size."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(Charset.from_name("ascii", case_fold=False), 1000)
    layout = Layout(True, 25, MAX_WORDS, padded=layout_name == "padded")
    decoder = TokenDecoder(
        tokens=len(vocabulary),
        positions=layout.max_inputs,
        width=WIDTH,
        heads=HEADS,
        layers=LAYERS,
        feedforward=FEEDFORWARD,
        dropout=0.1,
    )
    return decoder.eval(), vocabulary, layout


def script(vocabulary, words, letters, padding):
    """Tokens of a sequence; each word ends with `padding` tokens."""
    tokens = []
    for k in range(words):
        text = [vocabulary.first_character + 33 + i % 26 for i in range(letters)]
        tokens += [17 * k % 1000, 31 * k % 1000, *text, *[vocabulary.word_end] * padding]
    return [*tokens, vocabulary.eos]


def time_cached(words, args):
    """Seconds of decoding a batch, once for each repetition, and growth of the peak in MB."""
    decoder, vocabulary, layout = build(args.layout)
    tokens = script(vocabulary, words, args.letters, 1)
    seconds, peak = [], 0
    with torch.no_grad():
        cells = torch.randn(args.batch, CELLS, WIDTH)
        position = torch.randn(args.batch, CELLS, WIDTH)
        valid = torch.ones(args.batch, CELLS, dtype=torch.bool)
        grammar = Grammar.of_sequences(vocabulary, layout)
        first = torch.full((args.batch, 1), vocabulary.sos)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(args.repeat):
            begin = now()
            memory = decoder.remember(cells, position, valid)
            start = decoder.embed(first, torch.zeros_like(first))
            forced = ForcedDecoder(decoder, grammar, tokens)
            choices = forced.decode(memory, start, torch.zeros(args.batch, dtype=torch.bool))
            seconds.append([end - start for start, end in zip(begin, now(), strict=True)])
            # A full sequence needs no token to end it.
            assert set(choices.lengths.tolist()) == {len(tokens) - (words == MAX_WORDS)}
            peak = peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds, (peak - before) / 1024


def time_plain(words, args):
    """Seconds of decoding one image, from the steps that were run."""
    decoder, vocabulary, _ = build("padded")
    weights = {f"decoder.{name}": value for name, value in decoder.state_dict().items()}
    plain = PlainSPTS(to_official(weights, "spts"), HEADS)
    tokens = script(vocabulary, words, args.letters, 25 - args.letters)
    inputs = torch.tensor([vocabulary.sos, *tokens])
    cells, position = torch.randn(CELLS, WIDTH), torch.randn(CELLS, WIDTH)
    padding = torch.zeros(CELLS, dtype=torch.bool)
    total = [0.0, 0.0]
    with torch.no_grad():
        for length in range((args.every + 1) // 2, len(tokens) + 1, args.every):
            begin = now()
            states = plain.decode(plain.embed(inputs[:length]), cells, position, padding)
            int(plain.classify(states[-1]).softmax(-1).argmax())
            spent = [end - start for start, end in zip(begin, now(), strict=True)]
            total = [t + args.every * seconds for t, seconds in zip(total, spent, strict=True)]
    return total


def now():
    """Wall time and CPU time of this process in seconds."""
    return time.perf_counter(), time.process_time()


def measure(words, args):
    """One case, in the process it is called in."""
    prepare_cpu(args.threads)
    load = os.getloadavg()[0]
    seconds, memory = time_cached(words, args)
    clock, cpu = (min(column) for column in zip(*seconds, strict=True))
    case = {"words": words, "load": round(load, 1), "memory_mb": round(memory)}
    case |= {"clock_s": clock, "cpu_s": cpu}
    if not args.no_plain:
        plain_clock, plain_cpu = time_plain(words, args)
        case |= {"plain_clock_s": plain_clock, "plain_cpu_s": plain_cpu}
        case["ratio"] = plain_cpu * args.batch / cpu
    return case


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--words", type=int, nargs="+", default=[5, 20, 60])
    parser.add_argument("--letters", type=int, default=5, help="of each word, less than 25")
    parser.add_argument("--layout", choices=("padded", "compact"), default="padded")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--every", type=int, default=9, help="steps of the plain loop that are run")
    parser.add_argument("--no-plain", action="store_true", help="leave the plain loop out")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    cases = []
    columns = ("words", "clock_s", "cpu_s", "plain_clock_s", "plain_cpu_s", "ratio", "memory_mb")
    columns = (*columns, "load")
    print("".join(f"{name:>14}" for name in columns))
    for words in args.words:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            cases.append(process.submit(measure, words, args).result())
        figures = (cases[-1].get(name, "") for name in columns)
        cells = (f"{x:14.3f}" if isinstance(x, float) else f"{x:>14}" for x in figures)
        print("".join(cells), flush=True)
    if args.output:
        options = {k: v for k, v in vars(args).items() if k != "output"}
        with replace_file(args.output) as file:
            file.write((json.dumps({"options": options, "cases": cases}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
