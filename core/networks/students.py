"""Our own identity encoders, of four architecture families, small enough for a CPU.

They are distilled by `training.students`. All take RGB crops in [0, 1] and give raw embeddings; families differ so
that what fools or convinces one need not be what convinces another.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from core.errors import ConfigurationError
from core.networks.settle import settled

SLOPE = 0.2  # of the rectifiers below zero; a learned slope is slow to train on a CPU


class Student(nn.Module):
    """Crops (B, 3, s, s) RGB in [0, 1] -> raw embeddings (B, d). `side`: s, px."""

    def __init__(self, body: nn.Module, channels: int, last: int, dim: int, side: int) -> None:
        super().__init__()
        self.side, self.dim = side, dim
        self.body = body
        # A depthwise convolution over the whole last map: each place of a face weighs differently (MobileFaceNet).
        self.gather = nn.Sequential(
            nn.Conv2d(channels, 384, 1, bias=False),
            nn.BatchNorm2d(384),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(384, 384, last, groups=384, bias=False),
            nn.BatchNorm2d(384),
        )
        self.head = nn.Linear(384, dim)

    def forward(self, crops: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        embeddings: Tensor = self.head(self.gather(self.body(crops * 2 - 1)).flatten(1))
        return embeddings


def residual(dim: int) -> Student:
    """Plain residual network, dense 3 x 3 convolutions, 112 px."""
    blocks: list[nn.Module] = [_conv(3, 32, 3, 2)]
    c = 32
    for width, depth in ((48, 2), (96, 3), (192, 2)):
        for i in range(depth):
            blocks.append(ResidualBlock(c, width, 2 if i == 0 else 1))
            c = width
    return Student(nn.Sequential(*blocks), c, 7, dim, 112)


def separable(dim: int) -> Student:
    """Inverted residuals with depthwise convolutions and squeeze-excitation, 112 px."""
    blocks: list[nn.Module] = [_conv(3, 32, 3, 2)]
    c = 32
    for width, depth in ((56, 3), (112, 5), (160, 2)):
        for i in range(depth):
            blocks.append(InvertedResidual(c, width, 2, 2 if i == 0 else 1))
            c = width
    return Student(nn.Sequential(*blocks), c, 7, dim, 112)


def hybrid(dim: int) -> Student:
    """Convolutions to 14 x 14, then self-attention over the 196 places, 112 px."""
    width = 144
    body = nn.Sequential(
        _conv(3, 32, 3, 2),
        ResidualBlock(32, 48, 2),
        ResidualBlock(48, 96, 2),
        Attention(96, width, places=14, depth=4),
        _conv(width, 192, 3, 2),
    )
    return Student(body, 192, 7, dim, 112)


def large_kernel(dim: int) -> Student:
    """Patches of 4 px, then 7 x 7 depthwise convolutions with layer normalisation (ConvNeXt), 128 px."""
    blocks: list[nn.Module] = [nn.Conv2d(3, 48, 4, 4), ChannelNorm(48)]
    c = 48
    for width, depth in ((48, 2), (96, 4), (192, 3)):
        if width != c:
            blocks += [ChannelNorm(c), nn.Conv2d(c, width, 2, 2)]
        blocks += [LargeKernelBlock(width) for _ in range(depth)]
        c = width
    return Student(nn.Sequential(*blocks), c, 8, dim, 128)


FAMILIES = {f.__name__: f for f in (residual, separable, hybrid, large_kernel)}


def load(path: Path, family: str, dim: int) -> Student:
    """Weights of a bundle, stored in half precision.

    Raises:
        ConfigurationError: missing, or not of this family.
    """
    try:
        student = FAMILIES[family](dim)
        student.load_state_dict(load_file(path))
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise ConfigurationError(f"{path} holds no student of the family {family!r}: {error}") from error
    return settled(student)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a short cut."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(cin, cout, 3, stride)
        self.second = _conv(cout, cout, 3, 1, act=False)
        self.short = nn.Identity() if cin == cout and stride == 1 else _conv(cin, cout, 1, stride, act=False)
        self.act = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.act(self.second(self.first(x)) + self.short(x)))


class InvertedResidual(nn.Module):
    """1 x 1 up, 3 x 3 depthwise, squeeze-excitation, 1 x 1 down; a short cut where the shape is kept."""

    def __init__(self, cin: int, cout: int, expansion: int, stride: int) -> None:
        super().__init__()
        mid = cin * expansion
        self.up = _conv(cin, mid, 1, 1)
        self.depth = _conv(mid, mid, 3, stride, groups=mid)
        self.squeeze = nn.Sequential(nn.Linear(mid, mid // 8), nn.SiLU(), nn.Linear(mid // 8, mid), nn.Sigmoid())
        self.down = _conv(mid, cout, 1, 1, act=False)
        self.keep = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        y = self.depth(self.up(x))
        y = self.down(y * self.squeeze(y.mean((2, 3)))[..., None, None])
        return cast(Tensor, x + y if self.keep else y)


class Attention(nn.Module):
    """`depth` transformer layers over the places of a square map, with learned positions."""

    def __init__(self, cin: int, width: int, places: int, depth: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(cin, width, 1)
        self.position = nn.Parameter(torch.randn(1, places * places, width) * 0.02)
        self.layers = nn.Sequential(*(AttentionLayer(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        tokens: Tensor = self.norm(self.layers(self.enter(x).flatten(2).transpose(1, 2) + self.position))
        return tokens.transpose(1, 2).reshape(len(x), -1, h, w)


class AttentionLayer(nn.Module):
    """Self-attention and a perceptron on tokens (B, n, width), each after a normalisation and beside a short cut.

    The products are written out: on a CPU the backward pass of torch's fused attention takes several times as long.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.look = nn.Linear(width, 3 * width)
        self.leave = nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.look(self.norms[0](x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = ((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5).softmax(-1) @ v
        x = x + self.leave(seen.transpose(1, 2).flatten(2))
        return cast(Tensor, x + self.think(self.norms[1](x)))


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class LargeKernelBlock(nn.Module):
    """7 x 7 depthwise convolution, normalisation, two 1 x 1 maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, 3 * channels)
        self.down = nn.Linear(3 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depth(x).permute(0, 2, 3, 1))
        y = self.down(F.gelu(self.up(y))) * self.scale
        return cast(Tensor, x + y.permute(0, 3, 1, 2))


def _conv(cin: int, cout: int, kernel: int, stride: int, groups: int = 1, act: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(cout),
    ]
    return nn.Sequential(*layers, *([nn.LeakyReLU(SLOPE)] if act else []))
