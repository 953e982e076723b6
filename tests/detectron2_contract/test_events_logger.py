import json
import logging
import random

import numpy as np
import pytest
import torch
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import TORCH_VERSION, seed_all_rng
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
    has_event_storage,
)
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import log_every_n_seconds, setup_logger
from detectron2.utils.registry import Registry
from detectron2.utils.serialize import PicklableWrapper
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_storages_nest():
    assert not has_event_storage()
    with pytest.raises(AssertionError):
        get_event_storage()
    with EventStorage(5) as outer:
        assert get_event_storage() is outer
        with EventStorage() as inner:
            assert get_event_storage() is inner
            inner.put_scalar("x", 1)
        assert get_event_storage() is outer
        assert outer.latest() == {}
        assert outer.iter == outer.iteration == 5
        outer.step()
        assert outer.iter == 6
        outer.iter = 9
    assert outer.iteration == 9
    assert not has_event_storage()


def test_scalars_and_scopes():
    storage = EventStorage(3)
    storage.put_scalar("a", torch.tensor(2.0))
    storage.put_scalars(a=4, b=5, cur_iter=7)
    with storage.name_scope("net/"), storage.name_scope("x"):
        storage.put_scalar("c", 1, smoothing_hint=False)
    storage.put_scalar("d", 1, smoothing_hint=False)
    assert storage.latest() == {"a": (4, 7), "b": (5, 7), "x/c": (1, 3), "d": (1, 3)}
    assert storage.history("a").values() == [(2, 3), (4, 7)]
    assert set(storage.histories()) == {"a", "b", "x/c", "d"}
    assert type(storage.latest()["a"][0]) is float
    with pytest.raises(KeyError):
        storage.history("nothing")
    with pytest.raises(AssertionError):
        storage.put_scalar("a", 1, smoothing_hint=False)


def test_the_window_counts_iterations():
    storage = EventStorage()
    for iteration, value in [(0, 100), (10, 1), (20, 2), (20, 3), (25, 9)]:
        storage.put_scalar("a", value, cur_iter=iteration)
        storage.put_scalar("raw", value, smoothing_hint=False, cur_iter=iteration)
    assert storage.count_samples("a", window_size=20) == 4
    assert storage.count_samples("a", window_size=6) == 3
    assert storage.count_samples("a", window_size=5) == 1
    smoothed = storage.latest_with_smoothing_hint(20)
    assert smoothed == {"a": (2.5, 25), "raw": (9, 25)}
    assert storage.latest_with_smoothing_hint(6)["a"] == (3, 25)


def test_json_lines(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"old": 1}\n', encoding="utf-8")
    writer = JSONWriter(str(path), window_size=20)
    with EventStorage() as storage:
        for _ in range(3):
            storage.put_scalar("z", storage.iter)
            storage.put_scalar("lr", 0.1, smoothing_hint=False)
            storage.step()
        storage.put_scalar("late", 7, cur_iter=3)
        writer.write()
        writer.write()
        storage.put_scalar("late", 8, cur_iter=4)
        writer.write()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == '{"old": 1}'
    assert sorted(lines[1:3]) == [
        '{"iteration": 2, "lr": 0.1, "z": 1.0}',
        '{"iteration": 3, "late": 7.0}',
    ]
    assert [json.loads(line) for line in lines[3:]] == [{"iteration": 4, "late": 7.5}]
    writer.close()


def test_tensorboard(tmp_path):
    writer = TensorboardXWriter(str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    with EventStorage(4) as storage:
        storage.put_scalar("loss", 2.0)
        storage.put_image("picture", np.zeros((3, 4, 5), np.uint8))
        writer.write()
        writer.write()
    writer.close()
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(4, 2.0)]
    assert [event.step for event in events.Images("picture")] == [4]


def test_a_tensorboard_writer_that_wrote_nothing_closes(tmp_path):
    TensorboardXWriter(str(tmp_path / "run")).close()
    assert not (tmp_path / "run").exists()


@pytest.fixture
def printed(caplog):
    logger = logging.getLogger("detectron2.utils.events")
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_printed_line(printed):
    with EventStorage(9) as storage:
        storage.put_scalars(total_loss=3.25, time=2.0, data_time=0.5, hidden=8)
        storage.put_scalar("[metric]rate", 0.125)
        storage.put_scalar("lr", 0.01, smoothing_hint=False)
        CommonMetricPrinter(max_iter=100).write()
        assert storage.latest()["eta_seconds"] == (180, 9)
    line = printed.messages[0]
    for part in ("eta: 0:03:00", "iter: 9", "total_loss: 3.25", "[metric]rate: 0.125", "lr: 0.01"):
        assert part in line
    assert "time: 2.0000" in line
    assert "hidden" not in line


def test_nothing_is_printed_after_the_last_iteration(printed):
    with EventStorage(100) as storage:
        storage.put_scalar("loss", 1)
        CommonMetricPrinter(max_iter=100).write()
        assert not printed.messages
        CommonMetricPrinter().write()
    assert "lr: N/A" in printed.messages[0]
    assert "eta" not in printed.messages[0]


def test_log_files_by_rank(tmp_path, capsys):
    main = setup_logger(str(tmp_path / "out"), name="contract_rank", color=False)
    main.info("from rank zero é")
    setup_logger(str(tmp_path / "out"), 2, name="contract_rank2").info("from rank two")
    setup_logger(str(tmp_path / "own.txt"), name="contract_own", configure_stdout=False).info("own")
    assert "from rank zero é" in (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    assert "from rank two" in (tmp_path / "out" / "log.txt.rank2").read_text(encoding="utf-8")
    assert "contract_own INFO: own" in (tmp_path / "own.txt").read_text(encoding="utf-8")
    console = capsys.readouterr().out
    assert "contract_rank INFO: from rank zero é" in console
    assert "rank two" not in console
    assert "own" not in console


def test_identical_calls_add_one_handler():
    first = setup_logger(name="contract_cached")
    assert setup_logger(name="contract_cached") is first
    assert len(first.handlers) == 1
    assert not first.propagate
    assert first.level == logging.DEBUG
    setup_logger(None, name="contract_cached")
    assert len(first.handlers) == 2


def test_one_file_is_shared_by_several_loggers(tmp_path):
    loggers = [setup_logger(str(tmp_path), name=f"contract_shared{i}") for i in range(2)]
    for i, logger in enumerate([*loggers, *loggers]):
        logger.info("line %d", i)
    text = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert [line[-1] for line in text.splitlines()] == list("0123")


def test_console_names_are_abbreviated_and_warnings_marked(capsys):
    setup_logger(name="contract_long", abbrev_name="cl")
    logging.getLogger("contract_long.part").warning("careful")
    line = capsys.readouterr().out
    assert "cl.part" in line
    assert "contract_long" not in line
    assert "WARNING" in line


def test_repeated_messages_speak_for_their_caller(caplog):
    caplog.set_level(logging.INFO)
    for i in range(7):
        log_every_n_seconds(logging.INFO, f"first {i}", n=100)
        log_every_n_seconds(logging.INFO, f"second {i}", n=100, name="contract_repeat")
        log_every_n_seconds(logging.INFO, f"third {i // 6}", n=0 if i == 6 else 100)
    assert caplog.messages == ["first 0", "second 0", "third 0", "third 1"]
    assert [record.name for record in caplog.records[:2]] == [__name__, "contract_repeat"]


def test_seeding():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    seed_all_rng(7)
    first = draw()
    seed_all_rng(7)
    assert draw() == first
    seed_all_rng()
    assert draw() != first
    assert tuple(int(part) for part in torch.__version__.split(".")[:2]) == TORCH_VERSION


def test_communication_without_a_process_group():
    assert (comm.get_world_size(), comm.get_rank(), comm.get_local_rank()) == (1, 0, 0)
    assert comm.get_local_size() == 1
    assert comm.is_main_process()
    comm.synchronize()
    data = {"a": object()}
    assert comm.all_gather(data) == comm.gather(data) == [data]
    losses = {"x": torch.tensor(2.0)}
    assert comm.reduce_dict(losses) is losses
    np.random.seed(4)
    expected = np.random.randint(2**31)
    np.random.seed(4)
    assert comm.shared_random_seed() == expected
    with pytest.raises(AssertionError):
        comm.get_local_process_group()


def test_small_utilities(tmp_path):
    registry = Registry("CONTRACT")

    @registry.register()
    class Thing:
        pass

    assert registry.get("Thing") is Thing
    assert "Thing" in registry
    assert [name for name, _ in registry] == ["Thing"]
    with pytest.raises(KeyError, match="Other"):
        registry.get("Other")
    with PathManager.open(str(tmp_path / "a.txt"), "w") as file:
        file.write("x")
    assert PathManager.isfile(str(tmp_path / "a.txt"))
    assert PicklableWrapper(PicklableWrapper(lambda x: x + 1))(2) == 3
    assert torch.__version__ in collect_env_info()
