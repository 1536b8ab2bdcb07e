"""The optimiser of the training scripts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training import muon


@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6)])
def test_a_step_is_nearly_orthogonal_whatever_the_gradient(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    U, S, V = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    S = torch.logspace(0, -1.5, len(S))  # momentum alone would move along a few directions only
    after = torch.linalg.svdvals(muon.orthogonal(U * S @ V))
    assert after.min() > 0.3
    assert after.max() < 1.3


def test_kernels_inside_a_network_go_to_muon_and_the_rest_to_adamw() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1), nn.Linear(16, 4))
    inner, rest = muon.optimisers(net, ("0.", "3."), 0.02, 1e-3, 0.0)
    assert [w.shape for w in inner.param_groups[0]["params"]] == [net[2].weight.shape]
    assert sum(len(g["params"]) for g in rest.param_groups) == len(list(net.parameters())) - 1


def test_it_learns_a_linear_map() -> None:
    torch.manual_seed(0)
    wanted, x = torch.randn(12, 12), torch.randn(256, 12)
    weight = nn.Parameter(torch.zeros(12, 12))
    optimiser = muon.Muon([weight], 0.1)
    for step in range(200):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 200)
        optimiser.zero_grad()
        (x @ (weight - wanted).T).square().mean().backward()
        optimiser.step()
    assert (weight - wanted).abs().max() < 0.1
