"""What of an aligned picture is not its face: hair, hands, glasses, what lies behind the head. A small U-Net
(Ronneberger et al. 2015, arXiv:1505.04597)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import ConfigurationError
from core.networks.settle import settled

SIDE = 128  # px that it sees a face in
GROUPS = 8  # of channels that are normalised together


class Occlusion(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Faces (B, 3, s, s), RGB in [0, 1] -> logits (B, 1, s, s), above 0 where the face is not to be seen.

    widths: channels at SIDE, at half of it and so on.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96, 128)) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.enter = nn.Conv2d(5, widths[0], 3, padding=1)
        self.down = nn.ModuleList(_block(a, b) for a, b in pairwise((widths[0], *widths)))
        self.up = nn.ModuleList(_block(a, a) for a in widths[:-1])
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.leave = nn.Conv2d(widths[0], 1, 1)

    def forward(self, faces: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 1 s s"]:
        ramp = torch.linspace(-1, 1, faces.shape[-1], device=faces.device, dtype=faces.dtype)
        place = torch.stack(torch.meshgrid(ramp, ramp, indexing="ij")).expand(len(faces), -1, -1, -1)
        x = self.enter(torch.cat((faces * 2 - 1, place), 1))
        seen = []
        for i, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if i else x)
            seen.append(x)
        for i in reversed(range(len(self.up))):
            x = self.up[i](seen[i] + F.interpolate(self.narrow[i](x), scale_factor=2.0, mode="nearest"))
        logits: Tensor = self.leave(x)
        return logits

    @torch.no_grad()
    def covered(self, faces: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        """How surely the face is not to be seen at each place, 0..1; mean over the face and its mirror image."""
        small = F.interpolate(faces, (SIDE, SIDE), mode="bilinear", antialias=True)
        logits = (self(small) + self(small.flip(-1)).flip(-1)) / 2
        return F.interpolate(logits, faces.shape[-2:], mode="bilinear").sigmoid()


def _block(cin: int, cout: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for c in (cin, cout):
        layers += [nn.Conv2d(c, cout, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, cout), nn.SiLU()]
    return nn.Sequential(*layers)


def load(folder: Path, device: torch.device) -> Occlusion:
    """From a bundle folder.

    Raises:
        ConfigurationError: it is not there or cannot be read.
    """
    try:
        net: nn.Module = Occlusion.from_pretrained(folder, use_safetensors=True, low_cpu_mem_usage=False)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"the occlusion network in {folder} cannot be loaded: {error}") from error
    return cast(Occlusion, settled(net.float()).to(device))
