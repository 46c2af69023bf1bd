"""``tune``: finds the largest micro-batch that fits into memory, and the number of workers that feeds a step."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from clip_lightning.cli.compose import compose
from clip_lightning.cli.devices import own_cpus, processes_here
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.keys import KEYS, check_keys
from clip_lightning.cli.memory import is_out_of_memory, told_of_memory, what_to_lower
from clip_lightning.cli.summary import in_bytes
from clip_lightning.cli.training import DEFAULTS, TrainingCLI, build_cli
from clip_lightning.cli.trial import Trial, Trials
from clip_lightning.config import Config

USAGE = """usage: python -m clip_lightning tune --config FILE ... [--key value ...]

Takes the keys of fit, and leaves no run behind. It takes steps of growing micro-batches on one device of this machine,
reads data with growing numbers of workers, and prints what each costs and the lines to put into the configuration:
  python -m clip_lightning tune --config configs/quickstart.yaml
"""

PARTS = 10
"""Sizes of micro-batches that are looked at: the batch of a process, its half, its quarter and so on."""
SMALLEST = 4
"""Pairs; BatchNorm needs some, and fewer are for no model."""
MEASURED_ON_CPU = 64
"""Largest micro-batch that is tried on the CPU; what larger ones take follows from how memory grows up to it. A GPU
refuses what does not fit, while a system ends the process that asks for it."""
SHARE = 0.9
"""Of the available memory, what a step may take: the rest is for what changes from step to step."""
SPARE = 1.1
"""How much faster than a step the data should be."""
SECONDS = 2.0
"""For which data are read with each number of workers."""


class Fit(NamedTuple):
    """Whether a micro-batch fits.

    Args:
        size: Pairs encoded at once.
        memory: Bytes of a step beyond weights, gradients and moments; None where a GPU has refused them.
        pairs_per_second: Speed of the step; None where it was not taken.
        fits: Whether it does.
    """

    size: int
    memory: float | None
    pairs_per_second: float | None
    fits: bool


def main(arguments: Sequence[str]) -> int:
    """Prints the tables and the lines.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.

    Raises:
        UserError: If the configuration is not accepted, or not even the smallest micro-batch fits.
    """
    config, flags = compose(arguments, KEYS, DEFAULTS)
    if {"--help", "-h"} & set(flags) or not arguments:
        print(USAGE)
        return 0
    if flags:
        raise UserError(f"{flags[0]!r} is not understood; options are --config FILE and --key value")
    check_keys(config)
    here, nodes = max(1, processes_here(config["trainer"])), int(config["trainer"].get("num_nodes") or 1)
    cli = build_cli("tune", _on_one_device(config))
    data = cli.datamodule
    data.num_workers = 0
    batch = next(iter(data.train_loader(cli.model, world_size=here * nodes)))
    with told_of_memory(cli):
        trials = Trials(cli, batch)
    print(
        f"device      {trials.device}, {in_bytes(trials.available)} available beyond weights, gradients and moments\n"
        f"step        {data.batch_size:,} pairs, {len(batch):,} of them in this process\n"
    )
    fits = list(try_sizes(trials, len(batch)))
    best = max((one for one in fits if one.fits), key=lambda one: one.size, default=None)
    if best is None:
        cli.model.micro_batch_size = fits[0].size
        raise UserError(f"not even {fits[0].size:,} pairs at once fit into memory: {what_to_lower(cli)}")
    needed = max(one.pairs_per_second for one in fits if one.pairs_per_second is not None)
    most = max(1, own_cpus(here) - (trials.device.type == "cpu"))  # There the model needs one for itself.
    rates = list(read_with_workers(cli, here * nodes, most, needed))
    print(f"\n{describe(best, len(batch), needed, rates)}")
    return 0


def _on_one_device(config: Config) -> Config:
    """The configuration for the trials."""
    trainer = {**config["trainer"], "devices": 1, "num_nodes": 1, "strategy": "auto", "logger": False}
    return {**config, "trainer": trainer}


def try_sizes(trials: Trials, pairs: int) -> Iterator[Fit]:
    """Takes steps of growing micro-batches, as long as they fit, and prints a line for each.

    Args:
        trials: Takes the steps.
        pairs: Of a process's batch.

    Yields:
        What each size takes.
    """
    is_cpu = trials.device.type == "cpu"
    allowed = SHARE * trials.available
    measured: list[Trial] = []
    print(f"{'micro-batch':>11}  {'memory':>12}  {'pairs/s':>10}")
    sizes = {max(min(SMALLEST, pairs), -(-pairs // 2**halvings)) for halvings in range(PARTS)}
    for size in sorted(sizes):
        if is_cpu and size > MEASURED_ON_CPU and len(measured) > 1:
            memory = extrapolated(measured, size)
            fit = Fit(size, memory, None, memory <= allowed)
        else:
            trial = _try(trials, min(pairs, 2 * size) if is_cpu else pairs, size)
            measured += [trial] if trial else []
            fit = Fit(size, None, None, False)
            if trial:
                fit = Fit(size, trial.memory, trial.pairs_per_second, trial.memory <= allowed)
        print(_line(fit), flush=True)
        yield fit
        if not fit.fits:
            return


def _try(trials: Trials, pairs: int, size: int) -> Trial | None:
    """A trial; None where memory does not suffice for it."""
    try:
        return trials.take(max(2, pairs), size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return None


def extrapolated(measured: Sequence[Trial], size: int) -> float:
    """Bytes of a larger micro-batch, by the growth between the smallest and the largest that were measured."""
    first, last = measured[0], measured[-1]
    growth = max(0.0, (last.memory - first.memory) / (last.size - first.size))
    return last.memory + growth * (size - last.size)


def _line(fit: Fit) -> str:
    memory = "too much" if fit.memory is None else f"{'' if fit.pairs_per_second else 'about '}{in_bytes(fit.memory)}"
    speed = f"{fit.pairs_per_second:,.0f}" if fit.pairs_per_second else "not tried"
    return f"{fit.size:>11,}  {memory:>12}  {speed:>10}{'' if fit.fits else '  does not fit'}"


def read_with_workers(cli: TrainingCLI, processes: int, most: int, needed: float) -> Iterator[tuple[int, float]]:
    """Reads data with growing numbers of workers, until they suffice, and prints a line for each.

    Args:
        cli: What was built from the configuration.
        processes: Processes that share a batch.
        most: Workers that there may be.
        needed: Pairs a second of the model.

    Yields:
        The number, and the pairs a second.
    """
    print(f"\n{'workers':>11}  {'pairs/s':>12}")
    for workers in sorted({0, most, *(2**power for power in range(most.bit_length()))}):
        cli.datamodule.num_workers = workers
        rate = _rate(cli.datamodule.train_loader(cli.model, world_size=processes))
        print(f"{workers:>11}  {rate:>12,.0f}", flush=True)
        yield workers, rate
        if feeds(workers, rate, needed):
            return


def _rate(loader: Any) -> float:
    """Pairs a second, from the second batch on: the first one waits for workers that start."""
    pairs, started, latest = 0, 0.0, 0.0
    while True:
        for batch in loader:
            latest = time.perf_counter()
            started = started or latest
            if pairs or latest > started:
                pairs += len(batch)
            if latest - started > SECONDS:
                return pairs / (latest - started)


def feeds(workers: int, rate: float, needed: float) -> bool:
    """Whether a step hardly waits; without workers it waits for all of its data, whatever their speed."""
    return rate >= (SPARE if workers else 10 * SPARE) * needed


def speed(workers: int, rate: float, needed: float) -> float:
    """Pairs a second of a run: workers read beside the model, and without any, model and data take turns."""
    return min(rate, needed) if workers else 1 / (1 / rate + 1 / needed)


def describe(best: Fit, pairs: int, needed: float, rates: Sequence[tuple[int, float]]) -> str:
    """The lines for the configuration, with what they rest on."""
    is_fed = feeds(*rates[-1], needed)
    workers, rate = rates[-1] if is_fed else max(rates, key=lambda one: speed(one[0], one[1], needed))
    size = "null" if best.size == pairs else str(best.size)
    kept = "the whole batch of a process fits" if best.size == pairs else "the largest that fits"
    said = f"{rate:,.0f} pairs/s for a model that takes {needed:,.0f}"
    waiting = 1 - speed(workers, rate, needed) / needed
    if not is_fed and waiting > 0:
        said += f"; steps wait for data {waiting:.0%} of the time: store smaller images, or take more CPUs"
    lines = ("model:", f"  micro_batch_size: {size}  # {kept}", "data:", f"  num_workers: {workers}  # {said}")
    return "put into the configuration:\n\n" + "\n".join(lines)
