"""The batch over processes: whatever their number and the exchange, it is that of one."""

import pytest
import torch
import torch.distributed as dist
from dense import embeds

from clip_lightning.objectives import Contrastive, Sigmoid

OBJECTIVES = {"contrastive": Contrastive, "sigmoid": Sigmoid}
IDS = torch.tensor([0, 1, 2, 0, 3, 4, 4, 5, 0, 6, 7, 3])
IMAGE_IDS = torch.tensor([9, 8, 7, 6, 8, 5, 4, 7, 3, 2, 2, 8])


class Model(torch.nn.Module):
    """A linear map a tower, and the temperature."""

    def __init__(self, dtype):
        super().__init__()
        self.image, self.text = (torch.nn.Linear(6, 5, bias=False, dtype=dtype) for _ in range(2))
        for seed, tower in enumerate((self.image, self.text)):
            tower.weight.data = embeds(5, 6, seed + 7, dtype)
        self.logit_scale = torch.nn.Parameter(torch.zeros((), dtype=dtype))


def train(objective, exchange, rows, group=None, *, repeated=True, dtype=torch.float64):
    """What is found in these rows of the batch, and all gradients."""
    model = Model(dtype)
    switches = {"repeated_captions": repeated, "repeated_images": repeated}
    learned = OBJECTIVES[objective](temperature=0.1, exchange=exchange, **switches).to(dtype)
    learned.setup(model)
    encoded = {
        "image_features": model.image(embeds(12, 6, 1, dtype)[rows]),
        "text_features": model.text(embeds(12, 6, 2, dtype)[rows]),
        "text_id": IDS[rows],
        "image_id": IMAGE_IDS[rows],
    }
    reduced = learned.reduce(model, encoded, group)
    if torch.is_grad_enabled():
        reduced["loss"].backward()
    gradients = [parameter.grad for parameter in (*model.parameters(), *learned.parameters())]
    return {name: value.item() for name, value in reduced.items()}, gradients


CASES = [
    (kind, exchange, repeated) for kind in OBJECTIVES for exchange in ("gather", "ring") for repeated in (True, False)
]


UNEVEN = {2: [0, 7, 12], 3: [0, 5, 9, 12]}


def one_of_many(rank, folder):
    """All three processes, then two of them as a group of their own."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=3)
    groups = {3: None, 2: dist.new_group([1, 2])}
    places = {3: rank, 2: rank - 1}
    found = {}
    for world, place in places.items():
        if place >= 0:
            found |= {(world, *key): value for key, value in all_cases(world, place, groups[world]).items()}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def all_cases(world, place, group):
    found = {}
    for kind, exchange, repeated in CASES:
        even = slice(place * 12 // world, (place + 1) * 12 // world)
        for dtype in (torch.float64, torch.float32):
            scalars, gradients = train(kind, exchange, even, group, repeated=repeated, dtype=dtype)
            for gradient in gradients:
                dist.all_reduce(gradient, group=group)
                gradient /= world
            found[kind, exchange, repeated, str(dtype)] = scalars, gradients
        with torch.no_grad():
            rows = slice(*UNEVEN[world][place : place + 2])
            found[kind, exchange, repeated, "uneven"] = train(kind, exchange, rows, group, repeated=repeated)[0], []
    return found


def test_processes_have_the_loss_and_gradients_of_one(tmp_path):
    torch.multiprocessing.spawn(one_of_many, (str(tmp_path),), nprocs=3)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(3)]
    assert [len(cases) for cases in found] == [3 * len(CASES), 6 * len(CASES), 6 * len(CASES)]
    for (_, kind, exchange, repeated, what), (scalars, gradients) in (
        pair for cases in found for pair in cases.items()
    ):
        dtype = torch.float32 if what == "torch.float32" else torch.float64
        tolerance = 1e-6 if dtype == torch.float32 else 1e-12
        expected, reference = train(kind, exchange, slice(0, 12), repeated=repeated, dtype=dtype)
        assert scalars == pytest.approx(expected, abs=tolerance, rel=tolerance), (kind, exchange, repeated, what)
        for mine, theirs in zip(gradients, reference, strict=what != "uneven"):
            assert (mine - theirs).norm() <= tolerance * max(1, theirs.norm()), (kind, exchange, repeated, what)


def test_an_exchange_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="exchange 'rign' is none of 'gather', 'ring'"):
        Contrastive(exchange="rign")


def test_both_exchanges_are_one_computation_on_one_process():
    for kind in OBJECTIVES:
        gathered, ring = (train(kind, exchange, slice(0, 12)) for exchange in ("gather", "ring"))
        assert gathered[0] == ring[0]
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(gathered[1], ring[1], strict=True))
