"""Runs over folders: what is lost on the way, and what is not done twice."""

from __future__ import annotations

import hashlib
import io
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from core.errors import NoFaceFound, PromiseNotMet, RequestRefused, Unavailable
from core.looks import Age, Faces
from core.vault.custody import Custody
from sider.files import left_out, plan, tell_left_out, write_file
from sider.runs import JOURNAL, OutcomeUnknown, Run, Step, Wish
from sider.sheet import write_sheet
from tests.fakes import picture

WISH = Wish("sider", "standard", 2, None, Custody.SPLIT, "correct horse battery")
REPORT = {
    "promise": {"people_recognise": False, "machines_match": True}, "held": True,
    "variants": [[{"encoders": {"dlib": {"cosine": 0.91, "required": 0.83, "held": True}}}]],
}  # fmt: skip


@dataclass
class Fake:
    """Writes a key and two pictures. `trouble` is raised for the photo of that seed, after the key was written unless
    it comes `early`."""

    trouble: dict[bytes, BaseException] = field(default_factory=dict)
    done: list[bytes] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    at_once: int = 2
    where: str = ""
    early: bool = False
    max_bytes: int = 2**20

    def beside(self, stem: Path) -> list[Path]:
        return [stem.with_name(f"{stem.name}.key")]

    def protect(self, photo: bytes, targets: list[Path], attempt: str, step: Step) -> dict[str, Any]:
        self.attempts.append(attempt)
        step(0.5)
        if self.early and photo in self.trouble:
            raise self.trouble[photo]
        targets[0].write_bytes(b"key")
        if photo in self.trouble:
            raise self.trouble[photo]
        for target in targets[1:]:
            target.write_bytes(picture(seed=99).to_png())
        self.done.append(photo)
        return {"held": True, "protected": [str(t) for t in targets[1:]], "key": str(targets[0]), "report": REPORT}


PHOTOS = {name: picture(seed=n).to_png() for n, name in enumerate(("a", "b", "c"))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, data in PHOTOS.items():
        (tmp_path / "in" / "deep" / f"{name}.png").write_bytes(data)
    return tmp_path


def protect(folder: Path, protector: Fake, wish: Wish = WISH, overwrite: bool = False) -> dict[str, dict[str, Any]]:
    """The lines by the names of the photos."""
    run = Run(folder / "out", wish, overwrite, as_json=True)
    lines = run.protect_all(photos(folder), protector, Console(quiet=True))
    return {Path(line["file"]).stem: line for line in lines}


def photos(folder: Path) -> list[tuple[Path, Path]]:
    return list(plan([folder / "in"], folder / "out"))


def resumes(folder: Path, wish: Wish = WISH, overwrite: bool = False, where: str = "") -> bool:
    return Run(folder / "out", wish, overwrite, as_json=True).resumes(photos(folder), where)


def test_one_photo_in_trouble_keeps_no_other_from_being_done_and_is_tried_again(folder: Path) -> None:
    first = Fake({PHOTOS["b"]: Unavailable("the store is away", code="store_unavailable")})
    lines = protect(folder, first)
    assert lines["b"]["error"]["code"] == "store_unavailable"
    assert lines["a"]["held"]
    assert lines["c"]["held"]
    assert (folder / "out" / "deep" / "b.key").exists()  # left behind, and not in the way
    again = Fake()
    lines = protect(folder, again)
    assert again.done == [PHOTOS["b"]]
    assert (lines["a"]["before"], lines["b"].get("before"), lines["a"]["report"]) == (True, None, REPORT)
    assert not set(again.attempts) & set(first.attempts)  # the first has ended


@pytest.mark.parametrize("early", [False, True])
def test_an_attempt_whose_outcome_nobody_knows_is_resumed(folder: Path, early: bool) -> None:
    lost = OutcomeUnknown(Unavailable("away", code="service_unreachable"))
    first, second, third = Fake({PHOTOS["b"]: lost}, early=early), Fake({PHOTOS["b"]: lost}, early=early), Fake()
    assert protect(folder, first)["b"]["error"]["code"] == "service_unreachable"
    protect(folder, second)
    assert protect(folder, third)["b"]["held"]
    assert second.attempts == third.attempts
    assert set(second.attempts) < set(first.attempts)


def test_what_has_come_to_nothing_is_begun_anew_and_overwrites_nobodys_file(folder: Path) -> None:
    first = Fake({PHOTOS["b"]: NoFaceFound("no face")}, early=True)
    assert protect(folder, first)["b"]["error"]["code"] == "no_face_found"
    assert not resumes(folder)
    (folder / "out" / "deep" / "b.key").write_bytes(b"somebody's")
    assert protect(folder, Fake())["b"]["error"]["code"] == "file_exists"
    (folder / "out" / "deep" / "b.key").unlink()
    again = Fake()
    assert protect(folder, again)["b"]["held"]
    assert not set(again.attempts) & set(first.attempts)


def test_a_failed_overwrite_is_no_leave_to_overwrite(folder: Path) -> None:
    protect(folder, Fake())
    strong = replace(WISH, preset="strong")
    protect(folder, Fake(dict.fromkeys(PHOTOS.values(), NoFaceFound("no face")), early=True), strong, overwrite=True)
    assert {line["error"]["code"] for line in protect(folder, Fake(), strong).values()} == {"file_exists"}


@pytest.mark.parametrize(
    "error", [OutcomeUnknown(Unavailable("away")), OSError("disk full"), KeyboardInterrupt(), NoFaceFound("none")]
)
def test_a_run_is_resumed_until_all_is_settled(folder: Path, error: BaseException) -> None:
    assert not resumes(folder)
    with suppress(KeyboardInterrupt):
        protect(folder, Fake({PHOTOS["b"]: error}, at_once=1))
    assert resumes(folder)  # a key was written, and may have been sealed by the first run's code
    assert not resumes(folder, overwrite=True)
    assert not resumes(folder, replace(WISH, preset="strong"))
    assert not resumes(folder, where="https://sider.example")
    protect(folder, Fake())
    assert not resumes(folder)


def test_two_photos_never_write_the_same_file(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("her.jpg", "her.v2.jpg")]
    for path in paths:
        path.touch()
    assert [stem.name for _, stem in plan(paths, tmp_path / "out")] == ["her", "her.v2"]
    for order in (paths, paths[::-1], [tmp_path]):
        with pytest.raises(RequestRefused, match=r"would both be written as her\.v2; rename one"):
            list(plan(order, tmp_path / "out", variants=2))


def test_results_are_not_protected_again(folder: Path) -> None:
    out = folder / "in" / "protected"
    run, seen = Run(out, WISH, overwrite=False, as_json=True), list(plan([folder / "in"], out))
    run.protect_all(seen, Fake(), Console(quiet=True))
    assert list(plan([folder / "in"], out)) == seen
    assert len(list(plan([out], folder / "back"))) == 6
    assert list(plan([folder / "in" / "deep"], folder / "in")) == list(plan([folder / "in" / "deep"], folder))


def test_files_that_are_left_out_are_told(folder: Path) -> None:
    (folder / "in" / "me.HEIC").write_bytes(b"heic")
    (folder / "in" / ".DS_Store").write_bytes(b"")
    out = folder / "in" / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "a.key").write_bytes(b"key")
    assert left_out([folder / "in", folder / "in" / "deep" / "a.png"], out) == [folder / "in" / "me.HEIC"]
    console = Console(record=True, width=30, file=io.StringIO())
    tell_left_out([Path("me.HEIC")], console)
    tell_left_out([Path(f"{n}.mov") for n in range(4)], console)
    tell_left_out([], console)
    assert console.export_text().splitlines() == [
        "left out 1 file is no JPEG, PNG or WebP: me.HEIC",
        "left out 4 files are no JPEG, PNG or WebP: 0.mov, 1.mov, 2.mov, ...",
    ]


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.vault.durable.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(tmp_path / "a.png", b"picture")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_goes_on_under_the_same_attempt(folder: Path) -> None:
    first = Fake({PHOTOS["b"]: KeyboardInterrupt()}, at_once=1)
    with pytest.raises(KeyboardInterrupt):
        protect(folder, first)
    assert (folder / "out" / "deep" / "b.key").exists()
    again = Fake(at_once=1)
    lines = protect(folder, again)
    assert again.done[0] == PHOTOS["b"]
    assert PHOTOS["a"] not in again.done
    assert again.attempts[0] == first.attempts[1]
    assert all(line["held"] for line in lines.values())


@pytest.mark.parametrize(
    ("wish", "where"),
    [
        (replace(WISH, preset="strong"), ""),
        (replace(WISH, seed=1), ""),
        (replace(WISH, age=Age.old), ""),
        (replace(WISH, faces=Faces.largest), ""),
        (WISH, "https://sider.example"),
    ],
)
def test_what_was_made_otherwise_is_neither_taken_for_done_nor_overwritten(
    folder: Path, wish: Wish, where: str
) -> None:
    protect(folder, Fake())
    other = Fake(where=where)
    lines = protect(folder, other, wish)
    assert {line["error"]["code"] for line in lines.values()} == {"file_exists"}
    assert other.attempts == []
    assert all(line["held"] for line in protect(folder, other, wish, overwrite=True).values())
    assert len(other.done) == 3


def test_a_journal_of_before_ages_is_still_good(folder: Path) -> None:
    """Who asks for none is known by what was noted then."""
    wish = [WISH.method, WISH.preset, WISH.variants, WISH.seed, WISH.custody, WISH.presentation, WISH.consistent, ""]
    photo = (folder / "in" / "deep" / "b.png").read_bytes()
    noted = hashlib.sha256(json.dumps(wish).encode() + photo).hexdigest()
    assert Run(folder / "out", WISH, overwrite=False, as_json=False)._digest(photo, "") == noted


def test_a_result_that_was_lost_and_a_photo_that_has_changed_are_not_done(folder: Path) -> None:
    protect(folder, Fake())
    for path in (folder / "out" / "deep").glob("a*"):
        path.unlink()
    (folder / "in" / "deep" / "b.png").write_bytes(picture(seed=7).to_png())
    again = Fake()
    lines = protect(folder, again)
    assert again.done == [PHOTOS["a"]]
    assert lines["b"]["error"]["code"] == "file_exists"


def test_a_journal_that_was_cut_off_is_read_as_far_as_it_goes(folder: Path) -> None:
    protect(folder, Fake())
    journal = folder / "out" / JOURNAL
    journal.write_text(journal.read_text()[:-20] + "\n[]\n")
    again = Fake()
    assert sum(line.get("before", False) for line in protect(folder, again).values()) == 2
    assert len(again.done) == 1


def test_the_journal_has_no_secret_and_no_picture(folder: Path) -> None:
    protect(folder, Fake())
    text = (folder / "out" / JOURNAL).read_text()
    assert "correct horse" not in text + repr(WISH)
    assert {key for line in text.splitlines() for key in json.loads(line)} == {"photo", "is", "attempt", "line"}


def test_a_missed_promise_is_told_with_its_report(folder: Path) -> None:
    lines = protect(folder, Fake({PHOTOS["a"]: PromiseNotMet("missed", details={"report": REPORT})}))
    assert (lines["a"]["error"]["code"], lines["a"]["report"]) == ("promise_not_met", REPORT)


@pytest.mark.parametrize(("machines_match", "shown"), [(True, "0.10 / 0.50"), (False, "0.40 / 0.50")])
def test_the_contact_sheet_shows_the_face_that_is_nearest_to_a_miss(
    tmp_path: Path, machines_match: bool, shown: str
) -> None:
    faces = [{"encoders": {"dlib": {"cosine": c, "required": 0.5, "held": True}}} for c in (0.1, 0.4)]
    report = {"promise": {"people_recognise": True, "machines_match": machines_match}, "variants": [faces]}
    write_sheet(tmp_path / "sheet.html", [{"file": "a.png", "report": report}], originals=False)
    assert re.findall(r"[\d.]+ / [\d.]+", (tmp_path / "sheet.html").read_text()) == [shown]


@pytest.mark.parametrize("originals", [False, True])
def test_the_contact_sheet_shows_originals_only_if_asked(folder: Path, originals: bool) -> None:
    (folder / "in" / "<script>.png").write_bytes(b"no photo")
    lines = protect(folder, Fake({b"no photo": Unavailable('"away" & gone')}))
    write_sheet(folder / "sheet.html", list(lines.values()), originals)
    page = (folder / "sheet.html").read_text()
    assert page.count("<img ") == (9 if originals else 6)
    assert page.count('alt="original"') == (3 if originals else 0)
    assert ("With originals" in page, "Protected faces only" in page) == (originals, not originals)
    assert "&lt;script&gt;.png" in page
    assert "&quot;away&quot; &amp; gone" in page
    assert "3 protected, 1 unavailable" in page
    for foreign in ("<script", "http:", "https:", "url("):
        assert foreign not in page
