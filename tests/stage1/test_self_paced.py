"""Self-paced queries: only the words that the detector is surest of are asked for."""

import numpy as np
import pytest
from PIL import Image

from wecromcl_d2.data.datasets import read_labels, write_labels
from wecromcl_d2.data.loader import SamplingError
from wecromcl_d2.data.records import JoinedRecords, LongWordRecords, index_texts
from wecromcl_d2.stage1.self_paced import surest_words
from wecromcl_d2.stage1.trainer import AnchorTrainer
from wecromcl_d2.tasks import load_config

# Of the eight similarities, the upper half is 0.5 and more.
PHOTOS = [
    (["Hotel", "bar", "exit"], [0.9, 0.1, 0.2]),
    (["taxi", "menu", "TAXI"], [0.3, 0.8, 0.7]),
    (["stop", "open", "###"], [0.5, 0.4, None]),
    (["cafe"], [None]),
]
SURE = {"hotel", "menu", "taxi", "stop"}
RENDERED = [["pizza", "royal"], ["union", "bar"], ["castle", "school"]]


def photo_records(**extra):
    return [
        {"file_name": f"photo_{n}.png", "height": 32, "width": 64, "texts": texts}
        | {"similarity": similarity, "ignore": [text == "###" for text in texts]}
        | {key: values(len(texts)) for key, values in extra.items()}
        for n, (texts, similarity) in enumerate(PHOTOS)
    ]


def rendered_records():
    return [
        {"file_name": f"scene_{n}.png", "height": 32, "width": 64, "texts": texts}
        for n, texts in enumerate(RENDERED)
    ]


def allowed(records, share):
    """The texts of each image that may be queries."""
    index = index_texts(records)
    mask = surest_words(records, index, share)
    return [
        [index.texts[i] for i, yes in zip(index.ids[a:b], mask[a:b], strict=True) if yes]
        for a, b in zip(index.bounds[:-1], index.bounds[1:], strict=True)
    ]


def batches(folder, *opts, photos=None):
    """The first batches of a training on photographs and rendered scenes, and their records."""
    write_labels(folder / "photos.jsonl", photos or photo_records())
    write_labels(folder / "scenes.jsonl", rendered_records())
    for record in (*photo_records(), *rendered_records()):
        Image.new("RGB", (64, 32)).save(folder / record["file_name"])
    data = {
        "DATASETS.TRAIN": str((str(folder / "photos.jsonl"), str(folder / "scenes.jsonl"))),
        "SOLVER.IMS_PER_BATCH": "2",
        "DATALOADER.SAMPLING.NUM_NEGATIVES": "3",
    }
    pairs = [part for pair in data.items() for part in pair]
    cfg = load_config("configs/street/anchors_icdar2015.yaml", [*pairs, *opts])
    (phase,) = AnchorTrainer.build_train_loader(cfg).batches.phases
    return [phase.sampler.sample(iteration) for iteration in range(40)], phase.records


def test_the_share_of_highest_similarity_may_be_asked():
    records = photo_records()
    assert allowed(records, 1 / 8) == [["Hotel"], [], [], []]
    assert allowed(records, 0.5) == [["Hotel"], ["menu", "TAXI"], ["stop"], []]
    assert allowed(records, 1) == [PHOTOS[0][0], PHOTOS[1][0], ["stop", "open"], []]


def test_words_without_a_similarity_may_all_be_asked():
    found = allowed([*photo_records(), *rendered_records()], 0.5)
    assert found[4:] == RENDERED


def test_a_copy_of_a_word_is_as_sure_as_the_surest():
    texts = {"texts": ["taxi", "menu", "taxi"], "similarity": [0.1, 0.2, 0.9]}
    assert allowed([photo_records()[1] | texts], 0.5) == [["taxi", "taxi"]]


def test_label_files_give_the_same(tmp_path):
    write_labels(tmp_path / "photos.jsonl", photo_records())
    write_labels(tmp_path / "scenes.jsonl", rendered_records())
    parts = [read_labels(tmp_path / name) for name in ("photos.jsonl", "scenes.jsonl")]
    records = LongWordRecords(JoinedRecords(parts), 4)
    # "bar" and the words that are as short are no texts any more.
    expected = [["Hotel"], ["menu", "TAXI"], ["stop"], []]
    found = [[text for text in texts if text] for texts in allowed(records, 0.5)]
    assert found == [*expected, ["pizza", "royal"], ["union"], ["castle", "school"]]


def test_the_others_stay_texts_of_their_image(tmp_path):
    found, records = batches(tmp_path, "DATALOADER.SAMPLING.SELF_PACED", "0.5")
    asked = {query for batch in found for entry in batch for query in entry.queries}
    assert asked == SURE | {word for texts in RENDERED for word in texts}
    doubtful = {"exit", "open"}
    assert doubtful & {text for batch in found for entry in batch for text in entry.negatives}
    for batch in found:
        for entry in batch:
            own = {text.casefold() for text in records[entry.index]["texts"]}
            assert own.isdisjoint(entry.negatives)
            others = [other for other in batch if other is not entry]
            assert all(own.isdisjoint(other.queries) for other in others)


def test_an_image_without_a_sure_word_is_not_drawn(tmp_path):
    found, records = batches(tmp_path, "DATALOADER.SAMPLING.SELF_PACED", "0.125")
    names = {records[entry.index]["file_name"] for batch in found for entry in batch}
    assert {name.rpartition("/")[2] for name in names} == {
        "photo_0.png",
        *(f"scene_{n}.png" for n in range(3)),
    }


def test_batches_do_not_depend_on_positions_or_on_where_a_training_starts(tmp_path):
    sure = ("DATALOADER.SAMPLING.SELF_PACED", "0.5")
    found, _ = batches(tmp_path, *sure)
    placed = photo_records(
        points=lambda count: [[1.0, 2.0]] * count,
        polygons=lambda count: [[0, 0, 9, 0, 9, 9, 0, 9]] * count,
        point_weights=lambda count: [0.0] * count,
        point_scores=lambda count: [0.3] * count,
    )
    assert batches(tmp_path, *sure, photos=placed)[0] == found
    assert batches(tmp_path, *sure)[0][17] == found[17]


@pytest.mark.parametrize("share", [0, -0.5, 1.5, np.nan])
def test_another_share_is_refused(share):
    records = photo_records()
    with pytest.raises(SamplingError, match=r"SELF_PACED is .*; give a share above 0"):
        surest_words(records, index_texts(records), share)


def test_words_without_any_similarity_are_refused():
    records = rendered_records()
    with pytest.raises(SamplingError, match="which label files of `wecromcl anchors` have"):
        surest_words(records, index_texts(records), 0.5)
