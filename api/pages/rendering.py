"""Templates into answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api import session
from api.admission import GuardedRoute
from api.problems import of_error
from core.errors import SiderError
from core.jobs.database import now

HERE = Path(__file__).parent


class PageRoute(GuardedRoute):
    """A page: strangers are sent to sign in, and other problems are told in its place."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                return await handle(request)
            except SiderError as error:
                if is_fragment(request):
                    raise
                if error.code == "unauthenticated":
                    return RedirectResponse("/sign-in", 303)
                problem = of_error(error)
                return render(request, "problem.html", problem["status"], problem=problem)

        return shown


def is_fragment(request: Request) -> bool:
    """Whether htmx asks, for a part of the page that is shown already."""
    return "hx-request" in request.headers


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, or only its main part if that is what is asked for."""
    values |= {"who": getattr(request.state, "caller", None), "csrf": session.csrf_token(request), "now": now()}
    values["path"] = request.url.path
    values["layout"] = "fragment.html" if is_fragment(request) else "page.html"
    return HTMLResponse(_templates.get_template(template).render(values), status)


def duration(seconds: float) -> str:
    """As people say it: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def clock(time: datetime) -> str:
    """In UTC, as the whole service tells time."""
    return time.strftime("%Y-%m-%d %H:%M:%S")


_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
_templates.filters |= {"duration": duration, "clock": clock}
