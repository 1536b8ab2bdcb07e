"""GET /health/live and /health/ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from api.parts import Parts, parts
from core.errors import SiderError

FRESH_SECONDS = 3.0  # so long the answer for one prober is that for all

router = APIRouter(prefix="/health", tags=["health"])


class Live(BaseModel):
    status: str
    model_config = ConfigDict(json_schema_extra={"example": {"status": "live"}})


class Ready(BaseModel):
    """`parts` maps database, broker and store to "ok" or a reason."""

    status: str
    parts: dict[str, str]
    model_config = ConfigDict(
        json_schema_extra={"example": {"status": "ready", "parts": {"database": "ok", "broker": "ok", "store": "ok"}}}
    )


@router.get("/live", summary="Is the process alive?")
async def live() -> Live:
    """Touches nothing, not even a thread, all of which may wait for a lost part: a restart cures what this finds."""
    return Live(status="live")


@router.get("/ready", responses={503: {"model": Ready, "description": "Not now"}}, summary="Can it take work?")
async def ready(response: Response, found: Annotated[Parts, Depends(parts)]) -> Ready:
    """Asks database, broker and store; 503 when it could accept nothing.

    Without the broker it still can: a job is sent to the queue when the broker is back.
    """
    states = await found.states.get(lambda: run_in_threadpool(parts_states, found), FRESH_SECONDS)
    well = all(state == "ok" for part, state in states.items() if part != "broker")
    response.status_code = 200 if well else 503
    return Ready(status="ready" if well else "not ready", parts=states)


def parts_states(found: Parts) -> dict[str, str]:
    """Either "ok" or a reason, for each part that the service depends on."""

    def database() -> None:
        with found.engine.connect() as connection:
            connection.execute(text("SELECT 1 FROM jobs WHERE 1 = 0"))

    checks: dict[str, Callable[[], None]] = {
        "database": database,
        "broker": found.broker.check,
        "store": found.shelf.photos.check,
        "key_store": found.shelf.keys.check,
    }
    return {name: _state(check) for name, check in checks.items()}


def _state(check: Callable[[], None]) -> str:
    try:
        check()
    except SiderError as error:
        return error.code
    except SQLAlchemyError:
        return "database_unavailable"
    return "ok"
