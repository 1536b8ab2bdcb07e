"""Views of what our methods make, for students to be wrong about.

A student is right about faces of people. What a search shows it are faces whose inside is another's, moved to where
this very student is convinced; its teachers are not, because it goes by hair, outline and light more than they do. So
some views are such faces, and what teachers say of them is learned as well (on-policy, as in DAgger: Ross et al. 2011,
arXiv:1011.0686).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from core.networks.students import Student
from core.stages.optimise import blur
from training.precision import fast

STEPS, MOMENTUM = 4, 0.9
CHANGE = 0.01, 0.06  # root mean square of what a student asks for, least and most
SMOOTH = 0.7  # px; a latent space draws no single pixels
CENTRE, RADII = (64.0, 79.0), (31.0, 42.0)  # of a face's inside in a view, px
LOOSE = 0.12  # standard deviation of the radii, as a share
BORDER = 0.12  # of its edge, as a share of the radii


def composites(faces: Tensor, inside: Tensor, nets: Sequence[Student], g: torch.Generator) -> Tensor:
    """Views (B, 3, s, s), RGB in [0, 1], of faces with the inside of others, in their own colours, moved until one of
    the networks takes them for the faces."""
    mask = insides(len(faces), faces.shape[-1], g)
    worn = faces + mask * (in_colours_of(faces, inside, mask) - faces)
    if not nets:
        return worn.clamp(0, 1)
    net = nets[int(torch.randint(len(nets), (), generator=g))]
    return persuaded(worn, faces, mask, net, g).clamp(0, 1)


def insides(count: int, side: int, g: torch.Generator) -> Tensor:
    """Soft ellipses (count, 1, side, side), 0..1, each of another size."""
    loose = 1 + LOOSE * torch.randn(count, 2, generator=g)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    across = (x - CENTRE[0])[None] / (RADII[0] * loose[:, 0, None, None])
    down = (y - CENTRE[1])[None] / (RADII[1] * loose[:, 1, None, None])
    return ((1 - (across**2 + down**2).sqrt()) / BORDER).clamp(0, 1)[:, None]


def in_colours_of(faces: Tensor, others: Tensor, mask: Tensor) -> Tensor:
    """Others with the mean and deviation that the faces' colours have inside the mask."""
    (mean, spread), (own, width) = (_colours(images, mask) for images in (faces, others))
    return (others - own) / width * spread + mean


def _colours(images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    size = mask.sum((2, 3), keepdim=True).clamp_min(1e-6)
    mean = (images * mask).sum((2, 3), keepdim=True) / size
    return mean, (((images - mean) ** 2 * mask).sum((2, 3), keepdim=True) / size).sqrt().clamp_min(1e-3)


def persuaded(images: Tensor, towards: Tensor, mask: Tensor, net: Student, g: torch.Generator) -> Tensor:
    """Images after a few steps inside the mask that bring what the network reads nearer to what it reads in others."""
    size = CHANGE[0] + (CHANGE[1] - CHANGE[0]) * torch.rand(len(images), 1, 1, 1, generator=g)
    with torch.no_grad():
        wanted = F.normalize(net(middle(towards, net.side)), dim=1)
    change, speed = torch.zeros_like(images), torch.zeros_like(images)
    for _ in range(STEPS):
        change = change.detach().requires_grad_(True)
        with fast(images.device):
            vectors = net(middle(images + change, net.side))
        cosine = (F.normalize(vectors.float(), dim=1) * wanted).sum()
        (gradient,) = torch.autograd.grad(cosine, change)
        speed = MOMENTUM * speed + _unit(blur(gradient, SMOOTH), mask)
        change = change.detach() + mask * _unit(speed, mask) * size / STEPS
    return images + change.detach()


def middle(images: Tensor, side: int) -> Tensor:
    """What of views (B, 3, s, s) a network sees that sees squares of this side, px."""
    edge = (images.shape[-1] - side) // 2
    return images[:, :, edge : edge + side, edge : edge + side]


def _unit(change: Tensor, mask: Tensor) -> Tensor:
    """Of root mean square 1 inside the mask."""
    size = mask.sum((1, 2, 3), keepdim=True) * change.shape[1]
    power = (change**2 * mask).sum((1, 2, 3), keepdim=True) / size.clamp_min(1e-6)
    return change / power.sqrt().clamp_min(1e-12)
