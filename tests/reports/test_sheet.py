import io

import numpy as np
import pytest
from PIL import Image

from clip_lightning.reports.sheet import Sample, sheet
from clip_lightning.reports.style import save


def samples(number, caption="a red circle", is_cut=False):
    return [Sample(np.full((16, 16, 3), 10 * index, np.uint8), caption, is_cut) for index in range(number)]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def boxes(figure):
    """Where images and texts lie, in pixels from the lower left corner."""
    renderer = figure.canvas.get_renderer()
    return [item.get_window_extent(renderer) for item in (*figure.axes[0].images, *figure.axes[0].texts)]


@pytest.mark.parametrize("number", [1, 7])
@pytest.mark.parametrize(
    "caption",
    ["", "short", "several words of a caption " * 8, "word " * 400],
    ids=["none", "short", "long", "very long"],
)
def test_nothing_overlaps_and_all_is_on_the_page(number, caption, tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = sheet(samples(number, caption, is_cut=True), "A title", [("source", "x" * 118), ("", "more")])
    FigureCanvasAgg(figure).draw()
    found = boxes(figure)
    page = figure.bbox
    for place, box in enumerate(found):
        assert page.x0 <= box.x0 <= box.x1 <= page.x1
        assert page.y0 <= box.y0 <= box.y1 <= page.y1
        for other in found[:place]:
            apart = box.x0 >= other.x1 or other.x0 >= box.x1 or box.y0 >= other.y1 - 2 or other.y0 >= box.y1 - 2
            assert apart
    save(figure, tmp_path / "sheet.png")
    assert Image.open(io.BytesIO((tmp_path / "sheet.png").read_bytes())).width == 1500


def test_captions_are_whole_and_cut_ones_are_marked():
    long = " ".join(f"word{index}" for index in range(30))
    found = texts(sheet([*samples(1, long), *samples(1, "brief", is_cut=True)], "T"))
    assert " ".join(found).count("cut to the context") == 1
    assert long in " ".join(found)
    assert found.index("brief") == found.index("… cut to the context") - 1
