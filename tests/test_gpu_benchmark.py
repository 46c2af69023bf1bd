"""The benchmark of a GPU runs everywhere, with the few packages that a bare machine has."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ABSENT = ("webdataset", "mlflow", "jsonargparse", "open_clip", "transformers", "peft", "pyarrow", "scipy")

# A module that is None cannot be imported, as if it were not installed.
BARE = """
import runpy, sys
absent, sys.argv = {absent!r}, {argv!r}
sys.modules.update(dict.fromkeys(absent))
sys.path.insert(0, {folder!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def gpu(*arguments, absent=()):
    argv = [str(BENCHMARKS / "gpu.py"), "--device", "cpu", "--small", *arguments]
    code = BARE.format(absent=absent, argv=argv, folder=str(BENCHMARKS))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_all_sections_run_on_a_bare_machine():
    done = gpu(absent=ABSENT)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    left_out = [line for line in lines if "not measured from here on" in line]
    assert left_out == ["open_clip: not measured from here on, since open_clip is not installed"], done.stdout
    assert any("recomputed gradients differ by 0.0e+00" in line for line in lines)
    for beginning in (
        "micro-batch     16",
        "compiled",
        "loss, torch.bfloat16",
        "TF32",
        "tile of 16",
        "RN50, rows",
    ):
        assert any(line.startswith(beginning) for line in lines), beginning
    assert lines[-1].startswith("done after")


@pytest.mark.slow
def test_the_peers_step_runs():
    done = gpu("open_clip")
    assert done.returncode == 0, done.stderr
    ways = ("checkpointing", "accumulation", "checkpointing, compiled")
    speeds = {way: line for line in done.stdout.splitlines() for way in ways if line.startswith(f"open_clip, {way}:")}
    assert set(speeds) == set(ways), done.stdout
    assert all("pairs/s" in line for line in speeds.values())


@pytest.mark.slow
def test_what_is_no_section_is_named():
    done = gpu("lost")
    assert done.returncode == 2
    assert "['lost']" in done.stderr
    assert "'loss'" in done.stderr
