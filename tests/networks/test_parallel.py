"""Networks and pictures side by side come out as they do one after the other."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from core.networks.parallel import side_by_side, spread


@pytest.fixture
def nets() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Conv2d(3, c, 3), nn.GELU(), nn.Flatten(), nn.LazyLinear(c)) for c in (4, 6, 8)]


def test_same_answers_and_gradients(nets: list[nn.Module]) -> None:
    x, y = (torch.rand(2, 3, 8, 8, requires_grad=True) for _ in range(2))
    inputs, weights = [x, x, y], [torch.randn(2, c) for c in (4, 6, 8)]
    plain = [net(v) for net, v in zip(nets, inputs, strict=True)]
    expected = torch.autograd.grad(plain, (x, y), weights)
    answers = side_by_side(nets, inputs)
    assert all(torch.equal(a, b) for a, b in zip(answers, plain, strict=True))
    gradients = torch.autograd.grad(answers, (x, y), weights)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(gradients, expected, strict=True))


def test_no_graph_where_none_is_asked_for(nets: list[nn.Module]) -> None:
    learning, plain = torch.rand(2, 3, 8, 8, requires_grad=True), torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert not any(a.requires_grad for a in side_by_side(nets, [learning] * 3))
    assert not any(a.requires_grad for a in side_by_side(nets, [plain] * 3))
    (gradient,) = torch.autograd.grad(side_by_side(nets[:2], [learning, plain])[0].sum(), learning)
    assert torch.allclose(gradient, torch.autograd.grad(nets[0](learning).sum(), learning)[0], atol=1e-6)


def test_two_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    together, seen = threading.Barrier(2), []

    def net(x: Tensor) -> Tensor:
        together.wait(timeout=10)  # raises if it is alone
        seen.append(threading.get_ident())
        return x

    side_by_side([net, net], [torch.zeros(1)] * 2)
    assert len({*seen, threading.get_ident()}) == 3


def test_one_core_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    seen = []

    def net(x: Tensor) -> Tensor:
        seen.append(threading.get_ident())
        return x

    side_by_side([net, net], [torch.zeros(1)] * 2)
    assert seen == [threading.get_ident()] * 2


def test_an_error_of_a_network_reaches_the_caller(nets: list[nn.Module]) -> None:
    with pytest.raises(RuntimeError, match="channels"):
        side_by_side(nets, [torch.rand(2, 4, 8, 8)] * 3)


@pytest.mark.parametrize("cores", [1, 2])
def test_work_is_spread_in_order_and_errors_come_back(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    together, seen = threading.Barrier(cores), set()

    def work(item: int) -> int:
        together.wait(timeout=10)  # raises if it is alone
        seen.add(threading.get_ident())
        return 10 // item

    assert spread(work, [5, 2, 1, 10]) == [2, 5, 10, 1]
    assert len(seen) == cores
    assert spread(work, []) == []
    with pytest.raises(ZeroDivisionError):
        spread(work, [0] * cores)


def test_who_has_a_share_of_the_cores_asks_for_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)

    def work(_: int) -> set[int]:
        seen = {threading.get_ident()}

        def net(x: Tensor) -> Tensor:
            seen.add(threading.get_ident())
            return x

        side_by_side([net, net], [torch.zeros(1)] * 2)
        return seen | set(spread(lambda _: threading.get_ident(), [0, 0]))

    assert [len(seen) for seen in spread(work, [0] * 4)] == [1] * 4
