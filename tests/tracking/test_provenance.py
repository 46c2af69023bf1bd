import json
import platform
import subprocess
import sys
from importlib.metadata import version

import pytest

from clip_lightning.tracking import provenance as provenance_module
from clip_lightning.tracking.provenance import add_start, describe_git, describe_start, read_starts


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
    state = describe_start({}, folder=checkout)["git"]
    assert state["commit"] == git(checkout, "rev-parse", "HEAD")
    assert state["dirty"] is False
    assert state["diff"] == ""


def test_the_diff_restores_the_changed_code(checkout):
    (checkout / "code.py").write_text("x = 2\n")
    (checkout / "new.py").write_text("")
    state = describe_start({}, folder=checkout)["git"]
    assert state["dirty"] is True
    assert state["untracked"] == ["new.py"]
    git(checkout, "checkout", "--quiet", "code.py")
    subprocess.run(["git", "-C", checkout, "apply", "-"], input=state["diff"], text=True, check=True)
    assert (checkout / "code.py").read_text() == "x = 2\n"


def test_a_huge_diff_is_cut_and_its_size_told(checkout, monkeypatch):
    monkeypatch.setattr(provenance_module, "MAX_DIFF_CHARACTERS", 50)
    (checkout / "code.py").write_text("y = 3\n" * 100)
    state = describe_start({}, folder=checkout)["git"]
    assert len(state["diff"]) == 50 < state["diff_characters"]


def test_a_subfolder_is_described_as_its_checkout_is(checkout):
    (checkout / "code.py").write_text("x = 2\n")
    (checkout / "sub").mkdir()
    (checkout / "new.py").write_text("")
    git(checkout, "config", "diff.relative", "true")
    assert describe_start({}, folder=checkout / "sub")["git"] == describe_start({}, folder=checkout)["git"]


def test_a_users_settings_of_git_do_not_spoil_the_diff(checkout):
    (checkout / "code.py").write_text("x = 2\n")
    plain = describe_start({}, folder=checkout)["git"]["diff"]
    git(checkout, "config", "color.ui", "always")
    git(checkout, "config", "diff.external", "/bin/true")
    assert describe_start({}, folder=checkout)["git"]["diff"] == plain != ""


def test_outside_a_checkout_there_is_no_git_but_that_of_the_package(tmp_path, monkeypatch, checkout):
    start = describe_start({}, folder=tmp_path.parent)
    assert start["git"] is None
    assert describe_git(start["git"]) == "in no checkout of git"
    monkeypatch.setattr(provenance_module, "__file__", str(checkout / "code.py"))
    start = describe_start({}, folder=tmp_path.parent)
    assert start["package_git"]["commit"] == git(checkout, "rev-parse", "HEAD")
    assert describe_start({}, folder=checkout)["package_git"] is None, (
        "the working directory's checkout says it already"
    )


def test_a_start_names_the_exact_command_the_machine_and_what_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "clip_lightning", "fit", "--name", "two words"])
    start = describe_start({"seed": 3, "devices": ["cuda:0 (NVIDIA H200)"]}, folder=tmp_path)
    assert start["command"] == "python -m clip_lightning fit --name 'two words'"
    assert (start["seed"], start["devices"]) == (3, ["cuda:0 (NVIDIA H200)"])
    assert start["folder"] == str(tmp_path)
    assert start["python"] == platform.python_version()
    assert start["packages"]["numpy"] == version("numpy")
    assert start["date"].endswith("+00:00")


def test_no_password_and_no_other_variable_is_noted(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["clip-lightning", "--trainer.logger.tracking_uri", "http://me:hunter2@host"])
    monkeypatch.setenv("SERVICE_TOKEN", "hunter2")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    start = describe_start({})
    assert "hunter2" not in json.dumps({**start, "git": None, "package_git": None})
    assert start["environment"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_continued_run_keeps_where_it_first_came_from(tmp_path):
    path = tmp_path / "provenance.json"
    for seed in range(3):
        add_start(path, {"command": "x", "seed": seed})
    assert json.loads(path.read_text())["format"] == 1
    assert [start["seed"] for start in read_starts(path)] == [0, 1, 2]


def test_a_file_of_before_is_one_start_and_is_kept(tmp_path):
    path = tmp_path / "provenance.json"
    path.write_text(json.dumps({"command": "fit", "git": None, "machine": {"host": "a", "devices": ["cpu"]}}))
    add_start(path, {"command": "again", "devices": ["cpu"]})
    first, second = read_starts(path)
    assert (first["command"], first["devices"], first["machine"]) == ("fit", ["cpu"], {"host": "a"})
    assert second["command"] == "again"


@pytest.mark.parametrize(
    ("content", "words"), [("{", "is not JSON"), ('{"format": 9}', "format 1"), ("[]", "format 1"), (None, "not exist")]
)
def test_what_is_no_provenance_is_named(tmp_path, content, words):
    if content is not None:
        (tmp_path / "provenance.json").write_text(content)
    with pytest.raises(ValueError, match=rf"provenance\.json .*{words}"):
        read_starts(tmp_path / "provenance.json")
