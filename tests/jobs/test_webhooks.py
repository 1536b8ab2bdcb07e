"""What webhooks are owed, when they are tried again, and who signs."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from core.errors import NotFound, RequestRefused, StateConflict
from core.jobs import database
from core.jobs.repository import Jobs
from core.jobs.signatures import key_of, sign
from core.jobs.tables import Delivery, WebhookSecret
from core.jobs.webhooks import ATTEMPT_SECONDS, JITTER, KEPT, PAUSES, ROTATION, Webhooks, delivery_of
from core.vault.keyring import Keyring
from core.vault.rewrap import Rewrapped, check_unused, rewrap_all
from tests.jobs.test_repository import add

URL = "https://bank.example/hooks?token=1"


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.open_or_create(tmp_path / "keyring.json")


def owed(engine: Engine) -> str:
    """A delivery of a queued job; the job's id."""
    jobs = Jobs(engine)
    job_id = add(jobs)
    with Session(engine) as session, session.begin():
        session.add(delivery_of(jobs.get(job_id), URL))
    return job_id


def row(engine: Engine) -> Delivery:
    with Session(engine, expire_on_commit=False) as session:
        return session.scalars(select(Delivery)).one()


def hurry(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(update(Delivery).where(Delivery.due_at.is_not(None)).values(due_at=database.now()))


def test_the_signature_is_the_standards() -> None:
    """The published example of Standard Webhooks."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    identifier, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
    assert sign([key], identifier, 1614265330, body) == expected
    assert sign([b"other" * 5, key], identifier, 1614265330, body).split(" ")[1] == expected


@pytest.mark.parametrize("key", [b"", b"k" * 23])
def test_nothing_is_signed_with_a_key_that_can_be_guessed(key: bytes) -> None:
    with pytest.raises(ValueError, match="bytes"):
        sign([b"k" * 32, key], "msg_1", 1614265330, b"{}")


def test_a_secret_that_the_service_makes_is_taken(engine: Engine, keyring: Keyring) -> None:
    webhooks = Webhooks(engine)
    assert [key_of(webhooks.new_secret("bank", keyring))] == webhooks.secrets("bank", keyring)


def test_due_when_the_job_has_ended_and_not_before(engine: Engine) -> None:
    webhooks, job_id = Webhooks(engine), owed(engine)
    assert webhooks.due() == []
    Jobs(engine).cancel(job_id)
    [(delivery, job)] = webhooks.due()
    assert (delivery.job_id, job.state) == (job_id, "cancelled")


def test_of_two_couriers_one_goes_and_a_dead_one_is_followed_by_another(engine: Engine) -> None:
    webhooks = Webhooks(engine)
    Jobs(engine).cancel(owed(engine))
    [(delivery, _)] = webhooks.due()
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: webhooks.claim(delivery), range(4))) == 1
    assert webhooks.due() == []
    due = row(engine).due_at
    assert due is not None
    assert timedelta(0) < due - database.now() <= timedelta(seconds=ATTEMPT_SECONDS)
    hurry(engine)
    assert [found.attempts for found, _ in webhooks.due()] == [1]


def test_tried_again_on_schedule_and_given_up_at_its_end(engine: Engine) -> None:
    webhooks = Webhooks(engine)
    Jobs(engine).cancel(owed(engine))
    for pause in PAUSES:
        hurry(engine)
        [(delivery, _)] = webhooks.due()
        assert webhooks.claim(delivery)
        before = database.now()
        webhooks.failed(delivery.id, delivery.attempts + 1, "500")
        due = row(engine).due_at
        assert due is not None
        least = before + timedelta(seconds=pause)
        assert least <= due <= database.now() + timedelta(seconds=pause * (1 + JITTER))
    hurry(engine)
    [(delivery, _)] = webhooks.due()
    webhooks.claim(delivery)
    webhooks.failed(delivery.id, delivery.attempts + 1, "500")
    assert (row(engine).due_at, row(engine).delivered_at, row(engine).answer) == (None, None, "500")


def test_delivered_is_delivered(engine: Engine) -> None:
    webhooks = Webhooks(engine)
    Jobs(engine).cancel(owed(engine))
    [(delivery, _)] = webhooks.due()
    webhooks.claim(delivery)
    webhooks.delivered(delivery.id, "204")
    webhooks.failed(delivery.id, 1, "ReadTimeoutError")  # a slower courier with the same attempt
    assert (row(engine).due_at, row(engine).answer) == (None, "204")
    assert webhooks.due() == []


def test_secrets_rotate_and_are_sealed(engine: Engine, keyring: Keyring) -> None:
    webhooks = Webhooks(engine)
    first, second = webhooks.new_secret("bank", keyring), webhooks.new_secret("bank", keyring)
    webhooks.new_secret("rival", keyring)
    plain = [base64.b64decode(text.removeprefix("whsec_")) for text in (second, first)]
    assert webhooks.secrets("bank", keyring) == plain
    with engine.begin() as connection:
        sealed = b"".join(connection.scalars(select(WebhookSecret.sealed)))
        retired = update(WebhookSecret).where(WebhookSecret.retires_at.is_not(None))
        connection.execute(retired.values(retires_at=WebhookSecret.created_at))
    assert not any(secret in sealed for secret in plain)
    assert webhooks.secrets("bank", keyring) == plain[:1]
    assert timedelta(hours=1) < ROTATION


@pytest.mark.parametrize(
    ("unusable", "private"),
    [
        ("http://bank.example/", False),
        ("https://user:password@bank.example/", False),
        ("https:///hooks", False),
        ("https://127.0.0.1/hooks", False),
        ("https://[::1]/hooks", False),
        ("https://[::ffff:8.8.8.8]/hooks", False),
        ("https://169.254.169.254/latest", False),
        ("https://LocalHost./hooks", False),
        ("https://bank.localhost/hooks", False),
        ("https://bank.example:99999/", False),
        ("https://b\u00e4nk.example/", False),
        ("file:///etc/passwd", True),
        ("https://[::1", True),
        ("https://bank.example/\0", True),
        ("https://bank.example/\n", True),
    ],
)
def test_unusable_urls(engine: Engine, keyring: Keyring, unusable: str, private: bool) -> None:
    webhooks = Webhooks(engine)
    webhooks.new_secret("bank", keyring)
    webhooks.check(URL, "bank", private)
    with pytest.raises(RequestRefused) as caught:
        webhooks.check(unusable, "bank", private)
    assert caught.value.code == "webhook_refused"
    assert "password" not in str(caught.value)


def test_without_a_secret_nothing_is_promised(engine: Engine) -> None:
    with pytest.raises(RequestRefused, match="sider webhooks secret"):
        Webhooks(engine).check(URL, "bank", private=False)


def test_secrets_move_to_a_new_key_and_sign_as_before(engine: Engine, keyring: Keyring) -> None:
    webhooks = Webhooks(engine)
    webhooks.new_secret("bank", keyring)
    webhooks.new_secret("rival", keyring)
    before = webhooks.secrets("bank", keyring)
    ring = keyring.rotate()
    with pytest.raises(StateConflict, match="still needs version 1"):
        check_unused(webhooks.items(), 1, silent)
    assert rewrap_all(webhooks.items(), ring, silent) == Rewrapped(items=2, moved=2)
    check_unused(webhooks.items(), 1, silent)
    assert webhooks.secrets("bank", ring.retire(1)) == before


def test_a_secret_that_changed_or_went_meanwhile_is_not_written(engine: Engine, keyring: Keyring) -> None:
    webhooks = Webhooks(engine)
    webhooks.new_secret("bank", keyring)
    [item] = webhooks.items()
    sealed, tag = webhooks.get_tagged(item.key)
    assert webhooks.replace(item.key, b"newer", tag)
    assert not webhooks.replace(item.key, sealed, tag)
    assert webhooks.get_tagged(item.key)[0] == b"newer"
    with pytest.raises(NotFound):
        webhooks.get_tagged("whs_" + "0" * 32)


def test_what_is_over_is_forgotten_after_a_month_and_what_is_owed_is_not(engine: Engine) -> None:
    webhooks = Webhooks(engine)
    owed(engine)
    month = update(Delivery).values(created_at=database.now() - KEPT - timedelta(seconds=1))
    over = update(Delivery).values(due_at=None)
    for change, left in ((month, 1), (over.values(created_at=database.now()), 1), (month, 0)):
        with engine.begin() as connection:
            connection.execute(change)
        webhooks.sweep()
        with Session(engine) as session:
            assert len(session.scalars(select(Delivery)).all()) == left


def silent(done: int, total: int) -> None:
    assert done <= total
