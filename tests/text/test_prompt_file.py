import pytest

from clip_lightning.data.class_names import in_own_order, read_class_names
from clip_lightning.text import read_templates

FILE = """# Prompts

## Pets

```bash
classes = [
    'Bengal',
    ['Beagle', 'dog'],
]

templates = [
    'a photo of a {}.', "a [{}], a type of pet.",
]
```

## Broken

classes = [
    'a' for a in 'b',
]
"""


@pytest.fixture
def prompts(tmp_path):
    (tmp_path / "prompts.md").write_text(FILE)
    return tmp_path / "prompts.md"


def test_a_section_gives_names_and_templates(prompts):
    assert [one.names for one in read_class_names(f"{prompts}#Pets")] == [["Bengal"], ["Beagle", "dog"]]
    assert read_templates(f"{prompts}#Pets") == ["a photo of a {}.", "a [{}], a type of pet."]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("Cars", "has no section 'Cars'; it has Pets, Broken"),
        ("Broken", r"has no list 'classes = \[...\]' that Python could read"),
    ],
)
def test_what_is_not_there_is_named(section, message, prompts):
    with pytest.raises(ValueError, match=message):
        read_class_names(f"{prompts}#{section}")


def test_a_missing_file_says_where_there_is_one(tmp_path):
    with pytest.raises(ValueError, match=r"no\.md: No such file or directory; .*save https://raw\.githubusercontent"):
        read_templates(tmp_path / "no.md#Pets")


def test_an_entry_of_a_json_file_in_a_package():
    pytest.importorskip("clip_benchmark")
    names = read_class_names("clip_benchmark:datasets/en_classnames.json#eurosat")
    assert [one.names[0] for one in names][:2] == ["annual crop land", "forest"]
    templates = read_templates("clip_benchmark:datasets/en_zeroshot_classification_templates.json#eurosat")
    assert templates[0] == "a centered satellite photo of {}."
    with pytest.raises(ValueError, match="is not to be had: 'venus'"):
        read_class_names("clip_benchmark:datasets/en_classnames.json#venus")


def names_of(*names):
    return read_class_names(list(names))


@pytest.mark.parametrize(
    ("given", "own", "expected"),
    [
        (("apple pie", "pho"), ("apple_pie", "pho"), ["apple pie", "pho"]),
        (("cat", "red fox", "dog"), ("Cat", "Dog", "RedFox"), ["cat", "dog", "red fox"]),
        (("a disc", "a box"), ("circle", "square"), ["a disc", "a box"]),
        (("background", "off-center face", "ant"), ("BACKGROUND_Google", "Faces", "ant"), None),
    ],
)
def test_names_follow_those_of_the_data_set(given, own, expected):
    found = [one.names[0] for one in in_own_order(names_of(*given), own, "pets")]
    assert found == (list(given) if expected is None else expected)


def test_names_in_another_order_are_refused():
    """EuroSAT's labels are alphabetical, and the list of CLIP's authors is not: its first name is the second's."""
    own = ["AnnualCrop", "Forest", "River"]
    with pytest.raises(ValueError, match=r"'forest' stands for label 0, but eurosat calls label 1 'Forest'"):
        in_own_order(names_of("forest", "annual crop land", "river"), own, "eurosat")
    with pytest.raises(ValueError, match="class_names has 2 classes, but eurosat has 3"):
        in_own_order(names_of("forest", "river"), own, "eurosat")
