"""The service from Python: `Client` and `AsyncClient`; `receive` for its webhooks.

Errors are those of core.errors, each with the stable `code` of the service's problem. Needs httpx2 and pydantic only.
"""

from core.errors import (
    AccessDenied,
    NoFaceFound,
    NotFound,
    PhotoRefused,
    PromiseNotMet,
    RequestRefused,
    RestoreDenied,
    SiderError,
    StateConflict,
    TooMany,
    Unavailable,
)
from core.jobs.states import State
from sider.client.models import Accepted, AcceptedBatch, Announcement, Batch, Erased, Job, Photo, Progress, Verified
from sider.client.shells import AsyncClient, Client
from sider.client.webhooks import receive

__all__ = [
    "Accepted",
    "AcceptedBatch",
    "AccessDenied",
    "Announcement",
    "AsyncClient",
    "Batch",
    "Client",
    "Erased",
    "Job",
    "NoFaceFound",
    "NotFound",
    "Photo",
    "PhotoRefused",
    "Progress",
    "PromiseNotMet",
    "RequestRefused",
    "RestoreDenied",
    "SiderError",
    "State",
    "StateConflict",
    "TooMany",
    "Unavailable",
    "Verified",
    "receive",
]
