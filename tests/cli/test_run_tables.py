"""``runs tables``: what runs measured, as files that other tools read."""

import csv
import json

from clip_lightning.__main__ import main
from clip_lightning.results import Result, write_results


def measured(folder, **values):
    folder.mkdir()
    write_results(
        folder / "results.json", [Result(name, value, None, "", 4, 0, name) for name, value in values.items()]
    )
    return folder


def write_journal(folder, *points):
    lines = [{"kind": "metrics", "time": 1, "step": step, "values": {name: value}} for name, step, value in points]
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def tables(*arguments):
    return main(["runs", "tables", *map(str, arguments)])


def test_results_and_curves_are_there_for_others(tmp_path, capsys):
    train = measured(tmp_path / "train", accuracy=0.5, recall=1.0)
    evaluated = measured(tmp_path / "evaluation", accuracy=0.25)
    write_journal(train, ("train/loss", 10, 2.5), ("train/loss", 20, "nan"), ("val/loss", 20, 3.0))
    output = tmp_path / "a" / "report"
    assert tables(train, evaluated, "--output", output) == 0
    assert capsys.readouterr().out.splitlines() == [f"1 curves and {output / 'metrics.json'}", str(output)]
    values = json.loads((output / "metrics.json").read_text())
    assert values == {"train": {"accuracy": 0.5, "recall": 1.0}, "evaluation": {"accuracy": 0.25}}
    curves = list(output.glob("curves/*/*"))
    assert curves == [output / "curves" / "train" / "train-loss.csv"]
    with curves[0].open() as file:
        assert list(csv.reader(file)) == [["step", "value"], ["10", "2.5"], ["20", "nan"]]


def test_mistakes_are_said_and_nothing_is_written(tmp_path, capsys):
    train = measured(tmp_path / "train", accuracy=0.5)
    (tmp_path / "other").mkdir()
    again = measured(tmp_path / "other" / "train", accuracy=0.5)
    output = tmp_path / "report"
    assert tables(train, again, "--output", output) == 2
    assert "two runs are called 'train'" in capsys.readouterr().err
    assert tables(tmp_path / "nothing", "--output", output) == 2
    assert f"{tmp_path / 'nothing'} has no results.json" in capsys.readouterr().err
    assert not output.exists()
