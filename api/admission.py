"""Who may not come in is turned away here, before the body is read: strangers, keys without the scope, load."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from api.auth import Caller, authenticate
from api.parts import Parts, parts
from api.problems import RETRY_SECONDS
from core.errors import TooMany, Unavailable


class GuardedRoute(APIRoute):
    """Asks who calls, and how often, before anything else: FastAPI alone would read and store the upload first."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            found = parts(request)
            request.state.caller = who = await authenticate(request)
            policy = "reads" if request.method == "GET" else "writes"
            spent = await found.limits.spend(policy, who.key_id)
            request.state.rate = spent.fields  # for whatever is answered, problems too
            if not spent.granted:
                message = f"this key has made too many calls ({policy})"
                raise TooMany(message, details={"retry_after": spent.seconds})
            await self.admit(request, found, who)
            return await handle(request)

        return guarded

    async def admit(self, request: Request, found: Parts, who: Caller) -> None:
        """Further conditions of a route; raises what the caller is to be told."""


class QueueingRoute(GuardedRoute):
    """A route that adds a job: only for keys with its scope, and while queue and tenant's share of it have room."""

    scope: ClassVar[str]

    async def admit(self, request: Request, found: Parts, who: Caller) -> None:  # noqa: ARG002
        who.needs(self.scope)
        await run_in_threadpool(check_room, found, who)


def check_room(found: Parts, who: Caller, jobs: int = 1) -> None:
    """Insist on room for so many jobs more, in the queue and in the tenant's share of it.

    Raises:
        Unavailable: queue_full.
        TooMany: tenant_queue_full.
    """
    settings = found.settings
    if found.jobs.depth() + jobs > settings.max_queue:
        raise Unavailable("the queue is full; try again later", code="queue_full")
    share = max(1, int(settings.max_queue * settings.tenant_share))
    if found.jobs.depth(who.tenant) + jobs > share:
        message = f"{share} jobs of yours may wait or run; let some of them end"
        raise TooMany(message, code="tenant_queue_full", details={"retry_after": RETRY_SECONDS})
