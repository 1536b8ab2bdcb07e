"""What is learned of portraits is asked of people who were not seen, and every group counts the same."""

from __future__ import annotations

import numpy as np

from training.apparent import decade, fit, learned, side, wrong_side, years_off


def test_a_group_of_few_counts_as_much_as_one_of_many() -> None:
    """Where the vector says nothing, what is told is the mean of the groups, not of the faces."""
    vectors, known = np.zeros((101, 2)), np.array([60.0] * 100 + [20.0])
    line = fit(vectors, known, decade(known))
    assert abs(line[-1] - 40) < 1


def test_what_is_known_of_a_person_is_not_told_of_another_photo_of_theirs() -> None:
    """Each has a vector of their own and an age that has nothing to do with it: who was seen would be known."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 2)
    vectors, ages = np.eye(40)[people] * 10, rng.uniform(20, 80, 40)[people]
    line = learned(vectors, ages, decade(ages), [f"p{n}" for n in people])
    assert years_off(line["held_out"], ages) > 10
    seen = vectors @ np.array(line["weight"]) + line["bias"]
    assert years_off(seen, ages) < 2


def test_errors_are_years_and_shares_of_faces() -> None:
    assert years_off(np.array([30.0, 50.0]), np.array([33.0, 49.0])) == 2
    assert wrong_side(np.array([0.2, -0.1, -3.0]), side(np.array([1.0, 1.0, -1.0]))) == 1 / 3
    assert decade(np.array([12.0, 34.0, 95.0])).tolist() == [2, 3, 7]
