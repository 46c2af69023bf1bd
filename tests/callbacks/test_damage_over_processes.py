"""Counts of damaged samples over processes."""

import multiprocessing
from collections import Counter

import pytest
import torch.distributed as dist

from clip_lightning.callbacks.damage import _over_processes


def gather(rank, store, queue):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    queue.put(_over_processes(Counter({"torn": 2 + rank, f"only {rank}": 1})))
    dist.destroy_process_group()


def test_one_process_has_its_own_counts():
    assert _over_processes(Counter(torn=3)) == {"torn": 3}


@pytest.mark.slow
def test_every_process_has_the_sum(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=gather, args=(rank, tmp_path / "store", queue)) for rank in range(2)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=120) for _ in processes] == [{"torn": 5, "only 0": 1, "only 1": 1}] * 2
    for process in processes:
        process.join()
