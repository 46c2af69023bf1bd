import itertools

import pytest
import torch
from sources import Numbered

from clip_lightning.data import EvaluationPairLoader, PairLoader, RandomSquareCrop
from clip_lightning.data.transforms import CenterCrop
from clip_lightning.text import CLIPTokenizer


def loader(sources=None, **arguments):
    arguments = {
        "tokenizer": CLIPTokenizer(),
        "transform": RandomSquareCrop(6, scale=(0.5, 1.0)),
        "batch_size": 4,
        "seed": 5,
        **arguments,
    }
    return PairLoader(sources or [Numbered([7, 4, 8])], **arguments)


def evaluation_loader(sources=None, **arguments):
    arguments = {"tokenizer": CLIPTokenizer(), "transform": CenterCrop(6), "batch_size": 4, **arguments}
    return EvaluationPairLoader(sources or [Numbered([7, 4, 8])], **arguments)


def run(loaders, num_batches):
    """Batches of all processes, as many as asked for, over epochs as a loop that knows the length takes them."""
    taken = []
    while len(taken) < num_batches:
        epoch = zip(*loaders, strict=True)
        taken.extend(itertools.islice(epoch, min(len(loaders[0]), num_batches - len(taken))))
    return [
        tuple(torch.cat([getattr(part, field) for part in parts]) for field in ("image", "key", "text_id"))
        for parts in taken
    ]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for left, right in zip(one, other, strict=True):
            assert torch.equal(left, right)


@pytest.mark.parametrize(("world_size", "num_workers"), [(1, 0), (2, 0), (1, 2), (2, 2)])
def test_a_run_resumes_with_the_next_sample(world_size, num_workers):
    sources = [Numbered([7, 4, 8]), Numbered([5], name="other", damaged=[2])]
    expected = run([loader(sources)], 14)  # six batches an epoch
    parallel = {"world_size": world_size, "num_workers": num_workers, "batch_size": 4 // world_size}
    stops = range(14) if num_workers == 0 else (5, 6, 8)
    for stop in stops:
        before = loader(sources)
        run([before], stop)
        resumed = [loader(sources, rank=rank, **parallel) for rank in range(world_size)]
        for one in resumed:
            one.load_state_dict(before.state_dict())
        assert_same(run(resumed, 14 - stop), expected[stop:])


def test_a_state_of_two_processes_fits_one():
    expected = run([loader()], 8)
    pair = [loader(batch_size=2, world_size=2, rank=rank) for rank in range(2)]
    run(pair, 3)
    assert pair[0].state_dict() == pair[1].state_dict()
    one = loader()
    one.load_state_dict(pair[0].state_dict())
    assert_same(run([one], 5), expected[3:])


def test_another_batch_size_loses_no_sample():
    before = loader([Numbered([20])])
    seen = [batch.key[:, 2] for batch in itertools.islice(before, 2)]
    after = loader([Numbered([20])], batch_size=3)
    after.load_state_dict(before.state_dict())
    assert len(after) == 2 + 4
    seen += [batch.key[:, 2] for batch in after]
    assert sorted(torch.cat(seen).tolist()) == list(range(20))
    assert len(after) == 20 // 3


def test_every_sample_once_an_epoch_and_the_rest_is_left_out():
    train = loader()
    assert len(train) == 19 // 4
    for epoch in range(3):
        keys = [tuple(key) for batch in train for key in batch.key.tolist()]
        assert train.epoch == epoch
        assert len(keys) == len(set(keys)) == 16


def test_no_worker_and_worker_agree_and_leave_the_models_chance_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert_same(run([loader(num_workers=1)], 5), run([loader()], 5))
    assert torch.equal(torch.get_rng_state(), before)


def test_batch_says_what_it_holds():
    source = Numbered([7, 4, 8])
    batch = next(iter(loader([Numbered([3], name="first"), source])))
    tokenizer = CLIPTokenizer()
    assert batch.image.shape == (4, 3, 6, 6)
    assert batch.image.dtype == torch.uint8
    for text, length, key in zip(batch.text, batch.length, batch.key.tolist(), strict=True):
        name, index = ("first", "numbered")[key[0]], key[2]
        rows = tokenizer([f"{name} {index}", f"number {index} of {name}"])
        assert any(torch.equal(text, row[: len(text)]) for row in rows)
        assert text[length - 1] == tokenizer.eos_id
        if key[0] == 1:
            assert key[1] == [index < 7, index < 11, True].index(True)
    assert batch.text.shape[1] % 8 == 0
    assert batch.text.shape[1] - 8 < batch.length.max() <= batch.text.shape[1]


def test_text_is_never_longer_than_the_context():
    batch = next(iter(loader(tokenizer=CLIPTokenizer(context_length=5))))
    assert batch.text.shape[1] == 5


def test_captions_and_crops_change_from_visit_to_visit():
    train = loader([Numbered([4])])
    batches = [next(iter(train)) for _ in range(12)]
    captions, images = ({} for _ in range(2))
    for batch in batches:
        for number, index in enumerate(batch.key[:, 2].tolist()):
            captions.setdefault(index, set()).add(int(batch.text_id[number]))
            images.setdefault(index, set()).add(batch.image[number].numpy().tobytes())
    assert all(len(ids) == 2 for ids in captions.values())
    assert all(len(crops) > 6 for crops in images.values())
    assert len({int(i) for batch in batches for i in batch.image_id}) == 4


@pytest.mark.parametrize("num_workers", [0, 2])
def test_damaged_samples_are_replaced_counted_and_told_of_once(num_workers):
    whole = run([loader()], 12)
    damaged = [0, 5, 9]
    train = loader([Numbered([7, 4, 8], damaged=damaged)], num_workers=num_workers)
    with pytest.warns(UserWarning, match=r"damaged samples were replaced: .*torn") as warned:
        found = run([train], 12)
    assert len(warned) == 1
    (reason,) = train.damaged
    assert reason == "numbered: torn"
    replaced = 0
    for (image, key, _), (image_there, key_there, _) in zip(found, whole, strict=True):
        same = (key == key_there).all(dim=1)
        assert torch.equal(image[same], image_there[same])
        assert not set(key[:, 2].tolist()) & set(damaged)
        replaced += int((~same).sum())
    assert train.damaged.total() >= replaced >= 1


def test_data_that_are_all_damaged_stop_the_run():
    with pytest.raises(ValueError, match="in a row are damaged"):
        next(iter(loader([Numbered([8], damaged=range(8))])))


def test_other_data_refuse_a_state():
    state = loader().state_dict()
    with pytest.raises(ValueError, match="seed 5, but now seed is 6"):
        loader(seed=6).load_state_dict(state)
    with pytest.raises(ValueError, match="made with sources"):
        loader([Numbered([19])]).load_state_dict(state)


def test_batch_larger_than_the_data_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"batch of 20 .* larger than the data, which hold 19"):
        loader(batch_size=20)
    with pytest.raises(ValueError, match=r"batch of 24 .* larger than the data, which hold 19"):
        loader(batch_size=6, world_size=4, samples_per_epoch=100)
    with pytest.raises(ValueError, match=r"batch of 8 .* larger than samples_per_epoch, which is 7"):
        loader(batch_size=8, samples_per_epoch=7)
    with pytest.raises(ValueError, match="batch_size 0"):
        loader(batch_size=0)


@pytest.mark.parametrize("total", range(3, 20))
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_has_every_pair_once_over_processes(total, world_size):
    sources = [Numbered([2], name="first"), Numbered([total - 2])]
    loaders = [evaluation_loader(sources, rank=rank, world_size=world_size) for rank in range(world_size)]
    batches = [list(one) for one in loaders]
    assert {len(part) for part in batches} == {len(loaders[0])}
    assert max(len(batch) for part in batches for batch in part) <= 5
    keys = [(key[0], key[2]) for part in batches for batch in part for key in batch.key.tolist()]
    assert sorted(keys) == [(0, 0), (0, 1)] + [(1, index) for index in range(total - 2)]


def test_evaluation_is_the_same_each_time_with_the_first_caption():
    loaders = [evaluation_loader(), evaluation_loader(num_workers=2), evaluation_loader()]
    first, second, third = (list(one) for one in loaders)
    again = list(loaders[2])
    for batches in (second, third, again):
        for one, other in zip(first, batches, strict=True):
            assert torch.equal(one.image, other.image)
            assert torch.equal(one.text, other.text)
    tokenizer = CLIPTokenizer()
    assert torch.equal(first[1].text, tokenizer([f"numbered {index}" for index in range(4, 8)])[:, :8])


def test_evaluation_leaves_damaged_pairs_out_and_says_so():
    evaluation = evaluation_loader([Numbered([10], damaged=[1, 9])])
    with pytest.warns(UserWarning, match="2 damaged samples are missing") as warned:
        rounds = [torch.cat([batch.key[:, 2] for batch in evaluation]) for _ in range(2)]
    assert len(warned) == 1
    for keys in rounds:
        assert keys.tolist() == [0, 2, 3, 4, 5, 6, 7, 8]
        assert dict(evaluation.damaged) == {"numbered: torn": 2}
    with pytest.raises(ValueError, match="all samples of a batch are damaged"):
        list(evaluation_loader([Numbered([9], damaged=[8])]))


def test_evaluation_of_fewer_pairs_than_processes_is_refused():
    with pytest.raises(ValueError, match="2 pairs cannot be shared by 3 processes"):
        evaluation_loader([Numbered([2])], world_size=3)
