from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.stages.optimise import Descent, Jitter, Turns, blur, draw, optimise

TARGET = torch.tensor([0.3, -0.2])[:, None, None, None].expand(2, 4, 8, 8)


def distance(u: Tensor) -> Tensor:
    return ((u - TARGET) ** 2).mean((1, 2, 3))


def near(u: Tensor) -> Tensor:
    return distance(u) < 1e-3


def never(u: Tensor) -> Tensor:
    return torch.zeros(len(u), dtype=torch.bool)


def run(**changes: object) -> tuple[Tensor, int, list[float]]:
    seen: list[float] = []
    settings = {"steps": 200, "step_size": 0.005, "check_every": 1, **changes}
    u, steps = optimise(torch.zeros(2, 4, 8, 8), distance, near, Descent(**settings), seen.append)  # type: ignore[arg-type]
    return u, steps, seen


def test_reaches_the_goal_and_stops_early() -> None:
    u, steps, seen = run()
    assert near(u).all()
    assert 0 < steps < 200
    assert seen == sorted(seen)


def test_gives_up_after_its_steps() -> None:
    _, steps, seen = run(steps=5)
    assert steps == 5
    assert seen[-1] == 1.0


def test_a_satisfied_row_is_frozen() -> None:
    looks = iter([True, *[False] * 29])

    def first_is_happy_once(u: Tensor) -> Tensor:
        return torch.tensor([next(looks), False])

    u, _ = optimise(
        torch.zeros(2, 4, 8, 8),
        distance,
        first_is_happy_once,
        Descent(steps=30, check_every=1, calm=1),
        lambda _: None,
    )
    assert (u[0] == 0).all()
    assert (u[1] != 0).any()


def test_the_result_is_the_mean_of_what_strays() -> None:
    """Steps are too long to rest at the goal; their mean is nearer to it than where they end."""
    start = torch.zeros(2, 4, 8, 8)
    last, mean = (
        optimise(start, distance, never, Descent(80, 0.02, averaging=rho), lambda _: None)[0] for rho in (0.0, 0.9)
    )
    assert (distance(mean) < distance(last) / 2).all()


def test_one_lucky_look_is_not_enough() -> None:
    looks = iter([True, False, True, True])

    def moody(u: Tensor) -> Tensor:
        return torch.full((2,), next(looks))

    _, steps = optimise(torch.zeros(2, 4, 8, 8), distance, moody, Descent(steps=9, check_every=1), lambda _: None)
    assert steps == 3


def test_draws_are_seeded_small_and_differ() -> None:
    images, marks = torch.rand(2, 3, 64, 64), torch.rand(2, 5, 2) * 64
    one = draw(images, marks, Jitter(), torch.Generator().manual_seed(1))
    two = draw(images, marks, Jitter(), torch.Generator().manual_seed(1))
    other = draw(images, marks, Jitter(), torch.Generator().manual_seed(2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[1], other[1])
    assert (one[1] - marks).abs().max() < 12


def test_blur_keeps_the_mean_and_takes_detail() -> None:
    images = torch.rand(1, 3, 64, 64)
    soft = blur(images, 1.5)
    assert soft.mean() == pytest.approx(images.mean().item(), abs=0.01)
    assert soft.std() < images.std() / 2
    assert blur(images, 0.1) is images


@pytest.mark.parametrize("asked", [1, 2, 3, 99])
def test_each_encoder_is_asked_once_before_any_comes_again(asked: int) -> None:
    turns, generator = Turns(5, asked), torch.Generator().manual_seed(1)
    for _ in range(3):
        round_ = [turns.draw(generator) for _ in range(5)[::asked]]
        assert sorted(k for turn in round_ for k in turn) == list(range(5))
        assert max(map(len, round_)) <= asked
