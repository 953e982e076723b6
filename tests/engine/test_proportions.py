"""DATASETS.PROPORTIONS: shares of the datasets in the draws of both stages."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from wecromcl_d2.data.datasets import write_labels
from wecromcl_d2.data.loader import SamplingError
from wecromcl_d2.data.mixture import PERIOD, Mixture
from wecromcl_d2.data.text import Charset
from wecromcl_d2.stage1.sampling import BatchSampler
from wecromcl_d2.stage2.sampler import MixtureSampler
from wecromcl_d2.tasks import load_config, trainer_class

# One large dataset and two small ones, by their first indices.
SIZES, SHARES = (900, 60, 40), (0.5, 0.3, 0.2)
STARTS = np.cumsum([0, *SIZES])
CONFIGS = {"anchors": "configs/quick/anchors.yaml", "spotting": "configs/quick/srsts_a.yaml"}


def dataset_of(index):
    return int(np.searchsorted(STARTS, index, side="right")) - 1


def shares(draws):
    counts = Counter(dataset_of(index) for index in draws)
    return [counts[dataset] / len(draws) for dataset in range(len(SIZES))]


def test_stage_2_draws_each_dataset_in_its_exact_share():
    sampler = MixtureSampler(Mixture.of(SIZES, (5, 3, 2)), 8, seed=3)
    draws = [entry.index for t in range(PERIOD // 8) for entry in sampler.sample(t)]
    assert shares(draws) == pytest.approx(SHARES, abs=1e-9)
    # Every image of a dataset comes equally often, to one draw.
    counts = Counter(draws)
    for dataset in range(3):
        times = [counts[i] for i in range(STARTS[dataset], STARTS[dataset + 1])]
        assert max(times) - min(times) == (0 if dataset == 1 else 1) or dataset == 2
    assert len(counts) == sum(SIZES)


def test_epochs_of_a_dataset_go_on_from_period_to_period():
    """40 images, 2,000 draws a period: 50 epochs, and the next one starts afresh."""
    sampler = MixtureSampler(Mixture.of(SIZES, SHARES), 10, seed=0)
    iterations = range(2 * PERIOD // 10)
    draws = [entry.index for t in iterations for entry in sampler.sample(t)]
    own = [index for index in draws if dataset_of(index) == 2]
    epochs = [own[i : i + 40] for i in range(0, len(own), 40)]
    assert len(epochs) == 100 and all(len(set(epoch)) == 40 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 100


def stage_1(**options):
    texts = [[f"word{index}"] for index in range(sum(SIZES))]
    charset = Charset.from_name("alnum")
    fixed = {"max_length": 10, "batch_size": 8, "num_queries": 1, "num_negatives": 2}
    return BatchSampler(texts, charset=charset, negatives="random", seed=1, **fixed, **options)


def test_stage_1_draws_each_dataset_in_its_share():
    sampler = stage_1(mixture=Mixture.of(SIZES, SHARES))
    draws = [entry.index for t in range(1000) for entry in sampler.sample(t)]
    # 8,000 draws: the standard deviation of a share is at most 0.0056.
    assert shares(draws) == pytest.approx(SHARES, abs=0.02)
    without = [entry.index for t in range(1000) for entry in stage_1().sample(t)]
    assert shares(without) == pytest.approx([0.9, 0.06, 0.04], abs=0.02)


@pytest.mark.parametrize("stage", [1, 2])
def test_a_batch_depends_on_nothing_but_seed_and_iteration(stage):
    mixture = Mixture.of(SIZES, SHARES)

    def make():
        return stage_1(mixture=mixture) if stage == 1 else MixtureSampler(mixture, 8, seed=1)

    one, other = make(), make()
    first = [one.sample(t) for t in range(30)]
    # Resumed at 20, and out of order.
    assert [other.sample(t) for t in (25, 20, 29)] == [first[25], first[20], first[29]]


def test_an_unreadable_image_is_replaced_by_one_of_its_dataset():
    sampler = MixtureSampler(Mixture.of(SIZES, SHARES), 8, seed=1)
    for t in range(20):
        batch = sampler.sample(t)
        for place in range(8):
            found = sampler.replace(batch, place, 1, t)
            assert dataset_of(found.index) == dataset_of(batch[place].index)


def test_shares_that_do_not_fit_a_period_are_rounded():
    counts = Mixture.of((5, 5, 5), (1, 1, 1)).counts()
    assert counts.tolist() == [3334, 3333, 3333]


@pytest.mark.parametrize(
    ("sizes", "proportions", "message"),
    [
        ((5, 5), (1,), "1 numbers for 2 datasets"),
        ((5, 5), (1, 0), "above 0"),
        ((5, 5), (1, -1), "above 0"),
        ((5, 0), (1, 1), "above 0"),
    ],
)
def test_bad_proportions_are_refused(sizes, proportions, message):
    with pytest.raises(ValueError, match=message):
        Mixture.of(sizes, proportions)


def test_a_dataset_without_readable_texts_is_refused():
    texts = [["word"], ["other"], ["third"], ["?"]]
    with pytest.raises(SamplingError, match=r"dataset 2 of DATASETS\.TRAIN"):
        BatchSampler(
            texts,
            charset=Charset.from_name("alnum"),
            max_length=10,
            batch_size=1,
            num_queries=1,
            num_negatives=1,
            negatives="random",
            seed=0,
            mixture=Mixture.of((3, 1), (1, 1)),
        )


@pytest.mark.parametrize("task", CONFIGS)
def test_the_config_reaches_the_batches(task, tmp_path):
    names = []
    for dataset, count in (("large", 12), ("small", 3)):
        (tmp_path / dataset).mkdir()
        records = []
        for i in range(count):
            Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / dataset / f"{i}.png")
            texts = [f"{dataset}{i}"]
            record = {"file_name": f"{i}.png", "height": 16, "width": 16, "texts": texts}
            records.append(record | {"points": [[8, 8]]})
        write_labels(tmp_path / dataset / "labels.jsonl", records)
        names.append(str(tmp_path / dataset / "labels.jsonl"))
    opts = ["DATASETS.TRAIN", repr(tuple(names)), "DATASETS.PROPORTIONS", "(1, 3)"]
    opts += ["SOLVER.CURRICULUM.DATASETS", "[]", "SOLVER.CURRICULUM.ITERS", "[]"]
    opts += ["SOLVER.CURRICULUM.IMS_PER_BATCH", "[]", "SOLVER.IMS_PER_BATCH", "1"]
    cfg = load_config(CONFIGS[task], [*opts, "DATALOADER.SAMPLING.NUM_NEGATIVES", "1"])
    (phase,) = trainer_class(cfg).build_train_loader(cfg).batches.phases
    draws = [phase.records[phase.sampler.sample(t)[0].index]["texts"][0] for t in range(800)]
    # The standard deviation is 0.015 where draws are independent, less where they are not.
    assert sum("small" in text for text in draws) / 800 == pytest.approx(0.75, abs=0.06)
