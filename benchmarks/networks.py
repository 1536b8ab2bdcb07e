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
from core.stages.recompose import by_fit, choose, recompose
from core.stages.regions import tiles
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


class Watched(Search):
    """Counts how often stored pixels are read, and how often referees are asked."""

    looks = asked = 0

    def satisfied(self, u: Tensor) -> Tensor:
        self.looks += bool(self.near)
        return super().satisfied(u)

    def confirmed(self, seen: Tensor) -> Tensor:
        self.asked += 1
        return super().confirmed(seen)


class Bare:
    """The networks of a search, asked in the same way, with nothing else between. part: of the latents, to decode."""

    def __init__(self, networks: Networks, z: Tensor, part: tuple[slice, ...], asked: int) -> None:
        self.networks, self.z, self.asked = networks, z[part], asked
        self.nets, self.referees = ([_forward(e) for e in es] for es in (networks.surrogates, networks.referees))
        self.crops, self.theirs = (
            [torch.rand(1, 3, *e.size).to(networks.device) for e in es]
            for es in (networks.surrogates, networks.referees)
        )

    def steps(self) -> None:
        """A step asks some surrogates in turn; these are as many as it takes for each to be asked once."""
        v = self.z.clone().requires_grad_(True)
        for k in range(0, len(self.nets), self.asked):
            face = decode(v, self.networks.autoencoder)
            learning = [c.requires_grad_(True) for c in self.crops[k : k + self.asked]]
            answers = side_by_side(self.nets[k : k + self.asked], learning)
            torch.autograd.grad([face.sum(), *(a.sum() for a in answers)], [v, *learning])

    @torch.no_grad()
    def look(self) -> None:
        decode(self.z, self.networks.autoencoder)
        side_by_side(self.nets, self.crops)

    @torch.no_grad()
    def confirm(self) -> None:
        for net, crop in zip(self.referees, self.theirs, strict=True):
            net(crop)

    def seconds(self, search: Watched, steps: int) -> float:
        """Of as many steps, looks and questions to referees as a search took."""
        a_step = seconds(self.steps) / -(-len(self.nets) // self.asked)
        return steps * a_step + search.looks * seconds(self.look) + search.asked * seconds(self.confirm)


def loop(networks: Networks) -> dict[str, str]:
    """A search to its end against its networks alone, once with all of the face decoded and once with the part of it
    that a search decodes."""
    faces = align(Photo(data.astronaut()), networks.detector, networks.device)
    identity, appearance = decouple(faces, networks)
    candidates = choose(by_fit(appearance.traits[0], networks.personas), 1, torch.Generator().manual_seed(0))
    start = recompose(faces, appearance, [candidates], needed=1, tried=1)[0]
    config, z = PRESETS["standard"], encode(faces.images, networks.autoencoder)
    source = Source(faces, identity, appearance, networks, config)
    parts = {"the whole face": (slice(None),), "the part that may change": tiles(source.M, z.shape[-1])[0]}
    bare = {name: Bare(networks, z, part, config.asked) for name, part in parts.items()}
    took, alone = [], {name: list[float]() for name in parts}
    for _ in range(RUNS):
        began = time.perf_counter()
        search = Watched(source, start)
        _, steps = search.run(torch.Generator().manual_seed(0), lambda _: None)
        took.append(time.perf_counter() - began)
        for name, networks_alone in bare.items():
            alone[name].append(networks_alone.seconds(search, steps))
    lines = {
        f"the search, {steps} steps, {search.looks} looks at stored pixels and {search.asked} questions to the "
        "referee, a step": f"{np.median(took) / steps * 1000:.0f} ms"
    }
    for name, times in alone.items():
        ratios = np.divide(took, times)
        lines[f"its networks alone, {name} decoded, a step"] = (
            f"{np.median(times) / steps * 1000:.0f} ms; the search takes {np.median(ratios):.2f} times that "
            f"({min(ratios):.2f} to {max(ratios):.2f} in {RUNS} runs)"
        )
    return lines


def _forward(encoder: Encoder) -> Callable[[Tensor], Tensor]:
    return encoder.forward


def main() -> None:
    networks, pairs = Networks.load(device="cpu"), Pairs.read(64)
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
