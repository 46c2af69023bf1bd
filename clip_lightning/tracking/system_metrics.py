"""What the machine does during a run, under the names that MLflow shows as system metrics."""

import importlib
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import psutil

from clip_lightning.tracking.journal import Journal

_MEGABYTE = 1e6


def sample(process: psutil.Process) -> dict[str, float]:
    """Measures processor, memory and disk, the trainer with its children, and every NVIDIA GPU.

    Args:
        process: The training process.

    Returns:
        Values by name, ``system/...``; megabytes are 10^6 bytes.
    """
    memory, disk = psutil.virtual_memory(), psutil.disk_usage("/")
    values = {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / _MEGABYTE,
        "system_memory_usage_percentage": memory.percent,
        "disk_usage_percentage": disk.percent,
        "disk_available_megabytes": disk.free / _MEGABYTE,
        "training_memory_usage_megabytes": _tree_memory(process) / _MEGABYTE,
        **_gpus(),
    }
    return {f"system/{name}": float(value) for name, value in values.items()}


def _tree_memory(process: psutil.Process) -> int:
    """Resident bytes of a process and its descendants; shared pages count once for each of them."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.Error:  # It ended between the listing and the question.
            continue
    return total


def _gpus() -> dict[str, float]:
    """Load, memory and power of each NVIDIA GPU; nothing where the library nvidia-ml-py or a driver is missing."""
    try:
        pynvml = importlib.import_module("pynvml")
    except ImportError:
        return {}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    values: dict[str, float] = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        values.update(_gpu(pynvml, index))
    return values


def _gpu(pynvml: ModuleType, index: int) -> dict[str, float]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    questions: dict[str, Callable[[], float]] = {
        "memory_usage_percentage": lambda: _memory_percentage(pynvml.nvmlDeviceGetMemoryInfo(handle)),
        "memory_usage_megabytes": lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).used / _MEGABYTE,
        "utilization_percentage": lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
        "power_usage_watts": lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000,
    }
    values = {}
    for name, ask in questions.items():
        try:
            values[f"gpu_{index}_{name}"] = ask()
        except pynvml.NVMLError:  # A GPU need not answer everything; power is often hidden on shared machines.
            continue
    return values


def _memory_percentage(memory: Any) -> float:
    return float(100 * memory.used / memory.total)


class SystemSampler(threading.Thread):
    """Writes a sample to its own journal every few seconds, also while the delivery waits for a server.

    Args:
        journal: Journal that nobody else writes to. Steps count on from those that it holds.
        first_step: Step of the first sample.
        process: The training process.
        interval_seconds: Time between samples, > 0.
    """

    def __init__(self, journal: Journal, first_step: int, process: psutil.Process, interval_seconds: float) -> None:
        super().__init__(name="system-metrics", daemon=True)
        self._journal, self._step, self._process = journal, first_step, process
        self._interval_seconds = interval_seconds
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Samples until ``stop`` is called."""
        psutil.cpu_percent()  # The first call begins the measurement that the next one returns.
        wait_seconds = min(1.0, self._interval_seconds)
        while not self._stop_asked.wait(wait_seconds):
            self._journal.log_metrics(sample(self._process), self._step)
            self._step += 1
            wait_seconds = self._interval_seconds

    def stop(self) -> None:
        """Ends the sampling."""
        self._stop_asked.set()
        self.join()
