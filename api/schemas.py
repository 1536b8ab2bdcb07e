"""What travels over HTTP."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from core import methods
from core.jobs.states import State
from core.jobs.tables import Job
from core.jobs.webhooks import MAX_URL
from core.looks import Age, Faces, Presenting
from core.vault.custody import Custody

JOB = "job_3f0c9a6d2b7e4c1f8a5d0e9b6c3f7a12"
BATCH = "bat_5e8a1c4f7b0e3d6a9b1d4e7a0c3f6b2e"
PHOTO = "pho_9b1d4e7a0c3f6b2e5d8a1c4f7b0e3d6a"

MethodName = StrEnum("MethodName", {name: name for name in methods.names()})  # type: ignore[misc]


class JobForm(BaseModel):
    """What every job may ask for. A field that is not known is refused: it may be a password with its name misspelt."""

    model_config = ConfigDict(extra="forbid")

    expires_in: int | None = Field(
        None, ge=10, le=86_400, description="seconds; a job that is not finished by then ends `expired`"
    )
    webhook_url: str | None = Field(
        None, max_length=MAX_URL, description="https; gets a signed message when the job has ended (Standard Webhooks)"
    )


class ProtectForm(JobForm):
    """The form of `POST /protect`."""

    photo: list[UploadFile] = Field(description="JPEG, PNG or WebP; several become one batch")
    method: MethodName = MethodName("sider")
    preset: str = Field("standard", max_length=32, examples=["standard"])
    variants: int = Field(1, ge=1, le=16, description="different protected faces of the same photo")
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="the same request with the same seed gives the same faces"
    )
    faces: Faces = Faces.all
    presentation: Presenting = Field(
        Presenting.keep,
        description="gender presentation of the new face; not for methods that keep the look (`cloak`, `perceptface`)",
    )
    age: Age = Field(
        Age.keep,
        description="how old the new face looks: as the photo's, `young` (up to 35), `middle` (to 50), `old`, or any; "
        "not for methods that keep the look",
    )
    password: SecretStr | None = Field(None, description="needed to restore; without one a code is returned once")
    custody: Custody = Field(
        Custody.SPLIT,
        description="what restoring takes: `server` the service alone, without a password; `split` the service and the "
        "password (or code); `caller` the password (16 characters or more, or the code) alone",
    )


class RestoreForm(JobForm):
    """The form of `POST /restore`."""

    photo_id: str = Field(pattern="^pho_[0-9a-f]{32}$", examples=[PHOTO])
    reason: str = Field(
        min_length=3, max_length=200, description="kept in the audit log", examples=["dispute 4711"],
        pattern=r"^[^\x00]*$",  # which PostgreSQL keeps and then cannot read
    )  # fmt: skip
    password: SecretStr | None = Field(None, description="the password or restore code; none in custody `server`")
    photo: UploadFile | None = Field(
        None, description="the protected file; without it the stored first variant is used"
    )


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    model_config = ConfigDict(extra="allow")


class Accepted(BaseModel):
    """The job was accepted and will end exactly once; follow `Location`."""

    job_id: str
    photo_id: str
    state: State
    restore_code: str | None = Field(
        None,
        description="Only when no password was given, and only in this answer: keep it, it is shown once. The same "
        "request, sent again under its Idempotency-Key within 24 hours, is told it again.",
    )
    model_config = ConfigDict(
        json_schema_extra={"example": {"job_id": JOB, "photo_id": PHOTO, "state": "queued", "restore_code": None}}
    )


class AcceptedBatch(BaseModel):
    """All photos were accepted, each as a job that will end exactly once; follow `Location`.

    `jobs` are in the order of the photos; password or restore code are the same for all.
    """

    batch_id: str
    jobs: list[Accepted]
    restore_code: str | None = Field(None, description="as of a single photo, once for all")
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "batch_id": BATCH, "restore_code": None,
                "jobs": [{"job_id": JOB, "photo_id": PHOTO, "state": "queued", "restore_code": None}],
            }
        }
    )  # fmt: skip


Acceptance = Accepted | AcceptedBatch


class JobView(BaseModel):
    """A job. `result` is there when it succeeded, `problem` when it failed or expired.

    Once the photo is erased, the result is null and of a problem only the code and its words are left.
    """

    job_id: str
    photo_id: str | None = Field(description="null for keys that may only watch")
    kind: str
    state: State
    step: str
    progress: float = Field(ge=0, le=1)
    position: int | None = Field(description="queued jobs before this one; null when it is not queued")
    attempt: int
    created_at: datetime
    expires_at: datetime | None = Field(description="its deadline, if it has one")
    started_at: datetime | None
    finished_at: datetime | None
    result: dict[str, Any] | None = Field(
        description="of a protection: the measured report; of a restore: the sha256 of its pixels and, once, the link"
    )
    problem: dict[str, Any] | None
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "job_id": JOB, "photo_id": PHOTO, "kind": "protect", "state": "running", "step": "optimise",
                "progress": 0.4, "position": None, "attempt": 1, "created_at": "2026-11-21T10:00:00Z",
                "expires_at": None, "started_at": "2026-11-21T10:00:01Z", "finished_at": None, "result": None,
                "problem": None,
            }
        }
    )  # fmt: skip


class Finished(JobView):
    """A protection that was waited for; `restore_code` as in the answer that does not wait."""

    restore_code: str | None = None


class JobSummary(BaseModel):
    """A job as dashboards see it: no photo, no person."""

    job_id: str
    kind: str
    state: State
    step: str
    progress: float
    attempt: int
    created_at: datetime
    finished_at: datetime | None
    problem_code: str | None

    @classmethod
    def of(cls, job: Job) -> JobSummary:
        """From the job's row."""
        return cls(
            job_id=job.id,
            kind=job.kind,
            state=State(job.state),
            step=job.step,
            progress=job.progress,
            attempt=job.attempt,
            created_at=job.created_at,
            finished_at=job.finished_at,
            problem_code=job.problem["code"] if job.problem else None,
        )


class BatchJob(JobSummary):
    """A job of a batch, as its owner sees it."""

    photo_id: str


class BatchView(BaseModel):
    """`jobs` in the order of the photos; `counts` by state."""

    batch_id: str
    counts: dict[State, int]
    jobs: list[BatchJob]
    model_config = ConfigDict(json_schema_extra={"example": {"batch_id": BATCH, "counts": {"queued": 2}, "jobs": []}})


class JobPage(BaseModel):
    """Newest first; `next` is the cursor of the following page."""

    jobs: list[JobSummary]
    next: str | None
    model_config = ConfigDict(json_schema_extra={"example": {"jobs": [], "next": None}})


class Variant(BaseModel):
    """A protected photo. The link needs no credential and soon expires."""

    name: str
    link: str


class PhotoView(BaseModel):
    """A photo under our care; `state` and `problem` are those of the job that protects it."""

    photo_id: str
    job_id: str
    state: State
    method: str
    preset: str
    custody: Custody
    created_at: datetime
    protected_at: datetime | None
    variants: list[Variant]
    report: dict[str, Any] | None
    problem: dict[str, Any] | None
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "photo_id": PHOTO, "job_id": JOB, "state": "succeeded", "problem": None, "method": "sider",
                "preset": "standard", "custody": "split",
                "created_at": "2026-11-21T10:00:00Z", "protected_at": "2026-11-21T10:00:09Z",
                "variants": [{"name": "v1", "link": "https://store.example/..."}], "report": {"held": True},
            }
        }
    )  # fmt: skip


class Output(BaseModel):
    """A variant of a protected photo."""

    photo_id: str
    name: str
    protected_at: datetime | None


class Verified(BaseModel):
    """Whether a picture was made here, and of which photos."""

    made_here: bool
    outputs: list[Output]
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "made_here": True,
                "outputs": [{"photo_id": PHOTO, "name": "v1", "protected_at": "2026-11-21T10:00:09Z"}],
            }
        }
    )


class Erased(BaseModel):
    """Receipt: the restoration key was destroyed before anything else, then the pictures."""

    photo_id: str
    erased_at: datetime
    key_destroyed: bool
    objects_deleted: int
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "photo_id": PHOTO, "erased_at": "2026-11-21T10:05:00Z", "key_destroyed": True, "objects_deleted": 1,
            }
        }
    )  # fmt: skip
