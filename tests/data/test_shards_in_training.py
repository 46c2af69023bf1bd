"""Shards under a training's loader: order, resumption, damage and memory."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tars import change, keep_time, png, samples, write_shards, write_tar

from clip_lightning.data import CenterCrop, PairLoader, Shards
from clip_lightning.text import CLIPTokenizer

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    return write_shards(tmp_path, [7, 4, 8])


def loader(source, **arguments):
    arguments = {"batch_size": 4, "seed": 5, "window_blocks": 2, **arguments}
    return PairLoader([source], tokenizer=CLIPTokenizer(), transform=CenterCrop(4), **arguments)


def run(train, num_batches):
    """Batches over epochs, as a loop takes them that knows the length."""
    taken = []
    while len(taken) < num_batches:
        taken.extend(itertools.islice(train, min(len(train), num_batches - len(taken))))
    return [(batch.key, batch.image, batch.text) for batch in taken]


@pytest.mark.parametrize(("num_workers", "stops"), [(0, (0, 3, 4, 5)), (2, (3, 4, 8))])
def test_a_run_resumes_with_the_next_sample(folder, num_workers, stops):
    source = Shards(str(folder / "*.tar"))
    expected = run(loader(source), 10)  # Four batches an epoch.
    for stop in stops:
        before = loader(source, num_workers=num_workers)
        run(before, stop)
        state = json.loads(json.dumps(before.state_dict()))
        after = loader(Shards(str(folder / "train-{0000..0002}.tar")), num_workers=2 - num_workers)
        after.load_state_dict(state)
        found = run(after, 10 - stop)
        assert len(found) == 10 - stop
        for one, other in zip(found, expected[stop:], strict=True):
            assert all(map(torch.equal, one, other))


def test_an_epoch_visits_every_sample_once_window_by_window(folder):
    source = Shards(str(folder / "*.tar"))
    keys = torch.cat([key for key, _, _ in run(loader(source, batch_size=1), 19)])
    assert sorted(keys[:, 2].tolist()) == list(range(19))
    blocks = keys[:, 1].tolist()
    assert blocks == [[index < 7, index < 11, True].index(True) for index in keys[:, 2].tolist()]
    # Two shards are mixed, and the third comes after them.
    rest = source.block_sizes[blocks[-1]]
    assert set(blocks[-rest:]) == {blocks[-1]}
    assert len(list(itertools.groupby(blocks[:-rest]))) > 2


def test_one_shard_feeds_several_workers(tmp_path):
    write_tar(tmp_path / "a.tar", samples(*range(12)))
    keys = torch.cat([key for key, _, _ in run(loader(Shards(tmp_path / "a.tar"), num_workers=2), 3)])
    assert sorted(keys[:, 2].tolist()) == list(range(12))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_rotten_samples_are_replaced_and_counted(folder, num_workers):
    source = Shards(str(folder / "*.tar"))
    image = source.read(9).image
    path = folder / "train-0001.tar"
    keep_time(path, lambda path: change(path, path.read_bytes().index(image) + 60, b"\xaa"))
    train = loader(Shards(str(folder / "*.tar"), name="rot"), batch_size=19, num_workers=num_workers)
    with pytest.warns(UserWarning, match="1 damaged samples were replaced"):
        (batch,) = train
    assert train.damaged == {"rot: bytes in the shard differ from its index": 1}
    assert 9 not in batch.key[:, 2].tolist()


def samples_of_one_image(number):
    image = png(0)
    return [member for key in range(number) for member in ((f"{key:06d}.png", image), (f"{key:06d}.txt", b"a"))]


def peak_bytes(pattern):
    """Samples, and the most memory that a fresh process had while it indexed and read in the order of training."""
    code = f"""
import re
from clip_lightning.data import Order, Shards
source = Shards({pattern!r})
order = Order([source.block_sizes])
for start in range(0, len(source), len(source) // 20):
    for index in order.slice(0, start, min(start + 500, len(source)))[:, 1].tolist():
        source.read(index)
print(len(source), re.search(r"VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())[1])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    size, peak = done.stdout.split()
    return int(size), int(peak) * 1024


@pytest.mark.slow
def test_memory_is_the_same_for_ten_thousand_samples_and_a_million(tmp_path):
    """Hard links of one shard and of its index, since a million samples of their own would be gigabytes."""
    first = write_tar(tmp_path / "0000.tar", samples_of_one_image(1000))
    Shards(first)
    (index,) = tmp_path.glob("*.index")
    for number in range(1, 1000):
        shard = tmp_path / f"{number:04d}.tar"
        os.link(first, shard)
        os.link(index, tmp_path / index.name.replace("0000", f"{number:04d}", 1))
    small, large = (peak_bytes(str(tmp_path / pattern)) for pattern in ("000?.tar", "*.tar"))
    assert (small[0], large[0]) == (10_000, 1_000_000)
    assert large[1] < 1.1 * small[1]
    # What a process begins with is large, so this is the sharper test: not even 20 bytes a sample.
    assert large[1] < small[1] + 20e6


@pytest.mark.slow
def test_indexing_takes_the_same_memory_for_few_shards_and_many(tmp_path):
    first = write_tar(tmp_path / "few-00.tar", samples_of_one_image(1000))
    for number in range(60):
        os.link(first, tmp_path / f"many-{number:02d}.tar")
    few, many = (peak_bytes(str(tmp_path / pattern)) for pattern in ("few-*.tar", "many-*.tar"))
    assert (few[0], many[0]) == (1000, 60_000)
    assert many[1] < few[1] + 6e6
