"""What the pages refuse, in a real Chromium."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from core.jobs import database
from core.jobs.keys import ApiKeys
from deploy.local import LocalStack
from tests.e2e.browser import Visitor, issue
from tests.e2e.test_service import noise

pytestmark = [pytest.mark.web, pytest.mark.timeout(900)]


def test_a_photo_without_a_face_and_a_file_that_is_none(visitor: Visitor, stack: LocalStack, tmp_path: Path) -> None:
    visitor.expected = ("422", "415")
    visitor.sign_in(stack.api_key)
    (tmp_path / "noise.png").write_bytes(noise())
    visitor.protect(tmp_path / "noise.png")
    expect(visitor.page.get_by_text("no_face_found")).to_be_visible()
    visitor.shoot("try-failed")
    (tmp_path / "fake.png").write_bytes(b"\x89PNG no picture")
    visitor.protect(tmp_path / "fake.png")
    expect(visitor.page.locator("#alert")).to_be_visible()
    assert "photo" in visitor.page.locator("#alert").inner_text().lower()


def test_a_revoked_key_is_sent_to_sign_in(visitor: Visitor, stack: LocalStack, photo: Path) -> None:
    visitor.expected = ("401",)
    key_id, key = issue(stack, "protect")
    visitor.sign_in(key)
    engine = database.connect(stack.database_url)
    ApiKeys(engine).revoke(key_id)
    engine.dispose()
    visitor.protect(photo)
    expect(visitor.page).to_have_url(f"{stack.api_url}/sign-in")
    visitor.page.get_by_label("API key").fill(key)
    visitor.page.get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("revoked")


@pytest.fixture
def evil(stack: LocalStack, tmp_path: Path) -> Iterator[str]:
    """Another origin of the same host, which gets the visitor's cookie sent: SameSite does not help against it."""
    (tmp_path / "index.html").write_text(
        f"""<form method="post" action="{stack.api_url}/sign-out"><button>Win a prize</button></form>"""
    )

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **more: object) -> None:
            super().__init__(*args, directory=str(tmp_path), **more)  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_another_sites_page_cannot_act(browser: Browser, stack: LocalStack, evil: str) -> None:
    context = browser.new_context()
    visitor = Visitor(context.new_page(), stack.api_url)
    visitor.sign_in(stack.api_key)
    sent = []
    visitor.page.on("request", lambda request: sent.append(request.all_headers().get("cookie", "")))
    visitor.page.goto(evil)
    visitor.page.get_by_role("button").click()
    expect(visitor.page.locator("body")).to_contain_text("this page is out of date")
    assert any("sider_session" in cookie for cookie in sent)
    visitor.go("/")
    expect(visitor.page.get_by_role("button", name="Sign out")).to_be_visible()
    assert "sider_session" not in visitor.page.evaluate("document.cookie")
    visitor.page.get_by_role("button", name="Sign out").click()
    expect(visitor.page).to_have_url(f"{stack.api_url}/sign-in")
    context.close()
