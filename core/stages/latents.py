"""Between images and the latent space of the autoencoder, and what of a change that was made there is shown."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core import objectives
from core.stages.colour import monochrome
from core.stages.decouple import to_arrays
from core.stages.regions import tiles

BLACK = 0.02  # luminance below which a pixel's colour is mostly noise


class Canvas:
    """Pictures that are changed through their latents, inside masks.

    Only the rectangle around the masks is decoded, in half of the time. What a decoder would make there of latents
    beyond it is too little to be seen.

    window: that rectangle of the pictures. mask: the masks in it. coloured: 1, or 0 for a monochrome picture, which
    takes no colour, (B, 1, 1, 1).
    """

    def __init__(
        self,
        images: Float[Tensor, "b 3 h w"],
        masks: Float[Tensor, "b 1 h w"],
        z: Float[Tensor, "b c u v"],
        autoencoder: nn.Module,
    ) -> None:
        self.images, self.autoencoder = images, autoencoder
        self._latents, self.window = tiles(masks, z.shape[-1])
        self.mask = masks[self.window]
        self.coloured = images.new_tensor([not monochrome(image) for image in to_arrays(images)])[:, None, None, None]
        self._decoded = decode(z[self._latents], autoencoder)

    def change(self, z: Float[Tensor, "b c u v"]) -> Float[Tensor, "b 3 p q"]:
        """What these latents show in the window that those of the pictures do not."""
        return decode(z[self._latents], self.autoencoder) - self._decoded

    def changed(
        self, change: Float[Tensor, "b 3 p q"], colour: float, tint: Tensor | float = 1.0
    ) -> Float[Tensor, "b 3 h w"]:
        """The pictures with a change of the window inside the masks; see `apply_change`."""
        images = self.images.clone()
        images[self.window] = apply_change(images[self.window], self.mask, change, colour * self.coloured, tint)
        return images


def encode(images: Float[Tensor, "b 3 h w"], autoencoder: nn.Module) -> Float[Tensor, "b c u v"]:
    """Latents of images in [0, 1]. Any autoencoder of diffusers; a distribution gives its mode."""
    code = autoencoder.encode(images * 2 - 1)  # type: ignore[operator]
    z = code.latents if hasattr(code, "latents") else code.latent_dist.mode()
    scaled: Tensor = z * _scale(autoencoder)
    return scaled


def decode(z: Float[Tensor, "b c u v"], autoencoder: nn.Module) -> Float[Tensor, "b 3 h w"]:
    """Images of latents; about [0, 1], not clamped."""
    sample: Tensor = autoencoder.decode(z / _scale(autoencoder)).sample  # type: ignore[operator]
    return (sample + 1) / 2


def limited(change: Float[Tensor, "b 3 h w"], limit: float) -> Float[Tensor, "b 3 h w"]:
    """A change of which no value is beyond the limit, where it looks painted; what is small stays as it is."""
    return limit * torch.tanh(change / limit)


def apply_change(
    images: Float[Tensor, "b 3 h w"],
    mask: Float[Tensor, "b 1 h w"],
    change: Float[Tensor, "b 3 h w"],
    colour: Tensor | float,
    tint: Tensor | float = 1.0,
) -> Float[Tensor, "b 3 h w"]:
    """Images with a change inside the mask, of whose colour only a share is left: skin that turns blue or orange shows
    more than skin that turns darker. What it adds of light has the tint, (B, 3, h, w); 1 is white."""
    gray = objectives.luminance(change)
    return (images + mask * (tint * gray + colour * (change - gray))).clamp(0, 1)


def tint_of(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Each pixel's colour as a share of its luminance; what is nearly black has none.

    Skin that gets lighter or darker in a photo keeps its colour. Under white light it would turn grey as in fog.
    """
    return (images + BLACK) / (objectives.luminance(images) + BLACK)


@torch.no_grad()
def pixel_gain(z: Float[Tensor, "b c u v"], autoencoder: nn.Module) -> Float[Tensor, "b c 1 1"]:
    """How much a unit of each latent channel changes the decoded pixels, root mean square, around each row of `z`.

    A whitened code gives a patch's mean colour and its faintest texture the same unit; a step of equal size
    in all channels would flood the picture with blotches. Dividing by the gain makes steps equal to the eye.
    """
    here, step = decode(z, autoencoder), 0.1
    gains = []
    for c in range(z.shape[1]):
        moved = z.clone()
        moved[:, c] += step
        gains.append((decode(moved, autoencoder) - here).square().mean((1, 2, 3)).sqrt() / step)
    return torch.stack(gains, 1)[..., None, None].clamp_min(1e-6)


def _scale(autoencoder: nn.Module) -> float:
    return float(autoencoder.config.scaling_factor)  # type: ignore[union-attr,arg-type]
