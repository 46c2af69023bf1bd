"""How far a run's journals have been delivered, kept in the run folder, separately for each place of delivery."""

import contextlib
import dataclasses
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clip_lightning.files import write_atomically

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
        home: Path and inode of the run folder, by which a copy is told from a folder that was moved.
    """

    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    run_id: str | None = None
    began: int | None = None
    offsets: dict[str, int] = field(default_factory=dict)
    artifacts: list[tuple[str, str | None]] = field(default_factory=list)
    status: tuple[str, int] | None = None
    acknowledged_status: str | None = None
    home: tuple[str, int] | None = None


def read_state(run_dir: Path, uri: str) -> DeliveryState:
    """Reads how far the run has been delivered.

    Args:
        run_dir: The run folder.
        uri: The place of delivery, without a password.

    Returns:
        The state; a new one if nothing has been delivered there, or the folder is a copy, which is a run of its own.

    Raises:
        ValueError: If the file is damaged.
    """
    stored = _read_all(run_dir).get(uri)
    if stored is None or _is_elsewhere(run_dir, stored.get("home")):
        return DeliveryState(home=_home_of(run_dir))
    try:
        state = DeliveryState(**{**stored, "home": _home_of(run_dir)})
    except TypeError:
        raise _damaged(run_dir / FILE_NAME) from None
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
    try:
        content: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise _damaged(path) from None
    if not isinstance(content, dict) or not all(isinstance(state, dict) for state in content.values()):
        raise _damaged(path)
    return content


def _damaged(path: Path) -> ValueError:
    return ValueError(f"{path} is damaged; delete it to deliver everything anew, as another run of MLflow's")


def _home_of(run_dir: Path) -> tuple[str, int]:
    return str(run_dir.resolve()), run_dir.stat().st_ino


def _is_elsewhere(run_dir: Path, home: tuple[str, int] | None) -> bool:
    """Whether the state was copied here from a folder that is still there."""
    if home is None or home[1] == run_dir.stat().st_ino:
        return False
    with contextlib.suppress(OSError):
        return Path(home[0]).stat().st_ino == home[1]
    return False
