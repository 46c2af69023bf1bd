"""What every test stands on: one torch thread, fixed seeds, and the optional real data."""

from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[1]


def pytest_collection_modifyitems(items):
    """Which tests stay together where they are shared between two workers: those of a file, for their fixtures.

    Those of the command line stay together as a whole. They fork processes that train, which a process cannot do any
    more once gradients of recomputed activations were taken in it; as the largest group they are the first of theirs.
    """
    for item in items:
        folder = item.path.relative_to(REPOSITORY / "tests").parts[0]
        item.add_marker(pytest.mark.xdist_group("cli" if folder == "cli" else str(item.path)))


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Also for what is made once for many tests, which is before their own fixtures."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    # Two OpenMP threads on a busy small machine are slower than one, and sums depend on their number, which a run
    # through the command line sets for its whole process.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images and captions beside the checkout, which a fresh clone need not have."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not at {folder}")
    return folder
