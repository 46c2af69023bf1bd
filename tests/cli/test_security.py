"""Checkpoints and configurations from elsewhere: nothing in them runs, whichever way they come in."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

import clip_lightning
from clip_lightning.__main__ import main
from clip_lightning.task import CLIPTask

TINY = str(Path(__file__).parents[1] / "conf" / "tiny.yaml")
MIXER = "{class_path: examples.mixer.Mixer, init_args: {image_size: 32, patch_size: 16, width: 8, depth: 1}}"
MIXER_OPTIONS = ["--model.image_encoder", MIXER, "--trainer.max_epochs", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    assert main(["fit", "--config", TINY, "--run_dir", str(folder), "--trainer.max_epochs", "1"]) == 0
    return folder


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A file that appears if a payload runs: a command, or the import of a module beside the command line."""
    path = tmp_path / "payload-has-run"
    (tmp_path / "payload.py").write_text(f"open({str(path)!r}, 'w')\nclass Encoder: pass\ndef make(*_): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop("payload", None)


def popen(marker):
    """What a parser that builds any class would start."""
    return {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(marker)]}}


class Payload:
    """What a pickle runs when it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


LOADERS = [clip_lightning.load, CLIPTask.load_from_checkpoint]


def as_part(content, evil):
    content["clip_lightning"]["task"]["init_args"]["image_encoder"]["init_args"]["width"] = evil


def as_optimizer(content, evil):
    content["clip_lightning"]["task"]["init_args"]["optimizer"] = evil


def as_task(content, evil):
    content["clip_lightning"]["task"] = evil


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("place", [as_task, as_part, as_optimizer])
def test_a_checkpoint_that_names_a_process_starts_none(run, tmp_path, marker, loader, place):
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    place(content, popen(marker))
    torch.save(content, tmp_path / "evil.ckpt")
    # ``load`` looks at the parts of a task only, of which this one has none.
    no_parts = "describes no model" if (loader, place) == (clip_lightning.load, as_task) else None
    with pytest.raises(ValueError, match=no_parts or r"'subprocess\.Popen' belongs to no installed package"):
        loader(tmp_path / "evil.ckpt", allow_modules=["subprocess"])
    assert not marker.exists()


@pytest.mark.parametrize("place", ["state_dict", "clip_lightning", "extra"])
def test_a_pickle_in_a_checkpoint_does_not_run(run, tmp_path, marker, place):
    path = with_pickle(run, tmp_path, marker, place)
    for loader in LOADERS:
        with pytest.raises(ValueError, match="more than tensors and plain data"):
            loader(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the payload is one"


def test_a_pickle_in_a_checkpoint_does_not_run_from_the_command_line(run, tmp_path, marker, capsys):
    path = with_pickle(run, tmp_path, marker, "extra")
    assert main(["test", "--run_dir", str(run), "--checkpoint", str(path)]) == 2
    assert "more than tensors and plain data" in capsys.readouterr().err
    shutil.copytree(run, tmp_path / "copy")
    for name in ("last", "previous", "best"):
        shutil.copy(path, tmp_path / "copy" / "checkpoints" / f"{name}.ckpt")
    assert main(["fit", "--config", str(run / "config.yaml"), "--run_dir", str(tmp_path / "copy")]) == 2
    assert "more than tensors and plain data" in capsys.readouterr().err
    assert not marker.exists()


def with_pickle(run, tmp_path, marker, place):
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    content.setdefault(place, {})["payload"] = Payload(marker)
    torch.save(content, tmp_path / "evil.ckpt")
    return tmp_path / "evil.ckpt"


def test_a_checkpoint_that_names_a_process_does_not_start_it_from_the_command_line(run, tmp_path, marker):
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    as_part(content, popen(marker))
    torch.save(content, tmp_path / "evil.ckpt")
    # The parts are those of the run's configuration, and the file gives weights only.
    assert main(["test", "--run_dir", str(run), "--checkpoint", str(tmp_path / "evil.ckpt")]) == 0
    assert not marker.exists()


def evil_values(marker):
    """By name: a key, and a value that a parser may build, call or import."""
    process = popen(marker)
    return {
        "an optimiser that is a process": ("model.optimizer", process),
        "an optimiser that is a function": ("model.optimizer", "os.system"),
        "an encoder": ("model.image_encoder", process),
        "an encoder by its name alone": ("model.image_encoder", "subprocess.Popen"),
        "an encoder as text": ("model.image_encoder", f"class_path: subprocess.Popen\ninit_args: {{args: {marker}}}"),
        "a data source": ("data.val", process),
        "a callback": ("trainer.callbacks", [process]),
        "a function of a callback": (
            "trainer.callbacks",
            [{"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"setup": "os.system"}}],
        ),
        "a logger": ("trainer.logger", process),
        "a strategy's argument of any type": (
            "trainer.strategy",
            {"class_path": "lightning.pytorch.strategies.DDPStrategy", "init_args": {"ddp_comm_state": process}},
        ),
    }


@pytest.mark.parametrize("what", evil_values(Path()))
def test_a_configuration_that_names_a_process_starts_none(tmp_path, marker, what, capsys):
    key, value = evil_values(marker)[what]
    config = yaml.safe_load(Path(TINY).read_text())
    group, name = key.split(".")
    config[group][name] = value
    (tmp_path / "evil.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(tmp_path / "evil.yaml"), "--run_dir", str(tmp_path / "x")]) == 2
    message = capsys.readouterr().err
    assert "is no part of a training" in message or (key in message and "belongs to no installed package" in message)
    assert not marker.exists()
    assert not (tmp_path / "x").exists()


def test_further_arguments_stay_plain_data(tmp_path, marker, capsys):
    config = yaml.safe_load(Path(TINY).read_text())
    config["trainer"]["logger"] = {
        "class_path": "CSVLogger", "init_args": {"save_dir": str(tmp_path)}, "dict_kwargs": {"extra": popen(marker)},
    }  # fmt: skip
    (tmp_path / "evil.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(tmp_path / "evil.yaml"), "--run_dir", str(tmp_path / "x")]) == 2
    assert "unexpected keyword argument 'extra'" in capsys.readouterr().err
    assert not marker.exists()


def stored(run, tmp_path, change):
    """A run folder as it may come from elsewhere."""
    shutil.copytree(run, tmp_path / "foreign")
    path = tmp_path / "foreign" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))
    return str(tmp_path / "foreign")


def verbs(folder):
    return [["test", "--run_dir", folder], ["validate", "--run_dir", folder], ["reproduce", folder]]


LOCAL = {
    "a class": lambda config: config["model"].update(image_encoder={"class_path": "payload.Encoder", "init_args": {}}),
    "a class deep inside": lambda config: config["model"]["tokenizer"]["init_args"]["corpus"].update(
        class_path="payload.Encoder"
    ),
    "a function": lambda config: config["model"].update(optimizer="payload.make"),
    "a class in a text": lambda config: config["model"].update(image_encoder="class_path: payload.Encoder"),
    "a callback": lambda config: config["trainer"].update(callbacks=[{"class_path": "payload.Encoder"}]),
}


@pytest.mark.parametrize("what", LOCAL)
def test_a_stored_configuration_does_not_import_what_lies_about(run, tmp_path, marker, what, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = stored(run, tmp_path, LOCAL[what])
    for arguments in verbs(folder):
        assert main(arguments) == 2
        message = capsys.readouterr().err.strip()
        assert len(message.splitlines()) == 1, message
        assert "'payload." in message
        assert "--allow_module payload" in message
    assert not marker.exists()
    assert "payload" not in sys.modules
    assert not (tmp_path / "runs").exists()
    # With the module named it is imported, and what it holds then fits or not.
    assert main(["test", "--run_dir", folder, "--allow_module", "other", "--allow_module", "payload"]) == 2
    assert marker.exists()


def test_a_stored_configuration_cannot_name_the_standard_library_at_all(run, tmp_path, marker, capsys):
    folder = stored(run, tmp_path, lambda config: config["model"].update(image_encoder=popen(marker)))
    for arguments in verbs(folder):
        assert main([*arguments, "--allow_module", "subprocess"]) == 2
        assert "'subprocess.Popen' belongs to no installed package" in capsys.readouterr().err
    assert not marker.exists()


def launcher(marker):
    """What starts a program, in an installed package."""
    return {
        "class_path": "torch.distributed.launcher.api.elastic_launch",
        "init_args": {"config": {"min_nodes": 1, "max_nodes": 1, "nproc_per_node": 1}, "entrypoint": f"touch {marker}"},
    }


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (lambda marker: launcher(marker), "elastic_launch' is no part of a training"),
        (
            lambda marker: {
                "class_path": "lightning.pytorch.callbacks.LambdaCallback",
                "init_args": {"on_test_start": "torch.hub.load"},
            },
            "LambdaCallback' is no part of a training",
        ),
        (
            lambda marker: {
                "class_path": "lightning.pytorch.callbacks.LearningRateMonitor",
                "init_args": {"logging_interval": launcher(marker)},
            },
            "elastic_launch' is no part of a training",
        ),
    ],
)
def test_a_stored_configuration_cannot_name_what_is_no_part(run, tmp_path, marker, capsys, callback, words):
    folder = stored(run, tmp_path, lambda config: config["trainer"].update(callbacks=[callback(marker)]))
    for arguments in verbs(folder):
        assert main(arguments) == 2
        assert words in capsys.readouterr().err
    assert not marker.exists()


def test_a_configuration_cannot_name_what_is_no_part(tmp_path, marker, capsys):
    config = yaml.safe_load(Path(TINY).read_text())
    config["trainer"]["callbacks"] = [launcher(marker)]
    (tmp_path / "evil.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(tmp_path / "evil.yaml"), "--run_dir", str(tmp_path / "x")]) == 2
    assert "elastic_launch' is no part of a training" in capsys.readouterr().err
    assert not marker.exists()
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A finished run of an encoder in a user's own file."""
    folder = str(tmp_path_factory.mktemp("own") / "run")
    assert main(["fit", "--config", TINY, "--run_dir", folder, *MIXER_OPTIONS]) == 0
    return folder


def test_a_users_own_encoder_is_measured_when_it_is_named(own, capsys):
    for arguments in verbs(own):
        assert main(arguments) == 2
        assert "--allow_module examples.mixer" in capsys.readouterr().err
    assert main(["test", "--run_dir", own, "--allow_module=examples.mixer"]) == 0
    assert main(["test", "--run_dir", own]) == 2, "a run that is trusted makes no other one trusted"


@pytest.mark.slow
def test_a_users_own_encoder_is_reproduced_when_it_is_named(own, tmp_path, capsys):
    assert main(["reproduce", own, "--run_dir", str(tmp_path / "new"), "--allow_module", "examples"]) == 0
    # What is typed is the user's own choice.
    assert main(["test", "--run_dir", own, "--model.image_encoder.class_path", "examples.mixer.Mixer"]) == 0
    assert main(["fit", "--config", TINY, "--run_dir", str(tmp_path / "x"), *MIXER_OPTIONS]) == 0
