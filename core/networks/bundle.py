"""A bundle: a folder of weights in diffusers' layout with a manifest. Never a pickle.

manifest.json: {"name", "licence_class", "files": {path: {"sha256", "licence", "licence_class", "trained_on"}}}. A
licence class is "clean" (made from public-domain and CC-BY data only) or "research"; the bundle's is that of its
strictest file. The packaged bundle is `mini`; another is a folder or a repository of the Hugging Face hub.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError
from core.licence import LicenceClass

PACKAGED = Path(__file__).with_name("bundle")
MANIFEST = "manifest.json"
UNUSED = {MANIFEST, "README.md"}  # by networks
# Formats that can run code when they are read.
PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


def locate(bundle: str | None) -> Path:
    """The folder of a bundle: the packaged one, a local folder, or a download of a hub repository.

    Raises:
        ConfigurationError: there is no such folder, and no such repository can be reached.
    """
    if bundle is None:
        return PACKAGED
    folder = Path(bundle).expanduser()
    if folder.is_dir():
        return folder
    # Imported late: only this way of getting weights needs the network.
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    try:
        ignored = [f"*{suffix}" for suffix in PICKLES]
        return Path(snapshot_download(bundle, ignore_patterns=ignored))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"SIDER_BUNDLE={bundle!r} is neither a folder nor a hub repository that can be reached "
            f"({type(error).__name__}); unset it to use the packaged bundle"
        ) from error


def verify(folder: Path) -> dict[str, Any]:
    """Check every file of the manifest by its sha256 and return the manifest.

    Raises:
        ConfigurationError: no or broken manifest, a missing or altered file, or a pickle.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, dict[str, str]] = manifest["files"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{folder} has no readable {MANIFEST}: {error}") from error
    for name, facts in files.items():
        path = folder / name
        if path.suffix in PICKLES or not path.resolve().is_relative_to(folder.resolve()):
            raise ConfigurationError(f"{name} of bundle {folder} is refused: only data inside it, no pickles")
        if not path.is_file() or digest(path) != facts["sha256"]:
            raise ConfigurationError(f"{name} of bundle {folder} is missing or altered; install it again")
    return manifest


def refused(folder: Path, manifest: dict[str, Any], licence_class: LicenceClass) -> frozenset[str]:
    """Files of a bundle that are not of this class; one that does not say of which it is, or that the manifest does not
    name, is not clean."""
    if licence_class is LicenceClass.research:
        return frozenset()
    files: dict[str, dict[str, str]] = manifest["files"]
    clean = {name for name, facts in files.items() if facts.get("licence_class") == LicenceClass.clean}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return frozenset((there | set(files)) - clean - UNUSED)


def digest(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
