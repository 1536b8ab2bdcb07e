"""Networks that learn no more compute the same in fewer and faster steps."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Net = TypeVar("Net", bound=nn.Module)


def settled(net: Net) -> Net:
    """The network, changed in place: in evaluation, frozen, batch normalisations that follow a convolution folded into
    it, and channels last in memory, which saves a CPU's convolutions from copying what they read."""
    net.eval().requires_grad_(False)
    for part in list(net.modules()):
        if isinstance(part, nn.Sequential):
            _fold(part)
    return net.to(memory_format=torch.channels_last)


def _fold(chain: nn.Sequential) -> None:
    for k, (before, after) in enumerate(pairwise(list(chain))):
        if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
            chain[k], chain[k + 1] = fuse_conv_bn_eval(before, after), nn.Identity()
