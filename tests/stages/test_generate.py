"""Changes by the generator stay small where they are small, and never pass their limit."""

from __future__ import annotations

import torch

from core.stages.generate import LIMIT, bounded


def test_small_changes_stay_and_large_ones_end_at_the_limit() -> None:
    small, large = torch.full((1, 3, 2, 2), LIMIT / 50), torch.full((1, 3, 2, 2), -50.0)
    assert torch.allclose(bounded(small), small, rtol=1e-3)
    assert torch.allclose(bounded(large), torch.full_like(large, -LIMIT))


def test_stronger_is_never_less() -> None:
    moved = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * LIMIT
    weaker, stronger = (bounded(s * moved).abs() for s in (0.7, 1.4))
    assert (weaker <= stronger).all()
    assert (stronger < LIMIT).all()
