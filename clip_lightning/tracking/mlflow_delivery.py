"""Brings a run's journals to MLflow, each record once, however often it is interrupted and begun again.

Progress is written to the run folder after every acknowledged batch. A crash between acknowledgement and note repeats
that one batch, and MLflow's SQL stores drop a metric that is equal in run, name, value, step and time; parameters,
tags, artifacts and statuses replace themselves.

What MLflow changes: an infinity becomes the largest float; a parameter beyond 6,000 characters and a tag beyond 8,000
are cut (the journal, and the configuration among the artifacts, have them whole); names follow ``mlflow_names``. A
point that a resumed run measured again keeps its first value, since MLflow cannot replace a point.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from clip_lightning.tracking import store
from clip_lightning.tracking.delivery_state import FILE_NAME, DeliveryState, read_state, write_state
from clip_lightning.tracking.journal import Record, Status, first_start, read, void_points
from clip_lightning.tracking.mlflow_names import mlflow_name
from clip_lightning.tracking.mlflow_requests import (
    METRICS_PER_BATCH,
    PARAM_LENGTH,
    PARAMS_PER_BATCH,
    connected_client,
    find_or_create_run,
    first_line,
    metric_entities,
    param_entities,
    send_or_halve,
    tag_entities,
)

JOURNALS = ("journal.jsonl", "system.jsonl")
# A sidecar's attempt lasts so long at most, where a server accepts and does not answer.
LOCK_SECONDS = 30.0
_log = logging.getLogger(__name__)


class DeliveryError(RuntimeError):
    """Nothing more can be delivered now; what was not acknowledged stays in the journal for the next attempt."""


@dataclass
class Counts:
    """What a delivery has brought.

    Args:
        metrics: Points acknowledged.
        params: Parameters acknowledged.
        tags: Tags acknowledged.
        artifacts: Files and folders uploaded.
        repeated: Points left out, since they were measured again after a resume and MLflow has the first ones.
        refused: Records that MLflow refuses whatever is done, damaged lines, and artifacts that no longer exist; each
            is named in the log.
        waiting_artifacts: Artifacts that could not be uploaded yet.
    """

    metrics: int = 0
    params: int = 0
    tags: int = 0
    artifacts: int = 0
    repeated: int = 0
    refused: int = 0
    waiting_artifacts: int = 0


def deliver(run_dir: Path, tracking_uri: str | None = None, *, abandoned: bool = False) -> Counts:
    """Delivers everything that a run folder holds and MLflow has not got yet.

    Args:
        run_dir: The run folder.
        tracking_uri: Where to deliver; None for the place that the journal names.
        abandoned: Whether the training process is known to be gone. A run without a final status is then marked KILLED.

    Returns:
        Counts of this call.

    Raises:
        ValueError: If the folder holds no journal.
        DeliveryError: If MLflow cannot be reached, or another process is delivering this run.
    """
    with Delivery(run_dir, tracking_uri, LOCK_SECONDS) as delivery:
        return delivery.deliver(abandoned=abandoned)


class Delivery:
    """Delivers a run that may still be going on; a context manager that keeps other deliverers of the run away.

    It may be entered again and again, and knows then what others have delivered meanwhile.

    Args:
        run_dir: The run folder, with its journal.
        tracking_uri: Where to deliver; None for the place that the journal names.
        lock_seconds: How long to wait for another deliverer, >= 0.

    Attributes:
        acknowledgements: How often progress was noted; a delivery that fails may still have brought something.

    Raises:
        ValueError: If the folder holds no journal.
    """

    def __init__(self, run_dir: Path, tracking_uri: str | None = None, lock_seconds: float = 0.0) -> None:
        self.run_dir = run_dir
        self._start = first_start(run_dir / JOURNALS[0])
        self.uri = store.resolve_uri(tracking_uri or store.recorded_uri(self._start["tracking_uri"]))
        self._place = store.without_password(self.uri)
        self._lock = FileLock(run_dir / ".tracking.lock", timeout=lock_seconds)
        self._client: Any = None
        self._state = DeliveryState()
        self._void: set[tuple[str, int]] = set()
        self.acknowledgements = 0
        self._complained: set[Path] = set()

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except Timeout:
            raise DeliveryError(f"another process is delivering {self.run_dir}") from None
        state = read_state(self.run_dir, self._place)
        if state.began != self._start["time"]:
            state.began, state.offsets = self._start["time"], {}
        if state != self._state:
            self._state = state
            done = state.offsets.get(JOURNALS[0], 0)
            self._void = void_points(self.run_dir / JOURNALS[0], done) if done else set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    def deliver(self, *, abandoned: bool = False) -> Counts:
        """Delivers what the journals hold by now.

        Args:
            abandoned: As in the function ``deliver``.

        Returns:
            Counts of this call.

        Raises:
            DeliveryError: If MLflow cannot be reached or refuses to answer; what was acknowledged is noted.
        """
        counts = Counts()
        try:
            self._connect()
            for name in JOURNALS:
                self._deliver_journal(name, counts)
            self._deliver_artifacts(counts)
            self._deliver_status(abandoned)
        except DeliveryError:
            raise
        except Exception as error:  # Whatever a client library raises, the journal is the safe place to be in.
            lost = getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"
            remedy = f"; to deliver everything anew, delete {self.run_dir / FILE_NAME}" if lost else ""
            raise DeliveryError(f"{self._place}: {first_line(error)}{remedy}") from error
        return counts

    def _connect(self) -> None:
        if self._client is None:
            self._client = connected_client(self.uri)
        if self._state.run_id is None:
            write_state(self.run_dir, self._place, self._state)
            self._state.run_id = find_or_create_run(self._client, self._start, self._state.key, self.uri)
            self._state.acknowledged_status = "RUNNING"
            self._save()

    def _save(self) -> None:
        write_state(self.run_dir, self._place, self._state)
        self.acknowledgements += 1

    def _deliver_journal(self, name: str, counts: Counts) -> None:
        path = self.run_dir / name
        if not path.exists():
            return
        batch = _Batch(self._void)
        for record in read(path, self._state.offsets.get(name, 0)):
            self._collect(path, record, batch, counts)
            if batch.is_full:
                self._send(name, batch, counts)
                batch = _Batch(self._void)
        if batch.end:
            self._send(name, batch, counts)

    def _collect(self, path: Path, record: Record, batch: "_Batch", counts: Counts) -> None:
        """Adds a record to the batch, or to the state that is saved together with the batch's offset."""
        content = record.content
        match record.kind:
            case "metrics":
                points = [(name, value, content["time"], content["step"]) for name, value in record.values.items()]
                fresh = [point for point in points if (point[0], point[3]) not in batch.void]
                counts.repeated += len(points) - len(fresh)
                batch.metrics += fresh
            case "params":
                batch.params.update(content["values"])
            case "tags":
                batch.tags.update(content["values"])
            case "artifact":
                batch.artifacts.append((content["path"], content["folder"]))
            case "rewind":
                batch.void = void_points(path, record.end)
            case "status":
                batch.status = (content["status"], content["time"])
            case "damaged":
                counts.refused += 1
                _log.warning("%s: damaged line before byte %d: %.200s", path.name, record.end, content["line"])
        batch.end = record.end

    def _send(self, journal: str, batch: "_Batch", counts: Counts) -> None:
        """Sends a batch, then notes that it is acknowledged."""
        counts.metrics += self._send_kind("metrics", metric_entities(batch.metrics), METRICS_PER_BATCH, counts)
        params = self._new_params(batch.params)
        counts.params += self._send_kind("params", param_entities(params), PARAMS_PER_BATCH, counts)
        counts.tags += self._send_kind("tags", tag_entities(batch.tags), PARAMS_PER_BATCH, counts)
        self._state.artifacts += [artifact for artifact in batch.artifacts if artifact not in self._state.artifacts]
        self._state.status = batch.status or self._state.status
        self._state.offsets[journal] = batch.end
        self._void = batch.void
        self._save()

    def _send_kind(self, kind: str, entities: Sequence[Any], limit: int, counts: Counts) -> int:
        run_id = self._state.run_id
        refused = 0
        for start in range(0, len(entities), limit):
            chunk = entities[start : start + limit]
            refused += send_or_halve(lambda part: self._client.log_batch(run_id, **{kind: part}), chunk)
        counts.refused += refused
        return len(entities) - refused

    def _new_params(self, params: dict[str, str]) -> dict[str, str]:
        """Leaves out what MLflow has already: it raises on a changed value, and then takes none of the batch."""
        if not params:
            return {}
        known = self._client.get_run(self._state.run_id).data.params
        for name, value in params.items():
            if (held := known.get(mlflow_name(name), value[:PARAM_LENGTH])) != value[:PARAM_LENGTH]:
                _log.warning("parameter %s is now %.200r; MLflow keeps its first value %.200r", name, value, held)
        return {name: value for name, value in params.items() if mlflow_name(name) not in known}

    def _deliver_artifacts(self, counts: Counts) -> None:
        """Uploads what is waiting. A store for artifacts that is out of order holds up nothing else."""
        waiting = []
        for noted, folder in self._state.artifacts:
            path = self.run_dir / noted
            try:
                upload = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
                upload(self._state.run_id, str(path), folder)
                counts.artifacts += 1
            except FileNotFoundError:
                counts.refused += 1
                _log.warning("artifact %s does not exist any more", path)
            except Exception as error:
                waiting.append((noted, folder))
                if path not in self._complained:
                    _log.warning("artifact %s waits: %s", path, first_line(error))
                self._complained.add(path)
        counts.waiting_artifacts = len(waiting)
        if waiting != self._state.artifacts:
            self._state.artifacts = waiting
            self._save()

    def _deliver_status(self, abandoned: bool) -> None:
        status, time_ms = self._state.status or ("RUNNING", 0)
        if abandoned and status == "RUNNING":
            status, time_ms = self._state.status = "KILLED", time.time_ns() // 1_000_000
        if status == self._state.acknowledged_status:
            return
        if status == "RUNNING":
            self._client.update_run(self._state.run_id, status)
        else:
            self._client.set_terminated(self._state.run_id, status, time_ms)
        self._state.acknowledged_status = status
        self._save()


class _Batch:
    """Records to be acknowledged together, the offset behind the last of them, and what is void there."""

    def __init__(self, void: set[tuple[str, int]]) -> None:
        self.void = void
        self.metrics: list[tuple[str, float, int, int]] = []
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.artifacts: list[tuple[str, str | None]] = []
        self.status: tuple[Status, int] | None = None
        self.end = 0

    @property
    def is_full(self) -> bool:
        return len(self.metrics) >= METRICS_PER_BATCH or len(self.params) + len(self.tags) >= PARAMS_PER_BATCH
