"""Two processes make the updates and the measurements that one makes, divided or not, and go on as if never stopped."""

import os
from pathlib import Path

import pytest
import torch
from killing import differences, equal, strike
from pairs import fit_as_two

from clip_lightning.__main__ import main
from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.cli import devices
from clip_lightning.cli.errors import UserError
from clip_lightning.results import read_results
from clip_lightning.tracking import journal

TINY = str(Path(__file__).parents[1] / "conf" / "tiny.yaml")
STRATEGIES = ["ddp", "fsdp2"]
IN_PARTS = "{class_path: clip_lightning.strategy.FullySharded, init_args: {sharded_checkpoints: true}}"

# Adam would turn the rounding noise of gradients that are zero, as of the keys' biases, into steps.
PLAIN_STEPS = ["--model.optimizer", "{class_path: torch.optim.SGD, init_args: {lr: 0.5}}"]
EXACT = ["--trainer.precision", "64-true", "--trainer.gradient_clip_val", "0.5", *PLAIN_STEPS]

HALF = ["--model.optimizer", "{class_path: HalfPrecisionAdamW, init_args: {lr: 5.0e-3}}"]


def fit_as_one(run_dir, *arguments):
    assert main(["fit", "--config", TINY, "--run_dir", str(run_dir), *map(str, arguments)]) == 0
    return run_dir


def checkpoint(run, name="last"):
    return read_checkpoint(run / "checkpoints" / f"{name}.ckpt")


def values(run):
    return [(row.name, row.n, row.missing, row.value) for row in read_results(run / "results.json")]


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """What one process makes in double precision."""
    return fit_as_one(tmp_path_factory.mktemp("one") / "run", *EXACT)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_make_the_updates_and_measurements_of_one(strategy, exact, tmp_path):
    blocks = ["--model.image_tuning.gradient_checkpointing", "true"]
    assert fit_as_two(TINY, tmp_path / "run", strategy, *EXACT, *blocks) == [0, 0]
    one, two = checkpoint(exact), checkpoint(tmp_path / "run")
    assert one["state_dict"].keys() == two["state_dict"].keys()
    for name, tensor in one["state_dict"].items():
        # Twelve steps in double precision; what remains is another order of sums.
        torch.testing.assert_close(two["state_dict"][name], tensor, rtol=0, atol=1e-12, msg=name)
    assert values(tmp_path / "run") == values(exact)
    assert ("throughput/communication_seconds" in journal.metrics(tmp_path / "run" / "journal.jsonl")) is (
        strategy == "ddp"
    ), "what PyTorch does not count is not told apart"
    assert (
        two["clip_lightning"]["task"]["init_args"]["image_encoder"]
        == (one["clip_lightning"]["task"]["init_args"]["image_encoder"])
    ), "a divided tower is described by its own class"


@pytest.mark.parametrize(
    "strategy",
    ["fsdp2", pytest.param(IN_PARTS, marks=pytest.mark.slow), pytest.param("ddp", marks=pytest.mark.slow)],
    ids=["one file", "parts", "ddp"],
)
def test_a_run_of_two_is_killed_and_goes_on_as_if_nothing_had_been(strategy, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    arguments = ["--checkpoints.every_n_steps", "2", "--trainer.gradient_clip_val", "0.5"]
    assert fit_as_two(TINY, whole, strategy, *arguments) == [0, 0]
    assert fit_as_two(TINY, run, strategy, *arguments, kill=("forward", 6)) == [-9, -9]
    assert checkpoint(run)["global_step"] == 4
    assert fit_as_two(TINY, run, strategy, *arguments, kill=("after an epoch", 2)) == [-9, -9]
    assert fit_as_two(TINY, run, strategy, *arguments) == [0, 0]
    assert differences(whole, run) == []
    assert (run / "checkpoints" / "best.ckpt").is_dir() is (strategy == IN_PARTS)


@pytest.mark.slow
def test_a_divided_run_goes_on_in_one_process(tmp_path):
    run, one = tmp_path / "run", tmp_path / "one"
    adam = ["--trainer.precision", "64-true", "--checkpoints.every_n_steps", "2"]
    assert fit_as_two(TINY, run, "fsdp2", *adam, kill=("forward", 6)) == [-9, -9]
    fit_as_one(one, *adam, "--trainer.max_steps", "4")
    states = [checkpoint(path)["optimizer_states"][0] for path in (one, run)]
    assert [group["params"] for group in states[0]["param_groups"]] == [
        group["params"] for group in states[1]["param_groups"]
    ]
    for number, state in states[0]["state"].items():
        for name, tensor in state.items():
            torch.testing.assert_close(states[1]["state"][number][name], tensor, rtol=1e-9, atol=1e-12, msg=name)
    with pytest.warns(UserWarning, match="random states of 2 processes"):
        fit_as_one(run, *adam)
    assert checkpoint(run)["global_step"] == 12


@pytest.mark.slow
def test_statistics_of_batches_are_those_of_all_processes(tmp_path, capfd):
    encoder = "{class_path: ModifiedResNet, init_args: {image_size: 32, blocks: [1], output_dim: 16, width: 8}}"
    arguments = ["--model.image_encoder", encoder, "--model.image_projection", "false", *EXACT]
    for strategy in STRATEGIES:
        assert fit_as_two(TINY, tmp_path / strategy, strategy, *arguments) == [0, 0]
        said = [line for line in capfd.readouterr().out.splitlines() if line.startswith("statistics")]
        assert len(said) == 1
        assert "the part of the batch that their process has" in said[0]
    ddp, fsdp2 = (checkpoint(tmp_path / strategy)["state_dict"] for strategy in STRATEGIES)
    assert any("running_var" in name for name in ddp)
    for name, tensor in ddp.items():
        torch.testing.assert_close(fsdp2[name], tensor, rtol=0, atol=1e-12, msg=name)
    assert values(tmp_path / "ddp") == values(tmp_path / "fsdp2")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_lower_precisions_train_and_go_on_exactly(precision, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    arguments = ["--trainer.precision", precision, *(HALF if precision == "bf16-true" else [])]
    fit_as_one(whole, *arguments)
    pid = os.fork()
    if not pid:
        strike("forward", 9, 9, 1)
        os._exit(main(["fit", "--config", TINY, "--run_dir", str(run), *arguments]))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    fit_as_one(run, *arguments)
    assert equal(checkpoint(whole)["state_dict"], checkpoint(run)["state_dict"])
    assert values(whole) == values(run)
    assert fit_as_two(TINY, tmp_path / "divided", "fsdp2", *arguments) == [0, 0]
    losses = [journal.metrics(path / "journal.jsonl")["val/loss"].value for path in (whole, tmp_path / "divided")]
    scale = checkpoint(whole)["state_dict"]["model.logit_scale"]
    assert scale != torch.tensor(1 / 0.07).log().to(scale.dtype), "each step is less than half of its last place"
    # bfloat16 has eight bits; where it is rounded differs with the number of processes.
    assert losses[1] == pytest.approx(losses[0], rel=2**-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trainer.precision", "16-mixed"], ["'16-mixed' needs a GPU", "bf16-mixed"]),
        (["--trainer.precision", "16-true"], ["'16-true'", "bf16-mixed"]),
        (["--trainer.precision", "bf16-true"], ["bf16-true", "AdamW", "HalfPrecisionAdamW"]),
        (["--trainer.strategy", "fsdp"], ["'fsdp' needs a GPU", "fsdp2"]),
        (["--trainer.strategy", "ModelParallelStrategy"], ["'ModelParallelStrategy'", "fsdp2"]),
        (["--trainer.strategy", "deepspeed_stage_2"], ["'deepspeed_stage_2' needs a GPU", "ddp"]),
        (["--trainer.strategy", "fsdp3"], ["'fsdp3' is not known", "'fsdp2'"]),
        (["--trainer.strategy", "ddp_spawn"], ["'ddp_spawn'", "--trainer.strategy ddp"]),
        (["--trainer.strategy", "{class_path: DDPStrategy, init_args: {start_method: fork}}"], ["DDPStrategy", "ddp"]),
        (["--trainer.precision", "transformer-engine"], ["transformer_engine"]),
        (["--trainer.num_nodes", "2"], ["trainer.num_nodes 2", "torchrun --nnodes 2"]),
        (["--trainer.sync_batchnorm", "true"], ["trainer.sync_batchnorm true needs GPUs", "false"]),
        (["--trainer.devices", "3"], ["batch_size 16", "3 processes", "15"]),
        (["--trainer.devices", "0"], ["devices"]),
        (["--matmul_precision", "hihg"], ["matmul_precision", "high"]),
        pytest.param(
            ["--trainer.accelerator", "gpu"],
            ["trainer.accelerator 'gpu'", "cpu"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_what_the_machine_cannot_do_is_refused(arguments, words, tmp_path, capsys):
    assert main(["fit", "--config", TINY, "--run_dir", str(tmp_path / "x"), *arguments]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_of_several_processes_one_tells_of_a_mistake(tmp_path, capfd):
    assert fit_as_two(TINY, tmp_path / "x", "fsdp2", "--data.batch_size", "15") == [2, 2]
    assert capfd.readouterr().err.count("clip_lightning fit:") == 1


def test_more_gpus_than_there_are_and_what_they_do_not_compute(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"trainer\.devices 4, but this machine has 2 GPUs.*--trainer\.devices 2"):
        devices.check_devices({"trainer": {"accelerator": "gpu", "devices": 4}})
    devices.check_devices({"trainer": {"accelerator": "gpu", "devices": 2, "precision": "16-mixed"}})
    with pytest.raises(UserError, match=r"16-mixed.*fsdp2.*bf16-mixed"):
        devices.check_devices({"trainer": {"accelerator": "gpu", "precision": "16-mixed", "strategy": "fsdp2"}})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old GPU")
    with pytest.raises(UserError, match=r"bf16-mixed.*Old GPU.*16-mixed"):
        devices.check_devices({"trainer": {"accelerator": "auto", "precision": "bf16-mixed"}})


@pytest.mark.slow
def test_compiled_blocks_of_a_divided_run_make_the_same_updates(tmp_path):
    arguments = ["--trainer.max_epochs", "1", *PLAIN_STEPS]
    recomputed = ["--model.text_tuning.gradient_checkpointing", "true"]
    assert fit_as_two(TINY, tmp_path / "compiled", "fsdp2", *arguments, "--compile", "true", *recomputed) == [0, 0]
    fit_as_one(tmp_path / "plain", *arguments)
    compiled, plain = (checkpoint(tmp_path / name)["state_dict"] for name in ("compiled", "plain"))
    assert compiled.keys() == plain.keys()
    for name, tensor in plain.items():
        # Six steps in single precision, in another order of operations.
        torch.testing.assert_close(compiled[name], tensor, rtol=0, atol=1e-5, msg=name)
