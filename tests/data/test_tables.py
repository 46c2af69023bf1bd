import csv
import json
import os
import pickle
import random

import pyarrow as pa
import pyarrow.parquet
import pytest
from torch.utils.data import Dataset

from clip_lightning.data.fetching import fetch
from clip_lightning.data.tables import open_table

COLUMNS = ["id", "image", "text"]
TEXTS = [
    "plain",
    'with "quotes"',
    "two\nlines",
    "tab\tand, comma",
    "",
    "číslo 数 🍎",
    " blanks ",
    "\r\nin between\r\n",
    "'",
]


def random_rows(number, seed=0):
    chance = random.Random(seed)
    return [
        {"id": f"id{index}", "image": f"{index}.png", "text": "".join(chance.choices(TEXTS, k=chance.randint(0, 3)))}
        for index in range(number)
    ]


def write_json(path, rows, encoding="utf-8"):
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n\n".join(lines[:2]) + "\n" + "\n".join(lines[2:]), encoding=encoding)


def write_csv(path, rows, encoding="utf-8", delimiter=",", header=True, end="\r\n"):
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
        writer.writerows(([COLUMNS] if header else []) + [[row[column] for column in COLUMNS] for row in rows])


def write_parquet(path, rows):
    pa.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)


WRITERS = {
    "a.jsonl": write_json,
    "a.NDJSON": write_json,
    "bom.jsonl": lambda path, rows: write_json(path, rows, "utf-8-sig"),
    "a.csv": write_csv,
    "bom.csv": lambda path, rows: write_csv(path, rows, "utf-8-sig"),
    "short.csv": lambda path, rows: write_csv(path, rows, end="\n"),
    "a.tsv": lambda path, rows: write_csv(path, rows, delimiter="\t"),
    "a.parquet": write_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_rows_come_back_in_any_order_and_in_another_process(tmp_path, name):
    rows = random_rows(60)
    WRITERS[name](tmp_path / name, rows)
    table = open_table(tmp_path / name, COLUMNS)
    records = list(table.scan())
    assert [record.row for record in records] == rows
    assert [record.row for record in table.scan()] == rows
    order = random.Random(1).choices(range(60), k=100)
    for one in (table, pickle.loads(pickle.dumps(table))):
        assert list(one.rows([records[index].key for index in order])) == [rows[index] for index in order]
        assert [one.place(record.key) for record in records] == [record.place for record in records]


@pytest.mark.parametrize("name", [name for name in WRITERS if "parquet" not in name])
def test_places_are_lines(tmp_path, name):
    WRITERS[name](tmp_path / name, random_rows(40))
    lines = (tmp_path / name).read_bytes().split(b"\n")
    for record in open_table(tmp_path / name, COLUMNS).scan():
        path, _, number = record.place.rpartition(":")
        assert path == str(tmp_path / name)
        assert record.row["id"].encode() in lines[int(number) - 1]


def test_a_plain_reading_of_csv_finds_the_same(tmp_path):
    write_csv(tmp_path / "a.csv", random_rows(50, seed=3))
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [record.row for record in open_table(tmp_path / "a.csv", COLUMNS).scan()] == list(csv.DictReader(file))


def test_a_file_without_a_header_row(tmp_path):
    rows = random_rows(5)
    write_csv(tmp_path / "a.tsv", rows, delimiter="\t", header=False)
    records = list(open_table(tmp_path / "a.tsv", COLUMNS, COLUMNS).scan())
    assert [record.row for record in records] == rows
    assert records[0].place == f"{tmp_path}/a.tsv:1"


def test_parquet_types(tmp_path):
    table = pa.table(
        {
            "id": pa.array([1, 2, None], pa.int32()),
            "kind": pa.array(["a", None, "a"]).dictionary_encode(),
            "texts": [["x", "y"], [], None],
            "flag": [True, False, None],
            "image": [b"not asked for"] * 3,
        }
    )
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    names = ["id", "kind", "texts", "flag"]
    records = list(open_table(tmp_path / "a.parquet", names).scan())
    assert [record.row for record in records] == table.select(names).to_pylist()
    assert [record.place for record in records] == [f"{tmp_path}/a.parquet, row {number}" for number in (1, 2, 3)]


class ReadsRows(Dataset):
    def __init__(self, table):
        self.table = table

    def __getitem__(self, keys):
        return [row["id"] for key in keys for row in self.table.rows([key])]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_workers_do_not_disturb_each_other(tmp_path, name):
    rows = random_rows(200)
    WRITERS[name](tmp_path / name, rows)
    table = open_table(tmp_path / name, COLUMNS)
    keys = [record.key for record in table.scan()]
    order = [random.Random(batch).sample(range(200), 50) for batch in range(8)]
    found = fetch(ReadsRows(table), [[keys[index] for index in batch] for batch in order], num_workers=2)
    assert list(found) == [[f"id{index}" for index in batch] for batch in order]


def test_the_copy_of_a_parquet_file_leaves_nothing(tmp_path, monkeypatch):
    write_parquet(tmp_path / "a.parquet", random_rows(3))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    table = open_table(tmp_path / "a.parquet", COLUMNS)
    assert os.stat(table._copy.fileno()).st_dev == os.stat(tmp_path).st_dev
    assert list((tmp_path / "temporary").iterdir()) == []


GOOD = b"image,text\r\n1.png,a\r\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", GOOD + b'2.png,"b\r\n3.png,c\r\n', r"a.csv:3 is not valid CSV: unexpected end of data"),
        ("a.tsv", b'image\ttext\n1.png\t"a" b\n', r"a.tsv:2 is not valid TSV: '\t' expected after"),
        ("a.csv", GOOD + b"\r\n2.png\r\n", r"a.csv:4 has 1 values for the 2 columns \['image', 'text'\]"),
        ("a.csv", GOOD + b"2.png,b,c\r\n", r"a.csv:3 has 3 values"),
        ("a.csv", b"image,image\n", r"a.csv:1: the columns are \['image', 'image'\]; give each a name of its own"),
        ("a.csv", GOOD + "2.png,Ä\n".encode("latin-1"), r"a.csv:3 is not UTF-8 text .*at byte 6 of the line"),
        ("a.csv", GOOD.decode().encode("utf-16"), r"a.csv:1 is not UTF-8 text"),
        ("a.csv", GOOD.decode().encode("utf-16-le"), r"a.csv:1 holds a null character"),
        ("a.jsonl", b'{}\n{"a": "\xff"}\n', r"a.jsonl:2 is not UTF-8 text"),
        ("a.jsonl", b'{}\n{"a": "\xed\xa0\x80"}\n', r"a.jsonl:2 is not UTF-8 text"),
        ("a.jsonl", b"{}\n\n[1]\n", r"a.jsonl:3 is a list"),
        ("a.jsonl", b"{oops\n", r"a.jsonl:1 is not valid JSON"),
        ("a.jsonl", b"[" * 100_000, r"a.jsonl:1 is not valid JSON"),
        ("a.parquet", b"PAR1 and no more", r"a.parquet is not a Parquet file that can be read"),
        (
            "a.jsonl.gz",
            b"",
            r"a.jsonl.gz ends in '.gz'; a manifest is JSON lines, CSV, TSV or Parquet.*convert or rename",
        ),
        ("a", b"", r"a ends in ''"),
    ],
)
def test_mistakes_name_the_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(open_table(tmp_path / name, []).scan())


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(ValueError, match=f"cannot read the manifest .*{name}: No such file"):
        list(open_table(tmp_path / name, []).scan())


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_file_that_changes_under_way_is_named(tmp_path, name):
    WRITERS[name](tmp_path / name, random_rows(9))
    table = open_table(tmp_path / name, COLUMNS)
    keys = [record.key for record in table.scan()]
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: keys[4]])
    with pytest.raises(ValueError, match=f"{name} has become shorter since it was opened"):
        list(table.rows(keys[5:6]))
    (tmp_path / name).write_bytes(content[: keys[4]] + b"     " + content[keys[4] :])
    with pytest.raises(ValueError, match=rf"{name}, byte {keys[5]} (is not valid|has)"):
        list(table.rows(keys[5:6]))


def test_columns_that_a_file_cannot_have(tmp_path):
    write_parquet(tmp_path / "a.parquet", random_rows(1))
    with pytest.raises(
        ValueError, match=r"a.parquet has no column 'caption'; its columns are \['id', 'image', 'text'\]"
    ):
        open_table(tmp_path / "a.parquet", ["caption"])
    with pytest.raises(ValueError, match=r"columns names those of a CSV or TSV file; .*a.parquet names its own"):
        open_table(tmp_path / "a.parquet", ["id"], ["id"])
    with pytest.raises(ValueError, match=r"columns: the columns are \['a', 'a'\]"):
        open_table(tmp_path / "a.csv", [], ["a", "a"])
    pa.parquet.write_table(pa.table({"image": [b"\xff\xd8"]}), tmp_path / "binary.parquet")
    with pytest.raises(ValueError, match=r"binary.parquet: one of the columns \['image'\] holds neither texts"):
        open_table(tmp_path / "binary.parquet", ["image"])
