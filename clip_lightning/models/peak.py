"""What devices can do at most, by their makers' data sheets."""

from typing import Literal

import torch

Arithmetic = Literal["half", "tf32", "fp32"]
"""Products of matrices in bfloat16 or float16; in TensorFloat-32; in float32."""

_TERA: dict[str, tuple[float, float, float]] = {
    "H200 NVL": (835.5, 417.5, 60.0),
    "H200": (989.5, 494.7, 67.0),
    "H100 NVL": (835.5, 417.5, 60.0),
    "H100 PCIe": (756.5, 378.0, 51.0),
    "H100": (989.5, 494.7, 67.0),
    "A100": (312.0, 156.0, 19.5),
    "L40S": (362.0, 183.0, 91.6),
}
"""Tera operations a second by a part of the device's name, the more special ones first: half precision, TF32, float32;
dense, a multiply-add as 2. Source: NVIDIA's data sheets, whose figures with sparsity are twice these."""


def arithmetic_of(precision: str) -> Arithmetic:
    """What products of matrices are computed in, by a trainer's precision and PyTorch's switch for float32."""
    if "16" in precision:
        return "half"
    return "fp32" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def peak_flops(device: torch.device, arithmetic: Arithmetic) -> float | None:
    """Operations a second that a device can do at most; None where that is not known, as of any CPU.

    Args:
        device: Where.
        arithmetic: In what numbers.
    """
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    known = next((row for part, row in _TERA.items() if part in name), None)
    if known is None:
        return None
    half, tf32, fp32 = known
    return 1e12 * {"half": half, "tf32": tf32, "fp32": fp32}[arithmetic]
