import json
import platform
import subprocess
from importlib.metadata import version

import pytest

from clip_lightning.tracking import provenance as provenance_module
from clip_lightning.tracking.provenance import provenance, write_provenance


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.check_output(["git", "-C", folder, *identity, *arguments], text=True).strip()


@pytest.fixture
def checkout(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_a_clean_checkout(checkout):
    state = provenance(["fit"], folder=checkout)["git"]
    assert state["commit"] == git(checkout, "rev-parse", "HEAD")
    assert state["dirty"] is False
    assert state["diff"] == ""


def test_the_diff_restores_the_changed_code(checkout):
    (checkout / "code.py").write_text("x = 2\n")
    (checkout / "new.py").write_text("")
    state = provenance(["fit"], folder=checkout)["git"]
    assert state["dirty"] is True
    assert state["untracked"] == ["new.py"]
    git(checkout, "checkout", "--quiet", "code.py")
    subprocess.run(["git", "-C", checkout, "apply", "-"], input=state["diff"], text=True, check=True)
    assert (checkout / "code.py").read_text() == "x = 2\n"


def test_a_huge_diff_is_cut_and_its_size_told(checkout, monkeypatch):
    monkeypatch.setattr(provenance_module, "MAX_DIFF_CHARACTERS", 50)
    (checkout / "code.py").write_text("y = 3\n" * 100)
    state = provenance(["fit"], folder=checkout)["git"]
    assert len(state["diff"]) == 50 < state["diff_characters"]


def test_outside_a_checkout_there_is_no_git(tmp_path):
    assert provenance(["fit"], folder=tmp_path)["git"] is None


def test_what_is_written_is_json_with_the_exact_command(tmp_path):
    write_provenance(tmp_path / "provenance.json", ["fit", "--name", "two words"], devices=["NVIDIA H200"])
    content = json.loads((tmp_path / "provenance.json").read_text())
    assert content["command"] == "fit --name 'two words'"
    assert content["machine"]["devices"] == ["NVIDIA H200"]
    assert content["python"] == platform.python_version()
    assert content["packages"]["numpy"] == version("numpy")
    assert content["date"].endswith("+00:00")
