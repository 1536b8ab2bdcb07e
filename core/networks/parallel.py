"""Several networks, or pictures, at once: a network with a face or two in its batch cannot keep more than one core
busy, and numpy never does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

Net = Callable[[Tensor], Tensor]
Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What `work` makes of each item, in their order; they share the CPU's cores."""
    threads = torch.get_num_threads()
    workers = min(threads, len(items))
    if workers < 2:
        return [work(item) for item in items]
    return list(_pool(workers, threads // workers).map(work, items))


def side_by_side(nets: Sequence[Net], x: Tensor) -> tuple[Tensor, ...]:
    """What each network says of `x`. Differentiable to it, not to the networks' weights.

    On a CPU they share the cores, forward and backward; elsewhere one comes after the other.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(nets) == 1 or x.device.type != "cpu":
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            return tuple(net(x) for net in nets)
    workers = min(threads, len(nets))
    answers: tuple[Tensor, ...] = _SideBySide.apply(x, nets, _pool(workers, threads // workers))
    return answers


class _SideBySide(torch.autograd.Function):
    """A graph a network, which is made and walked by threads of the pool."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, nets: Sequence[Net], pool: ThreadPoolExecutor) -> tuple[Tensor, ...]:
        learning = ctx.needs_input_grad[0]
        leaves = [x.detach().requires_grad_(learning) for _ in nets]

        def answer(net: Net, leaf: Tensor) -> Tensor:
            with torch.set_grad_enabled(learning):
                return net(leaf)

        answers = list(pool.map(answer, nets, leaves))
        if learning:
            ctx.pool, ctx.leaves, ctx.answers = pool, leaves, answers
        return tuple(a.detach() for a in answers)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        def walk(answer: Tensor, leaf: Tensor, gradient: Tensor) -> Tensor:
            return torch.autograd.grad(answer, leaf, gradient)[0]

        return sum(ctx.pool.map(walk, ctx.answers, ctx.leaves, gradients)), None, None


@cache
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """Its threads are given `threads` cores each, whatever the caller has."""
    return ThreadPoolExecutor(workers, "network", torch.set_num_threads, (threads,))
