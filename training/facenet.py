"""FaceNet (Schroff et al. 2015), as facenet-pytorch has it: the one teacher that is no network of margins in 112 px.

Its 24 million parameters learned the names of VGGFace2's people from photos of 160 px (D. Sandberg's release of 2018).
SIDER_FACENET names the file of its weights: where facenet-pytorch's releases can be reached,
`sider doctor --download facenet-vggface2` fetches it into torch's folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from core.networks.encoder import Encoder
from training.encoders import as_facenet

NAME, ROLE, VARIABLE = "facenet", "teacher", "SIDER_FACENET"


def load() -> Encoder | None:
    """The network without thresholds, if SIDER_FACENET names its weights.

    Raises:
        ConfigurationError: the file holds something else.
    """
    if not (file := os.environ.get(VARIABLE)):
        return None
    return as_facenet(NAME, Path(file), ROLE).requires_grad_(False)
