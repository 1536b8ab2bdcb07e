"""Train the autoencoder: patch PCA, then residual convolutions. `python -m training.autoencoder --minutes 20`

Writes a checkpoint every few minutes and goes on from it; the last line prints PSNR on portraits that were
held out and, for the record, on the development pairs (never trained on).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from core.networks.autoencoder import PatchAutoencoder
from training import portraits, schedule

CROP = 128
BATCH = 16
RATE, WARM_UP = 1e-3, 100  # of Adam; steps
MEASURED = 48


def load_images() -> tuple[Tensor, Tensor]:
    """Clean 256 px portraits, uint8 (N, 3, 256, 256), and MEASURED of all sources, of people not among these."""
    rows = portraits.read()
    held = portraits.held_out(row.identity for row in rows)
    images = torch.from_numpy(np.stack([r.pixels() for r in rows])).permute(0, 3, 1, 2).contiguous()
    apart = torch.tensor([row.identity in held for row in rows])
    others = images[apart]
    return images[~apart], others[torch.arange(MEASURED) * len(others) // MEASURED]


def psnr(net: PatchAutoencoder, images: Tensor) -> float:
    """Mean PSNR, dB, of the round trip of uint8 images (N, 3, H, W), on clamped 8-bit pixels."""
    total = 0.0
    with torch.no_grad():
        for batch in images.split(8):
            x = batch.float() / 255
            y = ((net(x * 2 - 1) + 1) / 2).clamp(0, 1).mul(255).round().div(255)
            total += float((-10 * ((x - y) ** 2).mean((1, 2, 3)).log10()).sum())
    return total / len(images)


def draw(images: Tensor, generator: torch.Generator) -> Tensor:
    """A batch of random mirrored crops in [-1, 1]."""
    out = []
    for i in torch.randint(len(images), (BATCH,), generator=generator).tolist():
        y, x, mirror = (int(torch.randint(n, (), generator=generator)) for n in (256 - CROP + 1, 256 - CROP + 1, 2))
        crop = images[i, :, y : y + CROP, x : x + CROP]
        out.append(crop.flip(-1) if mirror else crop)
    return torch.stack(out).float() / 127.5 - 1


def loss_of(x: Tensor, y: Tensor) -> Tensor:
    """L1 + 10 L2 + L1 of finite differences: the last one makes block edges expensive."""
    edges = sum((x.diff(dim=d) - y.diff(dim=d)).abs().mean() for d in (2, 3))
    return (x - y).abs().mean() + 10 * ((x - y) ** 2).mean() + edges


def evaluate_pairs(net: PatchAutoencoder, count: int = 64) -> float:
    folder = portraits.data_folder() / "celebahq_pairs"
    files = sorted(folder.glob("*.png"))[:: max(1, 524 // count)]
    images = np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files])
    return psnr(net, torch.from_numpy(images).permute(0, 3, 1, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--out", type=Path, default=Path(".work/autoencoder"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(int(time.time()))
    images, held_out = load_images()
    checkpoint = args.out / "config.json"
    if checkpoint.is_file():
        net = PatchAutoencoder.from_pretrained(args.out)
    else:
        net = PatchAutoencoder()
        sample = images[:, :, 24:232, 24:232][::2].float() / 127.5 - 1
        net.initialise_from_pca(F.pixel_unshuffle(sample, 8).permute(0, 2, 3, 1).reshape(-1, 192))
        print(
            f"PCA alone: held out {psnr(net, held_out):.2f} dB, pairs {evaluate_pairs(net):.2f} dB",
            flush=True,
        )
    net.train()
    optimiser = torch.optim.Adam(net.parameters(), RATE, betas=(0.9, 0.99))
    for tick in schedule.ticks(args.minutes, WARM_UP, falling=1.0):
        for group in optimiser.param_groups:
            group["lr"] = RATE * tick.share
        x = draw(images, generator)
        loss = loss_of(x, net(x))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if tick.save:
            net.save_pretrained(args.out)
            held = psnr(net, held_out)
            print(f"{tick.minutes:5.1f} min loss {float(loss.detach()):.4f} held out {held:.2f} dB", flush=True)
    net.eval().save_pretrained(args.out)
    figures = {"held_out_psnr": round(psnr(net, held_out), 2), "pairs_psnr": round(evaluate_pairs(net), 2)}
    (args.out / "figures.json").write_text(json.dumps(figures))
    print(figures, flush=True)


if __name__ == "__main__":
    main()
