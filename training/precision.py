"""Fast arithmetic for training."""

from __future__ import annotations

import torch


def fast(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where it pays: on CUDA, and on CPUs that multiply it (three times as fast there)."""
    able = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=able)
