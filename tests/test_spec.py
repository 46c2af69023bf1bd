"""Parts described as plain data and built again."""

import copy
import functools
import inspect
import pickle
import sys
import types
from dataclasses import dataclass

import pytest
import torch

from clip_lightning.spec import HasSpec, build, check_class_path, class_paths, spec_of


@dataclass(frozen=True)
class Size:
    height: int
    names: tuple[str, ...] = ()


class Leaf(HasSpec):
    def __init__(self, width, *, depth=2, size=None, **extra):
        self.width, self.depth, self.size, self.extra = width, depth, size, extra


class Tree(torch.nn.Module, HasSpec):
    def __init__(self, leaf, optimizer=None):
        super().__init__()
        self.leaf, self.optimizer = leaf, optimizer


HERE = __name__


def test_a_description_holds_defaults_nested_parts_and_further_keywords():
    tree = Tree(Leaf(3, size=Size(4, ("a",)), colour="red"))
    assert spec_of(tree) == {
        "class_path": f"{HERE}.Tree",
        "init_args": {
            "leaf": {
                "class_path": f"{HERE}.Leaf",
                "init_args": {
                    "width": 3,
                    "depth": 2,
                    "size": {"class_path": f"{HERE}.Size", "init_args": {"height": 4, "names": ["a"]}},
                    "colour": "red",
                },
            },
            "optimizer": None,
        },
    }


def test_build_is_the_inverse():
    tree = Tree(Leaf(3, size=Size(4), colour="red"), functools.partial(torch.optim.SGD, lr=0.5))
    again = build(spec_of(tree), allow_modules=[HERE], partial=(torch.optim.Optimizer,))
    assert spec_of(again) == spec_of(tree)
    assert again.optimizer.func is torch.optim.SGD
    assert again.leaf.extra == {"colour": "red"}


def test_copies_and_pickles_keep_the_description():
    leaf = Leaf(3, depth=5)
    assert spec_of(copy.deepcopy(leaf)) == spec_of(pickle.loads(pickle.dumps(leaf))) == spec_of(leaf)


def test_the_signature_stays_that_of_the_constructor():
    assert list(inspect.signature(Leaf).parameters) == ["width", "depth", "size", "extra"]


def test_what_is_no_plain_data_is_named_with_its_place():
    with pytest.raises(ValueError, match=r"Tree\(leaf=\.\.\.\): Leaf\(width=\.\.\.\).*\.Linear"):
        spec_of(Tree(Leaf(torch.nn.Linear(1, 1))))


@pytest.mark.parametrize(
    ("class_path", "words"),
    [
        ("subprocess.Popen", "no installed package"),
        ("os.system", "no installed package"),
        (f"{HERE}.Leaf", "allow_modules="),
        ("builtins.eval", "no installed package"),
        ("torch.hub.load", "not a class"),
        ("torch.nn.Linear", "not a part"),
        ("clip_lightning.nowhere.Thing", "cannot be imported"),
        ("made_up.Thing", "no installed package"),
        ("Thing", "no installed package"),
        (3, "no dotted name"),
    ],
)
def test_a_file_cannot_choose_what_runs(class_path, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "made_up", types.ModuleType("made_up"))  # from no file, as a notebook's __main__
    with pytest.raises(ValueError, match=words):
        build({"class_path": class_path, "init_args": {}})


def test_all_names_are_found_outer_ones_first():
    inner = [{"class_path": "b.C"}, {"deep": {"class_path": "d.E", "init_args": {"x": [[{"class_path": "f.G"}]]}}}]
    assert list(class_paths({"class_path": "a.B", "init_args": {"inner": inner}, "text": "os.system"})) == [
        "a.B",
        "b.C",
        "d.E",
        "f.G",
    ]


def test_nothing_is_imported_before_all_names_are_checked(tmp_path, monkeypatch):
    (tmp_path / "trusted_part.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    spec = {"class_path": f"{HERE}.Tree", "init_args": {"leaf": {"class_path": "trusted_part.X"}, "optimizer": None}}
    spec["init_args"]["optimizer"] = {"class_path": "subprocess.Popen", "init_args": {}}
    with pytest.raises(ValueError, match=r"'subprocess\.Popen' belongs to no installed package"):
        build(spec, allow_modules=[HERE, "trusted_part"])
    assert "trusted_part" not in sys.modules


def test_the_standard_library_cannot_be_allowed():
    with pytest.raises(ValueError, match="no installed package"):
        check_class_path("subprocess.Popen", allow_modules=["subprocess"])


@pytest.mark.parametrize("allowed", [["examples"], ["examples.mixer"]])
def test_a_module_is_allowed_by_its_name_or_its_packages(allowed):
    with pytest.raises(ValueError, match=r"--allow_module examples\.mixer"):
        check_class_path("examples.mixer.Mixer", allow_modules=["mixer", "example"])
    check_class_path("examples.mixer.Mixer", allow_modules=allowed)
