"""What a training run keeps: its weights, a moving average of them and how far it is, so that another goes on."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn

NOW, AVERAGE, FACTS = "now.safetensors", "average.safetensors", "facts.json"


def follow(average: nn.Module, net: nn.Module, step: int, keep: float) -> None:
    """Move the average on to the weights after `step` steps. keep: of the past, at most; in the beginning it is less,
    so that where the run began is forgotten."""
    keep = min(keep, step / (step + 10))
    for slow, now in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if slow.is_floating_point():
            slow.lerp_(now, 1 - keep)
        else:
            slow.copy_(now)


def save(folder: Path, net: nn.Module, average: nn.Module, step: int, minutes: float) -> None:
    """Write all of it; minutes are of processor time."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in ((net, NOW), (average, AVERAGE)):
        save_file({k: v.detach().cpu().contiguous() for k, v in part.state_dict().items()}, folder / name)
    facts = {"step": step, "minutes": round(minutes, 1)}
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def resume(folder: Path, net: nn.Module, average: nn.Module) -> tuple[int, float] | None:
    """Read what `save` wrote; steps and minutes until then, None where there is nothing."""
    if not (folder / FACTS).is_file():
        return None
    for part, name in ((net, NOW), (average, AVERAGE)):
        part.load_state_dict(load_file(folder / name))
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return int(facts["step"]), float(facts["minutes"])
