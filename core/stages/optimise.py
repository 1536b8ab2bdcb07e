"""Move latents down an objective until a look at the stored pixels is satisfied, with momentum and random draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from core.networks import warp
from core.stages.recompose import Recomposed

Progress = Callable[[str, float], None]
Objective = Callable[[Tensor], Float[Tensor, " b"]]
Satisfied = Callable[[Tensor], Bool[Tensor, " b"]]


@dataclass(frozen=True, slots=True)
class Descent:
    """Momentum descent on latents.

    steps: at most. step_size: alpha, in pixel units (1 is black to white). momentum: mu, 0.9..1. averaging: rho, at
    most this share of the mean's past is kept at a step. check_every: steps between looks at the stored 8-bit pixels.
    calm: looks in a row that must satisfy.
    """

    steps: int = 120
    step_size: float = 0.00004
    momentum: float = 0.9
    averaging: float = 0.9
    check_every: int = 2
    calm: int = 2


@dataclass(frozen=True, slots=True)
class Jitter:
    """Random draws T of what a stranger's pipeline does to a face before it is encoded.

    shift: px of the aligned face. scale, angle (radians), light: standard deviations. blur: largest sigma, px.
    """

    shift: float = 3.0
    scale: float = 0.04
    angle: float = 0.04
    light: float = 0.04
    blur: float = 1.5


@dataclass(frozen=True, slots=True)
class Protected:
    """A method's result: `images[v]` RGB in [0, 1] (B, 3, 256, 256) of variant v, on the photo's own faces; steps of
    the optimiser; and of a method that gives personas to faces, what each variant starts from: they as put on."""

    images: tuple[Float[Tensor, "b 3 256 256"], ...]
    steps: int
    starts: tuple[Recomposed, ...] = ()


def optimise(
    u_start: Float[Tensor, "b c u v"],
    objective: Objective,
    satisfied: Satisfied,
    descent: Descent,
    progress: Callable[[float], None],
) -> tuple[Float[Tensor, "b c u v"], int]:
    """Minimise objective(z) for each row until `satisfied` holds `calm` looks in a row; (mean latents, steps used).

    g <- mu g + grad / mean|grad|,  z <- z - alpha g / mean|g|,  m <- rho m + (1 - rho) z. Steps stay long, so z never
    rests; what it strays is seen in the picture and helps nobody, so m is the result (Polyak and Juditsky 1992).
    A row that is satisfied is frozen for good, whatever is said of it while others go on: going on would only cost what
    people see.
    """
    z, m = u_start.clone(), u_start.clone()
    g = torch.zeros_like(z)
    calm = torch.zeros(len(z), dtype=torch.long, device=z.device)
    done = calm >= descent.calm
    for step in range(descent.steps):
        if step % descent.check_every == 0:
            with torch.no_grad():
                held = satisfied(m)
            calm = torch.where(held, calm + 1, torch.zeros_like(calm))
            done = done | (calm >= descent.calm)
        if done.all():
            return m, step
        active = (~done).to(z)[:, None, None, None]
        variable = z.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(objective(variable).sum(), variable)
        g = descent.momentum * g + _normalised(gradient)
        z = z - active * descent.step_size * _normalised(g)
        keep = min(descent.averaging, step / (step + 10))  # shorter at first: nobody waits for the start to fade
        m = m + active * (1 - keep) * (z - m)
        progress((step + 1) / descent.steps)
    return m, descent.steps


class Turns:
    """Which of `count` encoders are asked at each step, `asked` of them: each comes once before any comes again."""

    def __init__(self, count: int, asked: int) -> None:
        self.count, self.asked = count, asked
        self._waiting: list[int] = []

    def draw(self, generator: torch.Generator) -> list[int]:
        """Of the next step."""
        if not self._waiting:
            self._waiting = torch.randperm(self.count, generator=generator).tolist()
        turn, self._waiting = self._waiting[: self.asked], self._waiting[self.asked :]
        return turn


def part(progress: Progress, number: int, count: int) -> Callable[[float], None]:
    """Reports the share of one of several optimisations."""
    return lambda share: progress("optimise", (number + share) / count)


def draw(
    images: Float[Tensor, "b 3 h w"],
    landmarks: Float[Tensor, "b 5 2"],
    jitter: Jitter,
    generator: torch.Generator,
    count: int = 1,
) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n 5 2"]]:
    """`count` draws of all faces, one after the other (n = count b): images in changed light and sharpness, and
    landmarks as another detector might find them."""
    marks = landmarks.repeat(count, 1, 1)
    n = len(marks)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(images)

    angle, scale = normal(n) * jitter.angle, 1 + normal(n) * jitter.scale
    moved = warp.move(marks, warp.turned(angle, scale, marks.mean(1), normal(n, 2) * jitter.shift))
    light = 1 + normal(n, 1, 1, 1) * jitter.light
    sigmas = (torch.rand(count, generator=generator) * jitter.blur).tolist()
    return (torch.cat([blur(images, sigma) for sigma in sigmas]) * light).clamp(0, 1), moved


def blur(images: Float[Tensor, "b 3 h w"], sigma: float) -> Float[Tensor, "b 3 h w"]:
    """Gaussian blur of `sigma` px with mirrored borders; below 0.3 px nothing is done."""
    if sigma < 0.3:
        return images
    reach = max(1, round(3 * sigma))
    taps = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-(taps**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    # Channels last: a CPU's convolution by channels takes half of the time there.
    padded = F.pad(images.contiguous(memory_format=torch.channels_last), (reach,) * 4, mode="reflect")
    rows = F.conv2d(padded, kernel[:, :, None], groups=3)
    return F.conv2d(rows, kernel[..., None], groups=3)


def _normalised(g: Tensor) -> Tensor:
    return g / g.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
