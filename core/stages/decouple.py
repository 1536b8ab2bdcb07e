"""Split aligned faces into what machines read (identity) and what people see (appearance)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2lab
from torch import Tensor

from core.networks import Encoder, Networks
from core.networks.parallel import side_by_side
from core.networks.personas import Persona, Traits
from core.stages.align import SIDE, AlignedFaces

# Outline of a face's interior, in a frame with its origin between the eyes: x in inter-ocular distances; y below the
# eyes in distances from the eyes to the mouth, above them in inter-ocular distances (an open mouth lifts no brow).
# Above the brows to the chin, inside the jaw line.
OUTLINE = (
    (-0.48, -0.76), (0.0, -0.80), (0.48, -0.76), (0.86, -0.54), (1.00, 0.00), (0.90, 0.60), (0.70, 1.12),
    (0.40, 1.46), (0.0, 1.56), (-0.40, 1.46), (-0.70, 1.12), (-0.90, 0.60), (-1.00, 0.00), (-0.86, -0.54),
)  # fmt: skip
TURN = 0.6  # of the outline's half on the side a head turns to, how much goes out of sight for a `turn` of 1

# How far from the cheeks' colour skin may be, CIELAB: chroma, and lightness where darker means hair.
CHROMA, HAIR = 18.0, 22.0
FOREHEAD = 0.42, 0.54  # inter-ocular distances above the eyes: below it are brows, above it dark is hair


@dataclass(frozen=True, slots=True)
class Identity:
    """Unit identity vectors of B faces, by encoder name, each (B, d)."""

    vectors: dict[str, Float[Tensor, "b d"]]


@dataclass(frozen=True, slots=True)
class Appearance:
    """What people see of B faces, measured coarsely enough to say nothing about who it is.

    masks: the face's interior without its fringe, 0..1 with a soft border; fringe: hair that falls over the forehead,
    0..1; both (B, 1, 256, 256). traits: one a face.
    """

    masks: Float[Tensor, "b 1 256 256"]
    fringe: Float[Tensor, "b 1 256 256"]
    traits: tuple[Traits, ...]


def decouple(faces: AlignedFaces, networks: Networks) -> tuple[Identity, Appearance]:
    """Identity by every encoder, and appearance."""
    identity = identify(networks.encoders, faces.images, faces.landmarks)
    scores = networks.presentation.score(identity.vectors[networks.presentation.encoder])
    pictures = to_arrays(faces.images)
    marks = faces.landmarks.cpu().numpy()
    traits = tuple(measure(p, m, float(s)) for p, m, s in zip(pictures, marks, scores, strict=True))
    hair = torch.from_numpy(np.stack([fringe(p, m)[None] for p, m in zip(pictures, marks, strict=True)]))
    hair = hair.to(faces.images)
    return identity, Appearance(face_masks(faces.landmarks) * (1 - hair), hair, traits)


def identify(
    encoders: tuple[Encoder, ...], images: Float[Tensor, "b 3 h w"], landmarks: Float[Tensor, "b 5 2"]
) -> Identity:
    """Identity vectors of each encoder, mean over the face and its mirror image."""
    return Identity({e.name: e.identity(images, landmarks) for e in encoders})


def identify_personas(encoders: tuple[Encoder, ...], personas: Sequence[Persona], device: torch.device) -> Identity:
    """As `identify`, of personas as they are."""
    images = torch.tensor(np.stack([p.image for p in personas])).permute(0, 3, 1, 2).to(device) / 255
    landmarks = torch.tensor(np.stack([p.landmarks for p in personas])).to(device)
    return identify(encoders, images, landmarks)


def cosines(
    encoders: tuple[Encoder, ...], images: Tensor, landmarks: Tensor, identity: Identity
) -> Float[Tensor, "k n b"]:
    """Cosine of each encoder between n versions of b images, one after the other, and their identities."""
    return similarity(embed(encoders, images, landmarks), identity)


def embed(encoders: tuple[Encoder, ...], images: Tensor, landmarks: Tensor) -> Identity:
    """What each encoder reads in images. Differentiable to them."""
    vectors = side_by_side([partial(e.embed, landmarks=landmarks) for e in encoders], images)
    return Identity({e.name: v for e, v in zip(encoders, vectors, strict=True)})


def similarity(read: Identity, identity: Identity) -> Float[Tensor, "k n b"]:
    """Cosine by each encoder that has read n versions of b faces, one after the other, and these faces' identities."""
    own = ((vectors, identity.vectors[name]) for name, vectors in read.vectors.items())
    return torch.stack([(vectors.view(-1, *v.shape) * v).sum(-1) for vectors, v in own])


def measure(picture: NDArray[np.float32], landmarks: NDArray[np.float32], presentation: float) -> Traits:
    """Traits of one aligned face, RGB in [0, 1] (256, 256, 3)."""
    left, right, _, mouth_left, mouth_right = landmarks
    eyes, mouth, span = (left + right) / 2, (mouth_left + mouth_right) / 2, _span(landmarks)
    lab = rgb2lab(picture)
    mask = face_mask(landmarks)
    tone = (lab * mask[..., None]).sum((0, 1)) / mask.sum()
    fine = lab[..., 0] - gaussian_filter(lab[..., 0], 2.5)
    # The cheeks and the brow above the nose: skin, without eyes, nostrils and mouth.
    skin = mask * skin_mask(landmarks)
    cheeks = [float(lab[..., 0][cheek > 0].mean()) for cheek in cheek_masks(landmarks)]
    texture = np.log(np.sqrt((fine**2 * skin).sum() / skin.sum()) + 0.3)
    return Traits(
        presentation=round(presentation, 4),
        tone=(round(float(tone[0]), 2), round(float(tone[1]), 2), round(float(tone[2]), 2)),
        yaw=round(turn(landmarks), 4),
        smile=round(float(np.linalg.norm(mouth_right - mouth_left) / span), 4),
        drop=round(float(np.linalg.norm(mouth - eyes) / span), 4),
        texture=round(float(texture), 4),
        light=round(cheeks[1] - cheeks[0], 2),
    )


def mean_traits(several: Iterable[Traits]) -> Traits:
    """What is common to several photos of a person."""
    rows = list(several)
    means = {f.name: np.mean([getattr(t, f.name) for t in rows], 0).tolist() for f in fields(Traits)}
    return Traits(**means | {"tone": tuple(means["tone"])})


def turn(landmarks: NDArray[np.float32]) -> float:
    """How far the nose is off the middle of the eyes, in inter-ocular distances; positive to the picture's right."""
    left, right, nose = landmarks[:3]
    return float((nose - (left + right) / 2) @ (right - left)) / _span(landmarks) ** 2


def face_mask(landmarks: NDArray[np.float32], grow: float = 0.0, feather: float = 5.0) -> NDArray[np.float32]:
    """The interior of a face (256, 256), 1 inside, fading to 0 within the outline over about 2 `feather` px."""
    left, right = landmarks[0], landmarks[1]
    eyes, mouth = (left + right) / 2, (landmarks[3] + landmarks[4]) / 2
    across, down = (right - left) * (1 + grow), (mouth - eyes) * (1 + grow)
    up = down * float(np.linalg.norm(across) / np.linalg.norm(down))
    hidden = TURN * turn(landmarks)
    points = [
        eyes + across * x * np.clip(1 - hidden * np.sign(x), 0.4, 1) + (down if y > 0 else up) * y for x, y in OUTLINE
    ]
    fine = 4  # drawn four times as large, then shrunk: a smooth outline
    canvas = Image.new("L", (SIDE * fine, SIDE * fine))
    ImageDraw.Draw(canvas).polygon([tuple((p + 0.5) * fine) for p in points], fill=255)
    hard = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255
    # 2 g - 1 moves the soft border inwards: nothing of the persona passes the outline.
    soft = np.clip(2 * gaussian_filter(hard, feather) - 1, 0, 1)
    return np.asarray(soft, np.float32)


def face_masks(
    landmarks: Float[Tensor, "b 5 2"], grow: float = 0.0, feather: float = 5.0
) -> Float[Tensor, "b 1 256 256"]:
    """`face_mask` of a batch."""
    masks = [face_mask(m, grow, feather) for m in landmarks.cpu().numpy()]
    return torch.from_numpy(np.stack(masks)[:, None]).to(landmarks)


def change_masks(landmarks: Float[Tensor, "b 5 2"]) -> Float[Tensor, "b 1 256 256"]:
    """Where a method may change faces: somewhat beyond their interior, with a softer border."""
    return face_masks(landmarks, grow=0.12, feather=9.0)


def skin_likeness(image: NDArray[np.float32], landmarks: NDArray[np.float32], lightness: float) -> NDArray[np.float32]:
    """How much each pixel has the colour of the cheeks, 0..1; `lightness` is how much darker skin may be (CIELAB)."""
    lab = rgb2lab(image)
    cheeks = np.median(lab[skin_mask(landmarks) > 0], 0)
    off = (lab - cheeks) / (lightness, CHROMA, CHROMA)
    return np.asarray(np.exp(-np.square(off).sum(-1)), np.float32)


def fringe(image: NDArray[np.float32], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Hair over the forehead (256, 256), 0..1: it stays, or a persona's forehead would end it in mid-air."""
    left, right = landmarks[0], landmarks[1]
    across, eyes = (right - left) / _span(landmarks), (left + right) / 2
    y, x = _grid()
    height = ((x - eyes[0]) * across[1] - (y - eyes[1]) * across[0]) / _span(landmarks)
    above = np.clip((height - FOREHEAD[0]) / (FOREHEAD[1] - FOREHEAD[0]), 0, 1)
    likeness = gaussian_filter(skin_likeness(image, landmarks, HAIR), 1.5)
    return np.asarray(gaussian_filter(np.clip(4 * (0.55 - likeness), 0, 1) * above, 1.5), np.float32)


def skin_mask(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Discs on both cheeks and between the brows (256, 256)."""
    left, right, nose, *_ = landmarks
    brow = (left + right) / 2 - (nose - (left + right) / 2) * 0.7
    return np.asarray(np.maximum.reduce([*cheek_masks(landmarks), _discs((brow,), 0.22 * _span(landmarks))]))


def cheek_masks(landmarks: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A disc on the left cheek, and one on the right (256, 256)."""
    left, right, _, mouth_left, mouth_right = landmarks
    radius = 0.22 * _span(landmarks)
    return _discs(((left + mouth_left) / 2,), radius), _discs(((right + mouth_right) / 2,), radius)


def features_mask(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Discs over each eye with its brow, and over the mouth (256, 256): what is dark there is not shade."""
    left, right, _, mouth_left, mouth_right = landmarks
    mouth = (mouth_left + mouth_right) / 2
    lift = 0.12 * ((left + right) / 2 - mouth)
    eyes = _discs((left + lift, right + lift), 0.40 * _span(landmarks))
    lips = _discs((mouth_left, mouth, mouth_right), 0.24 * _span(landmarks))
    return np.maximum(eyes, lips)


# How much each region counts when people compare faces (PerceptFace, arXiv:2509.11249, section 4.3).
REGIONS = {"brows": 0.192, "eyes": 0.223, "nose": 0.183, "mouth": 0.229, "skin": 0.174}


def region_weights(landmarks: Float[Tensor, "b 5 2"]) -> Float[Tensor, "b 1 256 256"]:
    """A mask in which each of REGIONS has its share, whatever its size."""
    maps = [_region_weights(m) for m in landmarks.cpu().numpy()]
    return torch.from_numpy(np.stack(maps)[:, None]).to(landmarks)


def _region_weights(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    left, right, nose, mouth_left, mouth_right = landmarks
    middle, mouth, span = (left + right) / 2, (mouth_left + mouth_right) / 2, _span(landmarks)
    lift = 0.3 * (middle - mouth)
    regions = {
        "eyes": _discs((left, right), 0.24 * span),
        "brows": _discs((left + lift, right + lift), 0.30 * span),
        "nose": _discs((nose, (nose + middle) / 2), 0.26 * span),
        "mouth": _discs((mouth_left, mouth, mouth_right), 0.26 * span),
        "skin": face_mask(landmarks),
    }
    weights, free = np.zeros((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32)
    for name, mask in regions.items():  # where two overlap, the first one has it
        own = mask * free
        weights += own * (REGIONS[name] / max(float(own.sum()), 1.0))
        free *= 1 - mask
    return np.asarray(gaussian_filter(weights, 2.0) / weights.max(), np.float32)


def _discs(centres: Iterable[NDArray[np.float32]], radius: float) -> NDArray[np.float32]:
    y, x = _grid()
    return np.asarray(np.any([(x - c[0]) ** 2 + (y - c[1]) ** 2 < radius**2 for c in centres], 0), np.float32)


def _span(landmarks: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(landmarks[1] - landmarks[0]))


def to_arrays(images: Float[Tensor, "b 3 h w"]) -> NDArray[np.float32]:
    """RGB in [0, 1] as arrays (B, h, w, 3) on the CPU."""
    return images.detach().permute(0, 2, 3, 1).cpu().numpy()


@cache
def _grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    return y, x
