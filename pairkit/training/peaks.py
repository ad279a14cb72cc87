"""What GPUs can do at most: operations a second of dense products in bfloat16, as their makers say.

From the data sheets of NVIDIA (A100, A30, A40, L4, L40, L40S, H100, H200, GH200, B200, DGX B200, RTX A6000
and the whitepapers of the Ampere, Ada and Blackwell GeForce cards, with accumulation in float32) and AMD
(MI250X: both of its devices are one line of it; MI300X). Where a sheet gives the rate with sparsity alone,
half of it stands here.
"""

from __future__ import annotations

import re

# The first that a device's name matches; a name is NVIDIA's, such as "NVIDIA H100 80GB HBM3".
PEAKS = {
    r"\bGB200\b": 2500e12,
    r"\bB200\b": 2250e12,
    r"\bGH200\b": 989e12,
    r"\bH(100|200) NVL\b": 835e12,
    r"\bH100 PCIe\b": 756e12,
    r"\bH(100|200)\b": 989e12,
    r"\bA100\b": 312e12,
    r"\bA40\b": 149.7e12,
    r"\bA30\b": 165e12,
    r"\bL40S\b": 362e12,
    r"\bL40\b": 181e12,
    r"\bL4\b": 121e12,
    r"\bRTX 6000 Ada\b": 364e12,
    r"\bRTX A6000\b": 154.8e12,
    r"\bRTX 5090$": 209.5e12,
    r"\bRTX 4090$": 165.2e12,
    r"\bRTX 3090$": 71e12,
    r"\bMI300X\b": 1307.4e12,
}


def peak(device: str) -> float | None:
    """Operations a second of a device by its name; None for a part of one, and where it is not known."""
    if re.search(r"\bMIG\b", device):
        return None
    return next((rate for pattern, rate in PEAKS.items() if re.search(pattern, device)), None)
