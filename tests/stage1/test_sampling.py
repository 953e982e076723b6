import numpy as np
import pytest
from detectron2.config import get_cfg

from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.data import label_cache
from wecromcl_d2.data.datasets import read_labels, write_labels
from wecromcl_d2.data.loader import SamplingError
from wecromcl_d2.data.records import JoinedRecords, LongWordRecords, index_texts
from wecromcl_d2.data.text import Charset
from wecromcl_d2.stage1.sampling import BatchSampler

CHARSET = Charset.from_name("alnum")


def make_sampler(texts, **changes):
    options = {
        "charset": CHARSET,
        "max_length": 8,
        "batch_size": 3,
        "num_queries": 1,
        "num_negatives": 2,
        "negatives": "random",
        "seed": 5,
        "max_tries": 50,
    }
    return BatchSampler(texts, **(options | changes))


def words_of(texts, index):
    return {CHARSET.normalize(text)[:8] for text in texts[index]}


TEXTS = [["Hotel", "Bar"], ["HOTEL", "Cafe"], ["bar", "taxi"], ["exit"], ["stop", "Exit"], ["menu"]]


@pytest.mark.parametrize(
    ("rule", "count"), [("random", 2), ("shared", 1), ("hard", 2), ("none", 0)]
)
def test_no_text_is_true_and_false_at_once(rule, count):
    sampler = make_sampler(TEXTS, negatives=rule, num_negatives=count)
    for iteration in range(200):
        batch = sampler.sample(iteration)
        assert len({choice.index for choice in batch}) == 3
        for choice in batch:
            own = words_of(TEXTS, choice.index)
            assert len(choice.queries) == 1 and choice.queries[0] in own
            assert len(set(choice.negatives)) == count
            assert own.isdisjoint(choice.negatives)
            others = [words_of(TEXTS, c.index) for c in batch if c is not choice]
            assert not any(choice.queries[0] in words for words in others)


def test_shared_negatives_are_in_no_image_of_the_batch():
    sampler = make_sampler(TEXTS, negatives="shared", num_negatives=1)
    for iteration in range(50):
        batch = sampler.sample(iteration)
        assert len({tuple(choice.negatives) for choice in batch}) == 1
        assert all(words_of(TEXTS, choice.index).isdisjoint(choice.negatives) for choice in batch)


def test_a_batch_is_a_function_of_seed_and_iteration():
    first, again, other = make_sampler(TEXTS), make_sampler(TEXTS), make_sampler(TEXTS, seed=6)
    np.random.seed(1)
    assert [first.sample(i) for i in range(20)] == [again.sample(i) for i in range(20)]
    assert [first.sample(i) for i in (7, 3)] == [again.sample(7), again.sample(3)]
    assert [first.sample(i) for i in range(20)] != [other.sample(i) for i in range(20)]


def test_vocabulary_is_folded_cut_and_distinct():
    sampler = make_sampler([["Hotel", "HOTEL"], ["ho-tel"], ["abcdefghij", "abcdefghXX"], ["x"]])
    assert sampler.vocabulary == ["abcdefgh", "hotel", "x"]


def test_images_without_readable_text_are_never_drawn():
    sampler = make_sampler([[], ["???"], ["a"], ["b"], ["c"], ["d"]])
    drawn = {choice.index for i in range(50) for choice in sampler.sample(i)}
    assert drawn == {2, 3, 4, 5}


def test_every_image_and_every_text_gets_its_turn():
    sampler = make_sampler(TEXTS)
    batches = [sampler.sample(i) for i in range(300)]
    assert {c.index for batch in batches for c in batch} == set(range(len(TEXTS)))
    assert {q for batch in batches for c in batch for q in c.queries} == set(sampler.vocabulary)


def test_too_few_texts_are_refused_with_the_numbers():
    with pytest.raises(SamplingError, match=r"hold 2 distinct readable texts on 3 images.*needs 3"):
        make_sampler([["a"], ["b"], ["A"]])


def test_texts_shared_by_all_images_end_in_an_error_not_a_hang():
    sampler = make_sampler([["same", "x"], ["same", "y"], ["same", "z"]], num_negatives=1)
    texts = [["a", "b", "c"], ["a", "b", "c"], ["a", "b", "c"]]
    assert len(sampler.sample(0)) == 3
    stuck = make_sampler(texts, num_negatives=1)
    with pytest.raises(SamplingError, match="found only 1 of 3 images"):
        stuck.sample(0)


def test_a_replacement_fits_into_its_batch():
    sampler = make_sampler(TEXTS)
    for iteration in range(50):
        batch = sampler.sample(iteration)
        other = sampler.replace(batch, 1, 1, iteration)
        assert other == sampler.replace(batch, 1, 1, iteration)
        assert other.index not in {choice.index for choice in batch}
        for choice in batch:
            assert words_of(TEXTS, choice.index).isdisjoint(other.queries)
            assert words_of(TEXTS, other.index).isdisjoint(choice.queries)


def test_several_queries_per_image_are_still_nobody_elses():
    texts = [["a", "b", "c", "x"], ["d", "x"], ["e", "f"], ["a", "g", "h"], ["i", "j", "k", "l"]]
    sampler = make_sampler(texts, num_queries=3)
    for iteration in range(100):
        for choice in (batch := sampler.sample(iteration)):
            assert 1 <= len(choice.queries) == len(set(choice.queries)) <= 3
            assert words_of(texts, choice.index).issuperset(choice.queries)
            for other in batch:
                if other is not choice:
                    assert words_of(texts, other.index).isdisjoint(choice.queries)


def test_hard_negatives_are_spelled_like_the_queries():
    near = ["hotel", "hotels", "hostel", "motel", "hote", "hotal"]
    far = ["exit", "bar", "stop", "menu", "taxi", "closed", "open", "sale"]
    sampler = make_sampler(
        [near[:2], *([word] for word in (*near[2:], *far))],
        batch_size=1,
        num_negatives=1,
        negatives="hard",
    )
    drawn = {"hotel": set(), "hotels": set()}
    for iteration in range(400):
        (choice,) = sampler.sample(iteration)
        if choice.index == 0:
            drawn[choice.queries[0]].update(choice.negatives)
    # Distance 1 or 2, and never the image's other text, the nearest of all.
    assert drawn["hotel"] == {"hostel", "motel", "hote", "hotal"}
    assert drawn["hotels"] == {"hostel", "motel", "hote", "hotal"}


def test_hard_negatives_are_near_any_of_the_queries():
    words = ["aaaa", "zzzz", "aaab", "aaac", "zzzy", "zzzx", "mmmm", "mmmn"]
    sampler = make_sampler(
        [words[:2], *([word] for word in words[2:])],
        batch_size=1,
        num_queries=2,
        num_negatives=1,
        negatives="hard",
    )
    batches = [sampler.sample(iteration) for iteration in range(300)]
    drawn = {text for (choice,) in batches if choice.index == 0 for text in choice.negatives}
    assert drawn == {"aaab", "aaac", "zzzy", "zzzx"}


def test_without_negatives_two_words_are_enough():
    sampler = make_sampler([["a"], ["b"]], batch_size=2, num_negatives=9, negatives="none")
    assert {choice.queries[0] for choice in sampler.sample(0)} == {"a", "b"}
    with pytest.raises(SamplingError, match="9 negatives needs 10 texts"):
        make_sampler([["a"], ["b"]], batch_size=2, num_negatives=9, negatives="hard")


def test_an_unknown_choice_of_negatives_is_refused():
    with pytest.raises(KeyError, match="no_such_rule"):
        make_sampler(TEXTS, negatives="no_such_rule")


def conflicts(sampler, texts, read):
    """Queries that another image of their batch has, or their own as a negative, when read."""
    shared = false = 0
    for iteration in range(200):
        batch = sampler.sample(iteration)
        for choice in batch:
            query = read(choice.queries[0])
            own = {read(text) for text in texts[choice.index]}
            false += not own.isdisjoint(map(read, choice.negatives))
            others = [c.index for c in batch if c is not choice]
            shared += any(query in {read(t) for t in texts[i]} for i in others)
    return shared, false


def spelled(text):
    return text


READ = CHARSET.normalize


def test_exclusion_works_both_ways_unless_published():
    """D4: the release lets a later image contain an earlier one's query."""
    texts = [["a", "x"], ["a", "y"], ["a", "z"], ["b", "x"], ["b", "y"], ["c", "z"]]
    assert conflicts(make_sampler(texts), texts, READ) == (0, 0)
    shared, false = conflicts(make_sampler(texts, exclusion="earlier"), texts, READ)
    assert shared > 0 and false == 0


def test_texts_that_read_the_same_are_the_same_unless_published():
    """D5: the release compares case, which its model does not see."""
    assert conflicts(make_sampler(TEXTS), TEXTS, READ) == (0, 0)
    published = make_sampler(TEXTS, compare="spelling")
    assert conflicts(published, TEXTS, spelled) == (0, 0)
    shared, false = conflicts(published, TEXTS, READ)
    assert shared > 0 and false > 0
    assert published.vocabulary.count("Hotel") == published.vocabulary.count("HOTEL") == 1


def test_texts_that_are_equal_when_cut_are_the_same_unless_published():
    texts = [["abcdefghij"], ["abcdefghXX"], ["k"], ["l"], ["m!"], ["?"]]
    assert make_sampler(texts).vocabulary == ["abcdefgh", "k", "l", "m"]
    published = make_sampler(texts, compare="spelling")
    assert published.vocabulary == ["abcdefghXX", "abcdefghij", "k", "l", "m"]


def test_negatives_come_from_a_word_list_where_one_is_given(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffHotel\r\nhotel\n\nCaf\u00e9\nZoo\n menu\nsnow\n???\n".encode())
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.MODEL.TEXT_ENCODER.MAX_LENGTH = 8
    cfg.DATALOADER.SAMPLING.VOCABULARY = str(path)
    cfg.DATALOADER.SAMPLING.NUM_NEGATIVES = 3
    sampler = BatchSampler.from_config(cfg, TEXTS, CHARSET, 3)
    assert sampler.vocabulary == ["caf", "hotel", "menu", "snow", "zoo"]
    drawn = {"hotel": set(), "menu": set(), "": set()}
    for iteration in range(200):
        for choice in sampler.sample(iteration):
            assert len(set(choice.negatives)) == 3
            own = words_of(TEXTS, choice.index) & set(sampler.vocabulary)
            drawn["".join(own)].update(choice.negatives)
    assert drawn[""] == set(sampler.vocabulary)
    assert drawn["hotel"] == drawn[""] - {"hotel"} and drawn["menu"] == drawn[""] - {"menu"}


@pytest.mark.parametrize("rule", ["random", "shared", "hard"])
def test_word_lists_serve_every_rule(rule):
    few = ["hotel", "motel", "zoo", "zoom", "snow", "bars"]
    sampler = make_sampler(TEXTS, negatives=rule, vocabulary=few)
    for iteration in range(50):
        batch = sampler.sample(iteration)
        assert batch == sampler.sample(iteration)
        for choice in batch:
            assert set(choice.negatives) <= set(few) - words_of(TEXTS, choice.index)
        other = sampler.replace(batch, 0, 1, iteration)
        assert set(other.negatives) <= set(few) - words_of(TEXTS, other.index)


def test_a_word_list_of_many_words_needs_few_in_the_images():
    sampler = make_sampler([["a"], ["b"], ["c"]], num_negatives=4, vocabulary=list("adefgh"))
    assert all(len(choice.negatives) == 4 for choice in sampler.sample(0))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "VOCABULARY names .*words.txt', which cannot be read: No such file"),
        (b"", "words.txt: no text in it"),
        (b"caf\xe9", "words.txt: not UTF-8"),
        (b"a\nA\nb", "VOCABULARY has 2 distinct readable texts, too few for 16"),
    ],
)
def test_bad_word_lists_are_named(tmp_path, content, said):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.DATALOADER.SAMPLING.VOCABULARY = str(path)
    with pytest.raises(SamplingError, match=said):
        BatchSampler.from_config(cfg, TEXTS, CHARSET, 3)


@pytest.mark.parametrize("key", ["exclusion", "compare"])
def test_unknown_choices_are_refused_by_their_key(key):
    with pytest.raises(ValueError, match=f"SAMPLING.{key.upper()} is 'maybe'; use one of"):
        make_sampler(TEXTS, **{key: "maybe"})


def test_batches_are_those_of_earlier_versions():
    """Written down when images held their own lists of numbers."""
    sampler = make_sampler(TEXTS)
    batch = sampler.sample(7)
    assert [(choice.index, choice.queries, choice.negatives) for choice in batch] == [
        (1, ["hotel"], ["menu", "stop"]),
        (5, ["menu"], ["stop", "taxi"]),
        (2, ["taxi"], ["stop", "cafe"]),
    ]
    other = sampler.replace(batch, 1, 1, 7)
    assert (other.index, other.queries, other.negatives) == (4, ["stop"], ["hotel", "cafe"])


@pytest.mark.parametrize("cached_from", [1, 2**20])
@pytest.mark.parametrize("compare", ["labels", "spelling"])
def test_label_files_give_the_batches_of_their_texts(tmp_path, monkeypatch, compare, cached_from):
    """Several files, with ignored, short and unreadable words, and texts that many images have."""
    monkeypatch.setattr(label_cache, "CACHED_FROM", cached_from)
    rng = np.random.default_rng(0)
    letters = [*"abAB", "ab", "Ab", "?!", " ", "hotel", "Hôtel", "hotelroom", "bar", "zoo", "Inn"]
    letters += ["sea", "Sea", "way", "exit", "stop", "taxi"]
    parts, counted = [], []
    for part in range(2):
        records = []
        for image in range(40):
            texts = rng.choice(letters, rng.integers(0, 5)).tolist()
            ignore = (rng.random(len(texts)) < 0.2).tolist()
            records.append({"file_name": f"{part}/{image}", "texts": texts, "ignore": ignore})
            words = zip(texts, ignore, strict=True)
            counted.append([t for t, skip in words if len(t) > 1 and t.strip() and not skip])
        write_labels(tmp_path / f"{part}.jsonl", records)
        parts.append(read_labels(tmp_path / f"{part}.jsonl"))
    options = {"compare": compare, "negatives": "random", "max_length": 5, "batch_size": 2}
    expected = make_sampler(counted, **options)
    index = index_texts(LongWordRecords(JoinedRecords(parts), 2))
    sampler = make_sampler(index, **options)
    assert sampler.words == expected.words == sorted(set(expected.words))
    for iteration in range(30):
        batch = sampler.sample(iteration)
        assert batch == expected.sample(iteration)
        assert sampler.replace(batch, 0, 1, iteration) == expected.replace(batch, 0, 1, iteration)
