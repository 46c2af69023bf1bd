"""The DVC pipeline in a fresh clone, with a small configuration: what runs again and what does not, kills included."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
STAGES = ["prepare", "train", "evaluate", "report", "ablation"]

pytestmark = pytest.mark.slow


def evaluators(**arguments):
    dataset = {"class_path": "ShapeScenesLabels", "init_args": {"split": "test", "size": 20}}
    return {"scenes": {"class_path": "ZeroShot", "init_args": {"dataset": dataset, **arguments}}}


STUDY = {
    "question": "Is wide better?",
    "source": "none",
    "base": ["configs/quickstart.yaml"],
    "variants": {"narrow": {}, "wide": {"model.image_encoder.width": 32}},
    "metrics": {"test/zero_shot/shape_scenes/accuracy": "max"},
    "seeds": [0, 1, 2],
    "budget": {"samples": 32},
    "executor": {"class_path": "LocalPool", "init_args": {"at_once": 2, "devices": []}},
}


class Clone:
    """A clone of this checkout with small configurations, and its commands."""

    def __init__(self, path):
        self.path = path
        self.environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(self, *command):
        done = subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dvc(self, *arguments):
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def commit(self, message):
        for name in ("add", "-A"), ("-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", message):
            self.run("git", *name)

    def write(self, name, config):
        (self.path / "configs" / name).parent.mkdir(exist_ok=True)
        (self.path / "configs" / name).write_text("# The command is another one.\n" + yaml.safe_dump(config))


@pytest.fixture
def clone(tmp_path):
    """The clone, with a remote that is a folder."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("a clone needs a git checkout")
    pytest.importorskip("dvc", reason="dvc is not installed: pip install dvc")
    subprocess.run(["git", "clone", "-q", REPOSITORY, tmp_path / "clone"], check=True)
    clone = Clone(tmp_path / "clone")
    config = yaml.safe_load((REPOSITORY / "tests" / "conf" / "tiny.yaml").read_text())
    config["seed_everything"], config["trainer"]["max_epochs"] = 0, 8
    clone.write("quickstart.yaml", config)
    clone.write("evaluate/quick.yaml", {"evaluators": evaluators()})
    clone.write("ablations/text_encoder.yaml", STUDY)
    clone.dvc("remote", "add", "-d", "local", str(tmp_path / "remote"))
    clone.commit("small")
    return clone


def runs_of_the_study(clone):
    return {path: path.stat().st_mtime_ns for path in clone.path.glob("runs/by_config/*/results.json")}


def stages_run(output):
    return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


def kill_while_training(clone):
    """Ends dvc and all that it started, without warning, once there is a checkpoint."""
    command = [sys.executable, "-m", "dvc", "repro"]
    with (clone.path.parent / "killed.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=clone.path, env=clone.environment, start_new_session=True, stdout=log, stderr=log
        )
        unfinished = clone.path / "runs" / "pipeline" / "unfinished"
        while not (unfinished / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None, (clone.path.parent / "killed.log").read_text()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return unfinished


def test_what_changes_reruns_what_depends_on_it(clone, tmp_path):
    unfinished = kill_while_training(clone)
    assert unfinished.is_dir(), "training was over before it could be killed"
    assert stages_run(clone.dvc("repro")) == ["train", "evaluate", "report", "ablation"]
    pipeline = clone.path / "runs" / "pipeline"
    assert not unfinished.exists()
    assert len(json.loads((pipeline / "train" / "provenance.json").read_text())["starts"]) == 2, "it went on"
    runs = runs_of_the_study(clone)
    assert len(runs) == 4, "two variants with the stage's two seeds"
    assert "this is a first look" in (pipeline / "ablation" / "report.md").read_text()
    assert stages_run(clone.dvc("repro")) == []
    clone.commit("trained")

    shown = json.loads(clone.dvc("metrics", "show", "--json"))
    metrics = shown[""]["data"]["runs/pipeline/report/metrics.json"]["data"]
    assert set(metrics) == {"train", "evaluation"}
    assert "zero_shot/shape_scenes/accuracy" in metrics["evaluation"]
    clone.dvc("plots", "show")
    page = (clone.path / "dvc_plots" / "index.html").read_text()
    assert "train-loss.csv" in page
    assert "overview" in page

    clone.write("evaluate/quick.yaml", {"evaluators": evaluators(templates=["a picture of a {}"])})
    assert stages_run(clone.dvc("repro")) == ["evaluate", "report"]
    tried = clone.dvc("exp", "run", "-S", "configs/quickstart.yaml:trainer.max_epochs=1")
    assert stages_run(tried) == ["train", "evaluate", "report", "ablation"]
    assert runs_of_the_study(clone) == runs, "the study's budget is its own, so its runs are the same"
    text = (clone.path / "configs" / "quickstart.yaml").read_text()
    assert text.startswith("# The command is another one.")
    assert yaml.safe_load(text)["trainer"]["max_epochs"] == 1
    assert "trainer.max_epochs" in clone.dvc("params", "diff")

    clone.dvc("push")
    shutil.rmtree(pipeline)
    shutil.rmtree(clone.path / ".dvc" / "cache")
    clone.dvc("pull")
    assert (pipeline / "train" / "checkpoints" / "best.ckpt").is_file()
    assert (pipeline / "ablation" / "report.html").is_file()
    assert stages_run(clone.dvc("repro")) == []
