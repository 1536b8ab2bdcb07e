"""All networks of one process: loaded once, frozen, on one device."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import nn

from core.errors import ConfigurationError
from core.licence import LicenceClass
from core.networks import apparent, dlib, facenet, generator, occlusion, personas, students
from core.networks import bundle as bundles
from core.networks.apparent import Apparent
from core.networks.autoencoder import PatchAutoencoder
from core.networks.denoiser import Denoiser
from core.networks.detector import Detector
from core.networks.encoder import Encoder
from core.networks.generator import Generator
from core.networks.occlusion import Occlusion
from core.networks.personas import Persona
from core.networks.settle import settled

__all__ = ["Detector", "Encoder", "Networks", "Persona"]

logger = logging.getLogger(__name__)

NEEDED = {"autoencoder", "occlusion", "personas", apparent.FILE}
AUTOENCODERS = {c.__name__: c for c in (PatchAutoencoder, AutoencoderTiny, AutoencoderKL)}


@dataclass(frozen=True, slots=True)
class Networks:
    """What the stages and methods draw on. `missing` maps an absent encoder to how to get it."""

    device: torch.device
    bundle: str
    detector: Detector
    autoencoder: nn.Module
    encoders: tuple[Encoder, ...]
    personas: tuple[Persona, ...]
    apparent: Apparent
    denoiser: Denoiser | None
    generator: Generator | None
    occlusion: Occlusion
    missing: dict[str, str]

    @classmethod
    def load(
        cls,
        bundle: str | None = None,
        device: str | None = None,
        licence_class: LicenceClass = LicenceClass.research,
    ) -> Networks:
        """Load and verify a bundle; encoders whose weights are elsewhere are used where they can be had.

        Args:
            bundle: folder or hub repository; None is the packaged bundle.
            device: a torch device; None is cuda where there is one, else cpu.
            licence_class: `clean` takes nothing but clean weights.

        Raises:
            ConfigurationError: a part that nothing can do without is missing, altered or not of this class, or parts
                do not fit one another.
        """
        folder = bundles.locate(bundle)
        manifest = bundles.verify(folder)
        refused = bundles.refused(folder, manifest, licence_class)
        spoilt = {name.split("/")[0] for name in refused}
        if lost := sorted(spoilt & NEEDED):
            raise ConfigurationError(
                f"{lost[0]} of bundle {folder} is not clean; SIDER_LICENCE_CLASS=research takes it"
            )
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        encoders, missing = _encoders(folder / "encoders", place, licence_class, refused)
        if not any(encoder.role == "surrogate" for encoder in encoders):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
            raise ConfigurationError(f"no surrogate encoder can be loaded ({reasons or 'the bundle calibrates none'})")
        for name, reason in missing.items():
            logger.info("encoder %s is not used: %s", name, reason)
        networks = cls(
            device=place,
            bundle=str(manifest.get("name", folder.name)) + ("-clean" if refused else ""),
            detector=Detector(place),
            autoencoder=_autoencoder(folder / "autoencoder", place),
            encoders=encoders,
            personas=personas.load(folder / "personas"),
            apparent=Apparent.load(folder, place),
            denoiser=None if "denoiser" in spoilt else Denoiser.load(folder / "denoiser", place),
            generator=None if "generator" in spoilt else generator.load(folder / "generator", place),
            occlusion=occlusion.load(folder / "occlusion", place),
            missing=missing,
        )
        networks._check()
        return networks

    def _check(self) -> None:
        """Refuse parts that were not made for one another (ConfigurationError)."""
        has = _facts(self.autoencoder)["latent_channels"]
        made_for = {
            "generator": self.generator and _facts(self.generator)["latent_channels"],
            "denoiser": self.denoiser and _facts(self.denoiser.unet)["in_channels"],
        }
        for name, channels in made_for.items():
            if channels not in (None, has):
                raise ConfigurationError(
                    f"the {name} of bundle {self.bundle} was made for latents of {channels} channels, its autoencoder "
                    f"makes {has}; leave the {name} out of the bundle, or train it for this autoencoder"
                )
        reader = next((e for e in self.encoders if e.name == self.apparent.encoder), None)
        if reader is None:
            raise ConfigurationError(
                f"{apparent.FILE} of bundle {self.bundle} needs {self.apparent.encoder}, which is not there"
            )
        if any(line.weight.shape != reader.centre.shape for line in (self.apparent.presentation, self.apparent.age)):
            raise ConfigurationError(f"{apparent.FILE} of bundle {self.bundle} was made for another {reader.name}")

    @property
    def surrogates(self) -> tuple[Encoder, ...]:
        """The encoders that an optimiser may see."""
        return tuple(e for e in self.encoders if e.role == "surrogate")

    @property
    def referees(self) -> tuple[Encoder, ...]:
        """The encoders that are only asked."""
        return tuple(e for e in self.encoders if e.role == "referee")


def _facts(net: nn.Module) -> Mapping[str, Any]:
    """What a network of diffusers was made with."""
    return cast(Mapping[str, Any], net.config)


def _autoencoder(folder: Path, device: torch.device) -> nn.Module:
    try:
        name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["_class_name"]
        net: nn.Module = AUTOENCODERS[name].from_pretrained(folder, use_safetensors=True, low_cpu_mem_usage=False)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"the autoencoder in {folder} cannot be loaded: {error}") from error
    return settled(net).to(device)


def _encoders(
    folder: Path, device: torch.device, licence_class: LicenceClass, refused: frozenset[str]
) -> tuple[tuple[Encoder, ...], dict[str, str]]:
    """Every encoder that has a calibration file and weights, and the reasons for the others.

    Those that stand in for others, which are better and not clean, are used where these are refused.
    """
    found, missing = [], {}
    for path in sorted(folder.glob("*.json")):
        try:
            facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if facts.get("stand_in") and licence_class is LicenceClass.research:
                continue
            # What facenet learned from is for research, whatever a manifest says of its calibration.
            spoilt = path.stem in facenet.FILES and licence_class is LicenceClass.clean
            if spoilt or refused & {f"{folder.name}/{path.name}", f"{folder.name}/{path.stem}.safetensors"}:
                missing[path.stem] = "it is not clean; SIDER_LICENCE_CLASS=research takes it"
                continue
            net = _weights(path, facts)
            if net is None:
                missing[path.stem] = f"its weights are not here; fetch them: sider doctor --download {path.stem}"
            else:
                found.append(Encoder.calibrated(path.stem, net, facts).requires_grad_(False).to(device))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"the encoder calibrated in {path} cannot be loaded: {error!r}") from error
    return tuple(found), missing


def _weights(calibration: Path, facts: dict[str, Any]) -> nn.Module | None:
    name = calibration.stem
    if name == "dlib":
        return dlib.load(dlib.packaged_file())
    if name in facenet.FILES:
        path = facenet.weights_file(name)
        return facenet.load(path) if path else None
    return students.load(calibration.with_suffix(".safetensors"), facts["family"], len(facts["centre"]))
