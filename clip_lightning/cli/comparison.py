"""What is equal between a run and the same run done again, and what was different when it began."""

import dataclasses
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clip_lightning.averages import BESIDE
from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.cli.keys import value_at
from clip_lightning.results import Result, counted, read_results
from clip_lightning.tracking.journal import metrics
from clip_lightning.tracking.provenance import Start, describe_git
from clip_lightning.tracking.run_folder import RunFolder

FACTS = (
    "folder",
    "python",
    "machine.host",
    "machine.platform",
    "machine.cpus",
    "devices",
    "processes",
    "threads",
    "environment",
    "fingerprints",
    "packages",
)
"""Of a start, what is compared value by value; ``git`` is compared beside it."""

CHECKPOINTS = ("last.ckpt", "best.ckpt")
"""Which checkpoints are compared."""

MEASURES_TIME = ("system/", "throughput/", "per_second", "seconds")
"""What the names of metrics have in them that say how fast the machine was, and not what was learned."""


class Finding(NamedTuple):
    """One line of the comparison.

    Args:
        what: What was compared.
        is_equal: Whether it is the same to the last bit.
        detail: What was found.
    """

    what: str
    is_equal: bool
    detail: str


def differing_facts(starts: Sequence[Start], now: Start) -> list[str]:
    """What is not as it was at some start of a run.

    Args:
        starts: The run's provenance.
        now: That of the process that does it again.

    Returns:
        A sentence for each difference.
    """
    if not starts:
        return ["there is no provenance.json, so it is not known where the run comes from"]
    found = [f"the run was continued {len(starts) - 1} times"] if len(starts) > 1 else []
    for start in starts:
        for name, code in _codes(start).items():
            found += _differing_code(name, code, _codes(now)[name])
        for name in FACTS:
            # Runs of before did not note everything.
            if (then := value_at(start, name)) is not None:
                found += _differing_values(name.rpartition(".")[2], then, value_at(now, name))
    return list(dict.fromkeys(found))


def _codes(start: Start) -> dict[str, Mapping[str, Any] | None]:
    """The checkouts of a start: this package's, and the user's own where that is another one."""
    package = start.get("package_git")
    return {"clip_lightning's code": package or start["git"], "the folder's code": start["git"] if package else None}


def _differing_code(name: str, then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> Iterator[str]:
    if then is None or now is None:
        if then is not now:
            yield f"{name} was {describe_git(then)}, is {describe_git(now)}"
        return
    if then["commit"] != now["commit"]:
        yield f"{name} was {describe_git(then)}, is {describe_git(now)}"
    if then["diff"] != now["diff"] or then["diff_characters"] != now["diff_characters"]:
        sizes = then["diff_characters"], now["diff_characters"]
        yield f"{name}: the changes that are not committed were another {sizes[0]:,} characters, are {sizes[1]:,}"
    if files := sorted({*then["untracked"]} ^ {*now["untracked"]}):
        more = f" and {len(files) - 5:,} more" if len(files) > 5 else ""
        yield f"{name}: files that are not in version control are other ones: {', '.join(files[:5])}{more}"


def _differing_values(name: str, then: Any, now: Any) -> Iterator[str]:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in sorted({*then, *now}):
            yield from _differing_values(f"{name} {key}", then.get(key), now.get(key))
    elif then != now:
        yield f"{name} was {_text(then)}, is {_text(now)}"


def _text(value: Any) -> str:
    return "not there" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def compare_runs(old: RunFolder, new: RunFolder) -> list[Finding]:
    """Compares what two runs have left.

    Args:
        old: The run.
        new: The same run done again.

    Returns:
        Findings on the checkpoints, the results and the learning curves.
    """
    checkpoints = [_compare_checkpoints(old.checkpoints / name, new.checkpoints / name) for name in CHECKPOINTS]
    rows = [read_results(folder.results) if folder.results.is_file() else [] for folder in (old, new)]
    return [*checkpoints, *_compare_results(*rows), *_compare_curves(_curves(old.journal), _curves(new.journal))]


def _compare_checkpoints(old: Path, new: Path) -> Finding:
    what = f"weights of {old.name}"
    missing = [str(path) for path in (old, new) if not path.is_file()]
    if missing:
        return Finding(what, False, f"{' and '.join(missing)} is not there")
    one, two = read_checkpoint(old), read_checkpoint(new)
    if one["global_step"] != two["global_step"]:
        return Finding(what, False, f"of step {one['global_step']:,} and of step {two['global_step']:,}")
    return compare_weights(what, _tensors(one), _tensors(two))


def _tensors(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """All weights of a checkpoint, those beside the ones that it was chosen by included."""
    beside = checkpoint.get(BESIDE, {})
    return {**checkpoint["state_dict"], **{f"{name} ({BESIDE})": tensor for name, tensor in beside.items()}}


def compare_weights(what: str, one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> Finding:
    """Compares tensors bit by bit, so that NaN equals itself and 0 does not equal -0.

    Args:
        what: Name of the finding.
        one: Tensors by name.
        two: Tensors by name.
    """
    others = sorted(one.keys() ^ two.keys()) + sorted(
        name
        for name in one.keys() & two.keys()
        if (one[name].shape, one[name].dtype) != (two[name].shape, two[name].dtype)
    )
    if others:
        return Finding(what, False, f"other tensors: {', '.join(others[:5])}")
    differing = {name: tensor for name, tensor in one.items() if not torch.equal(_bits(tensor), _bits(two[name]))}
    if not differing:
        return Finding(what, True, f"{len(one)} tensors, bit by bit")
    largest = max(
        (tensor.double() - two[name].double()).abs().nan_to_num(torch.inf).max().item()
        for name, tensor in differing.items()
    )
    return Finding(what, False, f"in {len(differing)} of {len(one)} tensors, by up to {largest:.3g}")


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _compare_results(old: Sequence[Result], new: Sequence[Result]) -> Iterator[Finding]:
    """A finding for each row, and none where no run has any."""
    one, two = ({row.name: row for row in rows} for rows in (old, new))
    for name in {**one, **two}:
        if name not in one or name not in two:
            yield Finding(name, False, f"is only in the {'new' if name in two else 'old'} run")
            continue
        keys = [field.name for field in dataclasses.fields(Result) if field.name not in ("value", "items")]
        others = [key for key in keys if repr(getattr(one[name], key)) != repr(getattr(two[name], key))]
        values = f"{one[name].value:.6g}" + (
            "" if _same(one[name].value, two[name].value) else f", now {two[name].value:.6g}"
        )
        is_equal = not others and _same(one[name].value, two[name].value)
        yield Finding(name, is_equal, values + (f"; other {', '.join(others)}" if others else ""))


Curve = dict[int, float]


def _curves(journal: Path) -> dict[str, Curve]:
    """What was learned, by metric and step."""
    return {
        name: dict(zip(series.step, series.value, strict=True))
        for name, series in metrics(journal).items()
        if not any(part in name for part in MEASURES_TIME)
    }


def _compare_curves(old: Mapping[str, Curve], new: Mapping[str, Curve]) -> Iterator[Finding]:
    for name in {**old, **new}:
        what = f"curve of {name}"
        one, two = old.get(name, {}), new.get(name, {})
        steps = sorted({*one, *two})
        first = next(
            (step for step in steps if step not in one or step not in two or not _same(one[step], two[step])), None
        )
        if first is None:
            yield Finding(what, True, counted(len(steps), "point"))
        else:
            yield Finding(what, False, f"from step {first:,}: {_at(one, first)}, now {_at(two, first)}")


def _at(curve: Curve, step: int) -> str:
    return f"{curve[step]:.9g}" if step in curve else "nothing"


def _same(one: float, two: float) -> bool:
    """Whether two numbers are the same bits."""
    return struct.pack("d", one) == struct.pack("d", two)
