"""dlib's face-recognition ResNet (29 convolutions, Davis King 2017, CC0) read from its .dat and run in torch.

Architecture: dlib's example `dnn_metric_learning_on_images_ex.cpp`. The file is dlib's own serialisation;
only the tagged tensors are needed, and they stand in it in forward order.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import ConfigurationError
from core.networks.settle import settled

FILE = "models/dlib_face_recognition_resnet_model_v1.dat"
CHIP = 150  # px, side of the input
EMBEDDING = 128
MEAN = (122.782, 117.001, 104.298)  # of RGB in [0, 255]
# (channels, halves the map) of every residual block, input side first.
BLOCKS = (
    *((32, False),) * 3,
    *((64, True), (64, False), (64, False), (64, False)),
    *((128, True), (128, False), (128, False)),
    *((256, True), (256, False), (256, False)),
    (256, True),
)


class Block(nn.Module):
    """relu(conv(relu(conv(x))) + x); where it halves, the shortcut is an average pool. Affines are folded in."""

    def __init__(self, cin: int, cout: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        # dlib pads a convolution only when its stride is one.
        self.conv1 = nn.Conv2d(cin, cout, 3, 2 if halves else 1, 0 if halves else 1)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        short = F.avg_pool2d(x, 2) if self.halves else x
        return F.relu(_pad_to(y, short) + _pad_to(short, y))


class DlibResNet(nn.Module):
    """RGB chips in [0, 1] (B, 3, 150, 150) -> raw descriptors (B, 128), equal to dlib's."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, 2)
        channels = [32, *(c for c, _ in BLOCKS)]
        self.blocks = nn.Sequential(*(Block(channels[i], c, halves) for i, (c, halves) in enumerate(BLOCKS)))
        self.head = nn.Linear(256, EMBEDDING, bias=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1) / 256)

    def forward(self, chips: Float[Tensor, "b 3 150 150"]) -> Float[Tensor, "b 128"]:
        x = F.relu(self.stem(chips * (255 / 256) - self.mean))
        descriptors: Tensor = self.head(self.blocks(F.max_pool2d(x, 3, 2)).mean((2, 3)))
        return descriptors


def packaged_file() -> Path:
    """The .dat inside the package `face_recognition_models`.

    Raises:
        ConfigurationError: the package is not installed.
    """
    # find_spec instead of import: the package imports pkg_resources, which setuptools dropped.
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise ConfigurationError("dlib's weights are missing; install them: pip install face_recognition_models")
    return Path(spec.origin).parent / FILE


def load(path: Path) -> DlibResNet:
    """Read the weights of a dlib_face_recognition_resnet_model_v1.dat.

    Raises:
        ConfigurationError: the file is missing or is another network.
    """
    try:
        layers = _Reader(path.read_bytes()).layers()
        net = DlibResNet()
        _fill(net, layers)
    except (OSError, ValueError, IndexError, RuntimeError) as error:
        raise ConfigurationError(f"{path.name} is not dlib's face-recognition network: {error}") from error
    return settled(net)


@dataclass(frozen=True, slots=True)
class _Layer:
    kind: str  # "con", "affine" or "fc"
    params: Tensor  # flat
    shape: tuple[int, ...]  # (filters, height, width) of "con", (outputs, inputs) of "fc"


class _Reader:
    """dlib's serialisation: integers are a length byte (sign in bit 7) and little-endian bytes; tensors are a
    version, four dimensions and raw little-endian floats; each layer begins with a tag such as "con_4"."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def integer(self) -> int:
        control = self.data[self.at]
        size = control & 0x0F
        value = int.from_bytes(self.data[self.at + 1 : self.at + 1 + size], "little")
        self.at += 1 + size
        return -value if control & 0x80 else value

    def tensor(self) -> Tensor:
        if self.integer() != 2:
            raise ValueError("unknown tensor version")
        count = int(np.prod([self.integer() for _ in range(4)]))
        values = np.frombuffer(self.data, "<f4", count, self.at)
        self.at += 4 * count
        return torch.from_numpy(values.copy())

    def layers(self) -> list[_Layer]:
        found = []
        for tag in re.finditer(rb"\x01[\x05\x07\x04](con_4|affine_|fc_2)", self.data):
            if tag.start() < self.at:  # these bytes were floats of the layer before
                continue
            self.at = tag.end()
            kind = tag.group(1).decode().split("_")[0]
            shape: tuple[int, ...] = (self.integer(), self.integer()) if kind == "fc" else ()
            params = self.tensor()
            if kind == "con":
                shape = (self.integer(), self.integer(), self.integer())
            found.append(_Layer(kind, params, shape))
        return found


def _fill(net: DlibResNet, layers: list[_Layer]) -> None:
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    kinds = ["con", "affine"] * len(convolutions) + ["fc"]
    if [layer.kind for layer in layers] != kinds:
        raise ValueError(f"{len(layers)} layers, expected {len(kinds)}")
    for conv, con, affine in zip(convolutions, layers[:-1:2], layers[1::2], strict=True):
        n = con.shape[0]
        gamma, beta = affine.params[:n], affine.params[n:]
        conv.weight.data = con.params[:-n].view_as(conv.weight) * gamma[:, None, None, None]
        assert conv.bias is not None  # noqa: S101 - for the type checker
        conv.bias.data = con.params[-n:] * gamma + beta
    net.head.weight.data = layers[-1].params.view(256, EMBEDDING).T.contiguous()


def _pad_to(x: Tensor, other: Tensor) -> Tensor:
    """Zeros where `other` is larger: dlib's add_prev treats what is missing as zero."""
    grow = [max(0, b - a) for a, b in zip(x.shape[1:], other.shape[1:], strict=True)]
    return F.pad(x, (0, grow[2], 0, grow[1], 0, grow[0]))
