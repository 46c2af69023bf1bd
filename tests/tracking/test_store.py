from pathlib import Path

import pytest

from clip_lightning.tracking.store import artifact_location, recorded_uri, resolve_uri, without_password


def test_where_runs_are_tracked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_uri(None) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert artifact_location(resolve_uri(None)) == (tmp_path / "runs" / "mlartifacts").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:pw@host:5000/mlflow")
    assert resolve_uri(None) == "https://ann:pw@host:5000/mlflow"
    assert artifact_location(resolve_uri(None)) is None
    assert resolve_uri("databricks") == "databricks"
    for uri in ("https://ann:pw@host:5000/mlflow", resolve_uri("sqlite:///a b.db")):
        assert "pw" not in without_password(uri)
        assert recorded_uri(without_password(uri)) == uri
    for folder in ("./mlruns", "file:./mlruns", str(Path.cwd())):
        with pytest.raises(ValueError, match="no server and no database"):
            resolve_uri(folder)
