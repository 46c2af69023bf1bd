"""A study whose runs are jobs of a real SLURM of one node, planned by a process that does not run them."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from slurm import running_slurm

from clip_lightning.__main__ import main
from clip_lightning.results import read_results
from clip_lightning.tracking.provenance import read_starts

pytest.importorskip("submitit")
pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
TINY = str(REPOSITORY / "tests" / "conf" / "tiny.yaml")
METRIC = "test/zero_shot/shape_scenes/accuracy"
STUDY = {
    "question": "Is wide better?",
    "source": "none",
    "base": TINY,
    "variants": {"narrow": {}, "wide": {"model.image_encoder.width": 32}},
    "metrics": {METRIC: "max"},
    "seeds": [0],
    "budget": {"samples": 64},
    "executor": {"class_path": "Slurm", "init_args": {"timeout_minutes": 10, "cpus": 1}},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with running_slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield {**environment, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def ablate(folder, environment, **changes):
    (folder / "wide.yaml").write_text(yaml.safe_dump({**STUDY, **changes}))
    command = [sys.executable, "-m", "clip_lightning", "ablate", "--config", "wide.yaml"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def test_jobs_do_the_runs_of_a_study_and_their_figures_are_those_of_fit(cluster, tmp_path):
    done = ablate(tmp_path, cluster)
    said = "".join(path.read_text() for path in tmp_path.glob("runs/by_config/*/output.log"))
    assert done.returncode == 0, done.stdout + done.stderr + said
    assert "2 runs; what one takes there is not known here" in done.stdout
    runs = sorted(path.parent for path in tmp_path.glob("runs/by_config/*/results.json"))
    assert len(runs) == 2
    for run in runs:
        starts = read_starts(run / "provenance.json")
        assert [start["threads"] for start in starts] == [1]
        assert (run / "slurm_job").read_text(), "a job did it"
        again = tmp_path / "again" / run.name
        arguments = ["--config", str(run / "config.yaml"), "--run_dir", str(again), "--trainer.accelerator", "cpu"]
        assert main(["fit", *arguments, "--num_threads", "1"]) == 0
        values = [[row.value for row in read_results(folder / "results.json")] for folder in (run, again)]
        assert values[0] == values[1]
    assert f"highest {METRIC}" in (tmp_path / "runs" / "studies" / "wide" / "report.md").read_text().replace("\\", "")
    # Nothing is done twice, and no job is submitted for it.
    jobs = {run: (run / "slurm_job").read_text() for run in runs}
    assert ablate(tmp_path, cluster).returncode == 0
    assert jobs == {run: (run / "slurm_job").read_text() for run in runs}


def test_a_budget_in_seconds_names_what_a_cluster_can_meet(cluster, tmp_path):
    done = ablate(tmp_path, cluster, budget={"seconds": 60})
    assert done.returncode == 2
    assert "give samples or flops, or start the study within an allocation" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "runs" / "studies").exists()
