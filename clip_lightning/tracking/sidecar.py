"""The process beside a training run that delivers its journal: ``python -m clip_lightning.tracking.sidecar RUN_DIR``.

It ends when the journal is closed and delivered, or the training process is gone and what it left is delivered, or when
MLflow fails several times in a row after that. What it could not deliver stays in the journal.
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
# Three attempts take a few seconds where nobody listens, and a minute where a server accepts and does not answer.
LAST_ATTEMPTS = 3
LAST_ATTEMPT_SECONDS = 1.0
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
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    os.nice(10)  # Training comes first.
    _log.info("following process %d", options.parent)
    with contextlib.ExitStack() as stack:
        complete = Sidecar(options.run_dir, options.uri, options.parent).follow(stack)
    _log.info("complete" if complete else f"incomplete: python -m clip_lightning sync {options.run_dir}")
    return 0 if complete else 1


class Sidecar:
    """Follows one run.

    Args:
        run_dir: The run folder, with its journal.
        uri: MLflow's tracking URI, or None for the one that the journal names.
        parent: Id of the training process.
    """

    def __init__(self, run_dir: Path, uri: str | None, parent: int) -> None:
        self._run_dir, self._uri = run_dir, uri
        self._trainer = TrainingProcess(run_dir / JOURNALS[0], parent)
        self._delivery: Delivery | None = None
        self._failures = 0

    def follow(self, stack: contextlib.ExitStack) -> bool:
        """Attempts a delivery every few seconds until there is nothing to wait for.

        Args:
            stack: Takes what has to be released at the end.

        Returns:
            Whether everything was delivered.
        """
        sampler = self._start_sampler()
        while True:
            # First the question, then the delivery: so the last delivery has all that was written before the end.
            gone = self._trainer.is_gone
            ended = self._has_ended() or gone
            if ended and sampler is not None:
                sampler.stop()
            self._attempt(stack, abandoned=gone and not self._trainer.is_succeeded)
            if ended and not 0 < self._failures < LAST_ATTEMPTS:
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

    def _attempt(self, stack: contextlib.ExitStack, *, abandoned: bool) -> None:
        try:
            if self._delivery is None:
                self._delivery = stack.enter_context(Delivery(self._run_dir, self._uri))
            counts = self._delivery.deliver(abandoned=abandoned)
            if counts.waiting_artifacts:
                raise DeliveryError(f"{counts.waiting_artifacts} artifacts wait")
            self._failures = 0
        except DeliveryError as error:
            self._failures += 1
            # Attempts 1, 2, 4, 8, ...: a server may be away for days.
            if self._failures & (self._failures - 1) == 0:
                _log.warning("attempt %d: %s", self._failures, error)

    def _wait(self, ended: bool) -> None:
        """Waits for the next attempt, which comes at once when the training process closes its journal or ends."""
        deadline = time.monotonic() + (LAST_ATTEMPT_SECONDS if ended else DELIVERY_SECONDS)
        while time.monotonic() < deadline and (ended or not self._has_ended()):
            time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
