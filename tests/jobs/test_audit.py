"""The audit log: what is told in it, and one chain however many write."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select

from core.errors import NotFound
from core.jobs import audit, database, heads
from core.jobs.audit import Audit, Entry
from core.jobs.heads import Findings
from core.jobs.keys import ApiKeys
from core.jobs.repository import Jobs
from core.jobs.retries import PAUSES, Fault
from core.jobs.tables import AuditEntry, Job, Photo
from core.jobs.webhooks import delivery_of
from core.vault.keyring import Keyring
from tests.fakes import MemoryBlobs
from tests.jobs.test_repository import add, age

WRITER = """
import sys
from core.jobs import database
from core.jobs.audit import Audit, Entry
engine = database.connect(sys.argv[1])
for _ in range(25):
    Audit(engine).record(Entry("protect", "accepted", sys.argv[2]))
engine.dispose()
"""


def test_many_processes_write_one_chain(url: str, engine: Engine, tmp_path: Path) -> None:
    argv = [sys.executable, "-W", "error", "-c", WRITER, url]
    writers = [subprocess.Popen([*argv, f"key:{number}"]) for number in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    log = Audit(engine)
    store, ring = MemoryBlobs(), Keyring.open_or_create(tmp_path / "k.json")
    assert heads.verify(log, store, ring, lambda done, entries: None) == Findings(entries=75, unsigned=75)
    assert {entry.actor for entry in log.latest(75)} == {"key:0", "key:1", "key:2"}


def test_an_entry_is_there_exactly_if_its_change_is(engine: Engine) -> None:
    keys = ApiKeys(engine)
    row, _ = keys.issue("bank", ("protect",), "app")
    with pytest.raises(NotFound):
        keys.revoke("0" * 12)
    keys.revoke(row.id)
    (ended,) = (key.revoked_at for key in keys.all())
    keys.revoke(row.id)  # it has ended already
    assert [key.revoked_at for key in keys.all()] == [ended]
    told = [(e.event, e.outcome, e.subject, e.tenant) for e in Audit(engine).latest(9)]
    assert told == [("api_key", "issued", row.id, "bank"), ("api_key", "revoked", row.id, "bank")]


def test_an_entrys_hash_is_the_same_in_every_release() -> None:
    """Or an upgrade would make forgeries of all that was written before."""
    row = AuditEntry(
        seq=7, at=datetime(2026, 1, 1, 12, 30, tzinfo=UTC), event="restore", outcome="accepted",
        actor="key:0123456789ab", tenant="bank", subject="pho_00", details={"reason": "Rückfrage 🙂", "variants": 2},
    )  # fmt: skip
    frozen = "302289c614a010b00953ca76ade3b942bc6bb109c0f499c626136cd1aecd6fad"
    assert audit.entry_hash(audit.GENESIS, row) == frozen


def test_nothing_is_kept_of_a_transaction_that_failed(engine: Engine) -> None:
    def fail() -> None:
        with engine.begin() as connection:
            audit.append(connection, Entry("erase", "succeeded", "key:ab"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with engine.connect() as connection:
        assert connection.execute(select(AuditEntry)).all() == []
    assert Audit(engine).tip() == (0, audit.GENESIS)


@pytest.mark.parametrize(("error", "outcome"), [(NotFound("no photo"), "not_found"), (OSError(), "internal_error")])
def test_a_refusal_is_recorded_and_goes_on(engine: Engine, error: Exception, outcome: str) -> None:
    def refuse(log: Audit) -> None:
        with log.refusals(Entry("restore", "accepted", "key:ab", "bank", "pho_1", {"reason": "dispute"})):
            raise error

    with pytest.raises(type(error)):
        refuse(Audit(engine))
    [entry] = Audit(engine).latest(9)
    assert (entry.outcome, entry.details) == (outcome, {"reason": "dispute"})


@pytest.mark.parametrize(
    ("outcome", "actor"),
    [
        ("succeeded", "service"),
        ("no_face_found", "service"),
        ("cancelled", "key:ab"),
        ("job_expired", "service"),
        ("poisoned", "service"),
    ],
)
def test_every_end_of_a_job_is_told(engine: Engine, outcome: str, actor: str) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs, actor="key:ab", expires_at=database.now() + timedelta(hours=1))
    jobs.claim(job_id, lease_seconds=-1 if outcome == "poisoned" else 60)
    if outcome == "job_expired":
        age(engine, expires_at=database.now())
    if outcome == "poisoned":
        age(engine, crashes=len(PAUSES[Fault.poison]))
    {
        "succeeded": lambda: jobs.finish(job_id, 1, {}),
        "no_face_found": lambda: jobs.fail(job_id, 1, {"code": "no_face_found", "message": "", "details": {}}),
        "cancelled": lambda: jobs.cancel(job_id, "key:ab"),
        "job_expired": jobs.expire,
        "poisoned": jobs.requeue_lapsed,
    }[outcome]()
    told = [(e.event, e.outcome, e.actor, e.details) for e in Audit(engine).latest(9)]
    details = {"job": job_id, "for": "key:ab"}
    assert told == [("protect", "accepted", "key:ab", details), ("protect", outcome, actor, details)]


def test_the_log_is_locked_last(engine: Engine) -> None:
    """Whatever is committed with a job comes before its entry: the lock is held for as short as can be."""
    statements: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda *args: statements.append(args[2].split(" SET")[0].split(" (")[0])
    )
    now = database.now()
    job = Job(id="job_1", tenant="bank", kind="protect", state="queued", photo_id="pho_1", request={}, created_at=now)
    photo = Photo(id="pho_1", tenant="bank", method="sider", preset="standard", variants=1, created_at=now)
    Jobs(engine).add([job], [photo], lambda session: session.add(delivery_of(job, "https://bank.example/")))
    writes = [text for text in statements if text.startswith(("INSERT", "UPDATE"))]
    assert writes == [
        *(f"INSERT INTO {table}" for table in ("photos", "jobs", "deliveries")),
        "UPDATE audit_tip", "INSERT INTO audit_entries", "UPDATE audit_tip",
    ]  # fmt: skip
