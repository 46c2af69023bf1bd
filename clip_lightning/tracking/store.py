"""Where runs are tracked: a server, or the embedded SQLite store, which several processes may create at once."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

EMBEDDED_DATABASE = Path("runs") / "mlflow.db"
_SQLITE = "sqlite:///"


def resolve_uri(tracking_uri: str | None) -> str:
    """Decides where runs are tracked.

    Args:
        tracking_uri: The user's choice, or None for the environment's ``MLFLOW_TRACKING_URI``, or, where that is unset,
            the embedded store ``runs/mlflow.db`` of the working directory.

    Returns:
        The URI; the path of an SQLite file is made absolute, so that it holds for processes started elsewhere.

    Raises:
        ValueError: If it names a folder, which MLflow no longer takes for a store.
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{EMBEDDED_DATABASE}"
    if database := database_of(uri):
        return f"{_SQLITE}{database}"
    if urlsplit(uri).scheme in ("", "file") and not uri.startswith("databricks"):
        raise ValueError(
            f"tracking_uri {uri!r} is no server and no database; use http://HOST:PORT, or sqlite:///PATH/mlflow.db"
        )
    return uri


def recorded_uri(place: str) -> str:
    """The URI of a place that was noted without its password, which the environment may know."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    return uri if without_password(uri) == place else place


def database_of(uri: str) -> Path | None:
    """The absolute path of an SQLite store, or None for every other store."""
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None


def without_password(uri: str) -> str:
    """The same URI, or text with URIs, without users and passwords, for files and messages."""
    return re.sub(r"://[^/\s]*@", "://", uri)


def artifact_location(uri: str) -> str | None:
    """The URI of the folder for artifacts beside an SQLite store; None where a server decides."""
    database = database_of(uri)
    return None if database is None else (database.parent / "mlartifacts").as_uri()


@contextmanager
def initialisation(uri: str) -> Iterator[None]:
    """Holds a lock while an SQLite store is opened for the first time.

    MLflow creates and migrates its tables at the first use. Of several processes that do it at once, all but one crash.
    """
    database = database_of(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):
        yield
