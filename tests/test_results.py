import json
import math
import subprocess
import sys

import numpy as np
import pytest

from clip_lightning.files import write_atomically
from clip_lightning.results import (
    Comparison,
    Result,
    counted,
    format_comparisons,
    format_table,
    printed,
    read_results,
    write_results,
)

ROW = Result(
    name="zero_shot/shapes/accuracy",
    value=0.8731,
    interval=(0.851, 0.893),
    method="wilson",
    n=1000,
    missing=2,
    metric="accuracy",
    protocol={"split": "test", "templates": ["a {}"], "classes": np.int64(64), "sizes": (1, 2)},
    source="shapes",
    items=np.ones(1000),
)


def row(**changes):
    return Result(**{**vars(ROW), **changes})


def test_rows_survive_the_file_without_their_items(tmp_path):
    bare = row(name="b", interval=None, protocol={}, items=None)
    write_results(tmp_path / "results.json", [ROW, bare])
    first, second = read_results(tmp_path / "results.json")
    assert second == bare
    assert first == row(protocol={"split": "test", "templates": ["a {}"], "classes": 64, "sizes": [1, 2]}, items=None)


def test_the_file_is_strict_json_with_its_format(tmp_path):
    values = [math.nan, math.inf, -math.inf]
    write_results(
        tmp_path / "r.json", [row(value=value, interval=(value, 1.0), protocol={"t": [value]}) for value in values]
    )

    def refuse(constant):
        raise AssertionError(constant)

    content = json.loads((tmp_path / "r.json").read_text(), parse_constant=refuse)
    assert content["format"] == 1
    assert set(content) == {"format", "results"}
    read = read_results(tmp_path / "r.json")
    np.testing.assert_equal([item.value for item in read], values)
    np.testing.assert_equal([item.interval for item in read], [(value, 1.0) for value in values])


@pytest.mark.parametrize("content", ['{"format": 2, "results": []}', "[]", "{}"])
def test_another_format_is_refused(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(ValueError, match=r"r\.json is no results file of format 1"):
        read_results(tmp_path / "r.json")


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    write_results(tmp_path / "r.json", [ROW])
    before = (tmp_path / "r.json").read_bytes()

    def full_disk(_):
        raise OSError(28, "no space left")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_results(tmp_path / "r.json", [])
    assert (tmp_path / "r.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_bytes_are_replaced_as_a_whole(tmp_path):
    for content in (b"long content", b"short"):
        write_atomically(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content


def test_the_table_shows_percent_interval_and_counts():
    table = format_table([ROW, row(name="x", value=1.0, interval=None, n=50_000, missing=0), row(value=math.nan)])
    lines = table.splitlines()
    assert lines[2].split() == ["zero_shot/shapes/accuracy", "87.3", "85.1", "to", "89.3", "1,000", "2"]
    assert lines[3].split() == ["x", "100.0", "-", "50,000", "0"]
    assert "nan" in lines[4]
    assert len({len(line) for line in lines}) == 1


def test_what_is_no_fraction_is_shown_with_its_unit():
    table = format_table([row(value=1.43215, interval=(1.4, 1.5), unit="nats"), row(value=12_345.0, unit="ranks")])
    assert table.splitlines()[2].split()[1:5] == ["1.432", "nats", "1.4", "to"]
    assert table.splitlines()[3].split()[1:3] == ["12,345", "ranks"]
    assert printed(1.0, "ranks") == "1 rank"
    assert [counted(1, "class"), counted(0, "shot"), counted(2000, "class")] == ["1 class", "0 shots", "2,000 classes"]


def test_an_empty_table_is_its_head():
    assert len(format_table([]).splitlines()) == 2


def test_results_and_stats_need_no_torch():
    code = "import sys, clip_lightning.results, clip_lightning.stats; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_page_can_be_drawn_from_the_file_alone(tmp_path):
    details = {"kind": "risk_coverage", "coverage": [0.5, 1.0], "risk": [0.1, 0.25]}
    write_results(tmp_path / "r.json", [row(unit="nats", model="a", details=details)])
    (read,) = read_results(tmp_path / "r.json")
    assert (read.unit, read.model, read.details) == ("nats", "a", details)


def test_differences_are_printed_with_their_sign_and_unit():
    shares = Comparison("zero_shot/a/accuracy", "b", "a", 0.021, (0.01, 0.032), 0.0004, "m", 1000)
    nats = Comparison("calibration/a/nll", "b", "a", -0.25, None, None, "m", 1000, "nats")
    lines = [" ".join(line.split()) for line in format_comparisons([shares, nats]).splitlines()]
    assert lines[0] == "difference points 95 % interval p n"
    assert lines[2:] == ["zero_shot/a/accuracy +2.1 1.0 to 3.2 <0.001 1,000", "calibration/a/nll -0.25 nats - - 1,000"]
