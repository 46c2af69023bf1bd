"""One SQLite store for all tests of the process, since MLflow takes seconds to create its tables."""

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from processes import Server

from clip_lightning.tracking.delivery_state import read_state
from clip_lightning.tracking.journal import Journal
from clip_lightning.tracking.mlflow_requests import connected_client

PROCESS = {"host": "elsewhere", "pid": 1, "started": 0.0}


class Store:
    """An SQLite store, read without MLflow: what is in its tables is what counts."""

    def __init__(self, database: Path, uri: str | None = None) -> None:
        self.database = database
        self.uri = uri or f"sqlite:///{database}"

    def query(self, statement: str, *values: object) -> list[tuple]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(statement, values).fetchall()

    def run_id(self, run_dir: Path) -> str:
        return read_state(run_dir, self.uri).run_id

    def metrics(self, run_dir: Path) -> list[tuple[str, int, float]]:
        """(name, step, value) of every row, in order of name and step."""
        rows = self.query(
            "select key, step, value, is_nan from metrics where run_uuid = ? order by key, step, timestamp",
            self.run_id(run_dir),
        )
        return [(name, step, math.nan if is_nan else value) for name, step, value, is_nan in rows]

    def params(self, run_dir: Path) -> dict[str, str]:
        return dict(self.query("select key, value from params where run_uuid = ?", self.run_id(run_dir)))

    def tags(self, run_dir: Path) -> dict[str, str]:
        return dict(self.query("select key, value from tags where run_uuid = ?", self.run_id(run_dir)))

    def status(self, run_dir: Path) -> str:
        return self.query("select status from runs where run_uuid = ?", self.run_id(run_dir))[0][0]


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store with space") / "mlflow.db")


@pytest.fixture(scope="session")
def server(tmp_path_factory, store) -> Server:
    """A server over a copy of the store; whether it runs is for each test to say."""
    if not store.database.exists():
        connected_client(store.uri)
    folder = tmp_path_factory.mktemp("server")
    database = folder / "server.db"
    with closing(sqlite3.connect(store.database)) as source, closing(sqlite3.connect(database)) as copy:
        source.backup(copy)
    server = Server(folder, database)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def server_store(server) -> Store:
    """What the server has."""
    return Store(server.database, server.uri)


@pytest.fixture
def journal(tmp_path, store) -> Journal:
    """The journal of a run that has begun."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.start("experiment", "name", store.uri, PROCESS)
    journal.log_status("RUNNING")
    return journal
