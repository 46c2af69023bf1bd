"""How fast a training is, where its time goes, and what bounds it."""

import resource
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from tqdm import tqdm

from clip_lightning.callbacks.bottleneck import Circumstances, bottleneck
from clip_lightning.callbacks.clock import Clock
from clip_lightning.callbacks.guards import is_logged
from clip_lightning.callbacks.step_times import PARTS, Step, StepTimes

PREFIX = "throughput/"


@dataclass
class _Tally:
    """Sums over steps."""

    seconds: Counter[str]
    steps: int = 0
    pairs: int = 0
    flops: float = 0.0

    @classmethod
    def nothing(cls) -> "_Tally":
        return cls(Counter())

    def add(self, step: Step, pairs: int, flops: float) -> None:
        self.seconds.update(step.seconds())
        self.steps, self.pairs, self.flops = self.steps + 1, self.pairs + pairs, self.flops + flops


class Throughput(Callback):
    """Logs the speed of a device and where a step's time goes, and says at the end what bounds the run.

    Logged as ``throughput/...``, of the steps since the last ones that were logged: ``pairs_per_second`` of one device,
    ``step_seconds`` and what of it each part takes, ``peak_memory_gib``, and ``mfu`` where the device's peak is known:
    the operations of the model, each counted once, over those that the device could have done. Neither measurements
    nor checkpoints count, nor the first step of a start, which prepares much.

    Times are those of the first process. On a GPU they are the device's, read when it has passed them, so that nothing
    waits. Communication is what of DDP's exchange of gradients was not hidden behind computation, by PyTorch's own
    count; that of embeddings is in the loss, and that of other strategies is not told apart.

    Args:
        num_workers: Processes that read data.
        cpus: Processors that this training process may take for itself.
        is_compiled: Whether blocks are compiled.
        peak: Operations a second that the device can do at most; None where that is not known.
        flops: Operations of a pair whose text has so many tokens; None where that is not known.
    """

    def __init__(
        self,
        num_workers: int,
        cpus: int,
        is_compiled: bool,
        peak: float | None = None,
        flops: Callable[[int], float] | None = None,
    ) -> None:
        self._num_workers, self._cpus, self._is_compiled = num_workers, cpus, is_compiled
        self._peak, self._flops = peak, flops

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins to take times."""
        times = StepTimes(trainer.profiler, Clock(pl_module.device))  # type: ignore[attr-defined]
        self._times = trainer.profiler = times  # type: ignore[attr-defined]
        self._waiting: deque[tuple[Step, int, int]] = deque()
        self._recent, self._all = _Tally.nothing(), _Tally.nothing()
        self._is_first, self._is_logged = True, False
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Notes whether the step is logged."""
        self._is_logged = is_logged(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ends a step, and logs those that the device is done with."""
        step = self._times.finish()
        if step is not None and not self._is_first:
            self._waiting.append((step, len(batch), batch.text.shape[1]))
        self._is_first = False
        self._read()
        if self._is_logged and self._recent.steps:
            values = {f"{PREFIX}{name}": value for name, value in self._values(trainer, self._recent).items()}
            for logger in trainer.loggers:
                logger.log_metrics(values, step=trainer.global_step - 1)
            self._recent = _Tally.nothing()
        self._is_logged = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says how fast it was, and what bounds it."""
        trainer.profiler = self._times.inner  # type: ignore[attr-defined]
        self._read()
        if self._all.steps:
            _say("speed", self._describe(trainer))
            _say("bound by", bottleneck(self._seconds(trainer, self._all), self._circumstances(trainer, pl_module)))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Gives the trainer its own profiler back."""
        if isinstance(times := trainer.profiler, StepTimes):  # type: ignore[attr-defined]
            trainer.profiler = times.inner  # type: ignore[attr-defined]

    def _read(self) -> None:
        """Adds up the steps that have passed; those that the device is still at are left for later."""
        while self._waiting and self._waiting[0][0].has_passed:
            step, pairs, tokens = self._waiting.popleft()
            flops = pairs * self._flops(tokens) if self._flops else 0.0
            for tally in (self._recent, self._all):
                tally.add(step, pairs, flops)

    def _seconds(self, trainer: Trainer, tally: _Tally) -> dict[str, float]:
        """Seconds of each part of a step; what of the backward pass is communication is taken out of it."""
        found = {part: tally.seconds[part] / tally.steps for part in (*PARTS, "other")}
        if (exchanged := _exposed_communication(trainer)) is not None:
            found["communication"] = min(exchanged, found["backward"])
            found["backward"] -= found["communication"]
        return found

    def _values(self, trainer: Trainer, tally: _Tally) -> dict[str, float]:
        seconds = tally.seconds.total()
        values = {"pairs_per_second": tally.pairs / seconds, "step_seconds": seconds / tally.steps}
        values |= {f"{part}_seconds": value for part, value in self._seconds(trainer, tally).items()}
        values["peak_memory_gib"] = peak_memory(trainer.strategy.root_device) / 2**30
        if self._peak is not None and self._flops is not None:
            values["mfu"] = tally.flops / seconds / self._peak
        return values

    def _describe(self, trainer: Trainer) -> str:
        values, seconds = self._values(trainer, self._all), self._seconds(trainer, self._all)
        total = sum(seconds.values())
        shares = ", ".join(f"{part} {value / total:.0%}" for part, value in seconds.items())
        mfu = f"MFU {values['mfu']:.1%}" if "mfu" in values else "MFU not known, as the device's peak"
        return (
            f"{values['pairs_per_second']:,.0f} pairs/s on a device, {1e3 * values['step_seconds']:,.1f} ms a step "
            f"({shares}), {values['peak_memory_gib']:.2f} GiB at most, {mfu}"
        )

    def _circumstances(self, trainer: Trainer, task: Any) -> Circumstances:
        return Circumstances(
            is_gpu=trainer.strategy.root_device.type == "cuda",
            cpus=self._cpus,
            num_workers=self._num_workers,
            precision=str(trainer.precision),
            matmul_precision=torch.get_float32_matmul_precision(),
            is_compiled=self._is_compiled,
            recomputes=task.micro_batch_size is not None,
        )


def peak_memory(device: torch.device) -> int:
    """Most bytes that tensors had on a GPU since training began; elsewhere, that this process ever had in memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _exposed_communication(trainer: Trainer) -> float | None:
    """Seconds of a step in which nothing but DDP's exchange of gradients went on, in the steps that PyTorch samples."""
    model = trainer.strategy.model
    if not isinstance(model, DistributedDataParallel):
        return None
    said: dict[str, Any] = model._get_ddp_logging_data()  # type: ignore[no-untyped-call]
    exposed = said.get("avg_backward_comm_time", 0) - said.get("avg_backward_compute_comm_overlap_time", 0)
    return float(max(0, exposed)) / 1e9


@rank_zero_only
def _say(name: str, line: str) -> None:
    tqdm.write(f"{name:<12}{line}", file=sys.stderr)
