"""The requests that a delivery makes of MLflow; importing this module does not import MLflow."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clip_lightning.tracking import store
from clip_lightning.tracking.mlflow_names import mlflow_name

# Source: mlflow/utils/validation.py of MLflow 3.17: 1,000 metrics, 100 parameters, 100 tags; and 1 MB a request, which
# 100 parameters of 6,000 characters can exceed, so fewer are sent at once.
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 20
PARAM_LENGTH = 6000
TAG_LENGTH = 8000
_RUN_KEY_TAG = "clip_lightning.run_key"
_log = logging.getLogger(__name__)


def connected_client(uri: str) -> Any:
    """Imports MLflow, quietly and with short time-outs, and asks the store for a sign of life.

    What the environment already says about MLflow's log level, telemetry, retries and time-outs holds.

    Args:
        uri: The tracking URI.

    Returns:
        An ``MlflowClient``.
    """
    quiet = {
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    # MLflow's own defaults keep on for minutes; here the next attempt comes in seconds, and the journal waits.
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    for name, value in {**quiet, **patience}.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with store.initialisation(uri):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


def find_or_create_run(client: Any, start: Mapping[str, Any], key: str, uri: str) -> str:
    """Finds a run by its mark, or creates it, and its experiment with it.

    Args:
        client: The ``MlflowClient``.
        start: The journal's "start" record: ``experiment``, ``run_name`` and ``time``.
        key: Mark that no other run has.
        uri: The tracking URI.

    Returns:
        MLflow's id of the run.
    """
    experiment = _experiment_id(client, start["experiment"], uri)
    found = client.search_runs([experiment], f"tags.`{_RUN_KEY_TAG}` = '{key}'", max_results=1)
    if not found:
        found = [client.create_run(experiment, start["time"], {_RUN_KEY_TAG: key}, start["run_name"])]
    run_id: str = found[0].info.run_id
    return run_id


def _experiment_id(client: Any, name: str, uri: str) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            client.create_experiment(name, store.artifact_location(uri))
        except MlflowException as error:  # Another run of the same study may just have created it.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = client.get_experiment_by_name(name)
    experiment_id: str = experiment.experiment_id
    return experiment_id


def metric_entities(points: Sequence[tuple[str, float, int, int]]) -> list[Any]:
    """Makes MLflow's metrics of (name, value, ms, step)."""
    from mlflow.entities import Metric

    return [Metric(mlflow_name(name), value, time_ms, step) for name, value, time_ms, step in points]


def param_entities(params: Mapping[str, str]) -> list[Any]:
    """Makes MLflow's parameters, cut to the length that it takes."""
    from mlflow.entities import Param

    for name, value in params.items():
        if len(value) > PARAM_LENGTH:
            _log.warning("parameter %s is cut from %d to %d characters", name, len(value), PARAM_LENGTH)
    return [Param(mlflow_name(name), value[:PARAM_LENGTH]) for name, value in params.items()]


def tag_entities(tags: Mapping[str, str]) -> list[Any]:
    """Makes MLflow's tags, cut to the length that it takes."""
    from mlflow.entities import RunTag

    for name, value in tags.items():
        if len(value) > TAG_LENGTH:
            _log.warning("tag %s is cut from %d to %d characters", name, len(value), TAG_LENGTH)
    return [RunTag(mlflow_name(name), value[:TAG_LENGTH]) for name, value in tags.items()]


def send_or_halve(send: Callable[[list[Any]], None], entities: Sequence[Any]) -> int:
    """Sends entities; if MLflow calls them invalid, finds the invalid ones by halving and leaves only these out.

    Args:
        send: Sends a part of the entities.
        entities: Metrics, parameters or tags.

    Returns:
        The number of entities that MLflow refuses.
    """
    from mlflow.exceptions import MlflowException

    try:
        send(list(entities))
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        if len(entities) == 1:
            _log.warning("MLflow refuses %s: %s", entities[0], first_line(error))
            return 1
        middle = len(entities) // 2
        return send_or_halve(send, entities[:middle]) + send_or_halve(send, entities[middle:])
    return 0


def first_line(error: BaseException) -> str:
    """Shortens an error's text to one line, without passwords; MLflow's errors run over dozens of lines."""
    lines = store.without_password(str(error)).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
