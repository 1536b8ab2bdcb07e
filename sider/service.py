"""The service that a command is for."""

from __future__ import annotations

from pathlib import Path

from core.settings import Settings
from deploy import folder


def settings_of(data: Path) -> Settings:
    """What the environment says, if it names a database; else the local service that keeps its data in `data`.

    Raises:
        ConfigurationError: neither is there. Keys in a new, empty table would open nothing.
    """
    settings = Settings()
    return settings if "database_url" in settings.model_fields_set else folder.of_running(data)
