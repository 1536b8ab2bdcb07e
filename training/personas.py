"""Make the persona bank: synthetic faces of nobody, from public-domain and CC-BY portraits.

`python -m training.personas` (`--resume` keeps those already made)

Each persona is the mean of several portraits of one group that are alike in pose, expression and
light, registered to one another by landmarks (thin-plate spline) and dense optical flow (TV-L1), with the
finest layer of its most typical member so that it is as sharp as a photo. It is then pushed away from its
sources until no recognition network at hand matches it to one of them at FAR 1e-3.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from rich.progress import track
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.color import rgb2gray
from skimage.registration import optical_flow_tvl1
from skimage.transform import ThinPlateSplineTransform, warp

from core.looks import BANDS, Age
from core.networks.bundle import PACKAGED
from core.networks.detector import Detector
from core.networks.personas import TABLE, Persona, mirror
from core.stages.decouple import traits_of
from training import portraits
from training.groups import GROUPS, RULED_OUT, Group
from training.guard import Guard, Image
from training.portraits import Portrait

MEMBERS, ATTEMPTS = 6, 4
ROUNDS = 2
FINEST_SIGMA = 2.0  # px; detail below this scale comes from the most typical member
GLASSES = 30.0  # grey levels; rims make strong horizontal edges at the bridge and under the eyes
TURNED, FURTHEST = 0.10, 0.30  # of the inter-ocular distance; nose tip off the middle
# The window in which faces are compared and registered: brows to chin, ear to ear.
TOP, BOTTOM, LEFT, RIGHT = 60, 240, 44, 212


Marks = NDArray[np.float64]  # (5, 2) px
Row = dict[str, Any]  # of the bank's table


@dataclass(frozen=True, slots=True)
class Candidate:
    """A portrait fit to be a member, with what members are chosen by. Turned ones all look the same way."""

    portrait: Portrait
    group: Group
    age: float  # years that it looks
    image: Image
    landmarks: Marks
    look: NDArray[np.float64]  # flat low-resolution luminance of the window: pose, expression, light

    def belongs(self, group: Group) -> bool:
        """Whether it is of the group, or of all ages together and as old as the group."""
        *who, kind = group
        if kind in BANDS:
            youngest, older = BANDS[Age(kind)]
            return self.group == (*who, "any") and youngest <= self.age < older
        return self.group == group

    @property
    def smile(self) -> float:
        """Mouth width in inter-ocular distances."""
        left, right, _, mouth_left, mouth_right = self.landmarks
        return float(np.linalg.norm(mouth_right - mouth_left) / np.linalg.norm(right - left))


def glasses_score(portrait: Portrait) -> float:
    """Strongest second difference down the bridge of the nose, plus that under the eyes, grey levels."""
    gray = rgb2gray(portrait.pixels()) * 255
    middle = portrait.landmarks[:2].mean(0)

    def edge(x: float, half: int, top: float, bottom: float) -> float:
        strip = gray[int(top) : int(bottom), int(x) - half : int(x) + half + 1].mean(1)
        return float(np.abs(np.diff(strip, 2)).max())

    rims = [edge(x, 10, y + 12, y + 34) for x, y in portrait.landmarks[:2]]
    return edge(middle[0], 7, middle[1] - 14, middle[1] + 16) + float(np.mean(rims))


def candidates(guard: Guard) -> list[Candidate]:
    """Portraits without glasses that are not turned too far."""
    found = []
    rows = portraits.read((*portraits.PUBLIC_DOMAIN, "london_set"))
    for portrait in track(rows, "portraits"):
        image, landmarks = portrait.pixels() / 255.0, portrait.landmarks
        left, right, nose = landmarks[:3]
        off = (nose[0] - (left[0] + right[0]) / 2) / np.linalg.norm(right - left)
        if abs(off) > FURTHEST or glasses_score(portrait) > GLASSES:
            continue
        presentation, age = guard.looks(image, landmarks)
        group = group_of(portrait, presentation, age)
        if abs(off) > TURNED:
            group = (*group[:3], "turned")
            if off < 0:
                image, landmarks = mirror(image, landmarks)
        gray = gaussian_filter(rgb2gray(image), 3)[TOP:BOTTOM:6, LEFT:RIGHT:6]
        look = ((gray - gray.mean()) / gray.std()).ravel()
        found.append(Candidate(portrait, group, age, image, landmarks, look))
    return found


def group_of(portrait: Portrait, presentation: float, age: float) -> Group:
    """By the source's own table; the London set has none, so there by presentation and by the tone of the face."""
    if portrait.source != "london_set":
        skin = {"white-american": "light", "african-american": "dark"}.get(portrait.ethnicity, "medium")
        return "congress", portrait.gender, skin, "any"
    image = portrait.pixels() / 255.0
    traits = traits_of(image.astype(np.float32), portrait.landmarks.astype(np.float32), presentation, age)
    lightness = traits.tone[0]
    skin = "dark" if lightness < 45 else "medium" if lightness < 57 else "light"
    return "london", "male" if presentation > 0 else "female", skin, portrait.path.stem.rpartition("_")[2]


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


def blend(members: list[Candidate]) -> Image:
    """The persona of these members (RGB in [0, 1]), at their mean landmarks."""
    target = mean_landmarks(members)
    shaped = [bring_to(m.image, m.landmarks, target) for m in members]
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
    return np.asarray(np.clip(sharp, 0, 1))


def make(seed: int, rows: dict[str, Row], folder: Path) -> list[Persona]:
    """The bank, saved as it grows; a persona that still matches a source after some attempts is left out.

    rows: of the personas that are there already, by name; all are measured anew.
    """
    guard, detector = Guard(), Detector(torch.device("cpu"))
    pool = candidates(guard)
    plan = [group for group, count in GROUPS for _ in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    for number, group in enumerate(track(plan, "personas")):
        name = f"{number:03d}"
        if number in RULED_OUT or name in rows:
            continue
        made = make_one(draws(pool, group, number, seed), guard)
        if made is None:
            continue
        members, image = made
        Picture.fromarray((image * 255).round().astype(np.uint8)).save(picture(folder, name), quality=95, method=6)
        sources = [f"{m.portrait.source}/{m.portrait.path.stem}" for m in members]
        rows[name] = row_of(described(name, guard, detector, folder), sources)
        save_table(rows, folder)
    kept = [f"{number:03d}" for number in range(len(plan)) if number not in RULED_OUT]
    bank = [described(name, guard, detector, folder) for name in kept if name in rows]
    bank = [replace(persona, alike=alike) for persona, alike in zip(bank, guard.alike(bank), strict=True)]
    save_table({p.name: row_of(p, rows[p.name]["sources"]) for p in bank}, folder)
    for old in set(folder.glob("*.webp")) - {picture(folder, p.name) for p in bank}:
        old.unlink()
    return bank


def draws(pool: list[Candidate], group: Group, number: int, seed: int) -> Iterator[list[Candidate]]:
    """Members of a group for some attempts at one persona, with random numbers of its own: always the same ones."""
    rng = np.random.default_rng((seed, number))
    of_group = sorted((c for c in pool if c.belongs(group)), key=lambda c: c.smile)
    # Half are drawn from the less smiling half, so that the bank has closed mouths too.
    half = of_group[: max(len(of_group) // 2, MEMBERS + 4)] if number % 2 else of_group
    for _ in range(ATTEMPTS):
        yield choose(half, rng)


def make_one(drawn: Iterator[list[Candidate]], guard: Guard) -> tuple[list[Candidate], Image] | None:
    """Members and image of the first persona that matches none of its members."""
    for members in drawn:
        image, apart = guard.push_away(blend(members), mean_landmarks(members), [m.portrait for m in members])
        if apart:
            return members, image
    return None


def mean_landmarks(members: list[Candidate]) -> Marks:
    return np.asarray(np.mean([m.landmarks for m in members], 0))


def described(name: str, guard: Guard, detector: Detector, folder: Path) -> Persona:
    """The persona with its landmarks and traits, measured on the picture as it is stored.

    What its members' landmarks make of a mean is not where its features are, once they are registered and pushed away.

    Raises:
        ValueError: the detector does not find one face in it.
    """
    with Picture.open(picture(folder, name)) as stored:
        image = np.array(stored.convert("RGB"))
    found = torch.from_numpy(detector(image))
    if len(found) != 1:
        raise ValueError(f"persona {name}: one face should be found in it; rule it out in training/groups.py")
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    marks = detector.refine(pixels, found.float())[0].numpy()
    traits = traits_of(np.asarray(image / 255, np.float32), marks, *guard.looks(image / 255.0, marks))
    return Persona(name, image, marks, traits)


def picture(folder: Path, name: str) -> Path:
    return folder / f"{name}.webp"


def row_of(persona: Persona, sources: list[str]) -> Row:
    """Name, landmarks, traits, the portraits it was made of and whom machines take for it."""
    marks = [[round(float(v), 2) for v in p] for p in persona.landmarks]
    facts = {"landmarks": marks, "traits": asdict(persona.traits), "sources": sources}
    return {"name": persona.name, **facts, "alike": sorted(persona.alike)}


def save_table(rows: dict[str, Row], folder: Path) -> None:
    """In the order of their names."""
    text = json.dumps([rows[name] for name in sorted(rows)], indent=1)
    (folder / TABLE).write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=PACKAGED / "personas")
    parser.add_argument("--resume", action="store_true", help="keep the personas that --out already holds")
    args = parser.parse_args()
    torch.set_num_threads(2)
    rows = json.loads((args.out / TABLE).read_text(encoding="utf-8")) if args.resume else []
    bank = make(args.seed, {row["name"]: row for row in rows}, args.out)
    print(f"{len(bank)} personas in {args.out}")


if __name__ == "__main__":
    main()
