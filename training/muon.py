"""Muon: momentum whose matrices are made orthogonal before each step (Jordan et al. 2024, kellerjordan.github.io).

torch has one for matrices; this one also takes convolutions, as matrices of (output, input x height x width). With it
a student of the same size comes as far in 6 minutes as in 15 with AdamW alone; see DESIGN.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

# Coefficients of the quintic Newton-Schulz iteration: steep at zero rather than exact, singular values end in .7..1.2.
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised. `lr` is the spectral norm of a step for a square matrix."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - the base class's
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                mean = state.setdefault("mean", torch.zeros_like(weight))
                mean.mul_(group["momentum"]).add_(weight.grad)
                ahead = (weight.grad + group["momentum"] * mean).flatten(1)
                grow = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
                weight.add_(orthogonal(ahead).view_as(weight), alpha=-group["lr"] * grow)


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V' of the singular value decomposition U S V' of a matrix."""
    wide = matrix.shape[0] <= matrix.shape[1]
    X = (matrix if wide else matrix.T).bfloat16()
    X = X / (X.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = X @ X.T
        X = A * X + (B * square + C * square @ square) @ X
    found: Tensor = (X if wide else X.T).to(matrix.dtype)
    return found


def optimisers(
    net: nn.Module, edges: tuple[str, ...], step: float, rate: float, decay: float
) -> tuple[Muon, torch.optim.AdamW]:
    """Muon for the matrices and kernels inside a network; AdamW for the rest.

    The rest are biases, norms, depthwise kernels, and the first and last layers, whose names start with `edges`.
    """
    named = list(net.named_parameters())
    inner = {name for name, w in named if w.ndim in (2, 4) and min(w.shape[:2]) > 1 and not name.startswith(edges)}
    rest = [w for name, w in named if name not in inner]
    return Muon((w for name, w in named if name in inner), step), torch.optim.AdamW(rest, rate, weight_decay=decay)


def scale(pair: tuple[Muon, torch.optim.AdamW], share: float, step: float, rate: float) -> None:
    """Set both learning rates to this share of the full ones."""
    for optimiser, full in zip(pair, (step, rate), strict=True):
        for group in optimiser.param_groups:
            group["lr"] = full * share
