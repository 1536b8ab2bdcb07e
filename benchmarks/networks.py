"""The networks by themselves, and what the optimisation loop costs beyond them: `python -m benchmarks.networks`."""

from __future__ import annotations

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
from core.networks.parallel import side_by_side
from core.stages.align import align
from core.stages.decouple import decouple
from core.stages.latents import decode, encode
from core.stages.recompose import recompose
from core.stages.validate import Photo
from training import teachers
from training.pairs import Scores

REPEATS = 15
RUNS = 9


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


class Watched(Source):
    """Counts how often stored pixels are read."""

    looks = 0

    def read(self, images: Tensor) -> Tensor:
        self.looks += 1
        return super().read(images)


def loop(networks: Networks) -> dict[str, str]:
    """A search to its end against the networks in it, asked as often, in the same way, with nothing else between."""
    faces = align(Photo(data.astronaut()), networks.detector, networks.device)
    identity, appearance = decouple(faces, networks)
    start = recompose(faces, appearance, networks.personas, 1, torch.Generator().manual_seed(0))[0]
    config = PRESETS["standard"]
    u = torch.zeros_like(encode(faces.images, networks.autoencoder))
    crops = [torch.rand(1, 3, *e.size).to(networks.device) for e in networks.surrogates]
    nets = [_forward(e) for e in networks.surrogates]

    def step() -> None:
        """A step asks some surrogates in turn; this one all of them, as often as it takes for each to be asked once."""
        v = u.clone().requires_grad_(True)
        for k in range(0, len(nets), config.asked):
            face = decode(v, networks.autoencoder)
            learning = [c.requires_grad_(True) for c in crops[k : k + config.asked]]
            answers = side_by_side(nets[k : k + config.asked], learning)
            torch.autograd.grad([face.sum(), *(a.sum() for a in answers)], [v, *learning])

    @torch.no_grad()
    def look() -> None:
        decode(u, networks.autoencoder)
        side_by_side(nets, crops)

    took, parts = [], []
    for _ in range(RUNS):
        source = Watched(faces, identity, appearance, networks, config)
        began = time.perf_counter()
        _, steps = Search(source, start).run(torch.Generator().manual_seed(0), lambda _: None)
        took.append(time.perf_counter() - began)
        turns = -(-len(nets) // config.asked)
        parts.append(steps * seconds(step) / turns + source.looks * seconds(look))
    bare, whole, ratios = np.median(parts), np.median(took), np.divide(took, parts)
    return {
        "networks alone, forward and backward, a step": f"{bare / steps * 1000:.0f} ms",
        f"the search, {steps} steps and {source.looks} looks at stored pixels, a step": (
            f"{whole / steps * 1000:.0f} ms ({np.median(ratios):.2f} times; {min(ratios):.2f} to {max(ratios):.2f} in "
            f"{RUNS} runs)"
        ),
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
