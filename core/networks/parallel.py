"""Several networks, or pictures, at once: a network with a face or two in its batch cannot keep more than one core
busy, and numpy never does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

NAME = "network"  # of the pools' threads
Net = Callable[[Tensor], Tensor]
Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What `work` makes of each item, in their order; they share the CPU's cores."""
    threads = torch.get_num_threads()
    workers = min(threads, len(items))
    if workers < 2 or _pooled():
        return [work(item) for item in items]
    return list(_pool(workers, threads // workers).map(work, items))


def side_by_side(nets: Sequence[Net], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What each network says of its input. Differentiable to the inputs, not to the networks' weights.

    On a CPU they share the cores, forward and backward; elsewhere one comes after the other.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(nets) == 1 or inputs[0].device.type != "cpu" or _pooled():
        return tuple(_answer(net, x, _learning(x)) for net, x in zip(nets, inputs, strict=True))
    workers = min(threads, len(nets))
    answers: tuple[Tensor, ...] = _SideBySide.apply(nets, _pool(workers, threads // workers), *inputs)
    return answers


class _SideBySide(torch.autograd.Function):
    """A graph a network, which is made and walked by threads of the pool."""

    @staticmethod
    def forward(ctx: Any, nets: Sequence[Net], pool: ThreadPoolExecutor, *inputs: Tensor) -> tuple[Tensor, ...]:
        learning = ctx.needs_input_grad[2:]
        leaves = [x.detach().requires_grad_(needed) for x, needed in zip(inputs, learning, strict=True)]
        answers = list(pool.map(_answer, nets, leaves, learning))
        ctx.pool, ctx.leaves, ctx.answers = pool, leaves, answers
        return tuple(a.detach() for a in answers)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        def walk(answer: Tensor, leaf: Tensor, gradient: Tensor) -> Tensor | None:
            return torch.autograd.grad(answer, leaf, gradient)[0] if leaf.requires_grad else None

        return (None, None, *ctx.pool.map(walk, ctx.answers, ctx.leaves, gradients))


def _learning(x: Tensor) -> bool:
    return torch.is_grad_enabled() and x.requires_grad


def _answer(net: Net, x: Tensor, learning: bool) -> Tensor:
    with torch.set_grad_enabled(learning):
        return net(x)


@cache
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """Its threads are given `threads` cores each, whatever the caller has."""
    return ThreadPoolExecutor(workers, NAME, torch.set_num_threads, (threads,))


def _pooled() -> bool:
    """Whether this thread is one of a pool. It has its share of the cores, and all that it could ask for more of them
    would wait for one another."""
    return threading.current_thread().name.startswith(NAME)
