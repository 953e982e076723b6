import numpy as np
import pytest

from wecromcl_d2.data.sampling import BatchSampler, SamplingError
from wecromcl_d2.data.text import Charset

CHARSET = Charset.from_name("alnum")


def make_sampler(texts, **changes):
    options = {
        "charset": CHARSET,
        "max_length": 8,
        "batch_size": 3,
        "num_queries": 1,
        "num_false_texts": 2,
        "false_texts": "random",
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
    sampler = make_sampler(TEXTS, false_texts=rule, num_false_texts=count)
    for iteration in range(200):
        batch = sampler.sample(iteration)
        assert len({choice.index for choice in batch}) == 3
        for choice in batch:
            own = words_of(TEXTS, choice.index)
            assert len(choice.queries) == 1 and choice.queries[0] in own
            assert len(set(choice.false_texts)) == count
            assert own.isdisjoint(choice.false_texts)
            others = [words_of(TEXTS, c.index) for c in batch if c is not choice]
            assert not any(choice.queries[0] in words for words in others)


def test_shared_false_texts_are_in_no_image_of_the_batch():
    sampler = make_sampler(TEXTS, false_texts="shared", num_false_texts=1)
    for iteration in range(50):
        batch = sampler.sample(iteration)
        assert len({tuple(choice.false_texts) for choice in batch}) == 1
        assert all(words_of(TEXTS, choice.index).isdisjoint(choice.false_texts) for choice in batch)


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
    sampler = make_sampler([["same", "x"], ["same", "y"], ["same", "z"]], num_false_texts=1)
    texts = [["a", "b", "c"], ["a", "b", "c"], ["a", "b", "c"]]
    assert len(sampler.sample(0)) == 3
    stuck = make_sampler(texts, num_false_texts=1)
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


def test_hard_false_texts_are_spelled_like_the_queries():
    near = ["hotel", "hotels", "hostel", "motel", "hote", "hotal"]
    far = ["exit", "bar", "stop", "menu", "taxi", "closed", "open", "sale"]
    sampler = make_sampler(
        [near[:2], *([word] for word in (*near[2:], *far))],
        batch_size=1,
        num_false_texts=1,
        false_texts="hard",
    )
    drawn = {"hotel": set(), "hotels": set()}
    for iteration in range(400):
        (choice,) = sampler.sample(iteration)
        if choice.index == 0:
            drawn[choice.queries[0]].update(choice.false_texts)
    # Distance 1 or 2, and never the image's other text, the nearest of all.
    assert drawn["hotel"] == {"hostel", "motel", "hote", "hotal"}
    assert drawn["hotels"] == {"hostel", "motel", "hote", "hotal"}


def test_hard_false_texts_are_near_any_of_the_queries():
    words = ["aaaa", "zzzz", "aaab", "aaac", "zzzy", "zzzx", "mmmm", "mmmn"]
    sampler = make_sampler(
        [words[:2], *([word] for word in words[2:])],
        batch_size=1,
        num_queries=2,
        num_false_texts=1,
        false_texts="hard",
    )
    batches = [sampler.sample(iteration) for iteration in range(300)]
    drawn = {text for (choice,) in batches if choice.index == 0 for text in choice.false_texts}
    assert drawn == {"aaab", "aaac", "zzzy", "zzzx"}


def test_without_false_texts_two_words_are_enough():
    sampler = make_sampler([["a"], ["b"]], batch_size=2, num_false_texts=9, false_texts="none")
    assert {choice.queries[0] for choice in sampler.sample(0)} == {"a", "b"}
    with pytest.raises(SamplingError, match="9 false texts needs 10 texts"):
        make_sampler([["a"], ["b"]], batch_size=2, num_false_texts=9, false_texts="hard")


def test_an_unknown_choice_of_false_texts_is_refused():
    with pytest.raises(KeyError, match="no_such_rule"):
        make_sampler(TEXTS, false_texts="no_such_rule")
