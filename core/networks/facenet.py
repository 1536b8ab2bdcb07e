"""InceptionResnetV1 of facenet-pytorch, where its weights can be had.

The package downloads them from its releases into torch's hub folder; we read what is there and never
download during a job. `sider doctor --download` asks the package to fetch them.
"""

from __future__ import annotations

import pickle  # only for the name of an error: nothing is unpickled here
from pathlib import Path

import torch
from facenet_pytorch import InceptionResnetV1
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import ConfigurationError
from core.networks.settle import settled

FILES = {
    "facenet-vggface2": "20180402-114759-vggface2.pt",
    "facenet-casia": "20180408-102900-casia-webface.pt",
}


class Facenet(nn.Module):
    """RGB crops in [0, 1] (B, 3, 160, 160) -> raw embeddings (B, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = InceptionResnetV1(pretrained=None, classify=False)

    def forward(self, crops: Float[Tensor, "b 3 160 160"]) -> Float[Tensor, "b 512"]:
        embeddings: Tensor = self.net((crops * 255 - 127.5) / 128)
        return embeddings


def weights_file(name: str) -> Path | None:
    """The downloaded weights of an encoder, or None."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILES[name]
    return path if path.is_file() else None


def load(path: Path) -> Facenet:
    """Read a state dictionary; torch's restricted reader takes tensors only.

    Raises:
        ConfigurationError: it is something else.
    """
    model = Facenet()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        # The published files end in a classifier over the training identities, which we do not build.
        kept = {k: v for k, v in state.items() if not k.startswith("logits.")}
        model.net.load_state_dict(kept)
    except (OSError, RuntimeError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise ConfigurationError(f"{path.name} holds no InceptionResnetV1: {type(error).__name__}") from error
    return settled(model)


def download(name: str) -> Path:
    """Let facenet-pytorch fetch the weights of an encoder.

    Raises:
        ConfigurationError: its release server cannot be reached.
    """
    dataset = {"facenet-vggface2": "vggface2", "facenet-casia": "casia-webface"}[name]
    try:
        InceptionResnetV1(pretrained=dataset)
    except OSError as error:
        raise ConfigurationError(
            f"the weights of {name} cannot be downloaded: {getattr(error, 'reason', error)}"
        ) from error
    path = weights_file(name)
    if path is None:
        raise ConfigurationError(f"the weights of {name} were not stored by facenet-pytorch")
    return path
