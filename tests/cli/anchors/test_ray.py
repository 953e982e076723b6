"""Labelling on a Ray cluster of two machines, one of which dies in the middle."""

import socket
import threading
from contextlib import ExitStack

import numpy as np
import pytest

from wecromcl_d2.cli import anchor_labels
from wecromcl_d2.cli import anchors as tool

from .toy import arguments, records_of

ray = pytest.importorskip("ray", reason="needs the extra [ray], which the set-up leaves out")
from ray.cluster_utils import Cluster  # noqa: E402

# Imported by the workers: each says where it starts a shard; those of the second machine never
# finish one, and the others wait until it has begun.
SLOW = """
import os, time
from pathlib import Path
import ray
from wecromcl_d2.stage1 import generate
run = generate.ShardRunner.run
started, second = Path({started!r}), {second!r}
def slow(runner, numbers):
    node, end = ray.get_runtime_context().get_node_id(), time.monotonic() + 240
    (started / f"{{node}}-{{numbers[0]}}").touch()
    while time.monotonic() < end and (node == second or not any(started.glob(second + "-*"))):
        time.sleep(0.05)
    return run(runner, numbers)
generate.ShardRunner.run = slow
"""

# No processes but those that labels need, a machine's death known within two seconds, and patience
# with agents that start slowly.
HEAD = {
    "no_monitor": True,
    "include_dashboard": False,
    "include_log_monitor": False,
    "_system_config": {
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 3,
        "agent_register_timeout_ms": 120_000,
    },
}
AGENTS = (
    "metrics_agent_port",
    "metrics_export_port",
    "dashboard_agent_listen_port",
    "runtime_env_agent_port",
)


def machine():
    """One processor, and ports of its agents, which a machine that is not told them waits for."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("", 0))) for _ in AGENTS]
        ports = (own.getsockname()[1] for own in sockets)
        return {"num_cpus": 1, **dict(zip(AGENTS, ports, strict=True))}


@pytest.fixture(autouse=True, scope="module")
def no_drawings():
    """They take longer than the labels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anchor_labels, "draw_report", lambda *_: None)
        patch.setattr(anchor_labels, "draw_uncertain", lambda *_: np.zeros((8, 8, 3), np.uint8))
        yield


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Two machines of one processor each, the second of which works at a shard until it dies."""
    started = tmp_path / "started"
    started.mkdir()
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args=HEAD | machine())
    cluster.second, cluster.started = cluster.add_node(**machine()), started
    cluster.wait_for_nodes()
    slow = SLOW.format(started=str(started), second=cluster.second.node_id)
    (tmp_path / "slow_shards.py").write_text(slow, encoding="utf-8")
    # Of the driver alone, which hands its own modules and its folder to the workers.
    monkeypatch.setenv("WECROMCL_IMPORT", "slow_shards")
    monkeypatch.chdir(tmp_path)
    yield cluster
    cluster.shutdown()


def kill_in_the_middle(cluster, killed, over):
    """End the second machine once it works at a shard, unless the run is over."""
    while not over.wait(0.05):
        own = list(cluster.started.glob(f"{cluster.second.node_id}-*"))
        if own:
            cluster.remove_node(cluster.second, allow_graceful=False)
            killed.extend(path.name for path in own)
            return


def test_a_machine_dies_and_the_labels_are_the_same(source, whole, tmp_path, cluster):
    output, killed, over = tmp_path / "anchors.jsonl", [], threading.Event()
    killer = threading.Thread(target=kill_in_the_middle, args=(cluster, killed, over))
    killer.start()
    options = arguments(source, output, "--engine", "ray", "--address", cluster.address)
    try:
        assert tool.main(options) == 0
    finally:
        over.set()
        killer.join()
    assert killed, "the second machine got no shard"
    lost = {name.split("-")[1] for name in killed}
    others = {p.name.split("-")[1] for p in cluster.started.iterdir() if p.name not in killed}
    assert lost & others, "its shard was run again"
    assert output.read_bytes() == whole.read_bytes()
    assert len(records_of(output)) == len(records_of(whole))


def test_a_cluster_that_is_not_there_is_named_at_once(source, tmp_path, capsys, monkeypatch):
    """Ray itself would try for most of a minute."""
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray is asked"))
    options = arguments(source, tmp_path / "a.jsonl", "--engine", "ray", "--address", "127.0.0.1:1")
    assert tool.main(options) == 2
    assert "127.0.0.1:1" in capsys.readouterr().err
