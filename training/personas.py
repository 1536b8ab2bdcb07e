"""Make the persona bank: synthetic faces of nobody, from public-domain portraits.

`python -m training.personas --count 72`

Each persona is the mean of several portraits of one gender and group that are alike in pose, expression and
light, registered to one another by landmarks (thin-plate spline) and dense optical flow (TV-L1), with the
finest layer of its most typical member so that it is as sharp as a photo. It is then pushed away from its
sources until no recognition network at hand matches it to one of them at FAR 1e-3.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from rich.progress import track
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.color import rgb2gray
from skimage.registration import optical_flow_tvl1
from skimage.transform import ThinPlateSplineTransform, warp

from core import objectives
from core.networks import Encoder, dlib
from core.networks.autoencoder import PatchAutoencoder
from core.networks.bundle import PACKAGED
from core.networks.personas import TABLE, Persona
from core.networks.presentation import Presentation
from core.stages.decouple import face_mask, measure
from core.stages.optimise import Descent, optimise
from core.stages.recompose import decode, encode, pixel_gain
from training import portraits, teachers
from training.portraits import Portrait

Image = NDArray[np.float64]  # (256, 256, 3) RGB in [0, 1]

MEMBERS = 6
ROUNDS = 2
FINEST_SIGMA = 2.0  # px; detail below this scale comes from the most typical member
APART = 0.04  # cosine below every threshold at FAR 1e-3 that a persona keeps from its members
GLASSES = 30.0  # grey levels; rims make strong horizontal edges at the bridge and under the eyes
TURNED = 0.10  # of the inter-ocular distance; nose tip off the middle
# The window in which faces are compared and registered: brows to chin, ear to ear.
TOP, BOTTOM, LEFT, RIGHT = 60, 240, 44, 212


@dataclass(frozen=True, slots=True)
class Candidate:
    """A portrait fit to be a member, with what members are chosen by."""

    portrait: Portrait
    group: tuple[str, str]  # gender, skin group
    smile: float  # mouth width in inter-ocular distances
    look: NDArray[np.float64]  # flat low-resolution luminance of the window: pose, expression, light

    @property
    def image(self) -> Image:
        return self.portrait.pixels() / 255.0


def glasses_score(portrait: Portrait) -> float:
    """Strongest second difference down the bridge of the nose, plus that under the eyes, grey levels."""
    gray = rgb2gray(portrait.pixels()) * 255
    middle = portrait.landmarks[:2].mean(0)

    def edge(x: float, half: int, top: float, bottom: float) -> float:
        strip = gray[int(top) : int(bottom), int(x) - half : int(x) + half + 1].mean(1)
        return float(np.abs(np.diff(strip, 2)).max())

    rims = [edge(x, 10, y + 12, y + 34) for x, y in portrait.landmarks[:2]]
    return edge(middle[0], 7, middle[1] - 14, middle[1] + 16) + float(np.mean(rims))


def candidates() -> list[Candidate]:
    """Frontal portraits without glasses whose gender and group the sources state."""
    found = []
    for portrait in portraits.read(portraits.PUBLIC_DOMAIN):
        left, right, nose = portrait.landmarks[:3]
        off = abs(nose[0] - (left[0] + right[0]) / 2) / np.linalg.norm(right - left)
        if not portrait.gender or off > TURNED or glasses_score(portrait) > GLASSES:
            continue
        gray = gaussian_filter(rgb2gray(portrait.pixels()), 3)[TOP:BOTTOM:6, LEFT:RIGHT:6]
        look = ((gray - gray.mean()) / gray.std()).ravel()
        skin = {"white-american": "light", "african-american": "dark"}.get(portrait.ethnicity, "medium")
        smile = float(np.linalg.norm(portrait.landmarks[4] - portrait.landmarks[3]) / np.linalg.norm(right - left))
        found.append(Candidate(portrait, (portrait.gender, skin), smile, look))
    return found


def choose(pool: list[Candidate], rng: np.random.Generator) -> list[Candidate]:
    """A random candidate and members drawn from its nearest neighbours in look."""
    seed = pool[int(rng.integers(len(pool)))]
    nearest = sorted(pool, key=lambda c: float(((c.look - seed.look) ** 2).sum()))
    reach = min(len(pool), 3 * MEMBERS)
    drawn = rng.choice(np.arange(1, reach), MEMBERS - 1, replace=False)
    return [seed, *(nearest[i] for i in drawn)]


def bring_to(image: Image, landmarks: NDArray[np.float64], target: NDArray[np.float64]) -> Image:
    """Warp by a thin-plate spline that takes the landmarks to the target and keeps the corners."""
    corners = np.array([(0, 0), (255, 0), (0, 255), (255, 255), (128, 255), (128, 0)], float)
    spline = ThinPlateSplineTransform.from_estimate(np.vstack((target, corners)), np.vstack((landmarks, corners)))
    return np.asarray(warp(image, spline, order=3, mode="reflect"))


def match_colours(image: Image, reference: Image) -> Image:
    """Give the middle of the face the mean and spread of the reference's, channel by channel."""
    a, b = (x[88:208, 76:180].reshape(-1, 3) for x in (image, reference))
    matched = (image - a.mean(0)) / (a.std(0) + 1e-6) * b.std(0) + b.mean(0)
    return np.asarray(np.clip(matched, 0, 1))


def register(image: Image, target: Image) -> tuple[Image, float]:
    """Warp `image` onto `target` by dense optical flow; also the mean absolute residual in the window."""
    a, b = (gaussian_filter(rgb2gray(x), 1) for x in (target, image))
    flow = optical_flow_tvl1(a[TOP:BOTTOM, LEFT:RIGHT], b[TOP:BOTTOM, LEFT:RIGHT], attachment=8, num_warp=4)
    full = np.zeros((2, 256, 256))
    full[:, TOP:BOTTOM, LEFT:RIGHT] = flow
    full = gaussian_filter(full, (0, 2, 2))  # no folds, and no step at the window's border
    where = np.mgrid[0:256, 0:256] + full
    moved = np.stack([map_coordinates(image[..., c], where, order=3, mode="reflect") for c in range(3)], -1)
    residual = np.abs(moved - target)[TOP:BOTTOM, LEFT:RIGHT].mean()
    return np.clip(moved, 0, 1), float(residual)


def blend(members: list[Candidate]) -> tuple[Image, NDArray[np.float64]]:
    """The persona of these members (RGB in [0, 1]) and its five landmarks, px."""
    target = np.mean([m.portrait.landmarks for m in members], 0)
    shaped = [bring_to(m.image, m.portrait.landmarks, target) for m in members]
    tone = np.median(shaped, 0)
    shaped = [match_colours(x, tone) for x in shaped]
    mean: Image = np.mean(shaped, 0)
    moved, residuals = shaped, np.zeros(len(shaped))
    for _ in range(ROUNDS):
        pairs = [register(x, mean) for x in shaped]
        residuals = np.array([r for _, r in pairs])
        keep = residuals <= np.median(residuals) * 1.35
        moved = [x for (x, _), k in zip(pairs, keep, strict=True) if k]
        mean = np.mean(moved, 0)
        residuals = residuals[keep]
    typical = moved[int(np.argmin(residuals))]
    finest = typical - gaussian_filter(typical, (FINEST_SIGMA, FINEST_SIGMA, 0))
    sharp = gaussian_filter(mean, (FINEST_SIGMA, FINEST_SIGMA, 0)) + finest
    return np.clip(sharp, 0, 1), target


# (gender, skin) and the share of the bank each group gets.
GROUPS = {
    ("male", "light"): 0.26,
    ("female", "light"): 0.26,
    ("male", "medium"): 0.13,
    ("female", "medium"): 0.13,
    ("male", "dark"): 0.11,
    ("female", "dark"): 0.11,
}


class Guard:
    """Keeps personas from matching their sources, by every network at hand."""

    def __init__(self) -> None:
        facts = json.loads((PACKAGED / "encoders" / "dlib.json").read_text(encoding="utf-8"))
        self.dlib = Encoder(
            "dlib",
            dlib.load(dlib.packaged_file()),
            torch.tensor(facts["template"]),
            (dlib.CHIP, dlib.CHIP),
            torch.tensor(facts["centre"]),
            {float(far): cut for far, cut in facts["thresholds"].items()},
        )
        self.presentation = Presentation.load(PACKAGED / "encoders" / "presentation.json", torch.device("cpu"))
        self.autoencoder = (
            PatchAutoencoder.from_pretrained(PACKAGED / "autoencoder", low_cpu_mem_usage=False)
            .eval()
            .requires_grad_(False)
        )
        self.networks = [(self.dlib.embed, self.dlib.thresholds[1e-3]), *teachers.embedders()]

    def push_away(self, persona: Image, landmarks: NDArray[np.float64], members: list[Candidate]) -> tuple[Image, bool]:
        """The persona moved, as little as the eye would notice, until no network matches it to a member.

        A mean of faces still lies near each of them in an encoder's space, however little it looks like them.
        """
        images = torch.from_numpy(np.stack([m.image for m in members])).float().permute(0, 3, 1, 2)
        marks = torch.tensor(np.stack([m.portrait.landmarks for m in members])).float()
        with torch.no_grad():
            sources = [embed(images, marks) for embed, _ in self.networks]
        start = torch.from_numpy(persona).float().permute(2, 0, 1)[None]
        own = torch.tensor(landmarks).float()[None]
        mask = torch.from_numpy(face_mask(landmarks.astype(np.float32), grow=0.05))[None, None]
        colour = (start * mask).sum((2, 3), keepdim=True) / mask.sum()
        z = encode(start, self.autoencoder)
        decoded, gain = decode(z, self.autoencoder), pixel_gain(z, self.autoencoder)

        def render(u: torch.Tensor) -> torch.Tensor:
            return (start + decode(z + u / gain, self.autoencoder) - decoded).clamp(0, 1)

        def excess(face: torch.Tensor) -> torch.Tensor:
            # Only the interior is a persona: what is outside the mask is never used.
            shown = mask * face + (1 - mask) * colour
            pairs = zip(self.networks, sources, strict=True)
            return torch.stack([(embed(shown, own) @ v.T).amax(1) - cut for (embed, cut), v in pairs])

        def objective(u: torch.Tensor) -> torch.Tensor:
            face = render(u)
            visible = objectives.visual_distance(face, start, mask)
            return torch.relu(excess(face) + 2 * APART).sum(0) + 0.25 * visible

        def satisfied(u: torch.Tensor) -> torch.Tensor:
            return excess((render(u) * 255).round() / 255).amax(0) < -APART

        u, _ = optimise(torch.zeros_like(z), objective, satisfied, Descent(steps=120), lambda _: None)
        with torch.no_grad():
            pushed, apart = render(u), bool(satisfied(u).all())
        return pushed[0].permute(1, 2, 0).double().numpy(), apart

    def presents(self, persona: Image, landmarks: NDArray[np.float64]) -> float:
        """Gender presentation of the persona, -1..1."""
        image = torch.from_numpy(persona).float().permute(2, 0, 1)[None]
        vector = self.dlib.identity(image, torch.tensor(landmarks).float()[None])
        return float(self.presentation.score(vector)[0])


def make(count: int, seed: int) -> list[Persona]:
    """About `count` personas, balanced over GROUPS; those that still match a source are dropped."""
    rng, guard, pool = np.random.default_rng(seed), Guard(), candidates()
    plan = [g for g, share in GROUPS.items() for _ in range(round(share * count))]
    bank: list[Persona] = []
    for number, group in enumerate(track(plan, "personas")):
        # Half of each group is drawn from its less smiling half, so that the bank has closed mouths too.
        members_of = sorted((c for c in pool if c.group == group), key=lambda c: c.smile)
        half = members_of[: max(len(members_of) // 2, MEMBERS + 4)] if number % 2 else members_of
        for _ in range(4):
            members = choose(half, rng)
            mean, landmarks = blend(members)
            image, apart = guard.push_away(mean, landmarks, members)
            if apart:
                traits = measure(
                    image.astype(np.float32), landmarks.astype(np.float32), guard.presents(image, landmarks)
                )
                eight = (image * 255).round().astype(np.uint8)
                bank.append(Persona(f"{number:03d}", eight, landmarks.astype(np.float32), traits))
                break
    return bank


def save(bank: list[Persona], folder: Path) -> None:
    """Pictures as WebP (quality 95) and one table."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.webp"):
        old.unlink()
    rows = []
    for persona in bank:
        Picture.fromarray(persona.image).save(folder / f"{persona.name}.webp", quality=95, method=6)
        marks = [[round(float(v), 2) for v in p] for p in persona.landmarks]
        rows.append({"name": persona.name, "landmarks": marks, "traits": asdict(persona.traits)})
    (folder / TABLE).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=72)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", default="", help="names of personas that a look at the sheet ruled out")
    parser.add_argument("--out", type=Path, default=PACKAGED / "personas")
    args = parser.parse_args()
    torch.set_num_threads(2)
    bank = [p for p in make(args.count, args.seed) if p.name not in args.without.split(",")]
    save(bank, args.out)
    print(f"{len(bank)} personas in {args.out}")


if __name__ == "__main__":
    main()
