"""A file that would run something is refused before it does, whatever holds it."""

import json
import os
import pickle
import shutil
import zipfile

import pytest
import torch
from released import edit_json
from safetensors.torch import load_file

import clip_lightning


class Bomb:
    """What a pickle runs when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("bomb-has-run",)


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Bomb()))
    assert (tmp_path / "bomb-has-run").exists(), "the bomb is one"
    (tmp_path / "bomb-has-run").rmdir()
    yield
    assert not (tmp_path / "bomb-has-run").exists()


def rewrite(source, target, change):
    """A copy of an archive whose records went through ``change(name, content)``; None leaves a record out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = change(name.partition("/")[2], old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


def bomb_in(content):
    """A pickle of an archive whose first object is the bomb, and the rest as before."""
    bomb = pickle.dumps(Bomb(), protocol=2)
    return content[:2] + bomb[2:-1] + b"0" + content[2:]


def test_the_changed_pickle_is_a_bomb():
    pickle.loads(bomb_in(pickle.dumps([1], protocol=2)))
    os.rmdir("bomb-has-run")


def test_an_archive_with_a_bomb_among_its_modules(archives, tmp_path):
    path = rewrite(
        archives["vit"], tmp_path / "bomb.pt", lambda name, data: bomb_in(data) if name == "data.pkl" else data
    )
    with pytest.raises(ValueError, match="holds more than tensors and plain data; nothing was loaded"):
        clip_lightning.load(path)


def test_an_archive_with_a_bomb_in_place_of_a_module(archives, tmp_path):
    path = rewrite(
        archives["vit"], tmp_path / "bomb.pt",
        lambda name, data: pickle.dumps({"visual": Bomb()}, protocol=2) if name == "data.pkl" else data,
    )  # fmt: skip
    with pytest.raises(ValueError, match="holds more than tensors and plain data; nothing was loaded"):
        clip_lightning.load(path)


@pytest.mark.parametrize("function", ["os system", "builtins eval", "torch.jit._pickle os", "torch.jit load"])
def test_an_archive_cannot_name_functions(archives, tmp_path, function):
    code = b"\x80\x02c" + function.replace(" ", "\n").encode() + b"\nX\x01\x00\x00\x00x\x85R."
    path = rewrite(archives["vit"], tmp_path / "bomb.pt", lambda name, data: code if name == "data.pkl" else data)
    with pytest.raises(ValueError, match="holds more than tensors and plain data"):
        clip_lightning.load(path)


def test_an_archives_own_code_and_constants_are_never_looked_at(archives, tmp_path):
    """The bomb is where only PyTorch's own loader would find it, so the weights are as they were."""

    def change(name, data):
        if name.startswith("code/"):
            return b"def forward(self): raise SystemExit"
        return pickle.dumps(Bomb(), protocol=2) if name == "constants.pkl" else data

    loaded = clip_lightning.load(rewrite(archives["vit"], tmp_path / "code.pt", change)).model.state_dict()
    for name, tensor in clip_lightning.load(archives["vit"]).model.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


@pytest.mark.parametrize("kind", ["archive", "state dict"])
def test_a_member_that_unpacks_to_more_than_the_file_is_never_read(
    archives, open_clip_folders, tmp_path, kind, monkeypatch
):
    source = archives["vit"] if kind == "archive" else open_clip_folders["vit", True] / "open_clip_pytorch_model.bin"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as new:
        for name in old.namelist():
            packs = name.endswith("data/0")
            content = bytes(1_000_000) if packs else old.read(name)
            new.writestr(name, content, zipfile.ZIP_DEFLATED if packs else zipfile.ZIP_STORED)
    read = zipfile.ZipExtFile.read
    monkeypatch.setattr(
        zipfile.ZipExtFile,
        "read",
        lambda file, n=-1: pytest.fail("was read") if file.name.endswith("data/0") else read(file, n),
    )
    with pytest.raises(ValueError, match=r"bomb\.pt' is damaged, or is none: \S+data/0 is compressed"):
        clip_lightning.load(tmp_path / "bomb.pt", quick_gelu=True)


def test_members_that_share_their_bytes_are_not_read(tmp_path):
    """Each stored, and together larger than the file: the directory names one place many times."""
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 1000)
        for number in range(50):
            copy = zipfile.ZipInfo(f"archive/data/{number}")
            first = archive.infolist()[0]
            copy.file_size, copy.compress_size, copy.CRC, copy.header_offset = 1000, 1000, first.CRC, 0
            archive.filelist.append(copy)
    with pytest.raises(ValueError, match="its members have 51,000 bytes, and the file "):
        clip_lightning.load(tmp_path / "bomb.pt")


def test_an_archive_under_the_name_of_a_safetensors_file_is_read_as_what_it_is(open_clip_folders, tmp_path):
    weights = open_clip_folders["vit", True] / "open_clip_pytorch_model.bin"
    renamed = shutil.copy(weights, tmp_path / "renamed.safetensors")
    expected = clip_lightning.load(weights).model.state_dict()
    for name, tensor in clip_lightning.load(renamed, quick_gelu=True).model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_torn_archive(archives, tmp_path, keep):
    whole = archives["vit"].read_bytes()
    (tmp_path / "torn.pt").write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ValueError, match=r"torn\.pt.*is damaged, or is none"):
        clip_lightning.load(tmp_path / "torn.pt")


def test_an_archive_without_a_tensors_bytes(archives, tmp_path):
    path = rewrite(archives["vit"], tmp_path / "less.pt", lambda name, data: None if name == "data/3" else data)
    with pytest.raises(ValueError, match="is damaged, or is none"):
        clip_lightning.load(path)


def test_a_state_dict_with_a_bomb(open_clip_folders, tmp_path):
    tensors = load_file(open_clip_folders["vit", True] / "open_clip_model.safetensors")
    torch.save({"state_dict": tensors, "args": Bomb()}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="holds more than tensors and plain data; nothing was loaded"):
        clip_lightning.load(tmp_path / "weights.pt", quick_gelu=True)


def test_a_bomb_under_the_name_of_a_safetensors_file(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"weights\.safetensors.*is damaged, or is none"):
        clip_lightning.load(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("library", ["open_clip", "transformers"])
def test_a_folder_with_a_bomb_for_weights(open_clip_folders, transformers_folders, tmp_path, library):
    source, safe, name = {
        "open_clip": (open_clip_folders["vit", True], "open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
        "transformers": (transformers_folders["gelu"], "model.safetensors", "pytorch_model.bin"),
    }[library]
    folder = shutil.copytree(source, tmp_path / "folder")
    (folder / safe).unlink()
    torch.save({"visual.proj": Bomb()}, folder / name)
    with pytest.raises(ValueError, match="holds more than tensors and plain data"):
        clip_lightning.load(folder)


def test_an_exported_file_cannot_name_any_class(tmp_path, open_clip_folders):
    from safetensors import safe_open
    from safetensors.torch import save_file

    from clip_lightning.__main__ import main

    exported = tmp_path / "exported"
    given = ["--checkpoint", str(open_clip_folders["vit", True]), "--to", "safetensors", "--output", str(exported)]
    assert main(["export", *given]) == 0
    path = exported / "clip_lightning.safetensors"
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["clip_lightning"])
    description["task"]["init_args"]["tokenizer"] = {"class_path": "os.mkdir", "init_args": {"path": "bomb-has-run"}}
    save_file(load_file(path), path, metadata={"clip_lightning": json.dumps(description)})
    with pytest.raises(ValueError, match=r"os\.mkdir"):
        clip_lightning.load(exported)


def test_no_folder_runs_code_of_its_own(transformers_folders, tmp_path):
    """As transformers does with ``trust_remote_code``."""
    folder = shutil.copytree(transformers_folders["gelu"], tmp_path / "folder")
    (folder / "modeling.py").write_text("import os; os.mkdir('bomb-has-run')")
    edit_json(folder / "config.json", lambda config: config.update(auto_map={"AutoModel": "modeling.CLIPModel"}))
    assert clip_lightning.load(folder).model.embed_dim == 32
