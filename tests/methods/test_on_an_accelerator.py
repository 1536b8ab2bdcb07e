"""Every method holds its promise on an accelerator, too; what was made there is restored as anywhere."""

from __future__ import annotations

import pytest
import torch

from core import methods
from core.networks import Networks
from core.pipeline import Request, attempt
from core.stages.validate import Photo

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator: nothing was tried on one"),
]


@pytest.fixture(scope="module")
def there() -> Networks:
    return Networks.load(device="cuda")


@pytest.mark.parametrize("preset", ["natural", "standard", "strong"])
@pytest.mark.parametrize("name", methods.names())
def test_promise_on_an_accelerator(name: str, preset: str, astronaut: Photo, there: Networks) -> None:
    outcome = attempt(astronaut, Request(name, preset, seed=7), there, lambda *_: None)
    assert outcome.held, outcome.report["variants"]
    assert (outcome.restoration.apply(outcome.protected[0].pixels) == astronaut.pixels).all()
