"""Lightning's logger of a run: it writes the journal, and has a sidecar deliver that to MLflow."""

import atexit
import contextlib
import getpass
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from clip_lightning.tracking.journal import Journal, Status
from clip_lightning.tracking.run_folder import RunFolder
from clip_lightning.tracking.sidecar_handle import SidecarHandle
from clip_lightning.tracking.store import resolve_uri, without_password
from clip_lightning.tracking.training_process import describe_process

# A small run's sidecar spends most of this importing MLflow; a server that answers has the rest within a second.
# The sidecar goes on alone within its patience.
WAIT_SECONDS = 20.0
_STATUSES: dict[str, Status] = {"success": "FINISHED", "failed": "FAILED", "aborted": "KILLED"}


class MLflowTracker(Logger):
    """Tracks a run in MLflow without ever waiting for MLflow.

    Everything is written to ``journal.jsonl`` in the run folder; a second process delivers it from there. A server that
    is slow, silent or gone does not touch the training, and ``python -m clip_lightning sync RUN_FOLDER`` delivers later
    what it missed. No fault of the tracking stops a run: a journal that cannot be written is reported once.

    Args:
        tracking_uri: MLflow's server or database, such as ``http://HOST:5000``. None: the environment's
            ``MLFLOW_TRACKING_URI``, or else an SQLite store, ``runs/mlflow.db``.
        experiment: Name of the MLflow experiment; it is created where it does not exist.
        run_name: Name of the run; None takes the last two parts of the run folder, ``NAME/TIME``.
        tags: Tags of the run.
        live: Whether to deliver while the run goes on. False writes the journal only, for a machine without network.
        patience_seconds: How long the second process, which training does not wait for, goes on trying without any
            progress after the run has ended, >= 0.

    Raises:
        ValueError: If the tracking URI is a folder.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment: str = "clip_lightning",
        run_name: str | None = None,
        tags: dict[str, str] | None = None,
        live: bool = True,
        patience_seconds: float = 120.0,
    ) -> None:
        super().__init__()
        self._uri = resolve_uri(tracking_uri)
        self._experiment, self._run_name, self._tags = experiment, run_name, tags or {}
        self._live, self._patience_seconds = live, patience_seconds
        self._folder: RunFolder | None = None
        self._status: Status = "RUNNING"
        self._forget_process()

    def _forget_process(self) -> None:
        """Drops what belongs to one process: the open journal and the sidecar."""
        self._journal: Journal | None = None
        self._sidecar: SidecarHandle | None = None
        self._latest: tuple[int | None, str] | None = None
        self._has_complained = False

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process opens the journal for itself."""
        return {**self.__dict__, "_journal": None, "_sidecar": None}

    def attach(self, run_dir: Path | str) -> None:
        """Chooses the run folder; the same folder again continues the same MLflow run.

        Args:
            run_dir: Folder, which is made if it does not exist.

        Raises:
            ValueError: If it cannot be written, or something was already logged elsewhere.
        """
        if self._journal is not None and Path(run_dir) != self._run_folder.path:
            raise ValueError(f"run {self._run_folder.path} has begun; attach {run_dir} before anything is logged")
        self._folder = RunFolder.open(Path(run_dir))
        if self._run_name is None:
            self._run_name = "/".join(self._folder.path.resolve().parts[-2:])

    @property
    def uri(self) -> str | None:
        """Where the run is delivered as it goes on, without a password; None if it is not."""
        return without_password(self._uri) if self._live else None

    @property
    def name(self) -> str:
        """Nothing, so that Lightning puts its files into the run folder itself."""
        return ""

    @property
    def version(self) -> str:
        """Nothing, as ``name``."""
        return ""

    @property
    def save_dir(self) -> str | None:
        """The run folder; None in other processes than the first, if nobody has attached one."""
        if self._folder is None and getattr(rank_zero_only, "rank", 0) != 0:
            return None
        return str(self._run_folder.path)

    @property
    def _run_folder(self) -> RunFolder:
        if self._folder is None:
            self._folder = RunFolder.create(self._run_name or self._experiment)
        return self._folder

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Records metrics, but for "epoch"; the same values again at the same step are no new points.

        Args:
            metrics: Floats, or tensors of one element, by name. NaN and infinities are kept.
            step: Optimiser step, >= 0; None counts as 0.
        """
        # Lightning adds the epoch to whatever it logs, which makes several points of one step.
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        # A checkpoint has its step's points recorded before it, and Lightning hands them on once more.
        if values and (step, repr(values)) != self._latest:
            self._latest = (step, repr(values))
            self._write(lambda journal: journal.log_metrics(values, step or 0))

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Records parameters under dotted names.

        Args:
            params: Nested mappings and lists; the values become text.
        """
        flat = dict(flatten(vars(params) if isinstance(params, Namespace) else params))
        self._write(lambda journal: journal.log_params(flat))

    @rank_zero_only
    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Records tags, by which runs can be found."""
        self._write(lambda journal: journal.log_tags(tags))

    @rank_zero_only
    def log_artifact(self, path: Path | str, folder: str | None = None) -> None:
        """Records a file or folder to upload.

        Args:
            path: It is read when it is delivered, so it has to stay.
            folder: Folder among the run's artifacts; None for their root.
        """
        self._write(lambda journal: journal.log_artifact(Path(path), folder))

    @property
    def journal_end(self) -> int:
        """The journal's length in bytes, for a checkpoint to remember; 0 where there is none yet.

        Raises:
            ValueError: If a full disk keeps points out of the journal: going on from there would lose them.
        """
        try:
            if self._journal is not None:
                self._journal.flush()
        except OSError as error:
            raise ValueError(f"{self._run_folder.journal} cannot be written: {error.strerror}; make room") from None
        try:
            return self._folder.journal.stat().st_size if self._folder else 0
        except OSError:
            return 0

    @rank_zero_only
    def rewind(self, step: int, after: int) -> None:
        """Declares points void; call it before a training that resumes from a checkpoint logs anything.

        Args:
            step: First optimiser step that is done again, >= 0.
            after: ``journal_end`` when the checkpoint was written; what was recorded before it stays. 0 without one.
        """
        self._write(lambda journal: journal.rewind(step, after))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Records how a stage ended. Lightning calls it after each; the last one holds.

        Args:
            status: "success", "failed" or "aborted".
        """
        interrupted = isinstance(sys.exc_info()[1], KeyboardInterrupt)
        ended: Status = "KILLED" if interrupted else _STATUSES.get(status, "FAILED")
        self._write(lambda journal: journal.log_status(ended))
        self._status = ended

    @rank_zero_only
    def close(self) -> None:
        """Closes the journal and waits a little for the delivery; called at the interpreter's exit at the latest."""
        if self._journal is None:
            return
        if self._status == "RUNNING":
            crashed = getattr(sys, "last_value", None) is not None
            self.finalize("failed" if crashed else "success")
        self._write(lambda journal: journal.close())
        sidecar = self._sidecar
        self._forget_process()
        if self._live and (sidecar is None or not _wait(sidecar)):
            _say(
                f"not everything has reached {without_password(self._uri)} yet; deliver the rest with: "
                f"python -m clip_lightning sync {self._run_folder.path}"
            )

    def _write(self, write: Callable[[Journal], None]) -> None:
        """Writes to the journal, which the first record opens. A fault is reported once, and does not stop the run."""
        try:
            if self._journal is None:
                self._open_journal()
            assert self._journal is not None
            write(self._journal)
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                _say(f"tracking is incomplete, since {error.filename or self._run_folder.path}: {error.strerror}")

    def _open_journal(self) -> None:
        journal = Journal(self._run_folder.journal)
        journal.start(self._experiment, self._run_name, without_password(self._uri), describe_process())
        self._journal, self._status = journal, "RUNNING"
        atexit.register(_close_in, os.getpid(), self)
        journal.log_status("RUNNING")
        if tags := {**_user_tag(), **self._tags}:
            journal.log_tags(tags)
        if self._live:
            # Without a sidecar nothing is lost; ``close`` says how to deliver.
            with contextlib.suppress(OSError):
                self._sidecar = SidecarHandle(self._run_folder.path, self._uri, self._patience_seconds)


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Flattens nested parameters.

    Args:
        value: Nested mappings and lists.
        prefix: Dotted name of the value.

    Yields:
        Dotted name and text of each leaf; an empty mapping or list is a leaf.
    """
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping) and value:
        children: list[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list | tuple) and value:
        children = list(enumerate(value))
    else:
        yield prefix, str(value)
        return
    for key, child in children:
        yield from flatten(child, f"{prefix}.{key}" if prefix else str(key))


def _user_tag() -> dict[str, str]:
    """Who runs this, as MLflow shows it; nothing in a container whose user has no name."""
    try:
        return {"mlflow.user": getpass.getuser()}
    except (OSError, KeyError):
        return {}


def _wait(sidecar: SidecarHandle) -> bool:
    try:
        return sidecar.wait(WAIT_SECONDS)
    except KeyboardInterrupt:
        return False


def _close_in(process_id: int, tracker: MLflowTracker) -> None:
    """Closes a tracker at the exit of the process that opened it, not of a child that has inherited it."""
    if os.getpid() == process_id:
        tracker.close()


def _say(line: str) -> None:
    print(f"clip_lightning: {line}", file=sys.stderr, flush=True)
