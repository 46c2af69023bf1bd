# .venv/bin/python benchmarks/checkpoints.py
"""What writing checkpoints costs the quickstart: their share of its wall time and of its CPU time.

Everything that makes a checkpoint is counted: collecting the state, writing, waiting for the disk, and renaming.
"""

import tempfile
import time
from pathlib import Path

from clip_lightning.callbacks import checkpoints
from clip_lightning.cli import fit

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"


def main() -> None:
    """Runs the quickstart, and prints the shares."""
    wall, cpu, number = 0.0, 0.0, 0
    save = checkpoints.save_rotating

    def timed(*arguments: object) -> None:
        nonlocal wall, cpu, number
        started = time.perf_counter(), time.process_time()
        save(*arguments)  # type: ignore[arg-type]
        wall, cpu, number = wall + time.perf_counter() - started[0], cpu + time.process_time() - started[1], number + 1

    checkpoints.save_rotating = timed  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter(), time.process_time()
        fit.main(["--config", str(CONFIG), "--run_dir", f"{folder}/run", "--trainer.logger", "false"])
        shares = wall / (time.perf_counter() - started[0]), cpu / (time.process_time() - started[1])
        size = Path(folder, "run/checkpoints/last.ckpt").stat().st_size / 1e6
    print(f"{number} checkpoints of {size:.1f} MB: {shares[0]:.2%} of the wall time, {shares[1]:.2%} of the CPU time")


if __name__ == "__main__":
    main()
