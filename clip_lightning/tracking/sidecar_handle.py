"""The sidecar as its parent, the training process, holds it."""

import os
import subprocess
import sys
from pathlib import Path

LOG_NAME = "tracking.log"
"""What the delivery to MLflow had to say, in the run folder."""


class SidecarHandle:
    """Starts a run's sidecar, which costs the parent no more than a few milliseconds, and waits for it at the end.

    Args:
        run_dir: The run folder, with its journal.
        uri: MLflow's tracking URI.
        patience_seconds: How long it goes on trying without any progress after the parent has ended, >= 0.
    """

    def __init__(self, run_dir: Path, uri: str, patience_seconds: float) -> None:
        command = [sys.executable, "-m", "clip_lightning.tracking.sidecar", str(run_dir), "--parent", str(os.getpid())]
        command += ["--patience", str(patience_seconds)]
        with (run_dir / LOG_NAME).open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A session of its own: Ctrl-C in the terminal is for the training alone, which then still delivers.
                start_new_session=True,
                # Not an argument, since the URI may hold a password and everyone may list processes.
                env={**os.environ, "MLFLOW_TRACKING_URI": uri},
            )

    def wait(self, seconds: float) -> bool:
        """Waits until the sidecar has delivered a closed journal.

        Args:
            seconds: Longest time to wait, >= 0.

        Returns:
            Whether everything was delivered. If not, the sidecar has given up, or goes on within its patience.
        """
        try:
            return self._process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False
