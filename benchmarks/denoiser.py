"""What the denoiser adds to a recomposed face: `python -m benchmarks.denoiser`

Faces of the development pairs (never trained on) are recomposed, then noised to t_s and denoised under the appearance
of that very recomposition, and only the change inside the face is kept, as the optimiser does. Asked is whether the
result looks more like a photo (kernel distance to real photos in the features of a student, Binkowski et al. 2018,
arXiv:1801.01401), whether the persona is still the one that was chosen, and whether the source comes back. Also the
denoiser's error on training faces and on held-out people, and new faces from noise alone. Pictures, never to be
committed: .work/denoiser-*.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor, nn

from benchmarks import report
from benchmarks.strangers import Pairs, to_photo
from core import objectives
from core.errors import NoFaceFound
from core.networks import Encoder, Networks
from core.networks.denoiser import Denoiser
from core.stages.align import AlignedFaces, align
from core.stages.decouple import decouple
from core.stages.denoise import denoise
from core.stages.latents import decode, encode
from core.stages.recompose import Recomposed, by_fit, choose, recompose
from training import denoiser as training

STARTS = (0.1, 0.2, 0.35, 0.5, 0.65)
STEPS, SAMPLES = 12, 32
SHEET = ".work/denoiser-{}.png"


def faces_of(networks: Networks, data: Pairs) -> list[tuple[AlignedFaces, Recomposed, Tensor]]:
    """Source, recomposition and mask of each photo in which a face is found."""
    found = []
    for number, image in track(list(zip(data.numbers, data.a, strict=True)), "recompose"):
        try:
            faces = align(to_photo(image), networks.detector, networks.device, "largest")
        except NoFaceFound:
            continue
        _, appearance = decouple(faces, networks)
        fitted = by_fit(appearance.traits[0], networks.personas)
        candidates = choose(fitted, 1, torch.Generator().manual_seed(number))
        (start,) = recompose(faces, appearance, [candidates], needed=1, tried=1)
        found.append((faces, start, appearance.masks))
    return found


@torch.no_grad()
def denoised(start: Tensor, mask: Tensor, t: float, networks: Networks, net: Denoiser, seed: int) -> Tensor:
    """A recomposition with what the denoiser changes inside the face; t 0: what the autoencoder alone would."""
    z = encode(start, networks.autoencoder)
    tokens = net.conditioner(None, start, len(start))
    again = denoise(z, net, tokens, t, STEPS, torch.Generator().manual_seed(seed)) if t else z
    change = decode(again, networks.autoencoder) - decode(z, networks.autoencoder)
    return (start + mask * change).clamp(0, 1)


@torch.no_grad()
def features(images: Tensor, landmarks: Tensor, encoder: Encoder) -> Tensor:
    """Pooled maps before a student's last layer (N, c): how things are drawn more than who it is."""
    body: nn.Module = encoder.net.body  # type: ignore[assignment]
    crops = encoder.crops(images, landmarks)
    return torch.cat([body(x * 2 - 1).mean((2, 3)) for x in crops.split(32)])


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (a.b / d + 1)^3; 0 for the same distribution."""
    mean, spread = y.mean(0), y.std(0) + 1e-6
    x, y = (((v - mean) / spread).double() for v in (x, y))
    d = x.shape[1]

    def within(v: Tensor) -> Tensor:
        k = (v @ v.T / d + 1) ** 3
        return (k.sum() - k.diag().sum()) / (len(v) * (len(v) - 1))

    return float(within(x) + within(y) - 2 * ((x @ y.T / d + 1) ** 3).mean())


def compare(networks: Networks, net: Denoiser, data: Pairs) -> list[list[str]]:
    """One line a t_s, with blending alone as the first."""
    found, real = faces_of(networks, data), Pairs.read(262)
    (judge,) = (e for e in networks.encoders if e.name == "student-large-kernel")
    photos = features(real.b.float() / 255, real.marks_b, judge)
    rows, sheet = [], [torch.cat([f.images for f, _, _ in found[:8]]), torch.cat([s.images for _, s, _ in found[:8]])]
    for t in (0.0, *STARTS):
        kept, alike, images, marks = [], [], [], []
        for i, (faces, start, mask) in enumerate(track(found, f"t_s {t}")):
            image = denoised(start.images, mask, t, networks, net, i)
            kept.append(1 - float(objectives.structure(image, start.images, mask)))
            alike.append(1 - float(objectives.structure(image, faces.images, mask)))
            images.append(image)
            marks.append(faces.landmarks)
        apart = kernel_distance(features(torch.cat(images), torch.cat(marks), judge), photos)
        name = f"t_s {t}" if t else "blending alone"
        rows.append([name, f"{apart:.3f}", f"{np.mean(kept):.3f}", f"{np.mean(alike):.3f}"])
        if t:
            sheet.append(torch.cat(images[:8]))
    draw("recomposed", sheet)
    return rows


@torch.no_grad()
def samples(networks: Networks, net: Denoiser) -> None:
    """New faces from noise: no identity, the coarse appearance of a persona."""
    some = networks.personas[:: len(networks.personas) // SAMPLES][:SAMPLES]
    images = torch.stack([torch.from_numpy(p.image.copy()) for p in some])
    looks = images.permute(0, 3, 1, 2).float() / 255
    z = encode(looks, networks.autoencoder)
    tokens = net.conditioner(None, looks, len(looks))
    made = decode(denoise(z, net, tokens, 1.0, 30, torch.Generator().manual_seed(0)), networks.autoencoder)
    draw("samples", list(made.split(8)))


def draw(name: str, rows: list[Tensor]) -> None:
    """A contact sheet of rows of faces."""
    wide = torch.cat([torch.cat(list(row), 2) for row in rows], 1).clamp(0, 1)
    path = Path(SHEET.format(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((wide * 255).round().byte().permute(1, 2, 0).numpy()).save(path)
    print(f"look at {path}")


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.denoiser", description=__doc__)
    parser.add_argument("--pairs", type=int, default=64)
    args = parser.parse_args()
    networks = Networks.load(device="cpu")
    if networks.denoiser is None:
        raise SystemExit("the bundle has no denoiser; train one: python -m training.denoiser")
    known, held_out = training.read(networks)
    errors = {
        f"squared error on {name} by t": ", ".join(
            f"{t}: {e:.3f}" for t, e in training.errors(networks.denoiser, faces, networks, networks.device).items()
        )
        for name, faces in ((f"{len(known)} training faces", known), (f"{len(held_out)} faces held out", held_out))
    }
    columns = ["", "kernel distance to photos", "structural distance to the persona", "to the source"]
    rows = compare(networks, networks.denoiser, Pairs.read(args.pairs))
    samples(networks, networks.denoiser)
    report.put(
        "denoiser",
        f"Denoiser, {args.pairs} recomposed faces: `{report.command(parser, args)}`",
        [report.bullets(errors), report.table(columns, rows)],
    )


if __name__ == "__main__":
    main()
