import pytest

from clip_lightning.text import fill, read_lines, read_templates


def test_name_goes_in_as_it_is():
    assert fill("a photo of a {}, a kind of {}.", "{set} 100%") == "a photo of a {set} 100%, a kind of {set} 100%."


def test_template_without_place_is_refused():
    with pytest.raises(ValueError, match=r"'a photo of a dog' has no place .* write \{\}"):
        fill("a photo of a dog", "cat")


def test_the_forms_in_use_are_one():
    sentences = ["a photo of a {}.", "{}, a kind of {}"]
    assert read_templates(["a photo of a {c}.", "{c}, a kind of {c}"]) == sentences
    assert read_templates([lambda name: f"a photo of a {name}.", lambda name: f"{name}, a kind of {name}"]) == sentences
    assert read_templates("open_clip:OPENAI_IMAGENET_TEMPLATES")[0] == "a bad photo of a {}."


def test_names_that_are_whole_prompts_have_an_explicit_template():
    name = "a photo i took with a car nearby."
    assert [fill(template, name) for template in read_templates(["{c}"])] == [name]
    with pytest.raises(ValueError, match=r"'\{\}' alone if the names are the whole prompts"):
        read_templates(["a photo i took with a car nearby."])
    with pytest.raises(ValueError, match="has no place for the name"):
        read_templates([lambda name: "a photo"])


def test_file_and_list_agree(tmp_path):
    path = tmp_path / "templates.txt"
    path.write_text("# two\n\na photo of a {}.\n  a drawing of {}.  \n")
    assert read_templates(path) == read_templates(["a photo of a {}.", "a drawing of {}."])
    assert read_lines(path) == ["a photo of a {}.", "a drawing of {}."]


def test_mistakes_name_the_file_and_line(tmp_path):
    path = tmp_path / "templates.txt"
    path.write_text("# comment\na photo of a {}.\na photo\n")
    with pytest.raises(ValueError, match=r"templates\.txt:3: template 'a photo'"):
        read_templates(path)
    path.write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"templates\.txt has no entries"):
        read_templates(path)
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match=r"templates\.txt is not UTF-8"):
        read_lines(path)
    with pytest.raises(ValueError, match=r"cannot read .*missing\.txt"):
        read_lines(tmp_path / "missing.txt")
    with pytest.raises(ValueError, match="empty list"):
        read_templates([])


def test_one_sentence_is_no_file_of_them():
    with pytest.raises(
        ValueError, match=r"one sentence, 'a photo of \{\}'; give a list of them, \['a photo of \{\}'\]"
    ):
        read_templates("a photo of {}")
