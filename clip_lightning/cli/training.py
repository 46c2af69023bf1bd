"""What fit, validate and test share: one configuration becomes a task, its data, a trainer and a run folder."""

import copy
import logging
import numbers
import tempfile
import warnings
from argparse import ArgumentError
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jsonargparse
import torch
from jsonargparse.typing import register_type
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from torchvision.datasets import VisionDataset

from clip_lightning.callbacks import Checkpoints, Guards, RunEvaluators, WeightAverages
from clip_lightning.cli.compose import is_flag
from clip_lightning.cli.devices import check_devices
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.evaluators import name_mistaken
from clip_lightning.cli.keys import with_suggestion
from clip_lightning.cli.parsing import refusals
from clip_lightning.cli.trust import check_parts, refuse_what_is_no_part
from clip_lightning.config import Config, read_text, to_yaml
from clip_lightning.data.torchvision_labels import open_vision_dataset
from clip_lightning.datamodules import ImageTextDataModule
from clip_lightning.models.compilation import compile_towers
from clip_lightning.strategy import register_strategy
from clip_lightning.task import CLIPTask
from clip_lightning.tracking.logger import MLflowTracker

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


def _number(value: Any) -> Any:
    if not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return value


# torchvision's word for an int or a float, which the parser would write into the resolved configuration as an object.
register_type(numbers.Number, serializer=_number, deserializer=_number, fail_already_registered=False)


class TrainingCLI(LightningCLI):
    """Lightning's command line without its verbs, overlays and files: one configuration in, built objects out."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what is ours: names, the guards, the evaluators, the checkpoints, and the links between parts."""
        parser.add_argument("--name", type=str, default="run", help="Name of the run; its folder is runs/NAME/TIME.")
        parser.add_argument("--run_dir", type=str | None, default=None, help="Folder of the run, instead of a new one.")
        parser.add_argument("--num_threads", type=int | None, default=None, help="Threads of PyTorch on the CPU.")
        parser.add_argument(
            "--matmul_precision",
            type=Literal["highest", "high", "medium"],
            default="highest",
            help="Products of float32 matrices on a GPU: highest is float32, high TF32, medium bfloat16.",
        )
        parser.add_argument("--compile", type=bool, default=False, help="Whether the towers' blocks are compiled.")
        # Before those that measure and save the averages.
        parser.add_lightning_class_args(WeightAverages, "averaging")
        parser.add_lightning_class_args(Guards, "guards")
        parser.add_lightning_class_args(RunEvaluators, "evaluation")
        parser.add_lightning_class_args(Checkpoints, "checkpoints")
        parser.add_instantiator(open_vision_dataset, VisionDataset)
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
        torch.set_float32_matmul_precision(self.config.matmul_precision)
        # Convolutions have a switch of their own, which PyTorch leaves on.
        torch.backends.cudnn.allow_tf32 = self.config.matmul_precision != "highest"
        self.config.trainer.default_root_dir = self.config.run_dir

    @property
    def resolved(self) -> Config:
        """The configuration with all defaults, as plain data that gives the same run again."""
        config: Config = read_text(self.parser.dump(self.config, skip_none=False))
        config["trainer"].pop("default_root_dir")
        return {key: value for key, value in config.items() if key not in ("config", "run_dir")}

    def instantiate_classes(self) -> None:
        """Builds all parts, and has the towers compiled if that is asked for."""
        super().instantiate_classes()
        if self.config.compile:
            compile_towers(self.model.model)

    def part(self, name: str) -> Any:
        """A built part that is no model, data or trainer, such as "evaluation"."""
        return self.config_init[name]

    def add_callback(self, callback: Callback) -> None:
        """Adds a callback; checkpoints stay last, since they save what the others did."""
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        callbacks.insert(callbacks.index(self.part("checkpoints")), callback)

    @property
    def trackers(self) -> list[MLflowTracker]:
        """The loggers that keep more than numbers."""
        return [logger for logger in self.trainer.loggers if isinstance(logger, MLflowTracker)]

    def attach_loggers(self, run_dir: Path) -> None:
        """Gives the trackers their folder, and a run without one a journal: its figure is drawn from that."""
        if not self.trackers:
            self.trainer.loggers = [*self.trainer.loggers, MLflowTracker(live=False)]
        for tracker in self.trackers:
            tracker.attach(run_dir)


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
        ".*damaged samples (were replaced|are missing).*",  # a run tells of them at its end
        r".*module\(s\) in eval mode at the start of training.*",  # the locked ones, as configured
        "Corrupt EXIF data.*",  # which leaves the picture as it is
        "Image size .* exceeds limit of .*",  # refused, and counted
    ):
        warnings.filterwarnings("ignore", message=message)


def build_cli(verb: str, config: Config, allow_modules: Collection[str] = ()) -> TrainingCLI:
    """Parses and builds everything.

    Args:
        verb: For which verb, named in messages.
        config: Composed configuration.
        allow_modules: Modules of installed packages that may be named though they hold no parts.

    Returns:
        The command line with ``model``, ``datamodule`` and ``trainer``.

    Raises:
        UserError: If the configuration is not accepted, with the nearest name where one is misspelt.
        ValueError: If it names what is no part.
    """
    register_strategy()
    check_parts(config, allow_modules)
    check_devices(config)
    try:
        with refusals():
            # A copy, since the parser changes what it is given.
            return _parse(verb, _with_list_of_sources(copy.deepcopy(config)))
    except UserError:
        name_mistaken(config)
        raise


def _with_list_of_sources(config: Config) -> Config:
    """A single training source may stand without a list."""
    sources = config.get("data", {}).get("train")
    if isinstance(sources, str | Mapping):
        return {**config, "data": {**config["data"], "train": [sources]}}
    return config


def _parse(verb: str, arguments: Any) -> TrainingCLI:
    quiet()
    refuse_what_is_no_part()
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
        path.write_text(to_yaml(_with_list_of_sources(config)))
        given = [] if {"--help", "-h"} & set(flags) else [f"--config={path}"]
        unknown = [flag for flag in flags if not is_flag(flag) and not any(map(is_flag, flags))]
        if unknown:
            raise UserError(f"{unknown[0]!r} is not understood; options are --config FILE and --KEY VALUE")
        try:
            _parse(verb, [*given, *flags])
        except SystemExit as done:
            return int(done.code or 0)
        except (ArgumentError, jsonargparse.ArgumentError) as error:
            raise UserError(with_suggestion(str(error))) from None
    return 0
