"""The folder of an evaluation: its configuration, its results, and the page that shows them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from clip_lightning.cli.errors import UserError
from clip_lightning.config import Config, differing_keys, read_config, to_yaml
from clip_lightning.files import write_atomically
from clip_lightning.reports.evaluation import Evaluated, evaluation_report
from clip_lightning.reports.rendering import write_report
from clip_lightning.results import Unreadable, format_comparisons, format_table, write_results
from clip_lightning.tracking.logger import MLflowTracker
from clip_lightning.tracking.provenance import Start, add_start, describe_start
from clip_lightning.tracking.run_folder import RunFolder


@dataclass(frozen=True)
class EvaluationFolder:
    """Where the results of one configuration go, once or again.

    Args:
        folder: The folder.
        start: What is known of this call.
    """

    folder: RunFolder
    start: Start

    @classmethod
    def open(cls, given: Path | None, resolved: Config) -> Self:
        """A folder with its configuration in it.

        Args:
            given: Where; None makes a new one below ``runs``.
            resolved: The configuration with all defaults.

        Raises:
            UserError: If the folder holds results of another configuration.
            ValueError: If it cannot be written.
        """
        folder = RunFolder.create(str(resolved["name"])) if given is None else RunFolder.open(given)
        # A call that was ended before it found anything binds no later one.
        if folder.results.is_file() and (differing := differing_keys(read_config(folder.config), resolved)):
            raise UserError(
                f"{folder.path} holds results of a configuration that differs in {', '.join(differing[:5])}; choose "
                "another --output"
            )
        write_atomically(folder.config, to_yaml(resolved).encode())
        start = describe_start({"threads": torch.get_num_threads()})
        add_start(folder.provenance, start)
        return cls(folder, start)

    def write(self, models: Sequence[Evaluated]) -> None:
        """Writes the results, in place of those that were written before."""
        missing = [
            Unreadable(source, reasons, model.rows[0].model)
            for model in models
            for source, reasons in model.unreadable.items()
        ]
        comparisons = [one for model in models for one in model.comparisons]
        write_results(self.folder.results, [row for model in models for row in model.rows], comparisons, missing)

    def write_page(self, models: Sequence[Evaluated]) -> list[Path]:
        """Writes the page in its two forms.

        Returns:
            Its files, HTML first.
        """
        facts = {"command": self.start["command"], "date": self.start["date"]}
        return write_report(self.folder.path, evaluation_report(models, facts))

    def track(self, models: Sequence[Evaluated], page: Sequence[Path]) -> None:
        """Delivers the figures to MLflow; a second time in the same folder they replace those of before."""
        rows = [row for model in models for row in model.rows]
        tracker = MLflowTracker()
        tracker.attach(self.folder.path)
        if self.folder.journal.is_file():
            tracker.rewind(0, 0)
        tracker.log_hyperparams(read_config(self.folder.config))
        tracker.log_metrics({"/".join(filter(None, ("test", row.model, row.name))): row.value for row in rows}, 0)
        for path in (self.folder.config, self.folder.results, *page):
            tracker.log_artifact(path)
        tracker.finalize("success")
        tracker.close()


def print_results(models: Sequence[Evaluated], deciding: Collection[str]) -> None:
    """Prints the figures of each model, and how the further ones differ from the first.

    Args:
        models: One at least.
        deciding: Names of the results that models are compared by; the page has all differences.
    """
    for model in models:
        print(f"\n{model.name}" if len(models) > 1 else "")
        print(format_table(model.rows))
    for model in models[1:]:
        shown = [one for one in model.comparisons if one.name in deciding]
        print(f"\n{model.name} less {models[0].name}, on the same samples")
        print(format_comparisons(shown))
