"""How far a run's journals have been delivered, kept in the run folder, separately for each place of delivery."""

import dataclasses
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clip_lightning.results import write_atomically

FILE_NAME = "tracking.json"


@dataclass
class DeliveryState:
    """What a place of delivery has acknowledged.

    Args:
        key: Mark of this run there, decided before the run is created. If the answer to its creation is lost, the run
            is found again by this mark.
        run_id: MLflow's id of the run, once it is known.
        began: When the journal begins that the offsets are of, in ms; a copied run folder may have got another one.
        offsets: Bytes acknowledged, by file name of the journal.
        artifacts: ``[path, folder]`` of artifacts that still have to be uploaded.
        status: ``[status, ms]``, the last one that the journal holds, and when.
        acknowledged_status: The last status that MLflow has confirmed.
    """

    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    run_id: str | None = None
    began: int | None = None
    offsets: dict[str, int] = field(default_factory=dict)
    artifacts: list[tuple[str, str | None]] = field(default_factory=list)
    status: tuple[str, int] | None = None
    acknowledged_status: str | None = None


def read_state(run_dir: Path, uri: str) -> DeliveryState:
    """Reads how far the run has been delivered.

    Args:
        run_dir: The run folder.
        uri: The place of delivery, without a password.

    Returns:
        The state; a new one if nothing has been delivered there.
    """
    stored = _read_all(run_dir).get(uri)
    if stored is None:
        return DeliveryState()
    state = DeliveryState(**stored)
    state.artifacts = [(path, folder) for path, folder in state.artifacts]
    state.status = state.status and (state.status[0], state.status[1])
    return state


def write_state(run_dir: Path, uri: str, state: DeliveryState) -> None:
    """Replaces the state of one place of delivery; a crash leaves the old or the new one."""
    content = {**_read_all(run_dir), uri: dataclasses.asdict(state)}
    write_atomically(run_dir / FILE_NAME, json.dumps(content, indent=2).encode())


def _read_all(run_dir: Path) -> dict[str, dict[str, Any]]:
    path = run_dir / FILE_NAME
    if not path.exists():
        return {}
    content: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return content
