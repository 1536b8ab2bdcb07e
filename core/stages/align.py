"""Find the faces of a photo, cut them out upright, and put them back.

`crop` and `paste` are an inverse pair: `paste` of an unchanged crop changes no pixel (of a `whole` head it resamples
them), and outside the feathered face box none is changed whatever is pasted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core.errors import NoFaceFound, RequestRefused
from core.networks import Detector, warp
from core.objectives import box_means
from core.stages.validate import Photo
from core.vault.restoration import Box

MAX_FACES = 16  # of a photo
SIDE = 256  # px, side of an aligned face
# Where the five landmarks of an average face land in it, px (CelebA-HQ/FFHQ-like).
TEMPLATE = ((96.3, 119.8), (160.5, 119.8), (127.7, 160.1), (99.6, 187.5), (157.1, 187.3))
FEATHER = 14.0  # px of the aligned face over which a paste fades out towards the border
DETECT_SIDE = 1280  # px; larger photos are shrunk for detection only, in which a fortieth of that is found for sure
REDRAWN = 2 / 255  # mean change around a pixel beyond which the photo's own detail has no place there any more
AROUND = 8  # px, on each side
MIN_FACE = 32  # px of the photo, inter-ocular distance times two: smaller faces carry no identity


@dataclass(frozen=True, slots=True)
class AlignedFaces:
    """Faces of one photo.

    photo: where they are. images: RGB in [0, 1] (B, 3, 256, 256). landmarks: (B, 5, 2) px in them.
    matrices: (B, 2, 3), photo px -> aligned px. boxes: (x, y, width, height) in the photo, which a paste may change.
    whole: whether a paste brings back the whole head, resampled, and not only what has changed: for faces that are to
    be hidden and still look the same, because the sharp outline and hair of a photo tell machines much.
    """

    photo: Photo
    images: Float[Tensor, "b 3 256 256"]
    landmarks: Float[Tensor, "b 5 2"]
    matrices: Float[Tensor, "b 2 3"]
    boxes: tuple[Box, ...]
    whole: bool = False

    def __len__(self) -> int:
        return len(self.images)

    def face(self, b: int) -> AlignedFaces:
        """One of them, as if it were alone."""
        one = slice(b, b + 1)
        images, landmarks, matrices = self.images[one], self.landmarks[one], self.matrices[one]
        return AlignedFaces(self.photo, images, landmarks, matrices, self.boxes[one], self.whole)


def align(photo: Photo, detector: Detector, device: torch.device, faces: str = "all") -> AlignedFaces:
    """All faces of the photo, largest first ("all"), or only the first of these ("largest").

    Raises:
        NoFaceFound: none is found that is large enough.
        RequestRefused: there are more than MAX_FACES.
    """
    landmarks = find(photo, detector)
    if faces == "largest":
        landmarks = landmarks[:1]
    if len(landmarks) > MAX_FACES:
        raise RequestRefused(f"{len(landmarks)} faces; at most {MAX_FACES}: send crops, or faces=largest")
    template = torch.tensor(TEMPLATE)
    matrices = warp.similarity(landmarks, template).to(device)
    boxes = tuple(_box(m, photo.height, photo.width) for m in warp.invert(matrices.cpu()))
    images = crop(photo, matrices, boxes)
    marks = detector.refine(images, warp.move(landmarks.to(device), matrices))
    return AlignedFaces(photo, images, marks, matrices, boxes)


def find(photo: Photo, detector: Detector) -> Float[Tensor, "n 5 2"]:
    """Five landmarks of every face, px of the photo, largest face first.

    Raises:
        NoFaceFound: none is found that is large enough.
    """
    scale = min(1.0, DETECT_SIDE / max(photo.height, photo.width))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    small = np.asarray(Image.fromarray(photo.pixels).resize(size, Image.Resampling.BOX))
    ratio = np.array([photo.width / size[0], photo.height / size[1]])
    # Pixel centres: (0, 0) of the small photo is not (0, 0) of the large one.
    landmarks = (detector(small) + 0.5) * ratio - 0.5
    spans = np.linalg.norm(landmarks[:, 1] - landmarks[:, 0], axis=-1) if len(landmarks) else np.zeros(0)
    large = [i for i in np.argsort(-spans) if 2 * spans[i] >= MIN_FACE]
    if not large:
        least, shape = round(MIN_FACE / scale), f"a photo of {photo.width} x {photo.height} px"
        if least > min(photo.height, photo.width):
            raise NoFaceFound(
                f"no face was found in {shape}, which is too narrow for its length: once it is shrunk for the search, "
                f"only faces of {least} px or more are found; send the part of it with the faces"
            )
        raise NoFaceFound(
            f"no face of {least} px or more ({2 * least} px if it lies on its side) was found in {shape}; send a "
            "sharper, closer or better lit photo"
        )
    return torch.tensor(landmarks[large], dtype=torch.float32)


def crop(photo: Photo, matrices: Float[Tensor, "b 2 3"], boxes: tuple[Box, ...]) -> Float[Tensor, "b 3 256 256"]:
    """Aligned faces, RGB in [0, 1]; beyond the photo its border pixels go on."""
    faces = []
    for matrix, box in zip(matrices, boxes, strict=True):
        patch, local = _patch(photo.pixels, matrix, box)
        faces.append(warp.sample(patch, local[None], (SIDE, SIDE), padding="border"))
    return torch.cat(faces)


def paste(faces: AlignedFaces, images: Float[Tensor, "b 3 256 256"]) -> Photo:
    """The photo with its faces changed to `images`, RGB in [0, 1]; small faces first, so that large ones win."""
    original, pixels = faces.photo.pixels, faces.photo.pixels.copy()
    for i in reversed(range(len(faces))):
        x, y, w, h = faces.boxes[i]
        here = np.s_[y : y + h, x : x + w]
        # Heads that touch: what is beside this face in its crop would bring back the other one as it was.
        own = (pixels[here] == original[here]).all(-1)
        place = Place(pixels, faces.images[i], faces.matrices[i], faces.boxes[i], faces.whole & own)
        pixels[here] = place.pasted(images[i])
    return replace(faces.photo, pixels=pixels)


class Stored:
    """What a reader of the pasted 8-bit photo sees of other images: each pasted into its face's own box and cut out
    again.

    Where the photo has several pixels for one of the aligned face they are taken together first: all those of a
    selfie would take a second, and a search looks many times.

    images: the faces as they are.
    """

    def __init__(self, faces: AlignedFaces) -> None:
        self.images, self.places = faces.images, []
        for before, matrix, (x, y, w, h) in zip(faces.images, faces.matrices, faces.boxes, strict=True):
            k = max(1, min(w, h) // SIDE)
            pixels = np.array(Image.fromarray(faces.photo.pixels[y : y + h, x : x + w]).reduce(k))
            # The first of the pixels that were taken together has its centre at (k - 1) / 2.
            first = matrix.new_tensor((x + (k - 1) / 2, y + (k - 1) / 2))
            local = torch.cat((k * matrix[:, :2], (matrix[:, 2] + matrix[:, :2] @ first)[:, None]), 1)
            box = 0, 0, pixels.shape[1], pixels.shape[0]
            self.places.append(Place(pixels, before, local, box, np.full(pixels.shape[:2], faces.whole)))

    def __call__(self, images: Float[Tensor, "b 3 256 256"]) -> Float[Tensor, "b 3 256 256"]:
        """RGB in [0, 1]."""
        return torch.cat([place.stored(image) for place, image in zip(self.places, images, strict=True)])


def stored(faces: AlignedFaces, images: Float[Tensor, "b 3 256 256"]) -> Float[Tensor, "b 3 256 256"]:
    """`Stored`, for a single look."""
    return Stored(faces)(images)


class Place:
    """A face in a picture, where images of it are pasted; what all of these have in common is worked out once.

    before: the face as it is, (3, 256, 256). patch: its box in the picture, (1, 3, h, w), of which `matrix` leads to
    the aligned face. shown: `before` in the patch. alpha: how far a paste counts there. whole: where the picture's own
    pixels go even if nothing changes, (h, w).
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        before: Float[Tensor, "3 256 256"],
        matrix: Tensor,
        box: Box,
        whole: NDArray[np.bool_],
    ) -> None:
        self.before, self.whole = before, torch.from_numpy(whole).to(before)
        self.patch, self.matrix = _patch(pixels, matrix, box)
        self.back, self.size = warp.invert(self.matrix[None]), (self.patch.shape[2], self.patch.shape[3])
        self.shown, self.alpha = self._laid((before, feather_mask().to(before)))

    def pasted(self, image: Float[Tensor, "3 256 256"]) -> NDArray[np.uint8]:
        """The pixels of the box, (h, w, 3), with this image for the face.

        Where nothing has changed the picture's own pixels stay: resampled, hair and all around it would be soft.
        """
        face, redrawn = self._laid((image, _redrawn(image - self.before)))
        change = face - self.shown - redrawn.maximum(self.whole) * (self.patch - self.shown)
        mixed = (self.patch + self.alpha * change)[0].clamp(0, 1).mul(255).round().byte()
        return mixed.permute(1, 2, 0).cpu().numpy()

    def stored(self, image: Float[Tensor, "3 256 256"]) -> Float[Tensor, "1 3 256 256"]:
        """The aligned face as it is read off these pixels, RGB in [0, 1]."""
        height, width = self.size
        return crop(Photo(self.pasted(image)), self.matrix[None], ((0, 0, width, height),))

    def _laid(self, layers: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Layers of the aligned face where they come to lie in the patch."""
        whole = warp.sample(torch.cat(layers, 0)[None], self.back, self.size)
        first, second = whole.split([len(layer) for layer in layers], 1)
        return first, second


def _redrawn(change: Float[Tensor, "3 256 256"]) -> Float[Tensor, "1 256 256"]:
    """How far a face is another one around each pixel, 0..1: the photo's own detail would draw the old one there."""
    around = box_means(change.abs().amax(0)[None, None], 2 * AROUND + 1, 1, AROUND)[0]
    return (around / REDRAWN).clamp(0, 1)


def feather_mask() -> Float[Tensor, "1 256 256"]:
    """1 inside, 0 in the outermost two pixels, a smooth step of FEATHER px between."""
    ramp = torch.arange(SIDE, dtype=torch.float32)
    edge = torch.minimum(ramp, SIDE - 1 - ramp)
    step = ((edge - 1) / FEATHER).clamp(0, 1)
    step = step * step * (3 - 2 * step)
    return (step[:, None] * step[None, :])[None]


def _box(back: Tensor, height: int, width: int) -> Box:
    """The upright rectangle of the photo that holds an aligned face; back: aligned px -> photo px."""
    corners = torch.tensor([[[0.0, 0.0], [SIDE - 1.0, 0.0], [0.0, SIDE - 1.0], [SIDE - 1.0, SIDE - 1.0]]])
    points = warp.move(corners, back[None])[0]
    left, top = points.amin(0).floor().long().tolist()
    right, bottom = points.amax(0).ceil().long().tolist()
    x, y = min(max(0, left), width - 1), min(max(0, top), height - 1)
    return x, y, min(width, right + 1) - x, min(height, bottom + 1) - y


def _patch(
    pixels: NDArray[np.uint8], matrix: Tensor, box: Box
) -> tuple[Float[Tensor, "1 3 h w"], Float[Tensor, "2 3"]]:
    """The box as an image, and the matrix box px -> aligned px: sampling never touches the whole photo."""
    x, y, w, h = box
    cut = torch.from_numpy(pixels[y : y + h, x : x + w].copy()).to(matrix.device)
    local = matrix.clone()
    local[:, 2] += matrix[:, :2] @ matrix.new_tensor((float(x), float(y)))
    return cut.permute(2, 0, 1)[None].float() / 255, local
