"""A training run goes on where it was, and its average forgets where it began."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from training import checkpoint


def layer(value: float) -> nn.Module:
    """With a weight, a buffer and a counter."""
    net = nn.BatchNorm1d(1)
    for tensor in net.state_dict().values():
        tensor.fill_(int(value)) if not tensor.is_floating_point() else tensor.fill_(value)
    return net


def values(net: nn.Module) -> list[float]:
    return [float(v) for v in net.state_dict().values()]


def test_what_was_saved_is_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert checkpoint.resume(folder, layer(0), layer(0)) is None
    checkpoint.save(folder, layer(1), layer(2), 7, 1.26)
    net, average = layer(0), layer(0)
    assert checkpoint.resume(folder, net, average) == (7, 1.3)
    assert values(net) == values(layer(1))
    assert values(average) == values(layer(2))


def test_an_average_follows_fast_at_first_and_then_as_it_is_told() -> None:
    early, late = layer(0), layer(0)
    checkpoint.follow(early, layer(1), 1, 0.9)
    checkpoint.follow(late, layer(1), 10**6, 0.9)
    weight, *_, counter = values(early)
    assert torch.isclose(torch.tensor(weight), torch.tensor(10 / 11))
    assert counter == 1  # what cannot be averaged is taken over
    assert torch.isclose(torch.tensor(values(late)[0]), torch.tensor(0.1))
