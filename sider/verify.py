"""Was a picture made by this service?"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from core.jobs import database
from core.jobs.photos import Photos
from core.settings import Settings
from core.vault import provenance
from core.vault.keyring import Keyring
from sider.files import read_made


def verify(settings: Settings, path: Path, console: Console) -> int:
    """Look for a picture among those of all tenants; 0 if it was made here, else 1."""
    seen = read_made(path)
    engine = database.connect(settings.database_url)
    made = Photos(engine).made(provenance.candidates(seen.sha256, Keyring.open(settings.keyring_file)), tenant=None)
    engine.dispose()
    for photo, variant in made:
        console.print(f"{photo.id} v{variant} of {photo.tenant}, {photo.created_at:%Y-%m-%d %H:%M}", highlight=False)
    if not made:
        console.print("not made here, or changed since, or erased")
    return 0 if made else 1
