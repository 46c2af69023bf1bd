"""The process beside a training run that delivers its journal: ``python -m clip_lightning.tracking.sidecar RUN_DIR``.

It ends when the journal is closed and delivered, or the training process is gone and what it left is delivered, or when
nothing more could be delivered for a while after that. What it could not deliver stays in the journal.
"""

import argparse
import contextlib
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from clip_lightning.tracking.journal import Journal, metrics
from clip_lightning.tracking.mlflow_delivery import JOURNALS, Delivery, DeliveryError
from clip_lightning.tracking.system_metrics import SystemSampler
from clip_lightning.tracking.training_process import TrainingProcess

DELIVERY_SECONDS = 3.0
SAMPLE_SECONDS = 10.0
LAST_DELIVERY_SECONDS = 1.0
_POLL_SECONDS = 0.1
_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Follows the journal of a run to its end.

    Args:
        arguments: Command line without the program's name.

    Returns:
        0 if everything was delivered, 1 if something stays for later.
    """
    parser = argparse.ArgumentParser(prog="python -m clip_lightning.tracking.sidecar", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="run folder with a journal")
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    parser.add_argument("--uri", default=environment, help="MLflow's tracking URI; default: MLFLOW_TRACKING_URI")
    parser.add_argument("--parent", type=int, required=True, help="id of the training process")
    help_patience = "seconds without progress after the training's end, after which it gives up"
    parser.add_argument("--patience", type=float, required=True, help=help_patience)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    give_way()
    _log.info("following process %d", options.parent)
    complete = Sidecar(options.run_dir, options.uri, options.parent, options.patience).follow()
    _log.info("complete" if complete else f"incomplete: python -m clip_lightning sync {options.run_dir}")
    return 0 if complete else 1


def give_way(niceness: int = 10) -> None:
    """Leaves the processors to others, above all to the training.

    Linux may share them among sessions first, where niceness counts only within one; this process has its own.

    Args:
        niceness: 0 to 19, the latter for the least share.
    """
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # There are no such shares here.
            Path("/proc/self/autogroup").write_text(str(niceness))


class Sidecar:
    """Follows one run.

    Args:
        run_dir: The run folder, with its journal.
        uri: MLflow's tracking URI, or None for the one that the journal names.
        parent: Id of the training process.
        patience_seconds: How long to go on trying without any progress after the training has ended, >= 0.
    """

    def __init__(self, run_dir: Path, uri: str | None, parent: int, patience_seconds: float) -> None:
        self._run_dir, self._patience_seconds = run_dir, patience_seconds
        self._trainer = TrainingProcess(run_dir / JOURNALS[0], parent)
        self._delivery = Delivery(run_dir, uri)
        self._failures = 0

    def follow(self) -> bool:
        """Attempts a delivery every few seconds until there is nothing to wait for.

        Returns:
            Whether everything was delivered.
        """
        sampler = self._start_sampler()
        patient_until = time.monotonic() + self._patience_seconds
        while True:
            # First the question, then the delivery: so the last delivery has all that was written before the end.
            gone = self._trainer.is_gone
            ended = self._has_ended() or gone
            if ended and sampler is not None:
                sampler.stop()
            has_moved = self._attempt(abandoned=gone and not self._trainer.is_succeeded)
            if not ended or has_moved:
                patient_until = time.monotonic() + self._patience_seconds
            if ended and (self._failures == 0 or time.monotonic() >= patient_until):
                return self._failures == 0
            self._wait(ended)

    def _start_sampler(self) -> SystemSampler | None:
        if self._trainer.process is None:
            return None
        path = self._run_dir / JOURNALS[1]
        earlier = metrics(path).values() if path.exists() else ()
        first_step = max((series.step[-1] + 1 for series in earlier), default=0)
        sampler = SystemSampler(Journal(path), first_step, self._trainer.process, SAMPLE_SECONDS)
        sampler.start()
        return sampler

    def _has_ended(self) -> bool:
        self._trainer.read_journal()
        return self._trainer.has_closed or self._trainer.is_succeeded or self._trainer.is_gone

    def _attempt(self, *, abandoned: bool) -> bool:
        """Delivers what there is; returns whether some of it was acknowledged, which a failed attempt may achieve too.

        The run's lock is held no longer, so that ``sync`` comes to its turn.
        """
        before = self._delivery.acknowledgements
        try:
            with self._delivery:
                counts = self._delivery.deliver(abandoned=abandoned)
            if counts.waiting_artifacts:
                raise DeliveryError(f"{counts.waiting_artifacts} artifacts wait")
            self._failures = 0
        except DeliveryError as error:
            self._failures += 1
            # Attempts 1, 2, 4, 8, ...: a server may be away for days.
            if self._failures & (self._failures - 1) == 0:
                _log.warning("attempt %d: %s", self._failures, error)
        return self._delivery.acknowledgements > before

    def _wait(self, ended: bool) -> None:
        """Waits for the next attempt, which comes at once when the training process closes its journal or ends."""
        deadline = time.monotonic() + (LAST_DELIVERY_SECONDS if ended else DELIVERY_SECONDS)
        while time.monotonic() < deadline and (ended or not self._has_ended()):
            time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
