"""The pages in a real Chromium, over the real stack."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from core.stages.validate import Photo
from deploy.local import LocalStack
from tests.e2e.browser import AXE, DOCS, PASSWORD, PHONE, Visitor, issue
from tests.e2e.test_service import noise

pytestmark = [pytest.mark.web, pytest.mark.timeout(900)]


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def test_the_accessibility_checker_is_here() -> None:
    if not AXE.is_file():
        pytest.skip("no axe-core, accessibility is NOT checked: run this by `make test-web`, with npm")


def test_protect_watch_compare_restore_erase(
    visitor: Visitor, stack: LocalStack, photo: Path, astronaut: Photo, http: httpx2.Client
) -> None:
    visitor.go("/")
    expect(visitor.page).to_have_url(f"{stack.api_url}/sign-in")
    visitor.accessible()
    visitor.shoot("sign-in")
    visitor.sign_in(stack.api_key)
    page = visitor.page
    visitor.accessible()
    visitor.shoot("try-empty")

    expect(page.locator("#promised")).to_have_text("People see someone else, machines the same person.")
    page.get_by_label("Preset").select_option("natural")
    page.get_by_label("Method").select_option("cloak")
    expect(page.locator("#promised")).to_have_text("People see the same person, machines someone else.")
    expect(page.get_by_label("Preset")).to_have_value("natural")
    page.get_by_label("Preset").select_option("standard")
    page.get_by_label("Method").select_option("sider")
    page.locator("#password").fill("short")
    expect(page.locator("#strength")).to_have_text("8 characters or more")
    page.locator("#password").fill("a good long pass phrase")
    expect(page.locator("#strength")).to_have_text("Strong")
    visitor.protect(photo, variants=2)
    expect(page.locator(".stage .step")).to_have_text("Optimising what machines see")
    expect(page.get_by_role("progressbar")).to_be_visible()
    visitor.accessible()
    visitor.shoot("try-running")

    expect(page.get_by_role("heading", name="Protected", exact=True)).to_be_focused()
    job = http.get(f"/jobs/{page.url.rsplit('/', 1)[1]}").json()
    compare(visitor, job["result"]["report"]["variants"][0][0]["encoders"])
    visitor.accessible()
    visitor.shoot("try-result")
    visitor.gallery("web-compare")
    download(visitor, astronaut)
    restore(visitor, astronaut)
    visitor.accessible()
    visitor.shoot("try-restored")

    page.get_by_text("Erase this photo").click()
    erase = page.get_by_role("button", name="Erase for good")
    erase.click()  # not yet confirmed: the browser asks for it
    assert http.get(f"/photos/{job['photo_id']}").status_code == 200
    page.get_by_label("I understand").check()
    erase.click()
    expect(page.get_by_role("heading", name="Erased")).to_be_focused()
    assert http.get(f"/photos/{job['photo_id']}").status_code == 404
    visitor.shoot("try-erased")


def compare(visitor: Visitor, encoders: dict[str, Any]) -> None:
    """The bars say what was measured, and the slider uncovers the original of the browser's own memory."""
    page = visitor.page
    bars = page.locator("[data-variant='1'] .bars li")
    assert bars.count() == len(encoders) + 1
    for name, facts in encoders.items():
        expect(bars.filter(has_text=name).first).to_contain_text(f"{facts['cosine']:.2f} needs {facts['required']:.2f}")
    before, slider = page.locator(".before").first, page.get_by_role("slider").first
    assert (before.locator("img").get_attribute("src") or "").startswith("blob:")
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert before.evaluate("e => getComputedStyle(e).clipPath") == "inset(0px 70% 0px 0px)"
    slider.fill("50")
    page.get_by_role("button", name="Zoom to the face").first.click()
    assert page.locator(".after").first.evaluate("e => new DOMMatrix(getComputedStyle(e).transform).a") > 1.5


def download(visitor: Visitor, astronaut: Photo) -> None:
    """The other variant is shown and saved."""
    page = visitor.page
    page.get_by_role("radio", name="2").check(force=True)
    expect(page.get_by_alt_text("Protected photo, variant 2")).to_be_visible()
    page.locator("[data-variant='2'] .promise").evaluate("e => e.scrollIntoView({block: 'end'})")
    visitor.gallery("web-promise")
    with page.expect_download() as saved:
        page.locator("[data-variant='2'] a.button").click()
    changed = (pixels(Path(saved.value.path()).read_bytes()) != astronaut.pixels).any(-1)
    assert 0.01 < changed.mean() < 0.5
    find_again(visitor, Path(saved.value.path()))


def find_again(visitor: Visitor, picture: Path) -> None:
    """Who left the page comes back to it by the protected picture; another picture is not known."""
    page, address = visitor.page, visitor.page.url
    visitor.expected = ("404",)
    visitor.go("/")
    page.locator("#picture").set_input_files(DOCS / "demo.png")
    page.get_by_role("button", name="Find it").click()
    expect(page.get_by_role("alert")).to_contain_text("was not protected here")
    page.locator("#picture").set_input_files(picture)
    page.get_by_role("button", name="Find it").click()
    expect(page.get_by_role("heading", name="Protected", exact=True)).to_be_focused()
    expect(page).to_have_url(address)


def restore(visitor: Visitor, astronaut: Photo) -> None:
    """Denied with a wrong password; bit for bit with the right one."""
    page = visitor.page
    page.get_by_text("Restore the original").click()
    page.get_by_label("Password or restore code").fill("not the password")
    page.get_by_label("Reason").fill("browser test")
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("Restoring did not succeed")).to_be_visible()
    page.get_by_label("Password or restore code").fill(PASSWORD)
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("heading", name="The original is back")).to_be_focused()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Show and save the original").click()
    assert (pixels(Path(saved.value.path()).read_bytes()) == astronaut.pixels).all()
    expect(page.get_by_alt_text("The restored original")).to_be_visible()


def test_operations_under_load(visitor: Visitor, stack: LocalStack, photo: Path, http: httpx2.Client) -> None:
    _, key = issue(stack, "ops")
    visitor.sign_in(key)
    page = visitor.page
    expect(page).to_have_url(f"{stack.api_url}/ops")
    page.evaluate("window.sameDocument = true")
    form = {"password": PASSWORD, "preset": "natural"}
    files = [("noise.png", noise())] * 3 + [("a.png", photo.read_bytes())] * 3
    jobs = [http.post("/protect", data=form, files={"photo": file}).json()["job_id"] for file in files]
    tile = page.locator(".tiles div")
    expect(tile.filter(has_text="Running").locator("dd")).to_have_text("1")
    expect(tile.filter(has_text="Workers alive").locator("dd")).to_have_text("1")
    expect(page.locator("table").filter(has_text="Device").locator(f"#w-{jobs[3]}")).to_be_visible()
    expect(page.locator(".parts .good")).to_have_count(4)
    visitor.accessible()
    visitor.shoot("ops-load")

    page.get_by_label("State").select_option("failed")
    failed = http.get("/jobs", params={"state": "failed"}).json()["jobs"]
    expect(page.locator("#jobs tbody tr")).to_have_count(len(failed))
    page.get_by_label("State").select_option("")
    assert page.evaluate("window.sameDocument") is True
    page.locator(f"#j-{jobs[-1]}").click()
    expect(page.get_by_text("Ended: succeeded")).to_be_visible()  # seen to come, without a reload
    visitor.accessible()
    visitor.shoot("ops-job")
    page.get_by_role("link", name="← Operations").click()
    expect(tile.filter(has_text="Running").locator("dd")).to_have_text("0")
    expect(page.locator("table").filter(has_text="Reason")).to_contain_text("no_face_found")
    expect(page.locator(".parts .good")).to_have_count(4)
    visitor.gallery("web-operations", "dark")
    assert page.locator("main img").count() == 0
    assert not [url for url in visitor.requests if "/photos/" in url]


def test_the_keyboard_alone_is_enough(visitor: Visitor, stack: LocalStack, photo: Path) -> None:
    page = visitor.page
    visitor.go("/")
    page.keyboard.type(stack.api_key)  # the field has the focus
    page.keyboard.press("Enter")
    page.wait_for_url(f"{stack.api_url}/")
    with page.expect_file_chooser() as chooser:  # from before the tabs: Chromium must have heard of it when Enter comes
        visitor.tab_to("#photo")
        page.keyboard.press("Enter")
    chooser.value.set_files(photo)
    visitor.tab_to("#preset")
    page.keyboard.type("natural")
    visitor.tab_to("#password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Protected", exact=True)).to_be_focused()
    visitor.tab_to(".compare input")
    page.keyboard.press("Home")
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", "0 % original")
    visitor.tab_to("summary")
    page.keyboard.press("Enter")
    visitor.tab_to("#restore-password")
    page.keyboard.type(PASSWORD)
    visitor.tab_to("#reason")
    page.keyboard.type("keyboard test")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="The original is back")).to_be_focused()
    visitor.tab_to("[data-original]")
    with page.expect_download():
        page.keyboard.press("Enter")
    visitor.tab_to("details:last-of-type summary")
    page.keyboard.press("Enter")
    visitor.tab_to("[type=checkbox]")
    page.keyboard.press("Space")
    visitor.tab_to(".danger")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Erased")).to_be_focused()
    visitor.tab_to("#theme", back=True)
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_on_a_phone_with_a_restore_code(visitor: Visitor, stack: LocalStack, photo: Path) -> None:
    page = visitor.page
    page.set_viewport_size(PHONE)
    visitor.sign_in(stack.api_key)
    page.locator("#photo").set_input_files(photo)
    page.get_by_label("Preset").select_option("natural")
    page.get_by_role("button", name="Protect", exact=True).click()
    code = page.locator("code.big").inner_text()
    expect(page.get_by_role("heading", name="Protected", exact=True)).to_be_focused()
    assert page.locator("code.big").inner_text() == code  # still there when the result is
    assert code not in page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    page.locator(".compare").scroll_into_view_if_needed()
    visitor.gallery("web-phone", "dark", phone=True)
    page.set_viewport_size(PHONE)
    page.get_by_text("Restore the original").click()
    page.get_by_label("Password or restore code").fill(code)
    page.get_by_label("Reason").fill("phone test")
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("heading", name="The original is back")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Protected", exact=True)).to_be_visible()
    assert page.locator("code.big").count() == 0
    assert page.locator(".before").is_hidden()  # the original was in the memory of the page that is gone


def test_progress_goes_on_after_the_connection_was_lost(visitor: Visitor, stack: LocalStack, photo: Path) -> None:
    visitor.expected = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE")
    visitor.sign_in(stack.api_key)
    visitor.protect(photo, variants=2)
    expect(visitor.page.locator(".stage .step")).to_have_text("Optimising what machines see")
    api = next(part for part in stack.parts if part.name == "api")
    assert api.process
    assert stack._lock
    api.process.kill()
    api.process.wait()
    api.start(stack.logs, stack._lock.fileno())
    expect(visitor.page.get_by_role("heading", name="Protected", exact=True)).to_be_visible()
