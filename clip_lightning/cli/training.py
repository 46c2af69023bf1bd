"""What fit, validate and test share: one configuration becomes a task, its data, a trainer and a run folder."""

import difflib
import inspect
import logging
import re
import tempfile
import warnings
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from clip_lightning import data, evaluation, models, objectives, optim, text
from clip_lightning.callbacks import Checkpoints, RunEvaluators
from clip_lightning.cli.compose import Config, read_text, to_yaml
from clip_lightning.cli.errors import UserError
from clip_lightning.datamodules import ImageTextDataModule
from clip_lightning.task import CLIPTask
from clip_lightning.tracking.logger import MLflowTracker

KEYS = (
    "config",
    "name",
    "run_dir",
    "seed_everything",
    "num_threads",
    "trainer",
    "model",
    "data",
    "evaluation",
    "checkpoints",
)
"""Top-level keys of a configuration, beside ``config`` itself."""

DEFAULTS: Config = {
    "seed_everything": 0,
    "trainer": {
        "logger": {"class_path": "clip_lightning.tracking.logger.MLflowTracker"},
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "log_every_n_steps": 10,
    },
}
"""What every configuration is laid over."""


class TrainingCLI(LightningCLI):
    """Lightning's command line without its verbs, overlays and files: one configuration in, built objects out."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what is ours: names, the evaluators, the checkpoints, and the links between parts."""
        parser.add_argument("--name", type=str, default="run", help="Name of the run; its folder is runs/NAME/TIME.")
        parser.add_argument("--run_dir", type=str | None, default=None, help="Folder of the run, instead of a new one.")
        parser.add_argument("--num_threads", type=int | None, default=None, help="Threads of PyTorch on the CPU.")
        parser.add_lightning_class_args(RunEvaluators, "evaluation")
        parser.add_lightning_class_args(Checkpoints, "checkpoints")
        for size in ("vocab_size", "context_length"):
            parser.link_arguments(
                "model.tokenizer",
                f"model.text_encoder.init_args.{size}",
                lambda tokenizer, size=size: getattr(tokenizer, size),
                apply_on="instantiate",
            )
        parser.link_arguments("seed_everything", "data.seed", int)

    def before_instantiate_classes(self) -> None:
        """Lets Lightning write into the run folder, and settles what else belongs to the process."""
        if self.config.num_threads is not None:
            torch.set_num_threads(self.config.num_threads)
        self.config.trainer.default_root_dir = self.config.run_dir

    @property
    def resolved(self) -> Config:
        """The configuration with all defaults, as plain data that gives the same run again."""
        config: Config = read_text(self.parser.dump(self.config, skip_none=False))
        return {key: value for key, value in config.items() if key not in ("config", "run_dir")}

    def part(self, name: str) -> Any:
        """A built part that is no model, data or trainer, such as "evaluation"."""
        return self.config_init[name]

    def add_callback(self, callback: Callback) -> None:
        """Adds a callback; checkpoints stay last, since they save what the others did."""
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        callbacks.insert(callbacks.index(self.part("checkpoints")), callback)

    def attach_loggers(self, run_dir: Path, first_step: int) -> None:
        """Gives the trackers their folder, and a run without one a journal: its figure is drawn from that.

        Args:
            run_dir: The run's folder.
            first_step: Optimiser step at which this run begins or goes on; what an earlier try has recorded from
                there on is void.
        """
        if not any(isinstance(logger, MLflowTracker) for logger in self.trainer.loggers):
            self.trainer.loggers = [*self.trainer.loggers, MLflowTracker(live=False)]
        for logger in self.trainer.loggers:
            if isinstance(logger, MLflowTracker):
                has_begun = (run_dir / "journal.jsonl").exists()
                logger.attach(run_dir)
                if has_begun:
                    logger.rewind(first_step)


def quiet() -> None:
    """Silences what a user can do nothing about; errors and our own lines remain."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*number of training batches.*smaller than the logging interval.*",
        ".*GPU available but not used.*",
        ".*srun.*",
        ".*sync_dist=True.*",  # what we log is that of all processes already
        "LightningCLI's args parameter.*",
        ".*Checkpoint directory.*exists and is not empty.*",
        ".*torch.distributed.*deprecated.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*You are using `torch.load` with `weights_only=.*",
    ):
        warnings.filterwarnings("ignore", message=message)


def build_cli(verb: str, config: Config) -> TrainingCLI:
    """Parses and builds everything.

    Args:
        verb: For which verb, named in messages.
        config: Composed configuration.

    Returns:
        The command line with ``model``, ``datamodule`` and ``trainer``.

    Raises:
        UserError: If the configuration is not accepted, with the nearest name where one is misspelt.
    """
    sources = (config.get("data") or {}).get("train")
    if isinstance(sources, str | Mapping):
        config = {**config, "data": {**config["data"], "train": [sources]}}
    try:
        return _parse(verb, config)
    except (ArgumentError, jsonargparse.ArgumentError) as error:
        raise UserError(_with_suggestion(str(error))) from None


def _parse(verb: str, arguments: Any) -> TrainingCLI:
    quiet()
    return TrainingCLI(
        CLIPTask,
        ImageTextDataModule,
        run=False,
        args=arguments,
        save_config_callback=None,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        parser_kwargs={"exit_on_error": False, "prog": f"clip_lightning {verb}"},
    )


def show_help(verb: str, config: Config, flags: Sequence[str]) -> int:
    """Prints what ``--help``, ``--print_config`` or ``--KEY.help CLASS`` ask for.

    Args:
        verb: For which verb.
        config: Composed configuration, which ``--print_config`` shows completed.
        flags: Arguments that are no configuration.

    Returns:
        Exit code.

    Raises:
        UserError: If they are no such flags.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(to_yaml(config))
        given = [] if {"--help", "-h"} & set(flags) else [f"--config={path}"]
        try:
            _parse(verb, [*given, *flags])
        except SystemExit as done:
            return int(done.code or 0)
        except (ArgumentError, jsonargparse.ArgumentError) as error:
            raise UserError(_with_suggestion(str(error))) from None
    raise UserError(f"{' '.join(flags)} is not understood; options begin with --")


def check_keys(config: Config) -> None:
    """Refuses unknown keys of the groups whose names are fixed, before a parser reports what then is missing.

    Raises:
        UserError: With the key and the nearest valid one.
    """
    groups = {"model": CLIPTask, "data": ImageTextDataModule, "evaluation": RunEvaluators, "checkpoints": Checkpoints}
    _check_names(config, [key for key in KEYS if key != "config"], "")
    for group, cls in groups.items():
        value = config.get(group)
        if value is not None and not isinstance(value, Mapping):
            raise UserError(f"{group} is {value!r}; it is a mapping of keys")
        _check_names(value or {}, list(inspect.signature(cls).parameters), f"{group}.")


def _check_names(given: Mapping[str, Any], known: Sequence[str], prefix: str) -> None:
    for key in given:
        if key not in known:
            raise UserError(f"key {prefix}{key} is not known; {_nearest(str(key), known)}")


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known))}"


def _with_suggestion(message: str) -> str:
    """A parser's message on one paragraph, with the nearest valid name where it names an invalid one."""
    message = re.sub(r"\s*\n\s*", " ", message).strip()
    wrong = re.search(r"Problem with given class_path '([\w.]+)': Option '(\w+)' is not accepted", message)
    if wrong:
        cls = _import(wrong[1])
        return f"{message}; {_nearest(wrong[2], _parameters(cls))}" if cls else message
    group = re.search(r"Group '(\w+)' does not accept option '([\w.]+)'", message)
    if group and group[1] == "trainer":
        return f"key trainer.{group[2]} is not known; {_nearest(group[2], _parameters(Trainer))}"
    name = re.search(r"Expected a dot import path string: (\w+)", message)
    if name:
        place = message.split(" Does not validate")[0].split(": Expected")[0]
        return f"{place}: class {name[1]!r} is not known; {_nearest(name[1], _class_names())}"
    return message


def _import(class_path: str) -> type | None:
    module, _, name = class_path.rpartition(".")
    cls = getattr(__import__(module, fromlist=[name]), name, None)
    return cls if isinstance(cls, type) else None


def _parameters(cls: type) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]


def _class_names() -> list[str]:
    """Names of all parts that can be given without their module."""
    bases = [models.ImageEncoder, models.TextEncoder, text.Tokenizer, objectives.Objective, optim.Schedule]
    bases += [data.Source, data.LabelledDataset, evaluation.Evaluator]
    return sorted({cls.__name__ for base in bases for cls in _subclasses(base)})


def _subclasses(base: type) -> set[type]:
    found: set[type] = set(base.__subclasses__())
    return found.union(*map(_subclasses, found))
