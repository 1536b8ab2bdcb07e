"""What the generator is shown and what is made of its answer, with one that has learned nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core import objectives
from core.networks import Networks
from core.networks.generator import Generator
from core.stages.align import AlignedFaces, Stored, stored
from core.stages.decouple import Identity, cosines, identify, identify_personas
from core.stages.generate import LIMIT, Scene, Subject, Turning, recognised, turn_away, weakest
from core.stages.latents import encode, pixel_gain
from core.stages.regions import change_masks, face_masks, region_weights


@pytest.fixture(scope="module")
def subject(faces: AlignedFaces, networks: Networks) -> Subject:
    who = identify(networks.encoders, faces.images, faces.landmarks)
    return Subject(
        faces.images, faces.landmarks, change_masks(faces.landmarks), region_weights(faces.landmarks), (who,)
    )


def untrained(subject: Subject, networks: Networks, looks: int) -> Generator:
    net = Generator(looks=looks)
    net.gain.copy_(pixel_gain(encode(subject.images, networks.autoencoder), networks.autoencoder))
    return net


def secret(networks: Networks, who: int) -> Identity:
    return identify_personas(networks.encoders, [networks.personas[who]])


def scene_of(subject: Subject, networks: Networks, net: Generator, who: int = 164) -> Scene:
    random = torch.Generator().manual_seed(0)
    return Scene(subject, secret(networks, who), net, networks.surrogates, networks.autoencoder, random)


def change(scene: Scene) -> torch.Tensor:
    """Of all looks of the generator."""
    u = torch.zeros_like(scene.z)
    for look in range(scene.generator.looks):
        u = scene.onward(u, look)
    return scene.change(u)


@torch.no_grad()
def test_every_look_turns_networks_further_away(subject: Subject, networks: Networks) -> None:
    known = [1.0]
    for looks in (1, 2, 3):
        scene = scene_of(subject, networks, untrained(subject, networks, looks))
        read = cosines(networks.surrogates, scene.shown(change(scene)), subject.landmarks, subject.avoided[0])
        known.append(float(read.mean()))
    assert known == sorted(known, reverse=True)
    assert known[-1] < 0.5


@torch.no_grad()
def test_two_secrets_draw_different_changes(subject: Subject, networks: Networks) -> None:
    net = untrained(subject, networks, 1)
    one, other, again = (change(scene_of(subject, networks, net, who)) for who in (164, 55, 164))
    assert torch.equal(one, again)
    assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) < 0.8


def test_weights_are_learned_through_all_looks(subject: Subject, networks: Networks) -> None:
    net = untrained(subject, networks, 2)
    change(scene_of(subject, networks, net)).sum().backward()
    assert net.pace.grad is not None
    assert (net.pace.grad.abs().sum(1) > 0).all()


def test_changes_stay_within_the_limit_and_the_mask(subject: Subject, networks: Networks) -> None:
    scene = scene_of(subject, networks, untrained(subject, networks, 1))
    window = torch.ones_like(subject.images[scene.canvas.window])
    weak, strong = (scene.shown(v * window) - subject.images for v in (LIMIT / 50, -50.0))
    inside = (subject.masks > 0.99).expand_as(weak) & (subject.images > 0.2) & (subject.images < 0.9)
    assert torch.allclose(weak[inside], torch.tensor(LIMIT / 50), rtol=2e-2)
    assert strong.abs().max() <= LIMIT + 1e-6
    assert strong[(subject.masks == 0).expand_as(strong)].abs().max() == 0


def turned(subject: Subject, faces: AlignedFaces, networks: Networks, turning: Turning) -> tuple[torch.Tensor, int]:
    random, able = torch.Generator().manual_seed(1), replace(networks, generator=untrained(subject, networks, 2))
    return turn_away(subject, faces, able, turning, secret(networks, 55), random)


EASY = Turning(aim=-0.9, confirmation=-0.9, weaker=())  # anything but a face that is plainly the same
HOPELESS = Turning(aim=0.9999, confirmation=0.9999, looks=3)


def test_no_more_looks_are_taken_than_it_takes(subject: Subject, faces: AlignedFaces, networks: Networks) -> None:
    made, looks = turned(subject, faces, networks, EASY)
    assert 0 < looks < EASY.looks
    assert recognised(made, subject, Stored(faces), networks, EASY) <= 1
    sooner, fewer = turned(subject, faces, networks, replace(EASY, looks=looks - 1))
    assert fewer == looks - 1
    assert recognised(sooner, subject, Stored(faces), networks, EASY) > 1


def test_the_least_share_that_does_is_taken(subject: Subject, faces: AlignedFaces, networks: Networks) -> None:
    scene = scene_of(subject, networks, untrained(subject, networks, 2))
    all_of_it = change(scene)
    shares = tuple(n / 40 for n in range(1, 40))
    enough = [bool(recognised(scene.shown(s * all_of_it), subject, Stored(faces), networks, EASY) <= 1) for s in shares]
    least = shares[enough.index(True)]
    assert shares[0] < least < shares[-1]
    made = weakest(scene, all_of_it, Stored(faces), networks, replace(EASY, weaker=shares))
    assert torch.equal(made, scene.shown(least * all_of_it))
    hopeless = weakest(scene, all_of_it, Stored(faces), networks, replace(HOPELESS, weaker=shares))
    assert torch.equal(hopeless, scene.shown(all_of_it))


def test_where_nothing_does_all_looks_are_taken_and_nothing_is_taken_back(
    subject: Subject, faces: AlignedFaces, networks: Networks
) -> None:
    made, looks = turned(subject, faces, networks, HOPELESS)
    assert looks == HOPELESS.looks
    fewer, _ = turned(subject, faces, networks, replace(HOPELESS, looks=1))
    least, less = (recognised(m, subject, Stored(faces), networks, HOPELESS) for m in (made, fewer))
    assert 1 < least < less


def test_what_shows_too_much_is_taken_back_as_far_as_it_must(
    subject: Subject, faces: AlignedFaces, networks: Networks
) -> None:
    def look(images: torch.Tensor) -> float:
        return float(objectives.structure(stored(faces, images), subject.images, face_masks(subject.landmarks)))

    whole, _ = turned(subject, faces, networks, HOPELESS)
    kept = (1 + look(whole)) / 2
    assert torch.equal(turned(subject, faces, networks, replace(HOPELESS, kept=kept))[0], whole)  # nobody looks
    subject = replace(subject, inside=face_masks(subject.landmarks))
    made, _ = turned(subject, faces, networks, replace(HOPELESS, kept=kept))
    assert kept <= look(made) < (1 + kept) / 2
    assert recognised(made, subject, Stored(faces), networks, HOPELESS) > recognised(
        whole, subject, Stored(faces), networks, HOPELESS
    )
    assert torch.equal(turned(subject, faces, networks, replace(HOPELESS, kept=look(whole)))[0], whole)


def test_a_face_that_nobody_recognises_stays_as_it_is(
    subject: Subject, faces: AlignedFaces, networks: Networks
) -> None:
    made, looks = turned(replace(subject, avoided=(secret(networks, 251),)), faces, networks, EASY)
    assert looks == 0
    assert torch.equal(made, subject.images)
