"""What a browser finds in a page."""

import base64
import re
from html.parser import HTMLParser

# Signs that look alike are read as one.
PLAIN = str.maketrans({"\N{EN DASH}": "-", "\N{MINUS SIGN}": "-"})
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in its order.

    Attributes:
        tables: Rows of cells, of each table.
        pictures: SVG of each picture.
        tags: Names of all elements.
        text: All text.
    """

    def __init__(self, html):
        super().__init__()
        self.open, self.tables, self.pictures, self.tags, self.text = [], [], [], set(), ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "img":
            kind, data = dict(attrs)["src"].split(",", 1)
            assert kind == "data:image/svg+xml;base64"
            self.pictures.append(base64.b64decode(data).decode())

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.text += data.translate(PLAIN)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data.translate(PLAIN)


def addresses(html):
    """Addresses outside the page, in it and in its pictures; names of XML's namespaces are none."""
    everything = html + "".join(Page(html).pictures)
    found = set(re.findall(r"(?:https?:)?//[\w.]+[^\s\"'<]*|@import|url\((?!#)", everything))
    return {address for address in found if not address.startswith("http://www.w3.org/")}
