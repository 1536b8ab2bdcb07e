"""Operations: the service at a glance, for keys with the scope `ops`. No photo, no face, nobody's name."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from api.auth import Caller, needs
from api.health import parts_states
from api.jobs import view
from api.pages.charts import columns
from api.pages.rendering import PageRoute, duration, render
from api.parts import Parts, parts
from core.jobs.keys import check_tenant
from core.jobs.states import ENDS, State
from core.jobs.statistics import COUNT, SPAN, Observer
from core.jobs.workers import Workers, alive

PAGE = 25
HOURS = SPAN * COUNT

router = APIRouter(prefix="/ops", include_in_schema=False, route_class=PageRoute)


def watcher(who: Annotated[Caller, Depends(needs("ops"))]) -> Caller:
    """The caller with no more than the scopes of a watcher, whatever else the key may: nothing personal is shown."""
    return replace(who, scopes=who.scopes & {"ops", "admin"})


Found = Annotated[Parts, Depends(parts)]
Watcher = Annotated[Caller, Depends(watcher)]
JobState = State | Literal[""]
Kind = Literal["", "protect", "restore"]


@router.get("")
def overview(request: Request, found: Found, who: Watcher) -> Response:
    return render(request, "ops.html", **_now(found), **_jobs(found, who), states=list(State))


@router.get("/now")
def present(request: Request, found: Found, _: Watcher) -> Response:
    return render(request, "ops_now.html", **_now(found))


@router.get("/health")
def health(request: Request, found: Found, _: Watcher) -> Response:
    return render(request, "ops_health.html", states=parts_states(found))


@router.get("/jobs")
def jobs(
    request: Request, found: Found, who: Watcher,
    state: JobState = "", kind: Kind = "",
    tenant: Annotated[str, Query(max_length=64)] = "", cursor: Annotated[str, Query(max_length=40)] = "",
) -> Response:  # fmt: skip
    if tenant := tenant.strip():
        who.needs("admin")
        check_tenant(tenant)
    return render(request, "ops_jobs.html", **_jobs(found, who, state or None, kind, tenant, cursor))


@router.get("/jobs/{job_id}")
def job(request: Request, found: Found, who: Watcher, job_id: str) -> Response:
    row = found.jobs.get(job_id)
    return render(request, "ops_job.html", job=row, seen=view(row, found, who), ended=row.state in ENDS)


def _now(found: Parts) -> dict[str, Any]:
    statistics = Observer(found.engine).look()
    workers = Workers(found.engine).all()
    buckets = statistics.buckets
    throughput = columns(buckets, lambda b: (b.succeeded, b.others), lambda n: f"{n:.0f}")
    latency = columns(buckets, lambda b: (b.worked, b.waited), duration)
    return {
        "statistics": statistics, "workers": [(w, alive(w)) for w in workers], "hours": HOURS.total_seconds() / 3600,
        "charts": {"throughput": throughput, "latency": latency}, "span": SPAN.total_seconds() / 60,
        "limit": found.settings.max_queue,
    }  # fmt: skip


def _jobs(
    found: Parts, who: Caller, state: State | None = None, kind: str = "", tenant: str = "", cursor: str = ""
) -> dict[str, Any]:
    rows = found.jobs.page(state, cursor or None, PAGE + 1, kind, tenant)
    more = rows[PAGE - 1].id if len(rows) > PAGE else None
    return {"jobs": rows[:PAGE], "cursor": cursor, "more": more, "tenants": who.may("admin")}
