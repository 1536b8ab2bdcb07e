"""Split aligned faces into what machines read (identity) and what people see (appearance)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label, map_coordinates, maximum, maximum_filter, mean
from skimage.color import rgb2lab
from torch import Tensor

from core.networks import Encoder, Networks
from core.networks.occlusion import Occlusion
from core.networks.parallel import Net, side_by_side
from core.networks.personas import Persona, Traits
from core.stages.align import AlignedFaces
from core.stages.colour import luminance, over_channels, to_lab
from core.stages.regions import (
    around,
    between_lips,
    cheek_masks,
    eye_distance,
    eyeballs,
    face_mask,
    face_masks,
    frame,
    region_weights,
    skin_mask,
    turn,
)

# How far from the cheeks' colour skin may be, CIELAB: chroma, and lightness where darker means hair.
CHROMA, HAIR = 18.0, 22.0
MOST = 0.5  # of a face's inside that may be covered
EDGE, HALO = 0.25, 7  # from when a pixel counts as covered; px, as far as that is seen to fade
MIDDLE = 0.75, -0.1, 1.3  # inter-ocular distances: beside nose and mouth; below the eyes, from and to
# How much less red than the cheeks teeth are, and how much darker they may be, CIELAB.
PALE, SHADED = 1.5, 20.0
# Inter-ocular distances: where eyes are looked at, to the right of them and below them, and the skin that is beside.
EYE_STEP, EYE_ACROSS, EYE_HEIGHTS = 0.016, np.linspace(-0.06, 0.06, 5), np.arange(-0.144, 0.337, 0.016)
BELOW_EYES = np.s_[-8:]
SHUT = 0.07, 0.09  # as far as shut eyes are dark from top to bottom, at most, and open ones at least
FOREHEAD = 0.42, 0.54  # inter-ocular distances above the eyes: below it are brows, above it dark is hair


@dataclass(frozen=True, slots=True)
class Identity:
    """Unit identity vectors of B faces, by encoder name, each (B, d)."""

    vectors: dict[str, Float[Tensor, "b d"]]

    def face(self, b: int) -> Identity:
        """That of one face, (1, d) by encoder."""
        return Identity({name: v[b : b + 1] for name, v in self.vectors.items()})


@dataclass(frozen=True, slots=True)
class Appearance:
    """What people see of B faces, measured coarsely enough to say nothing about who it is.

    masks: the face's interior without its fringe, 0..1 with a soft border; features: of it, what people are told apart
    by, each feature with its share; covered: where the face is not to be seen, 0..1: hair, hands, glasses, what lies
    behind a head; eyes: between open lids, 0..1; all (B, 1, 256, 256). traits: one a face. flushed: whether skin keeps
    what its colour is off by from place to place.
    """

    masks: Float[Tensor, "b 1 256 256"]
    features: Float[Tensor, "b 1 256 256"]
    covered: Float[Tensor, "b 1 256 256"]
    eyes: Float[Tensor, "b 1 256 256"]
    traits: tuple[Traits, ...]
    flushed: bool = True


def decouple(faces: AlignedFaces, networks: Networks) -> tuple[Identity, Appearance]:
    """Identity by every encoder, and appearance."""
    identity = identify(networks.encoders, faces.images, faces.landmarks)
    looks = networks.apparent.read(identity.vectors[networks.apparent.encoder])
    pictures, marks = to_arrays(faces.images), faces.landmarks.cpu().numpy()
    hair, eyes = (
        torch.from_numpy(np.stack([found(p, m)[None] for p, m in zip(pictures, marks, strict=True)])).to(faces.images)
        for found in (fringe, open_eyes)
    )
    masks = face_masks(faces.landmarks) * (1 - hair)
    hidden = torch.maximum(hair, covered(faces, masks, networks.occlusion))
    seen = zip(pictures, marks, *(look.tolist() for look in looks), hidden[:, 0].cpu().numpy(), strict=True)
    traits = tuple(traits_of(*face) for face in seen)
    return identity, Appearance(masks, masks * region_weights(faces.landmarks), hidden, eyes, traits)


def covered(
    faces: AlignedFaces, masks: Float[Tensor, "b 1 256 256"], occlusion: Occlusion
) -> Float[Tensor, "b 1 256 256"]:
    """Where a network finds that faces are not to be seen, 0..1; nowhere if it finds that of most of their insides.

    It has learned from drawn things. If it takes an eye for glasses the source's eye stays: so `masks`, by which looks
    are judged, do not go by what it finds.
    """
    seen = zip(occlusion.covered(faces.images)[:, 0].cpu().numpy(), faces.landmarks.cpu().numpy(), strict=True)
    found = torch.from_numpy(np.stack([without_shadows(*face)[None] for face in seen])).to(masks)
    share = (found * masks).sum((1, 2, 3), keepdim=True) / masks.sum((1, 2, 3), keepdim=True)
    return found * (share < MOST)


def without_shadows(found: NDArray[np.float32], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """What was found to cover a face (256, 256), 0..1, without islands around nose and mouth.

    A thing in front of a face comes from beside it, or hangs over its forehead. These are a nose's shadow in hard light
    and painted lips.
    """
    parts, count = label(found > EDGE)
    if not count:
        return found
    x, y = frame(landmarks)
    islands = np.arange(1, count + 1)
    widest, lowest, middle = maximum(np.abs(x), parts, islands), maximum(y, parts, islands), mean(y, parts, islands)
    shadows = islands[(widest < MIDDLE[0]) & (lowest < MIDDLE[2]) & (middle > MIDDLE[1])]
    return np.asarray(found * (1 - maximum_filter(np.isin(parts, shadows), HALO)), np.float32)


def identify(
    encoders: tuple[Encoder, ...], images: Float[Tensor, "b 3 h w"], landmarks: Float[Tensor, "b 5 2"]
) -> Identity:
    """Identity vectors of each encoder, mean over the face and its mirror image."""
    return Identity({e.name: e.identity(images, landmarks) for e in encoders})


def identify_personas(encoders: Iterable[Encoder], personas: Sequence[Persona]) -> Identity:
    """As `identify`, of personas as they are."""
    return Identity({e.name: e.recall(personas) for e in encoders})


def cosines(
    encoders: tuple[Encoder, ...], images: Tensor, landmarks: Tensor, identity: Identity
) -> Float[Tensor, "k n b"]:
    """Cosine of each encoder between n versions of b images, one after the other, and their identities."""
    return similarity(embed(encoders, images, landmarks), identity)


def embed(encoders: tuple[Encoder, ...], images: Tensor, landmarks: Tensor) -> Identity:
    """What each encoder reads in images. Differentiable to them."""
    vectors = side_by_side([partial(e.embed, landmarks=landmarks) for e in encoders], [images] * len(encoders))
    return Identity({e.name: v for e, v in zip(encoders, vectors, strict=True)})


def embed_beside(
    encoders: Sequence[Encoder], images: Tensor, landmarks: Tensor, look: Net, shown: Tensor
) -> tuple[Identity, Tensor]:
    """As `embed`, and what people see of pictures, which is worked out beside what machines read."""
    nets: list[Net] = [*(partial(e.embed, landmarks=landmarks) for e in encoders), look]
    *vectors, seen = side_by_side(nets, [*(images for _ in encoders), shown])
    return Identity({e.name: v for e, v in zip(encoders, vectors, strict=True)}), seen


def similarity(read: Identity, identity: Identity) -> Float[Tensor, "k n b"]:
    """Cosine by each encoder that has read n versions of b faces, one after the other, and these faces' identities."""
    own = ((vectors, identity.vectors[name]) for name, vectors in read.vectors.items())
    return torch.stack([(vectors.view(-1, *v.shape) * v).sum(-1) for vectors, v in own])


def thresholds(encoders: Sequence[Encoder], far: float) -> Float[Tensor, "k 1 1"]:
    """The cosine of each encoder at this false-accept rate, for what `similarity` says."""
    return torch.stack([e.centre.new_tensor(e.thresholds[far]) for e in encoders])[:, None, None]


def traits_of(
    picture: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    presentation: float,
    age: float,
    covered: NDArray[np.float32] | None = None,
) -> Traits:
    """Traits of one aligned face, RGB in [0, 1] (256, 256, 3), by what of it is not `covered` (256, 256), 0..1."""
    left, right, _, mouth_left, mouth_right = landmarks
    eyes, mouth, span = (left + right) / 2, (mouth_left + mouth_right) / 2, eye_distance(landmarks)
    lab = rgb2lab(picture)
    bare = np.ones_like(lab[..., 0]) if covered is None else 1 + 1e-6 - around(covered)  # never none
    mask = face_mask(landmarks) * bare
    tone = (lab * mask[..., None]).sum((0, 1)) / mask.sum()
    fine = lab[..., 0] - gaussian_filter(lab[..., 0] * bare, 2.5) / gaussian_filter(bare, 2.5)
    # The cheeks and the brow above the nose: skin, without eyes, nostrils and mouth.
    skin = mask * skin_mask(landmarks)
    cheeks = [float(np.average(lab[..., 0], weights=cheek * bare)) for cheek in cheek_masks(landmarks)]
    pale = lab - np.median(lab[skin > skin.max() / 2], 0)
    teeth = (pale[..., 1] < -PALE) & (pale[..., 0] > -SHADED) & (bare > 0.5)
    texture = np.log(np.sqrt((fine**2 * skin).sum() / skin.sum()) + 0.3)
    return Traits(
        presentation=round(presentation, 4),
        age=round(age, 1),
        tone=(round(float(tone[0]), 2), round(float(tone[1]), 2), round(float(tone[2]), 2)),
        yaw=round(turn(landmarks), 4),
        smile=round(float(np.linalg.norm(mouth_right - mouth_left) / span), 4),
        drop=round(float(np.linalg.norm(mouth - eyes) / span), 4),
        teeth=round(float(teeth[between_lips(landmarks) > 0].mean()), 4),
        texture=round(float(texture), 4),
        light=round(cheeks[1] - cheeks[0], 2),
    )


def mean_traits(several: Iterable[Traits]) -> Traits:
    """What is common to several photos of a person."""
    rows = list(several)
    means = {f.name: np.mean([getattr(t, f.name) for t in rows], 0).tolist() for f in fields(Traits)}
    return Traits(**means | {"tone": tuple(means["tone"])})


def skin_colour(image: NDArray[np.float32], landmarks: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """Of the cheeks and between the brows, CIELAB: the light that a photo is taken in colours it as all else."""
    return np.asarray(np.median(to_lab(image[skin_mask(landmarks) > 0]), 0))


def skin_likeness(image: NDArray[np.float32], landmarks: NDArray[np.float32], lightness: float) -> NDArray[np.float32]:
    """How much each pixel has the colour of the cheeks, 0..1; `lightness` is how much darker skin may be (CIELAB)."""
    off = (rgb2lab(image) - skin_colour(image, landmarks)) / (lightness, CHROMA, CHROMA)
    return np.asarray(np.exp(-over_channels(np.add, np.square(off))), np.float32)


def fringe(image: NDArray[np.float32], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Hair over the forehead (256, 256), 0..1: it stays, or a persona's forehead would end it in mid-air."""
    return hair_above(skin_likeness(image, landmarks, HAIR), landmarks)


def hair_above(likeness: NDArray[np.float32], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """`fringe` of a face whose `skin_likeness` is known, with skin up to HAIR darker."""
    height = -frame(landmarks)[1]
    above = np.clip((height - FOREHEAD[0]) / (FOREHEAD[1] - FOREHEAD[0]), 0, 1)
    bald = gaussian_filter(likeness, 1.5)
    return np.asarray(gaussian_filter(np.clip(4 * (0.55 - bald), 0, 1) * above, 1.5), np.float32)


def open_eyes(image: NDArray[np.float32], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where eyes show between their lids (256, 256), 0..1; nowhere if they are shut.

    Of a shut eye no more is dark than a line of lashes. Whoever looks far aside or wears dark glasses may be taken for
    one who shuts his eyes, too.
    """
    light, right = luminance(image), landmarks[1] - landmarks[0]
    down, steps = np.array((-right[1], right[0])), len(EYE_HEIGHTS)
    tall = []
    for eye in landmarks[:2]:
        x, y = (eye + EYE_ACROSS[:, None, None] * right + EYE_HEIGHTS[:, None] * down).T
        found = map_coordinates(light, (y, x), order=1, mode="nearest")
        profile, cheek = found.mean(1), np.median(found[BELOW_EYES])
        middle = steps // 4 + int(np.argmin(profile[steps // 4 : steps // 2]))
        dark, _ = label(profile < (profile[middle] + cheek) / 2)
        tall.append(float((dark == dark[middle]).sum()) * EYE_STEP if dark[middle] else 0.0)
    return eyeballs(landmarks) * np.float32(np.clip((np.mean(tall) - SHUT[0]) / (SHUT[1] - SHUT[0]), 0, 1))


def to_arrays(images: Float[Tensor, "b 3 h w"]) -> NDArray[np.float32]:
    """RGB in [0, 1] as arrays (B, h, w, 3) on the CPU."""
    return images.detach().permute(0, 2, 3, 1).cpu().numpy()
