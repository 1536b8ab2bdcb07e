"""What the service answers. Fields of later releases are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypedDict

from pydantic import BaseModel, Field

from core.jobs.states import State


class JobOptions(TypedDict, total=False):
    """expires_in: seconds until the job ends unfinished. webhook_url: https, gets a signed message at its end."""

    expires_in: int
    webhook_url: str


class ProtectOptions(JobOptions, total=False):
    """Without a password (and custody other than `server`) a restore code is returned, once."""

    password: str
    custody: Literal["server", "split", "caller"]
    method: str
    preset: str
    variants: int
    seed: int
    faces: Literal["all", "largest"]
    presentation: Literal["keep", "feminine", "masculine", "any"]
    age: Literal["keep", "young", "middle", "old", "any"]


class Accepted(BaseModel):
    """A job that will end exactly once."""

    job_id: str
    photo_id: str
    state: State
    restore_code: str | None = Field(None, repr=False)


class AcceptedBatch(BaseModel):
    """Jobs of photos that were sent together, in their order, under one password or restore code."""

    batch_id: str
    jobs: list[Accepted]
    restore_code: str | None = Field(None, repr=False)


class Progress(BaseModel):
    """How far a job is: `progress` from 0 to 1."""

    job_id: str
    kind: str
    state: State
    step: str
    progress: float
    attempt: int
    created_at: datetime
    finished_at: datetime | None
    problem_code: str | None = None


class Job(Progress):
    """A job with what came of it. `result` of a restore has a link to the original, which only one answer has."""

    photo_id: str | None
    position: int | None
    expires_at: datetime | None
    started_at: datetime | None
    result: dict[str, Any] | None = Field(repr=False)
    problem: dict[str, Any] | None


class JobPage(BaseModel):
    """Newest first; `next` is the cursor of the following page."""

    jobs: list[Progress]
    next: str | None


class BatchJob(Progress):
    """A job of a batch."""

    photo_id: str


class Batch(BaseModel):
    """Jobs of photos that were sent together, in their order; `counts` has those of each state that there are."""

    batch_id: str
    counts: dict[State, int]
    jobs: list[BatchJob]


class Variant(BaseModel):
    """A protected picture; who has the link needs no key, and it soon expires."""

    name: str
    link: str = Field(repr=False)


class Photo(BaseModel):
    """A photo in the service's care; `report` is the promise as measured."""

    photo_id: str
    job_id: str
    state: State
    method: str
    preset: str
    custody: str
    created_at: datetime
    protected_at: datetime | None
    variants: list[Variant]
    report: dict[str, Any] | None
    problem: dict[str, Any] | None


class Output(BaseModel):
    """A variant of a protected photo."""

    photo_id: str
    name: str
    protected_at: datetime | None


class Verified(BaseModel):
    """Whether a picture was made by the service, and of which photos of this tenant."""

    made_here: bool
    outputs: list[Output]


class Erased(BaseModel):
    """Receipt of an erasure."""

    photo_id: str
    erased_at: datetime
    key_destroyed: bool
    objects_deleted: int


class Announcement(BaseModel):
    """What a webhook tells: which job ended how. The same may come twice, under the same `message_id`."""

    message_id: str
    job_id: str
    photo_id: str
    kind: str
    state: State
    problem_code: str | None
    batch_id: str | None = None
