import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from clip_lightning.reports.photos import Line, Photo, photo_sheet
from clip_lightning.reports.style import save

WIDE, HIGH = np.zeros((10, 40, 3), np.uint8), np.full((40, 10, 3), 255, np.uint8)


def photos(number):
    lines = [Line(f"a class of many words {rank}", "33 %", 1 / 3) for rank in range(3)]
    images = [WIDE, HIGH, "image data cannot be decoded"]
    return [Photo(images[index % 3], f"folder/{index}/IMG_20260101_123456_name.jpg", lines) for index in range(number)]


def boxes(items, figure):
    return [item.get_window_extent(figure.canvas.get_renderer()) for item in items]


@pytest.mark.parametrize("number", [1, 5, 7])
def test_nothing_overlaps_and_all_is_on_the_page(number, tmp_path):
    figure = photo_sheet(photos(number), "A title", [("model", "x" * 80)])
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    found = boxes([*axes.images, *axes.texts], figure)
    for place, box in enumerate(found):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
        for other in found[:place]:
            assert box.x0 >= other.x1 or other.x0 >= box.x1 or box.y0 >= other.y1 - 2 or other.y0 >= box.y1 - 2
    save(figure, tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width == 1500


def test_a_photograph_keeps_its_shape_and_is_seen():
    figure = photo_sheet([Photo(WIDE, "wide", []), Photo(HIGH, "high", [])], "T")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    wide, high = boxes(figure.axes[0].images, figure)
    assert wide.width / wide.height == pytest.approx(4, rel=0.02)
    assert high.height / high.width == pytest.approx(4, rel=0.02)
    page = np.asarray(canvas.buffer_rgba())[::-1]  # rows from below, as the boxes have them
    for box, grey in ((wide, 0), (high, 255)):
        inside = page[round(box.y0) + 4 : round(box.y1) - 4, round(box.x0) + 4 : round(box.x1) - 4, :3]
        assert inside.size > 1000
        assert (inside == grey).all()


def test_bars_are_as_long_as_their_shares():
    figure = photo_sheet([Photo(WIDE, "n", [Line("a", "75 %", 0.75), Line("b", "none")])], "T")
    widths = sorted({round(patch.get_width(), 4) for patch in figure.axes[0].patches})
    assert widths[0] == pytest.approx(0.75 * widths[-1], rel=1e-3)
    assert [text.get_text() for text in figure.axes[0].texts][-4:] == ["a", "75 %", "b", "none"]
