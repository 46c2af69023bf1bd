"""``reproduce``: does a run again from its folder, and says what is equal and what is not."""

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.cli import fit
from clip_lightning.cli.comparison import CHECKPOINTS, Finding, compare_runs, differing_facts
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.keys import check_keys
from clip_lightning.cli.start import start_of
from clip_lightning.cli.stored_run import stored_config
from clip_lightning.cli.training import build_cli
from clip_lightning.cli.trust import only_trusted
from clip_lightning.tracking.provenance import read_starts
from clip_lightning.tracking.run_folder import RunFolder
from clip_lightning.tracking.run_state import is_run, read_state

DESCRIPTION = """Does a finished run again, from the configuration in its folder, and compares: the weights of both
checkpoints bit by bit, the results, and every point of the learning curves. Exit code 0 if all of it is equal, 1 if
something is not, 2 if it could not be done. Relative paths in the configuration hold from where the run was started;
start the command there. The same command with --run_dir goes on where it was interrupted."""


def main(arguments: Sequence[str]) -> int:
    """Does a run again.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code: 0 if everything is equal, 1 if not.

    Raises:
        UserError: If the folder holds no finished run, or the new one is the same.
    """
    parser = argparse.ArgumentParser("clip_lightning reproduce", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("run", type=Path, help="folder of the run to do again")
    parser.add_argument("--run_dir", type=Path, help="folder of the new run, instead of runs/NAME/TIME")
    parser.add_argument(
        "--allow_module", action="append", default=[], help="module beside the installed packages that it may name"
    )
    options = parser.parse_args(arguments)
    old = finished_run(options.run)
    stored = stored_config(old)
    # Before hours of training, not after them: a damaged file cannot be compared with.
    for name in CHECKPOINTS:
        if (old.checkpoints / name).exists():
            read_checkpoint(old.checkpoints / name)
    if options.run_dir and options.run_dir.resolve() == old.path.resolve():
        raise UserError(f"--run_dir {options.run_dir} is the run itself; give a new folder")
    with only_trusted(stored, options.allow_module):
        check_keys(stored)
        # Built once to see the data: what differs is worth knowing before the training, not after it.
        now = start_of(build_cli("fit", stored), arguments)
        show_facts(differing_facts(read_starts(old.provenance) if old.provenance.exists() else [], now))
        new = fit.open_run_folder({"run_dir": options.run_dir, "name": stored.get("name")})
        code = fit.main(["--config", str(old.config), "--run_dir", str(new.path)])
    # The processes that a strategy starts beside the first one run this command line too.
    if code or os.environ.get("LOCAL_RANK", "0") != "0":
        return code
    findings = compare_runs(old, new)
    show_findings(findings)
    print(new.path)
    return 0 if all(finding.is_equal for finding in findings) else 1


def finished_run(path: Path) -> RunFolder:
    """The run to do again.

    Raises:
        UserError: If there is none, or it is not finished: its weights are those of fewer steps than it was to have.
    """
    if not is_run(path):
        raise UserError(f"{path} is no run folder: it has no config.yaml and journal.jsonl")
    state = read_state(RunFolder(path))
    if state.status != "FINISHED":
        quoted = shlex.quote(str(path))
        raise UserError(
            f"{path} is not finished ({state.state} at step {state.step or 0:,}), so there is nothing to compare with; "
            f"finish it with: python -m clip_lightning fit --config {quoted}/config.yaml --run_dir {quoted}"
        )
    return RunFolder(path)


@rank_zero_only
def show_facts(facts: list[str]) -> None:
    """Prints what is not as it was, before the run begins."""
    for fact in facts:
        print(f"differs     {fact}")
    if not facts:
        print("differs     nothing that is known: code, packages, machine, device, threads and data are as they were")
    print(flush=True)


def show_findings(findings: list[Finding]) -> None:
    """Prints what is equal and what is not."""
    width = max(len(finding.what) for finding in findings)
    print()
    for finding in findings:
        print(f"{finding.what:<{width}}  {'equal' if finding.is_equal else 'DIFFERS':<7}  {finding.detail}".rstrip())
    unequal = sum(not finding.is_equal for finding in findings)
    print(f"\n{f'{unequal} of {len(findings)} differ' if unequal else 'everything is equal'}")
