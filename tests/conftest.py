"""What every test stands on: one torch thread, fixed seeds, and the optional real data."""

from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[1]


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
