"""Checkpoint files: whole or not there, recognised when damaged, and read in earlier formats."""

import os
import resource

import pytest
import torch

from clip_lightning.checkpoint import FORMAT, KEY, read_checkpoint, write_checkpoint
from clip_lightning.files import link_or_copy, replace, write_atomically


def content(**more):
    return {"state_dict": {"weight": torch.arange(1000.0)}, KEY: {"format": FORMAT, "task": {}, "config": None}, **more}


def test_what_is_written_is_read(tmp_path):
    write_checkpoint(content(), tmp_path / "new folder" / "x.ckpt")
    read = read_checkpoint(tmp_path / "new folder" / "x.ckpt")
    assert torch.equal(read["state_dict"]["weight"], torch.arange(1000.0))
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["x.ckpt"]


def test_a_full_disk_is_a_message_and_the_earlier_file_is_intact(tmp_path):
    path = tmp_path / "x.ckpt"
    write_checkpoint(content(step=1), path)
    # A limit on the size of files fails as a full disk does, in the middle of writing; in a child, which keeps it.
    if os.fork() == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            write_checkpoint(content(step=2), path)
        except ValueError as error:
            (tmp_path / "message").write_text(str(error))
        os._exit(0)
    os.wait()
    message = (tmp_path / "message").read_text()
    assert f"checkpoint {str(path)!r} cannot be written: File too large" in message
    assert "give the same command again" in message
    assert read_checkpoint(path)["step"] == 1
    assert sorted(os.listdir(tmp_path)) == ["message", "x.ckpt"]


def test_a_flipped_bit_is_recognised_or_changes_nothing(tmp_path):
    path = tmp_path / "x.ckpt"
    write_checkpoint(content(), path)
    data, recognised = path.read_bytes(), 0
    for place in range(0, len(data), 50):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            read = read_checkpoint(path)
        except ValueError as error:
            recognised += "is damaged" in str(error)
        else:  # it was one of the bytes that only align the others
            assert torch.equal(read["state_dict"]["weight"], torch.arange(1000.0))
            assert read[KEY] == content()[KEY]
    assert recognised > 0.7 * len(data) / 50


@pytest.mark.parametrize("size", [0, 100, -200])
def test_a_truncated_file_is_recognised(tmp_path, size):
    path = tmp_path / "x.ckpt"
    write_checkpoint(content(), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="is damaged"):
        read_checkpoint(path)


def test_an_earlier_format_is_brought_up_to_date_and_a_later_one_refused(tmp_path):
    callbacks = {"Checkpoints": {"monitor": "val/loss", "best": 0.5}}
    write_checkpoint({**content(global_step=7, callbacks=callbacks), KEY: {"format": 1}}, tmp_path / "old.ckpt")
    read = read_checkpoint(tmp_path / "old.ckpt")
    assert read[KEY]["format"] == FORMAT
    assert read["callbacks"]["Checkpoints"] == {
        "monitor": "val/loss", "best": 0.5, "written": 0, "step": 7, "should_stop": False, "journal_end": 0
    }  # fmt: skip
    write_checkpoint({**content(), KEY: {"format": FORMAT + 1}}, tmp_path / "new.ckpt")
    with pytest.raises(ValueError, match=rf"format {FORMAT + 1}, .* up to {FORMAT}; update clip_lightning"):
        read_checkpoint(tmp_path / "new.ckpt")


def test_a_foreign_file_is_named(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="was not saved by clip_lightning"):
        read_checkpoint(tmp_path / "x.pt")
    (tmp_path / "y.pt").write_text("some text")
    with pytest.raises(ValueError, match=r"y.pt' is damaged, or is none: it is no archive"):
        read_checkpoint(tmp_path / "y.pt")


@pytest.mark.parametrize("has_links", [True, False])
def test_a_second_name_replaces_an_old_file(tmp_path, monkeypatch, has_links):
    def refuse(*_):
        raise OSError("no links here")

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    link_or_copy(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"
    assert (tmp_path / "old").samefile(tmp_path / "new") is has_links
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]


def test_a_file_takes_the_place_of_a_folder_only_where_that_is_meant(tmp_path):
    folder = tmp_path / "name"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(IsADirectoryError):
        write_atomically(folder, b"new")
    with pytest.raises(ValueError, match=r"name' cannot be written: Is a directory"):
        write_checkpoint(content(), folder)
    assert (folder / "mine.txt").read_text() == "mine"
    assert os.listdir(tmp_path) == ["name"]
    (tmp_path / "file").write_text("new")
    replace(tmp_path / "file", folder)
    assert folder.read_text() == "new"
