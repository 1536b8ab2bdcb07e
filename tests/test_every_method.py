"""Every method of the register: shape, range, determinism by seed, and its promise on a real photo."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from core import methods
from core.errors import RequestRefused
from core.networks import Networks
from core.pipeline import Request, attempt
from core.promise import Promise
from core.stages.align import AlignedFaces
from core.stages.validate import Photo


def silent(_: str, __: float) -> None:
    return None


def test_the_register_lists_without_importing() -> None:
    assert "sider" in methods.names()
    assert "standard" in methods.presets("sider")
    assert all(name.isidentifier() for name in methods.names())


@pytest.mark.parametrize("name", ["nothing", "../sider", "__init__", "", "os", "Sider", "sider.protect"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        methods.load(name)
    assert caught.value.code == "method_unknown"
    assert f"core.methods.{name}" not in sys.modules


def test_options_are_read_without_importing_and_refused_where_they_are_not_taken() -> None:
    assert methods.options("id2face") == {"presentation", "age", "personas"}
    assert methods.options("sider") == {"presentation", "age"}
    methods.check("sider", "standard", ["presentation"])
    with pytest.raises(RequestRefused, match="'presentation'; these do: id2face, sider") as caught:
        methods.check("cloak", "standard", ["presentation"])
    with pytest.raises(RequestRefused, match="'age'"):
        methods.check("perceptface", "standard", ["age"])
    assert caught.value.code == "option_not_taken"


@pytest.mark.parametrize("name", methods.names())
class TestMethod:
    def test_declares_itself(self, name: str) -> None:
        method = methods.load(name)
        assert isinstance(method.PROMISE, Promise)
        assert list(method.PRESETS) == methods.presets(name)
        assert methods.promise(name) == method.PROMISE
        assert "standard" in method.PRESETS
        assert method.__doc__

    def run(self, name: str, faces: AlignedFaces, networks: Networks, seed: int) -> Any:
        method = methods.load(name)
        config = replace(method.PRESETS["standard"], variants=2)
        if hasattr(config, "descent"):  # a few steps show as much
            config = replace(config, descent=replace(config.descent, steps=3))
        return method.protect(faces, networks, config, torch.Generator().manual_seed(seed), silent)

    def test_shape_range_and_determinism(self, name: str, faces: AlignedFaces, networks: Networks) -> None:
        one, two, other = (self.run(name, faces, networks, seed) for seed in (5, 5, 6))
        assert len(one.images) == 2
        for images in one.images:
            assert images.shape == faces.images.shape
            assert images.dtype == torch.float32
            assert images.min() >= 0
            assert images.max() <= 1
        assert all(torch.equal(a, b) for a, b in zip(one.images, two.images, strict=True))
        assert not torch.equal(one.images[0], one.images[1])
        assert not torch.equal(one.images[0], other.images[0])

    @pytest.mark.parametrize("preset", ["natural", "standard", "strong"])
    def test_promise_on_a_real_photo(self, name: str, preset: str, astronaut: Photo, networks: Networks) -> None:
        outcome = attempt(astronaut, Request(name, preset, seed=7), networks, silent)
        assert outcome.held, outcome.report["variants"]
        assert (outcome.restoration.apply(outcome.protected[0].pixels) == astronaut.pixels).all()
