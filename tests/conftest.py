"""What every test stands on: one torch thread, fixed seeds, and the optional real data."""

import signal
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Also for what is made once for many tests, which is before their own fixtures."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _signals_heeded():
    """What the tests start heeds Ctrl-C and hang-ups, though they be a background job of a shell or of nohup."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


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
