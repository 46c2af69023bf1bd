"""What is to be had of the Hugging Face hub: without a network, what is on this machine, and at once."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

# The hub's own for an answer: a connection that takes longer would fail there as well.
_SECONDS = 10
_PORTS = {"http": 80, "https": 443}


@contextmanager
def offline_if_unreachable(name: str = "") -> Iterator[str]:
    """Meanwhile the hub is left alone if nothing can be connected to it, where each file would be retried for a minute.

    A slow connection is used as ever, with all retries.

    Args:
        name: What is to be had; for a folder of this machine nothing is connected to.

    Yields:
        What to say of it, such as "huggingface.co cannot be reached"; empty where it can.
    """
    if name and Path(name).exists():
        yield ""
        return
    from huggingface_hub import constants  # costs a tenth of a second

    if constants.HF_HUB_OFFLINE:
        yield "HF_HUB_OFFLINE is set"
    elif reason := _unreachable(constants.ENDPOINT):
        constants.HF_HUB_OFFLINE = True
        try:
            yield f"there is no such folder, and {reason}" if name else reason
        finally:
            constants.HF_HUB_OFFLINE = False
    else:
        yield ""


def _unreachable(endpoint: str) -> str:
    """Why a server, or the proxy that leads to it, cannot be connected to; empty if it can."""
    proxy = getproxies().get(urlsplit(endpoint).scheme)
    address = urlsplit(proxy or endpoint)
    port = address.port or _PORTS.get(address.scheme)
    if port is None:
        return ""
    try:
        socket.create_connection((address.hostname, port), _SECONDS).close()
    except OSError:
        return f"{address.hostname} cannot be reached"
    return ""
