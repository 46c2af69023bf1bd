import socket
from functools import partial

import pytest
from huggingface_hub import constants

from clip_lightning.models import HFTextEncoder
from clip_lightning.offline import offline_if_unreachable
from clip_lightning.text import HFTokenizer


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_without_a_connection_the_hub_is_left_alone_meanwhile(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with offline_if_unreachable() as reason:
        assert reason == "127.0.0.1 cannot be reached"
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize("is_proxy", [False, True])
def test_whatever_answers_is_asked_as_ever(monkeypatch, is_proxy):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if is_proxy:
            monkeypatch.setenv("http_proxy", address)
        monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid" if is_proxy else address)
        with offline_if_unreachable() as reason:
            assert reason == ""
            assert not constants.HF_HUB_OFFLINE


def test_for_a_folder_nothing_is_connected_to(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with offline_if_unreachable(str(tmp_path)) as reason:
        assert reason == ""


@pytest.mark.parametrize("part", [HFTokenizer, partial(HFTextEncoder, vocab_size=99)])
def test_what_cannot_be_fetched_is_refused_with_the_reason(monkeypatch, part):
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ValueError, match=r"'nobody/nothing': there is no such folder, and 127\.0\.0\.1 cannot be"):
        part(name="nobody/nothing", context_length=8)
