# .venv/bin/python benchmarks/quickstart.py --seeds 3
"""What the quickstart reaches and costs, from its command to its final table, over several seeds.

Prints zero-shot accuracy over the 64 classes on seen and on held-out pairs of colour and shape, CPU seconds of the
whole process tree, and wall seconds; the worst seed decides.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clip_lightning.results import read_results

REPOSITORY = Path(__file__).parents[1]


def run(seed: int, folder: Path) -> dict[str, float]:
    """One quickstart: its figures and its costs."""
    command = [sys.executable, "-m", "clip_lightning", "fit", "--config", "configs/quickstart.yaml"]
    command += ["--seed_everything", str(seed), "--run_dir", str(folder)]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    value = {row.name: row.value for row in read_results(folder / "results.json")}
    return {
        "seen": 100 * value["test/zero_shot/shape_scenes/accuracy"],
        "held-out": 100 * value["test/zero_shot/shape_scenes_heldout/accuracy"],
        "CPU s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall s": time.perf_counter() - started,
    }


def main() -> None:
    """Prints a line for each seed, and the worst of each column."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    rows = []
    for seed in range(parser.parse_args().seeds):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(seed, Path(folder) / "run"))
        print(f"seed {seed}: " + ", ".join(f"{name} {value:.1f}" for name, value in rows[-1].items()), flush=True)
    worst = {name: (min if name in ("seen", "held-out") else max)(row[name] for row in rows) for name in rows[0]}
    print("worst:  " + ", ".join(f"{name} {value:.1f}" for name, value in worst.items()))


if __name__ == "__main__":
    main()
