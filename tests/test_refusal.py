import pytest

from clip_lightning.data import LabelledFolders, WebdatasetLabels
from clip_lightning.refusal import did_you_mean


def test_a_path_beside_the_missing_one_is_proposed(tmp_path, monkeypatch):
    (tmp_path / "pets" / "train").mkdir(parents=True)
    assert did_you_mean(tmp_path / "pest") == f"; did you mean {str(tmp_path / 'pets')!r}?"
    assert did_you_mean(tmp_path / "pets" / "trian").endswith("pets/train'?")
    assert did_you_mean(tmp_path / "pest" / "train").endswith("pets/train'?")
    assert did_you_mean(tmp_path / "pest" / "test") == did_you_mean(tmp_path / "cars") == ""
    assert did_you_mean(tmp_path / "pets") == ""
    monkeypatch.chdir(tmp_path)
    assert did_you_mean("pest/train") == "; did you mean 'pets/train'?"


def test_labelled_folders_propose_it(tmp_path):
    (tmp_path / "pets" / "test").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"cannot read the folder .*/pest: No such .*; did you mean '.*/pets'\?"):
        LabelledFolders(tmp_path / "pest", templates=["a {}"])
    with pytest.raises(ValueError, match=r"did you mean '.*/pets/test'\?"):
        WebdatasetLabels(tmp_path / "pets", split="tset")
