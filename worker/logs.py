"""JSON lines on standard error. Arguments of tasks are job ids; pixels and secrets are never logged."""

from __future__ import annotations

import logging
import sys

from core import logs


def configure(level: str) -> None:
    """Send structlog and the libraries' own messages to one stream."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logs.of_libraries())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # botocore and urllib3 would log request headers at DEBUG.
    for noisy in ("botocore", "urllib3", "boto3", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logs.configure(level, sys.stderr)
