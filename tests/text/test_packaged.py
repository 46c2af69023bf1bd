import open_clip
import pytest
from torchvision.models._meta import _VOC_CATEGORIES

from clip_lightning.data.class_names import read_class_names
from clip_lightning.text import read_templates


def test_templates_of_a_package_are_those_that_it_would_fill():
    templates = read_templates("open_clip:OPENAI_IMAGENET_TEMPLATES")
    expected = [template("tench") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert [template.replace("{}", "tench") for template in templates] == expected
    assert len(expected) == 80


def test_class_names_of_a_package_are_in_its_order():
    classes = read_class_names("torchvision.models._meta:_VOC_CATEGORIES")
    assert [names for _, names in classes] == [[name] for name in _VOC_CATEGORIES]


def test_a_name_that_occurs_twice_is_refused_with_its_place():
    with pytest.raises(ValueError, match=r"open_clip:IMAGENET_CLASSNAMES\[\d+\]: class name '.*' occurs 2 times"):
        read_class_names("open_clip:IMAGENET_CLASSNAMES")


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "open_clip:OPENAI_IMAGENET_TEMPLATES").write_text("a {}\n")
    assert read_templates("open_clip:OPENAI_IMAGENET_TEMPLATES") == ["a {}"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("subprocess:run", "'subprocess' is no installed package"),
        ("nowhere_at_all:NAMES", "'nowhere_at_all' is no installed package"),
        ("open_clip:NOTHING", "no attribute 'NOTHING'"),
        ("open_clip.nothing:NAMES", "No module named 'open_clip.nothing'"),
        ("open_clip:tokenize", "is a function; it must be a list"),
    ],
)
def test_what_is_not_to_be_had_is_named(name, words):
    with pytest.raises(ValueError, match=words):
        read_templates(name)


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfcat\ndog\n")
    (tmp_path / "templates.txt").write_bytes(b"\xef\xbb\xbfa {}\n")
    assert [names for _, names in read_class_names(tmp_path / "names.txt")] == [["cat"], ["dog"]]
    assert read_templates(tmp_path / "templates.txt") == ["a {}"]
