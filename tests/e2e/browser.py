"""A visitor: Chromium with an eye on what it asks for and what it complains about."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from core.jobs import database
from core.jobs.keys import ApiKeys
from deploy.local import LocalStack

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
ROOT = Path(__file__).parents[2]
OUT, DOCS = ROOT / "web-output", ROOT / "docs"
AXE = OUT / "node_modules" / "axe-core" / "axe.min.js"
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 780}
MAX_GALLERY_BYTES = 150_000
PASSWORD = "correct horse battery"
PATIENCE_MS = 120_000
expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's own, with a fresh profile."""
    if not CHROMIUM.is_file():
        pytest.skip(f"no Chromium at {CHROMIUM}: the pages are NOT tested (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visitor:
    """A tab of its own profile. `complaints` are the console's errors, `requests` all addresses it asked for."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        OUT.mkdir(exist_ok=True)
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def _hear(self, message: ConsoleMessage) -> None:
        # Chromium itself reports every answer of 400 or more; a test says which ones it provokes.
        if message.type in ("error", "warning") and not any(text in message.text for text in self.expected):
            self.complaints.append(f"{message.text} ({message.location['url']})")

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def sign_in(self, key: str) -> None:
        self.go("/sign-in")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(lambda url: not url.endswith("/sign-in"))

    def protect(self, photo: Path, variants: int = 1) -> None:
        self.page.locator("#photo").set_input_files(photo)
        self.page.get_by_label("Preset").select_option("natural")
        self.page.get_by_label("Variants").select_option(str(variants))
        self.page.locator("#password").fill(PASSWORD)
        self.page.get_by_role("button", name="Protect", exact=True).click()

    def check(self) -> None:
        """Nothing was complained about, and nothing left the origin."""
        assert self.complaints == []
        own = (self.url + "/", f"blob:{self.url}/", "data:")
        assert [url for url in self.requests if not url.startswith(own)] == []

    def accessible(self) -> None:
        """No violation of WCAG 2 A and AA that axe-core can find, and of its best practices."""
        if not AXE.is_file():
            return  # test_the_accessibility_checker_is_here says so
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found = self.page.evaluate("axe.run()")["violations"]
            told = [(v["id"], [n["html"][:200] + n["failureSummary"] for n in v["nodes"]]) for v in found]
            assert not told, f"{scheme}: {told}"
        self.page.emulate_media(color_scheme="light")

    def shoot(self, name: str) -> None:
        """The whole page in light, dark and on a phone, where nothing may need sideways scrolling."""
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            self.page.screenshot(path=OUT / f"{name}-{scheme}.png", full_page=True)
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size(PHONE)
        wide = self.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        self.page.screenshot(path=OUT / f"{name}-phone.png", full_page=True)
        self.page.set_viewport_size(DESK)
        assert wide <= 0, f"{name} is {wide} px too wide for a phone"

    def gallery(self, name: str, scheme: str = "light", phone: bool = False) -> None:
        """A picture for docs/."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_viewport_size(PHONE if phone else DESK)
        with Image.open(io.BytesIO(self.page.screenshot())) as image:
            image.save(DOCS / f"{name}.webp", quality=82, method=6)
        self.page.set_viewport_size(DESK)
        self.page.emulate_media(color_scheme="light")
        assert (DOCS / f"{name}.webp").stat().st_size < MAX_GALLERY_BYTES

    def tab_to(self, selector: str, back: bool = False) -> None:
        """Walk there by the Tab key alone."""
        for _ in range(60):
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
            if self.page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"{selector} cannot be reached by keyboard")


def issue(stack: LocalStack, *scopes: str) -> tuple[str, str]:
    """Id and text of a new key of the local tenant."""
    engine = database.connect(stack.database_url)
    row, text = ApiKeys(engine).issue("local", scopes)
    engine.dispose()
    return row.id, text
