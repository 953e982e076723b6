"""DATALOADER.COPIES: images that are several times in their batch, each time augmented anew."""

import math

import numpy as np
import pytest

from wecromcl_d2.data.loader import Phase, TrainBatches
from wecromcl_d2.data.mixture import Mixture
from wecromcl_d2.stage2.sampler import MixtureSampler, ShuffleSampler
from wecromcl_d2.tasks import load_config, trainer_class


@pytest.mark.parametrize("mixed", [False, True])
def test_a_batch_holds_each_image_as_often_and_an_epoch_takes_longer(mixed):
    def make(batch_size, copies):
        if mixed:
            return MixtureSampler(Mixture.of((6, 4), (1, 1)), batch_size, 5, copies)
        return ShuffleSampler(10, batch_size, 5, copies)

    plain, double = make(4, 1), make(8, 2)
    for t in range(20):
        once = [entry.index for entry in plain.sample(t)]
        assert [entry.index for entry in double.sample(t)] == [i for i in once for _ in range(2)]


def test_copies_are_augmented_each_on_its_own():
    sampler = ShuffleSampler(10, 4, 5, 2)
    records = [{"number": i} for i in range(10)]
    batches = TrainBatches(
        [Phase(records, sampler, math.inf)], lambda record: (record["number"], np.random.uniform())
    )
    (one, other, *_), _ = batches[0]
    assert one[0] == other[0] and one[1] != other[1]


@pytest.mark.parametrize("copies", [0, 3])
def test_copies_divide_the_batch(copies):
    with pytest.raises(ValueError, match=f"COPIES is {copies}"):
        ShuffleSampler(10, 4, 5, copies)


def test_the_config_says_how_many():
    cfg = load_config("configs/quick/spts.yaml", ["DATALOADER.COPIES", "2"])
    sampler = trainer_class(cfg).build_sampler(cfg, [{}] * 9, 6)
    assert len({entry.index for entry in sampler.sample(0)}) == 3
