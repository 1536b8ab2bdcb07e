"""First answers: reserved once, signed once, forgotten after a day."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from core.errors import RequestRefused, StateConflict
from core.jobs import database
from core.jobs.receipts import KEPT, RESERVED, Receipts, Reservation
from core.jobs.tables import Receipt

ONE, PRINT, OTHER = "1" * 64, "a" * 64, "b" * 64


def reserved(receipts: Receipts) -> Reservation:
    found = receipts.reserve(ONE, PRINT)
    assert isinstance(found, Reservation)
    return found


def sign(engine: Engine, reservation: Reservation) -> None:
    with Session(engine) as session, session.begin():
        reservation.sign(session, b"sealed")


def older_by(engine: Engine, age: timedelta) -> None:
    with engine.begin() as connection:
        connection.execute(update(Receipt).values(created_at=database.now() - age))


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(Receipt)).scalar_one()


def test_the_first_answer_is_given_again(engine: Engine) -> None:
    receipts = Receipts(engine)
    first = reserved(receipts)
    with pytest.raises(StateConflict) as caught:
        receipts.reserve(ONE, PRINT)
    assert caught.value.code == "idempotency_in_progress"
    sign(engine, first)
    assert receipts.reserve(ONE, PRINT) == b"sealed"
    with pytest.raises(RequestRefused) as refused:
        receipts.reserve(ONE, OTHER)
    assert refused.value.code == "idempotency_key_reused"
    receipts.release(first)  # too late: it is signed
    assert receipts.reserve(ONE, PRINT) == b"sealed"


def test_another_payload_is_refused_while_the_first_is_worked_on(engine: Engine) -> None:
    receipts = Receipts(engine)
    reserved(receipts)
    with pytest.raises(RequestRefused):
        receipts.reserve(ONE, OTHER)


def test_of_many_reservations_one_wins(engine: Engine) -> None:
    receipts = Receipts(engine)

    def attempt(_: int) -> bool:
        try:
            return isinstance(receipts.reserve(ONE, PRINT), Reservation)
        except StateConflict:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_refused_request_may_be_sent_again(engine: Engine) -> None:
    receipts = Receipts(engine)
    refused = reserved(receipts)
    receipts.release(refused)
    again = reserved(receipts)
    assert (again.id, again.token != refused.token) == (refused.id, True)


def test_a_dead_reservation_is_taken_over_and_cannot_be_signed_any_more(engine: Engine) -> None:
    receipts = Receipts(engine)
    dead = reserved(receipts)
    older_by(engine, RESERVED)
    alive = reserved(receipts)
    receipts.release(dead)  # not its own any more
    with pytest.raises(StateConflict):
        sign(engine, dead)
    sign(engine, alive)


def test_forgotten_after_a_day(engine: Engine) -> None:
    receipts = Receipts(engine)
    sign(engine, reserved(receipts))
    older_by(engine, KEPT - timedelta(minutes=1))
    receipts.sweep()
    assert receipts.reserve(ONE, PRINT) == b"sealed"
    older_by(engine, KEPT)
    sign(engine, reserved(receipts))  # even before the sweep
    older_by(engine, KEPT)
    receipts.sweep()
    assert count(engine) == 0
