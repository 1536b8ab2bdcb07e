"""The networks by themselves, and what the optimisation loop costs beyond them: `python -m benchmarks.networks`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import torch
from skimage import data
from torch import Tensor, nn

from benchmarks import report
from benchmarks.strangers import Pairs
from core.methods.sider import PRESETS, Search, Source
from core.networks import Encoder, Networks
from core.stages.align import align
from core.stages.decouple import decouple
from core.stages.optimise import Descent
from core.stages.recompose import decode, encode, recompose
from core.stages.validate import Photo
from training import teachers
from training.pairs import Scores

REPEATS = 15
STEPS = 12


def seconds(work: Callable[[], object]) -> float:
    """Median of REPEATS, after a warm-up."""
    work()
    took = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    return float(np.median(took))


def backward(work: Callable[[Tensor], Tensor], start: Tensor) -> Callable[[], object]:
    """Forward and backward through `work`, to `start`."""

    def run() -> object:
        x = start.detach().requires_grad_(True)
        return torch.autograd.grad(work(x).square().sum(), x)

    return run


@torch.no_grad()
def autoencoder(networks: Networks, pairs: Pairs) -> dict[str, str]:
    images = torch.cat((pairs.a, pairs.b)).float() / 255
    marks = torch.cat((pairs.marks_a, pairs.marks_b))
    again = torch.cat([decode(encode(x, networks.autoencoder), networks.autoencoder) for x in images.split(8)])
    again = again.clamp(0, 1).mul(255).round().div(255)
    psnr = -10 * (images - again).square().mean((1, 2, 3)).log10()
    kept = {}
    for net in (*networks.encoders, *(t for t, _ in teachers.networks("teacher"))):
        kept[net.name] = float((net.embed(images, marks) * net.embed(again, marks)).sum(1).mean())
    z = encode(images[:1], networks.autoencoder)
    with torch.enable_grad():
        both = seconds(backward(lambda u: decode(u, networks.autoencoder), z))
    return {
        f"PSNR on {len(images)} photos of the development pairs": f"{float(psnr.mean()):.1f} dB",
        "identity cosine of photo and its decoded code": ", ".join(f"{n} {c:.3f}" for n, c in kept.items()),
        "decoder, forward and backward, one face": f"{both * 1000:.0f} ms",
    }


def encoders(networks: Networks) -> list[list[str]]:
    rows = []
    for encoder in networks.encoders:
        crop = torch.rand(1, 3, *encoder.size)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        with torch.no_grad():
            alone = seconds(lambda net=encoder, x=crop: net(x))  # type: ignore[misc]
        torch.set_num_threads(threads)
        scores = Scores.of(encoder)
        rows.append(
            [
                encoder.name,
                encoder.role,
                f"{parameters(encoder) / 1e6:.1f} M",
                f"{alone * 1000:.1f} ms",
                f"{scores.equal_error():.1%}",
                *(f"{float((scores.genuine >= cut).mean()):.1%}" for cut in encoder.thresholds.values()),
            ]
        )
    return rows


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def loop(networks: Networks) -> dict[str, str]:
    """A step of the optimisation against the bare networks in it."""
    faces = align(Photo(data.astronaut()), networks.detector, networks.device)
    identity, appearance = decouple(faces, networks)
    start = recompose(faces, appearance, networks.personas, 1, torch.Generator().manual_seed(0))[0]
    never = Descent(steps=STEPS, calm=STEPS)
    config = dataclasses.replace(PRESETS["standard"], descent=never, aim=0.95)
    z = encode(faces.images, networks.autoencoder)
    search = Search(Source(faces, identity, appearance, networks, config), start)
    both = seconds(backward(lambda u: decode(u, networks.autoencoder), z))
    look = seconds(lambda: decode(z, networks.autoencoder))
    turns = min(1.0, config.asked / len(networks.surrogates))  # a step asks some of them
    for encoder in networks.surrogates:
        crop = torch.rand(1, 3, *encoder.size).to(networks.device)
        both += config.draws * turns * seconds(backward(_forward(encoder), crop))
        with torch.no_grad():
            look += seconds(lambda net=encoder, x=crop: net(x))  # type: ignore[misc]
    bare = both + look / never.check_every
    took = []
    for _ in range(3):
        began = time.perf_counter()
        search.run(torch.Generator().manual_seed(0), lambda _: None)
        took.append((time.perf_counter() - began) / STEPS)
    step = float(np.median(took))
    return {
        "its networks one after the other, forward and backward, a step": f"{bare * 1000:.0f} ms",
        "the loop, a step": f"{step * 1000:.0f} ms ({step / bare:.2f} times)",
    }


def _forward(encoder: Encoder) -> Callable[[Tensor], Tensor]:
    return encoder.forward


def main() -> None:
    networks, pairs = Networks.load(), Pairs.read(64)
    columns = ["encoder", "role", "parameters", "forward, one core", "equal error", "TAR at FAR 1e-2", "at FAR 1e-3"]
    began = time.perf_counter()
    Networks.load()
    loaded = time.perf_counter() - began
    report.put(
        "networks",
        "Networks: `python -m benchmarks.networks`",
        [
            report.bullets({"bundle loaded (torch imported before) in": f"{loaded:.1f} s"}),
            "### Autoencoder\n\n" + report.bullets(autoencoder(networks, pairs)),
            "### Encoders, on the development pairs\n\n" + report.table(columns, encoders(networks)),
            "### Optimisation loop, one face, preset `standard`\n\n" + report.bullets(loop(networks)),
        ],
    )


if __name__ == "__main__":
    main()
