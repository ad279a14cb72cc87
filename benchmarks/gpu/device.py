"""The device: its clock, its memory, and what it can do at most."""

from __future__ import annotations

import platform
import re
import time

import torch

# Dense bfloat16 products, summed in float32, TFLOP/s, of the makers' data sheets. The first one that a
# device's name contains counts.
PEAKS = {
    "B200": 2250.0,
    "GH200": 989.0,
    "H200": 989.0,
    "H100 NVL": 835.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "H800": 989.0,
    "A100": 312.0,
    "A800": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "A40": 150.0,
    "A10": 125.0,
    "RTX 6000 Ada": 364.0,
    "RTX 5090": 209.5,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}


def name(device: torch.device) -> str:
    """Return what is computed on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def peak(device: torch.device) -> float | None:
    """Return the device's peak in bfloat16, TFLOP/s; None for one that is not in the table."""
    known = name(device) if device.type == "cuda" else ""
    # Whole words: an A10G is no A10.
    return next((rate for part, rate in PEAKS.items() if re.search(rf"\b{part}\b", known)), None)


def product_rate(device: torch.device, dtype: torch.dtype, size: int, repeats: int = 10) -> float:
    """Measure the operations per second of a product of two square matrices, TFLOP/s."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        left @ right
    started = now(device)
    for _ in range(repeats):
        left @ right
    return repeats * 2 * size**3 / (now(device) - started) / 1e12


def now(device: torch.device) -> float:
    """Return the time in seconds, after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def forget_peak(device: torch.device) -> None:
    """Count memory from what is held now."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes that were allocated at once since `forget_peak`; None where nobody counts."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
