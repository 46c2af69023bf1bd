"""The one look of all pictures, and how they are written."""

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from clip_lightning.files import write_atomically
from clip_lightning.reports.document import Plot

INK, FAINT, RULE = "#22272e", "#6b7480", "#e4e7eb"

# Source: the colour-blind-safe palette of Okabe and Ito, "Color Universal Design", 2008, without its yellow, which is
# too pale for lines.
BLUE, ORANGE, GREEN, PINK, SKY, AMBER = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"
PALETTE = [BLUE, ORANGE, GREEN, PINK, SKY, AMBER]

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,  # captions name prices in $
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 8.5,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 150,
    "savefig.dpi": 150,
}


def styled() -> AbstractContextManager[None]:
    """Context in which a figure must be made, and not the user's own settings of matplotlib."""
    settings: Any = {**mpl.rcParamsDefault, "backend": "agg", **_STYLE}
    return mpl.rc_context(settings)


def new_figure(width: float, height: float) -> Figure:
    """A blank figure that lays itself out, without pyplot's global list of figures.

    Args:
        width: In inches, each of 150 pixels.
        height: In inches.
    """
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.07))


def save(figure: Figure, path: str | Path) -> None:
    """Writes a figure as PNG, complete or not at all.

    Args:
        figure: Any figure.
        path: File to write or replace; its folder exists.
    """
    content = io.BytesIO()
    with styled():
        figure.savefig(content, format="png")
    write_atomically(path, content.getvalue())


def plot(figure: Figure, caption: str) -> Plot:
    """A figure for a document: as SVG that names no address, and the same for the same figure.

    Args:
        figure: Any figure.
        caption: What is found in it.
    """
    content = io.BytesIO()
    with styled(), mpl.rc_context({"svg.hashsalt": "clip_lightning"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    # The declaration before the element would point to a document type on the web.
    picture = content.getvalue()
    return Plot(caption, picture[picture.index(b"<svg") :], figure.get_figwidth())
