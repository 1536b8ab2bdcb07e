"""The audit log's chain and its signed heads: whoever changes it is found out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Engine, delete, update

from core import metrics
from core.jobs import audit, database, heads
from core.jobs.audit import Audit, Entry, Tip
from core.jobs.heads import Findings, Heads
from core.jobs.tables import AuditEntry, AuditTip
from core.vault.keyring import Keyring
from tests.fakes import MemoryBlobs


class Log:
    """A log of twelve entries, of which the first ten are signed."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.audit, self.store = Audit(engine), MemoryBlobs()
        self.ring = Keyring.open_or_create(path / "k.json")
        self.write(1, 5)
        self.sign()
        self.write(6, 10)
        self.sign()
        self.write(11, 12)

    def write(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            self.audit.record(Entry("restore", "accepted", "key:ab", "bank", f"pho_{number}", {"reason": "dispute"}))

    def sign(self) -> None:
        Heads(self.audit, self.store, self.ring, seconds=60).anchor()

    def verify(self) -> Findings:
        return heads.verify(self.audit, self.store, self.ring.latest(), lambda done, entries: None)

    def run(self, *statements: object) -> None:
        with self.audit.engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def rewrite(self, first: int) -> None:
        """Give all entries from `first` on hashes that fit, as an intruder who knows this code would."""
        rows = self.audit.latest(100)
        previous = audit.GENESIS
        for row in rows:
            fitting = audit.entry_hash(previous, row) if row.seq >= first else row.hash
            self.run(update(AuditEntry).where(AuditEntry.seq == row.seq).values(hash=fitting))
            previous = fitting
        self.run(update(AuditTip).values(seq=rows[-1].seq, hash=previous))


@pytest.fixture
def log(engine: Engine, tmp_path: Path) -> Log:
    return Log(engine, tmp_path)


def test_an_honest_log(log: Log) -> None:
    assert log.verify() == Findings(entries=12, heads=2, unsigned=2)
    log.sign()
    assert log.verify() == Findings(entries=12, heads=3)


def test_an_empty_log(engine: Engine, tmp_path: Path) -> None:
    store, ring = MemoryBlobs(), Keyring.open_or_create(tmp_path / "k.json")
    Heads(Audit(engine), store, ring, seconds=60).anchor()
    assert heads.verify(Audit(engine), store, ring, lambda done, entries: None) == Findings()


AT = update(AuditEntry).where(AuditEntry.seq == 7)


@pytest.mark.parametrize(
    "change",
    [
        AT.values(outcome="refused"),
        AT.values(event="erase"),
        AT.values(actor="key:cd"),
        AT.values(tenant="rival"),
        AT.values(subject="pho_8"),
        AT.values(details={"reason": "curiosity"}),
        AT.values(at=database.now()),
        AT.values(hash="0" * 64),
    ],
    ids=["outcome", "event", "actor", "tenant", "subject", "details", "at", "hash"],
)
def test_an_altered_entry_is_found(log: Log, change: object) -> None:
    log.run(change)
    assert any("entry 7 was altered" in fault for fault in log.verify().faults)


def test_a_removed_entry_is_found(log: Log) -> None:
    log.run(delete(AuditEntry).where(AuditEntry.seq.in_([7, 8])))
    assert log.verify().faults == ["entries 7 to 8 are missing"]


def test_a_removed_beginning_is_found(log: Log) -> None:
    log.run(delete(AuditEntry).where(AuditEntry.seq == 1))
    assert log.verify().faults == ["entry 1 is missing"]


def test_swapped_entries_are_found(log: Log) -> None:
    number = update(AuditEntry)
    swap = [(3, 99), (4, 3), (99, 4)]
    log.run(*(number.where(AuditEntry.seq == old).values(seq=new) for old, new in swap))
    assert [fault.split(",")[0] for fault in log.verify().faults] == [f"entry {n} was altered" for n in (3, 4, 5)]


@pytest.mark.parametrize("hide", [False, True])
def test_a_cut_off_tail_is_found(log: Log, hide: bool) -> None:
    """Also when the tip is set back, or somebody appends to the shortened log."""
    log.run(delete(AuditEntry).where(AuditEntry.seq > 8))
    if not hide:
        assert log.verify().faults == ["entries 9 to 12 are missing"]
        return
    log.rewrite(99)
    assert log.verify().faults == ["entries 9 to 10 are missing"]
    log.write(9, 12)
    assert log.verify().faults == ["entry 10 is not the one that was signed"]


@pytest.mark.parametrize("change", [AT.values(subject="pho_9"), delete(AuditEntry).where(AuditEntry.seq == 12)])
def test_rewriting_the_hashes_does_not_help(log: Log, change: object) -> None:
    log.sign()
    log.run(change)
    log.rewrite(7)
    assert [fault for fault in log.verify().faults if "signed" in fault or "missing" in fault]


def test_a_forged_head_is_found(log: Log, tmp_path: Path) -> None:
    tip = log.audit.tip()
    stranger = Keyring.open_or_create(tmp_path / "other.json")
    log.store.objects["heads/000000000012.json"] = heads.sign(tip, stranger)
    assert log.verify().faults == ["heads/000000000012.json is not a head that this keyring has signed"]
    head = json.loads(heads.sign(tip, log.ring)) | {"hash": "0" * 64}
    log.store.objects["heads/000000000012.json"] = json.dumps(head).encode()
    assert log.verify().faults == ["heads/000000000012.json is not a head that this keyring has signed"]


@pytest.mark.parametrize("junk", [b"", b"[]", b"{}", b'{"signature": 1}', b'{"signature": "", "key_version": 9}'])
def test_a_broken_head_is_found(log: Log, junk: bytes) -> None:
    log.store.objects["heads/000000000011.json"] = junk
    assert len(log.verify().faults) == 1


def test_a_second_head_for_an_entry_is_found(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store keeps what was overwritten."""
    name = "heads/000000000010.json"
    versions = [(name, log.store.objects[name]), (name, heads.sign(Tip(10, "0" * 64), log.ring))]
    monkeypatch.setattr(log.store, "history", lambda _: versions)
    assert log.verify().faults == ["two heads were signed for entry 10"]


def test_an_end_that_is_not_the_last_entrys_is_found(log: Log) -> None:
    log.run(update(AuditTip).values(hash="0" * 64))
    assert log.verify().faults == ["the log does not end with entry 12 as it was written"]


def test_a_head_is_written_once(log: Log) -> None:
    name = "heads/000000000010.json"
    first = log.store.objects[name]
    assert not log.store.put_once(name, b"other")
    assert log.store.objects[name] == first


def test_heads_outlive_their_key(log: Log) -> None:
    log.ring.rotate()
    log.sign()
    log.ring.retire(1)
    assert log.verify() == Findings(entries=12, heads=3)


def test_a_head_is_read_in_every_release() -> None:
    ring = Keyring(Path("unused"), {1: bytes(range(32))}, {1: "2026-01-01T00:00:00+00:00"})
    frozen = {
        "seq": 7,
        "hash": "ab" * 32,
        "at": "2026-01-01T00:00:00+00:00",
        "key_version": 1,
        "signature": "UOTa1xf87iJU9U669WHs95oGMdfhsYXHNJlHBS8AFY7gD2cu35OcKObcOky7eIZx3z1etgwynQEwIdjErkCWDA==",
    }
    assert heads.read_head(json.dumps(frozen).encode(), ring) == Tip(7, "ab" * 32)


def test_heads_are_not_written_more_often_than_asked(log: Log) -> None:
    anchor = Heads(log.audit, log.store, log.ring, seconds=3600)
    anchor.anchor()
    log.write(13, 14)
    anchor.anchor()
    assert log.verify().unsigned == 2


def test_a_number_that_has_a_head_already_is_vouched_for_only_if_it_is_the_same_entry(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a backup was restored, whose log went on with other entries."""
    signed: list[int] = []
    monkeypatch.setattr(metrics.AUDIT_SIGNED, "set_to_current_time", lambda: signed.append(log.audit.tip().seq))
    log.sign()
    log.sign()  # another process, with nothing new
    assert signed == [12, 12]
    log.run(delete(AuditEntry).where(AuditEntry.seq > 9))
    log.run(update(AuditTip).values(seq=9, hash=log.audit.latest(1)[0].hash))
    log.write(10, 10)
    log.run(update(AuditTip).values(hash="f" * 64))
    ours = Heads(log.audit, log.store, log.ring, seconds=0)
    with structlog.testing.capture_logs() as lines:
        ours.anchor()
        ours.anchor()
    assert [(line["event"], line["seq"]) for line in lines] == [("audit_head_of_another_entry", 10)] * 2
    assert signed == [12, 12]
    log.write(11, 13)
    ours.anchor()
    assert signed == [12, 12, 13]


def test_the_newest_of_one_tenant_or_subject(log: Log) -> None:
    log.audit.record(Entry("erase", "accepted", "key:cd", "rival", "pho_1"))
    assert [e.seq for e in log.audit.latest(3)] == [11, 12, 13]
    assert [e.seq for e in log.audit.latest(9, tenant="rival")] == [13]
    assert [e.seq for e in log.audit.latest(9, subject="pho_1")] == [1, 13]
