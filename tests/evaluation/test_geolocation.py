import numpy as np
import pytest
from sklearn.metrics.pairwise import haversine_distances

from clip_lightning.data import LocatedImages
from clip_lightning.data.features import Features
from clip_lightning.evaluation import Geolocation
from clip_lightning.evaluation.geolocation import KILOMETRES, great_circle

PLACES = {"Paris": (48.8566, 2.3522), "London": (51.5074, -0.1278), "Sydney": (-33.8688, 151.2093)}


def table(path, places):
    path.parent.mkdir(exist_ok=True)
    path.write_text("image,latitude,longitude\n" + "".join(f"{i}.jpg,{n},{e}\n" for i, (n, e) in enumerate(places)))
    return LocatedImages(path)


class Rows:
    """A context with a row for each image of each source; of some rows the image is missing."""

    def __init__(self, rows):
        self._rows = rows

    def images(self, source, stage="features"):
        rows = self._rows[source.name]
        there = [index for index, row in enumerate(rows) if row is not None]
        values = np.array([rows[index] for index in there], dtype=np.float32)
        return Features(values, np.array(there), {i: "torn" for i, row in enumerate(rows) if row is None})


def test_distances_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    one, other = random.uniform([-90, -180], [90, 180], (2, 50, 2))
    expected = np.diag(haversine_distances(np.radians(one), np.radians(other))) * 6_371.0088
    np.testing.assert_allclose(great_circle(one, other), expected, rtol=1e-9)
    assert great_circle(np.array([PLACES["Paris"]]), np.array([PLACES["London"]]))[0] == pytest.approx(343.5, abs=1)


def test_a_place_is_that_of_the_most_similar_image(tmp_path):
    wanted = table(tmp_path / "wanted" / "a.csv", [PLACES["Paris"], PLACES["London"], PLACES["Sydney"], (0, 0)])
    found = table(tmp_path / "found" / "a.csv", [(0, 0), PLACES["London"], PLACES["Paris"]])
    rows = {
        # Longer vectors are not more similar; the first of the gallery is missing.
        "wanted": [(9, 1), (0, 5), (1, 0.1), None],
        "found": [None, (0.1, 1), (100, 1)],
    }
    evaluator = Geolocation(wanted, found)
    results = evaluator.compute(evaluator.collect(Rows(rows)))
    assert [result.name for result in results] == [f"geolocation/wanted/within_{far}_km" for far in KILOMETRES]
    assert [round(result.value * 3) for result in results] == [2, 2, 2, 2, 2]
    assert {(result.n, result.missing, result.protocol["gallery_images"]) for result in results} == {(3, 1, 2)}
    swapped = evaluator.compute(evaluator.collect(Rows({**rows, "wanted": [(0, 1), (0, 5), (1, 0), None]})))
    assert [round(result.value * 3) for result in swapped] == [1, 1, 1, 2, 2], "Paris for London is within 750 km"


@pytest.mark.parametrize("row", ["0.jpg,91,0", "0.jpg,north,0", "0.jpg,,0", "0.jpg,nan,0", "0.jpg,0,181"])
def test_what_is_no_place_is_refused_with_its_line(row, tmp_path):
    (tmp_path / "a.csv").write_text(f"image,latitude,longitude\n{row}\n")
    with pytest.raises(ValueError, match=r"a\.csv:2.*(latitude|longitude) is .*; it must be degrees"):
        LocatedImages(tmp_path / "a.csv")
