"""What the client expects is what the service promises."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from api import schemas
from sider.client import models

PAIRS = {
    models.Accepted: schemas.Accepted, models.Progress: schemas.JobSummary, models.Job: schemas.JobView,
    models.JobPage: schemas.JobPage, models.Photo: schemas.PhotoView, models.Variant: schemas.Variant,
    models.Verified: schemas.Verified, models.Output: schemas.Output, models.Erased: schemas.Erased,
    models.AcceptedBatch: schemas.AcceptedBatch, models.Batch: schemas.BatchView, models.BatchJob: schemas.BatchJob,
}  # fmt: skip


@pytest.mark.parametrize("ours", PAIRS)
def test_every_field_is_there(ours: type[BaseModel]) -> None:
    theirs = set(PAIRS[ours].model_fields)
    required = {name for name, field in ours.model_fields.items() if field.is_required()}
    assert required <= theirs
    # Nothing the service tells is kept from its users; of a Job problem_code is in its problem.
    assert theirs <= set(ours.model_fields)


@pytest.mark.parametrize(
    ("options", "form"),
    [(models.ProtectOptions, schemas.ProtectForm), (models.JobOptions, schemas.RestoreForm)],
)
def test_every_option_is_a_field_of_the_form(options: Any, form: type[BaseModel]) -> None:
    assert set(options.__annotations__) <= set(form.model_fields)
    if form is schemas.ProtectForm:
        assert set(form.model_fields) - {"photo"} == set(options.__annotations__)
