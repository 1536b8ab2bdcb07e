"""JSON lines on standard error. Arguments of tasks are job ids; pixels and secrets are never logged."""

from __future__ import annotations

import logging
import sys

from core import logs


def configure(level: str) -> None:
    """Send structlog and the libraries' own messages to one stream."""
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s", force=True)
    # botocore and urllib3 would log request headers at DEBUG.
    for noisy in ("botocore", "urllib3", "boto3", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logs.configure(level, sys.stderr)
