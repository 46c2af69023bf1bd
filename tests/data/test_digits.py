import numpy as np
import pytest
from sklearn.datasets import load_digits

from clip_lightning.data import Digits, decode
from clip_lightning.spec import build, spec_of


def test_the_splits_are_all_pictures_once_in_scikit_learns_order():
    parts = [Digits(split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [1197, 300, 300]
    everything = load_digits()
    pictures = np.stack([part.source.read(index).image for part in parts for index in range(len(part))])
    assert pictures.dtype == np.uint8
    np.testing.assert_allclose(pictures[..., 0] / 255, everything.images / 16, atol=1 / 255)
    assert (pictures == pictures[..., :1]).all()
    targets = [part.target(index) for part in parts for index in range(len(part))]
    np.testing.assert_array_equal(targets, everything.target)
    assert len({part.source.fingerprint for part in parts}) == 3


def test_a_picture_decodes_and_is_the_callers_own():
    digits = Digits()
    decode(digits.source.read(0).image).zero_()
    assert digits.source.read(0).image.max() > 200


def test_names_and_templates_have_defaults_that_can_be_replaced(tmp_path):
    assert Digits().class_names[3] == ["3", "three"]
    assert all("{}" in template for template in Digits().templates)
    (tmp_path / "names.txt").write_text("\n".join("abcdefghij"))
    own = Digits("val", templates=["a {}"], class_names=tmp_path / "names.txt")
    assert own.class_names[1] == ["b"]
    assert own.templates == ["a {}"]
    assert build(spec_of(own)).class_names == own.class_names


def test_mistakes_are_named(monkeypatch):
    with pytest.raises(ValueError, match="no split 'heldout'; use one of train, val, test"):
        Digits("heldout")
    with pytest.raises(ValueError, match="class_names has 2 classes"):
        Digits(class_names=["zero", "one"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install scikit-learn"):
        Digits()
