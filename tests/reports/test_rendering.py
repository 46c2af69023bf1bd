import pytest
from matplotlib.figure import Figure
from page import Page, addresses

from clip_lightning.reports.document import Document, Facts, Folded, Row, Section, Table
from clip_lightning.reports.rendering import to_html, to_markdown, write_report
from clip_lightning.reports.style import plot

NASTY = "<script>alert('a|b')</script>"


@pytest.fixture
def document():
    figure = Figure()
    figure.subplots().plot([1, 2], label=NASTY)
    table = Table("What <b>.", ["Name", ">n"], [Row(("a", "1"), is_strong=True), Row((NASTY, "2"))], [Row(("c", "3"))])
    return Document(
        f"Title {NASTY}",
        {"command": f"run {NASTY}"},
        ["First & last.", table],
        [Section("One", [plot(figure, f"A line {NASTY}.")], [Section("Two", [Folded(NASTY, [Facts({"k": NASTY})])])])],
    )


def test_a_page_is_well_formed_and_needs_nothing_else(document):
    html = to_html(document)
    page = Page(html)
    assert addresses(html) == set()
    assert page.tags.isdisjoint({"script", "link", "iframe", "object"})
    assert page.tables[0] == [["Name", "n"], ["a", "1"], [NASTY, "2"]]
    assert page.tables[1] == [["Name", "n"], ["c", "3"]]
    assert page.pictures[0].startswith("<svg")


def test_text_stays_text(document):
    html = to_html(document)
    assert "<script" not in html
    assert "First & last." in Page(html).text
    markdown = to_markdown(document)
    assert "<script" not in markdown.replace(r"\<script", "")


def test_tables_and_figures_are_numbered(document):
    document = Document("T", {}, [*document.blocks, *document.blocks], document.sections)
    text = Page(to_html(document)).text
    assert [text.count(f"Table {number}.") for number in (1, 2, 3)] == [1, 1, 0]
    assert "Figure 1. A line" in text


def test_markdown_has_the_same_tables(document):
    lines = to_markdown(document).splitlines()
    at = lines.index("| Name | n |")
    assert lines[at + 1 : at + 3] == ["| --- | ---: |", "| **a** | **1** |"]
    assert r"\|b" in lines[at + 3]
    assert "### Two" in lines
    assert "<details><summary>1 more rows</summary>" in lines


def test_the_same_document_gives_the_same_files(document, tmp_path):
    paths = write_report(tmp_path, document)
    assert [path.name for path in paths] == ["report.html", "report.md"]
    before = [path.read_bytes() for path in paths]
    write_report(tmp_path, document)
    assert [path.read_bytes() for path in paths] == before
