"""A settled network says the same as before, with fewer layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from core.networks import students
from core.networks.settle import settled


@pytest.mark.parametrize("family", sorted(students.FAMILIES))
def test_a_settled_network_says_the_same_and_so_do_its_gradients(family: str) -> None:
    torch.manual_seed(0)
    net = students.FAMILIES[family](24)
    crops = torch.rand(4, 3, net.side, net.side, requires_grad=True)
    for _ in range(3):  # normalisations that have seen something
        net(crops)
    net.eval()
    same = settled(copy.deepcopy(net))
    said = [n(crops) for n in (net, same)]
    torch.testing.assert_close(said[1], said[0], rtol=1e-3, atol=1e-5)
    gradients = [torch.autograd.grad(s.square().sum(), crops)[0] for s in said]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-2, atol=1e-5)
    assert any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in same.modules())
    assert not any(p.requires_grad for p in same.parameters())


def test_a_normalisation_without_a_convolution_before_it_stays() -> None:
    net = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))
    x = torch.rand(2, 3, 8, 8)
    net(x)
    before = net.eval()(x)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in settled(net).modules()) == 2
    torch.testing.assert_close(net(x), before)
