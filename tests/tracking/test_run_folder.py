import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from clip_lightning.tracking.run_folder import RunFolder


def test_folders_created_at_once_are_different_and_under_their_name(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: RunFolder.create("study/rn50", tmp_path), range(16)))
    assert len({folder.path for folder in folders}) == 16
    assert all(folder.path.parent == tmp_path / "study" / "rn50" and folder.path.is_dir() for folder in folders)


@pytest.mark.parametrize("name", ["", "..", "a/../../b", "/tmp"])
def test_a_name_that_leads_elsewhere_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="run name"):
        RunFolder.create(name, tmp_path)


def test_an_existing_folder_is_opened_with_what_it_holds(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("a: 1")
    assert RunFolder.open(tmp_path / "run").config.read_text() == "a: 1"


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"run folder .*file/run cannot be made \(Not a directory\).*--run_dir"):
        RunFolder.open(tmp_path / "file" / "run")
    with pytest.raises(ValueError, match="cannot be made"):
        RunFolder.create("run", tmp_path / "file")
    with pytest.raises(ValueError, match="cannot be made"):
        RunFolder.open(tmp_path / "file")


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    # Root may write everywhere, so the answer of the system is replaced.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="cannot be written"):
        RunFolder.open(tmp_path)


def test_a_folder_belongs_to_one_training_at_a_time(tmp_path):
    folder = RunFolder.open(tmp_path)
    program = (
        "import sys, pathlib; from clip_lightning.tracking.run_folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).claimed(): pass"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with folder.claimed():
        second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "another process is training in" in second.stderr
    assert subprocess.run(command, check=False).returncode == 0, "it is free again"
