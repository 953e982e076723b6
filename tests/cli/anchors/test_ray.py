"""Labelling on a Ray cluster of two machines, one of which dies in the middle."""

import threading
import time

import pytest

from wecromcl_d2.cli import anchors as tool

from .toy import arguments, records_of

ray = pytest.importorskip("ray", reason="needs the extra [ray], which the set-up leaves out")
from ray.cluster_utils import Cluster  # noqa: E402

# Imported by the workers: each says where it starts a shard, and takes its time.
SLOW = """
import os, time
from pathlib import Path
import ray
from wecromcl_d2.stage1 import generate
run = generate.ShardRunner.run
def slow(runner, numbers):
    node = ray.get_runtime_context().get_node_id()
    (Path({folder!r}) / f"{{node}}-{{numbers[0]}}-{{os.getpid()}}").touch()
    time.sleep(1)
    return run(runner, numbers)
generate.ShardRunner.run = slow
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Two machines of one processor each, whose workers are slow."""
    started = tmp_path / "started"
    started.mkdir()
    (tmp_path / "slow_shards.py").write_text(SLOW.format(folder=str(started)), encoding="utf-8")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.second, cluster.started = cluster.add_node(num_cpus=1), started
    cluster.wait_for_nodes()
    # Of the driver alone, which hands its own modules and its folder to the workers.
    monkeypatch.setenv("WECROMCL_IMPORT", "slow_shards")
    monkeypatch.chdir(tmp_path)
    yield cluster
    cluster.shutdown()


def kill_in_the_middle(cluster, killed):
    """End the second machine once it works at a shard."""
    end = time.monotonic() + 600
    while time.monotonic() < end:
        own = list(cluster.started.glob(f"{cluster.second.node_id}-*"))
        if own:
            cluster.remove_node(cluster.second, allow_graceful=False)
            killed.extend(path.name for path in own)
            return
        time.sleep(0.05)


def test_a_machine_dies_and_the_labels_are_the_same(source, whole, tmp_path, cluster):
    output, killed = tmp_path / "anchors.jsonl", []
    killer = threading.Thread(target=kill_in_the_middle, args=(cluster, killed))
    killer.start()
    status = tool.main(arguments(source, output, "--engine", "ray", "--address", cluster.address))
    killer.join()
    assert status == 0
    assert killed, "the second machine got no shard"
    lost = {name.split("-")[1] for name in killed}
    others = {p.name.split("-")[1] for p in cluster.started.iterdir() if p.name not in killed}
    assert lost & others, "its shard was run again"
    assert output.read_bytes() == whole.read_bytes()
    assert len(records_of(output)) == len(records_of(whole))


def test_a_cluster_that_is_not_there_is_named(source, tmp_path, capsys):
    options = arguments(source, tmp_path / "a.jsonl", "--engine", "ray", "--address", "127.0.0.1:1")
    assert tool.main(options) == 2
    assert "127.0.0.1:1" in capsys.readouterr().err
