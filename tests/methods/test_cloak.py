"""What is particular to `cloak`: the denoiser in between, and a target that is nobody."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from core.errors import RequestRefused
from core.methods import cloak
from core.networks import Networks
from core.networks.denoiser import Denoiser, make
from core.objectives import attention_change
from core.stages.align import AlignedFaces
from core.stages.decouple import Identity, decouple, identify, similarity
from core.stages.denoise import watched
from core.stages.target import draw_fitting_targets


@pytest.fixture(scope="module")
def untrained(networks: Networks) -> Networks:
    """With a denoiser that has learned nothing: inversion must hold for any."""
    torch.manual_seed(0)
    denoiser = make(latent_channels=16, side=32, identity_dim=8)
    for net in (denoiser.unet, denoiser.conditioner):
        net.eval().requires_grad_(False)
    return dataclasses.replace(networks, denoiser=denoiser)


def config(**changes: float) -> cloak.Config:
    return dataclasses.replace(cloak.PRESETS["standard"], **changes)


def search(faces: AlignedFaces, networks: Networks, **changes: float) -> cloak.Search:
    settings, generator = config(**changes), torch.Generator().manual_seed(1)
    identity, appearance = decouple(faces, networks)
    (target,) = draw_fitting_targets(appearance.traits, networks, settings.fitting, 1, generator)
    return cloak.Search(faces, networks, settings, identity, target.identity)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_search_begins_at_the_photo_itself(faces: AlignedFaces, untrained: Networks, depth: int) -> None:
    begun = search(faces, untrained, depth=depth, iterations=1)
    with torch.no_grad():
        assert torch.allclose(begun.render(begun.zero), faces.images, atol=1e-5)


def test_attention_is_unchanged_only_where_nothing_moved(faces: AlignedFaces, untrained: Networks) -> None:
    begun = search(faces, untrained, depth=1, iterations=0)
    noise = torch.randn(begun.z_t.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        changes = [
            float(attention_change(begun._regenerated(begun.z_t + s * noise)[1], begun.attention, len(noise)).sum())
            for s in (0.0, 0.1, 0.2)
        ]
    assert changes[0] == 0
    assert 0 < changes[1] < changes[2]


def test_the_target_is_a_persona_and_not_the_source(faces: AlignedFaces, networks: Networks) -> None:
    begun = search(faces, networks, depth=0)
    own = similarity(begun.target, begun.identity)
    limits = torch.tensor([e.thresholds[1e-2] for e in networks.surrogates])[:, None, None]
    assert (own < limits).all()


def test_no_pixel_moves_far(faces: AlignedFaces, networks: Networks) -> None:
    begun = search(faces, networks)
    with torch.no_grad():
        moved = (begun.render(torch.full_like(begun.zero, 0.1)) - faces.images).abs()
    assert 0.5 * begun.config.limit < moved.max() <= begun.config.limit + 1e-6


def test_people_count_less_while_machines_still_know_the_face(faces: AlignedFaces, networks: Networks) -> None:
    begun = search(faces, networks)
    with torch.no_grad():
        face = begun.render(torch.full_like(begun.zero, 0.0005))
        before = begun.visible(face)
        assert not begun.satisfied(begun.zero).any()
        assert torch.allclose(begun.visible(face), begun.config.yielding * before)


@pytest.mark.parametrize("refereed", [True, False])
def test_a_face_is_done_at_its_aim_where_no_referee_objects(
    faces: AlignedFaces, networks: Networks, refereed: bool
) -> None:
    some = networks if refereed else dataclasses.replace(networks, encoders=networks.surrogates)
    begun = search(faces, some, aim=0.0, ceiling=9.0)
    begun.identity = Identity(begun.identity.vectors | begun.target.vectors)  # surrogates read somebody else
    begun.near = torch.tensor(True)
    assert bool(begun.satisfied(begun.zero)) is not refereed


def test_it_turns_away_from_the_source(faces: AlignedFaces, networks: Networks) -> None:
    short = config(depth=0, descent=dataclasses.replace(cloak.PRESETS["standard"].descent, steps=12))
    made = cloak.protect(faces, networks, short, torch.Generator().manual_seed(1), lambda *_: None)
    own = identify(networks.surrogates, faces.images, faces.landmarks)
    with torch.no_grad():
        now = similarity(identify(networks.surrogates, made.images[0], faces.landmarks), own)
    assert (now < 0.95).all()
    assert made.starts == ()


def test_it_looks_at_stored_pixels_only_where_draws_were_near(
    faces: AlignedFaces, networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    for aim in (0.0, 9.0):  # one that any face of a stranger reaches, and one that none does
        begun, generator = search(faces, networks, aim=aim, ceiling=9.0), torch.Generator().manual_seed(1)
        begun.identity = Identity(begun.identity.vectors | begun.target.vectors)  # surrogates read somebody else
        monkeypatch.setattr(begun, "stored", lambda images: looks.append(aim) or images)  # noqa: B023
        assert not begun.satisfied(begun.zero).any()  # before any draw
        with torch.no_grad():
            begun.objective(begun.zero, generator)
            begun.satisfied(begun.zero)
    assert looks == [0.0]


def test_without_a_denoiser_it_says_so(faces: AlignedFaces, networks: Networks) -> None:
    bare = dataclasses.replace(networks, denoiser=None)
    with pytest.raises(RequestRefused, match="denoiser"):
        search(faces, bare, depth=1)


def test_watching_leaves_no_trace(untrained: Networks) -> None:
    denoiser: Denoiser | None = untrained.denoiser
    assert denoiser
    before = denoiser.unet.attn_processors
    z, tokens = torch.randn(1, 16, 32, 32), denoiser.conditioner(None, None, 1)
    plain = denoiser.predict(z, torch.tensor(1), tokens)
    with watched(denoiser) as maps:
        assert torch.allclose(denoiser.predict(z, torch.tensor(1), tokens), plain, atol=1e-4)
    assert maps
    assert all(torch.allclose(m.sum(-1), torch.ones(()), atol=1e-4) for m in maps)
    with pytest.raises(RuntimeError), watched(denoiser):
        denoiser.predict(z[:, :1], torch.tensor(1), tokens)
    assert denoiser.unet.attn_processors == before
