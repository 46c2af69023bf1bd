import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from clip_lightning.reports.classes import class_accuracy, factor_names
from clip_lightning.reports.curves import Curve, spread
from clip_lightning.reports.figures import learning_curves, matches, overview, per_class_accuracy, save
from clip_lightning.reports.style import GREEN, ORANGE
from clip_lightning.results import Match

HISTORY = {
    "train/loss": (range(150), np.linspace(4.0, 1.0, 150)),
    "val/loss": (range(0, 150, 10), np.linspace(4.0, 1.2, 15)),
    "val/zero_shot/shapes/accuracy": Curve([0, 149], [0.1, 0.9], [0.05, 0.85], [0.15, 0.95]),
    "val/zero_shot/shapes_heldout/accuracy": ([0, 149], [0.1, 0.88]),
}
NAMES = [f"{colour} {shape}" for colour in ("red", "green", "blue") for shape in ("ring", "star")]
MATCH = Match(np.zeros((8, 8, 3), np.uint8), ["a red ring", "a red star"], [0.75, 0.25], [False, True])


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_losses_and_accuracies_have_a_panel_each():
    losses, accuracies = learning_curves(HISTORY).axes
    assert losses.get_title(loc="left") == "Loss"
    assert losses.lines[-1].get_ydata()[-1] == pytest.approx(1.2)
    assert accuracies.lines[0].get_ydata().tolist() == pytest.approx([10, 90])
    assert len(accuracies.collections) == 1  # the band of the only curve that has an interval


def test_lines_are_named_by_what_differs():
    assert texts(learning_curves(HISTORY)) == ["train", "val", "shapes", "shapes heldout"]


def test_a_dense_curve_is_drawn_raw_and_as_its_moving_mean():
    noise = np.random.default_rng(0).normal(size=2000)
    raw, mean = learning_curves({"train/loss": (range(2000), 5 + noise)}).axes[0].lines
    np.testing.assert_allclose(raw.get_ydata(), 5 + noise)
    window = slice(1000 - 50, 1000 + 51)
    assert mean.get_ydata()[1000] == pytest.approx(5 + noise[window].mean())


@pytest.mark.parametrize("history", [{}, {"train/loss": ([], [])}, {"val/a/accuracy": ([3], [0.5])}])
def test_short_histories_are_drawn(history, tmp_path):
    save(learning_curves(history), tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size == (1200, 420)


def test_labels_are_moved_apart_in_order_and_no_further_than_needed():
    assert spread([0.1, 0.5, 0.9], [0.2] * 3) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([0.52, 0.5], [0.1] * 2) == pytest.approx([0.56, 0.46])
    assert spread([1.0, 0.99, 0.0], [0.1, 0.2, 0.1]) == pytest.approx([0.95, 0.8, 0.05])
    centers, sizes = np.random.default_rng(0).random((2, 8)) * [[1], [0.2]]
    moved = np.array(spread(centers.tolist(), sizes.tolist()))
    order = np.argsort(centers)
    low, high = (moved - sizes / 2)[order], (moved + sizes / 2)[order]
    assert (low[1:] >= high[:-1] - 1e-9).all()
    assert low[0] >= -1e-9
    assert high[-1] <= 1 + 1e-9


def test_class_accuracy_counts_and_leaves_out_classes_without_samples():
    accuracy = class_accuracy(np.array([0, 0, 0, 2]), np.array([0, 0, 2, 2]), classes=3)
    np.testing.assert_allclose(accuracy, [2 / 3, np.nan, 1.0])


@pytest.mark.parametrize(
    ("names", "factors"),
    [
        (NAMES, (["red", "green", "blue"], ["ring", "star"])),
        (list(reversed(NAMES)), (["blue", "green", "red"], ["star", "ring"])),
        (NAMES[:-1], None),
        (["red ring", "red star"], None),
        (["cat", "dog"], None),
        ([*NAMES[:-1], NAMES[0]], None),
    ],
)
def test_names_are_factored_only_if_all_combinations_are_there(names, factors):
    assert factor_names(names) == factors


def test_factored_classes_make_a_square():
    target = np.array([0, 0, 1, 2, 3, 4])
    figure = per_class_accuracy(target, np.array([0, 1, 1, 0, 3, 4]), NAMES)
    assert texts(figure) == ["50", "100", "0", "100", "100", "-"]
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown.filled(-1), [[0.5, 1], [0, 1], [1, -1]])


def test_other_classes_are_bars_from_best_to_worst():
    figure = per_class_accuracy(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), ["cat", "dog", "cow", "absent"])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["dog", "cat", "cow"]
    assert [bar.get_width() for bar in figure.axes[0].patches[:3]] == [100, 50, 0]


def test_of_many_classes_the_ends_are_shown_and_the_rest_is_counted():
    target = np.arange(100)
    figure = per_class_accuracy(target, np.where(target < 50, target, 0), [f"class_{label}" for label in range(100)])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"class_{label}" for label in [*range(10), *range(90, 100)]]
    assert "80 classes between these" in texts(figure)


def test_bars_are_as_long_as_probabilities_and_coloured_by_right_and_wrong():
    bars = matches([MATCH.image], [MATCH.captions], [MATCH.scores], [MATCH.correct]).axes[1].patches[-2:]
    assert [bar.get_width() for bar in bars] == [0.75, 0.25]
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [ORANGE, GREEN]


def test_long_captions_are_cut():
    long = MATCH._replace(captions=["word " * 40, "short"])
    shown = texts(matches(*([field] for field in long)))
    assert shown[0].endswith("…")
    assert len(shown[0]) < 50
    assert "short" in shown


def test_captions_are_no_formulas(tmp_path):
    save(matches([MATCH.image], [["from $5 to $6_", "a^$b$"]], [MATCH.scores], [MATCH.correct]), tmp_path / "m.png")
    assert (tmp_path / "m.png").stat().st_size > 0


def test_matches_of_different_numbers_are_refused():
    with pytest.raises(ValueError, match="zip"):
        matches([MATCH.image], [], [], [])


@pytest.mark.parametrize("number", [0, 1, 4])
def test_the_overview_is_a_page_of_1500_pixels(tmp_path, number):
    target = np.arange(60) % 6
    save(overview(HISTORY, target, target, NAMES, [MATCH] * number, title="Shapes"), tmp_path / "page.png")
    image = Image.open(tmp_path / "page.png")
    assert image.size[0] == 1500
    assert image.convert("L").getextrema()[0] < 100  # something is drawn
    assert [path.name for path in tmp_path.iterdir()] == ["page.png"]


def test_an_overview_without_classes_and_matches_has_the_curves(tmp_path):
    none = np.zeros(0, dtype=int)
    figure = overview(HISTORY, none, none, [], [])
    save(figure, tmp_path / "page.png")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "Accuracy (%)"]


def test_the_users_settings_are_neither_used_nor_changed(tmp_path):
    with mpl.rc_context({"lines.linewidth": 9.0, "axes.grid": False}):
        before = dict(mpl.rcParams)
        figure = learning_curves(HISTORY)
        save(figure, tmp_path / "curves.png")
        assert dict(mpl.rcParams) == before
    assert figure.axes[0].lines[-1].get_linewidth() < 9


def test_figures_need_no_torch():
    unwanted = "{'torch', 'matplotlib.pyplot'}"
    code = f"import sys, clip_lightning.reports.figures; sys.exit(not {unwanted}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
