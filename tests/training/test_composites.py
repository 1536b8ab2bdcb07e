"""Views that a search could have made."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.networks.students import Student
from training import composites, students, views

SIDE = views.SIDE


def pictures(count: int, seed: int) -> Tensor:
    """Smooth noise of many colours."""
    small = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(small, (SIDE, SIDE), mode="bicubic").clamp(0, 1)


@pytest.fixture
def packaged(tmp_path: Path) -> list[Student]:
    """Without whatever is in training here."""
    return dataclasses.replace(students.SCHOOLS["research"], folder=tmp_path).surrogates()


def test_the_surroundings_stay_and_the_inside_is_anothers() -> None:
    faces, others = pictures(6, 1), pictures(6, 2)
    made = composites.composites(faces, others, (), torch.Generator().manual_seed(3))
    mask = composites.insides(6, SIDE, torch.Generator().manual_seed(3)).expand_as(made)
    assert torch.equal(made[mask == 0], faces[mask == 0])
    assert (made - faces).abs()[mask == 1].mean() > 0.1
    assert 0.1 < float((mask == 1).float().mean()) < 0.4


def test_the_inside_takes_the_faces_colours() -> None:
    faces, others = pictures(4, 1) * 0.2 + 0.6, pictures(4, 2) * 0.5
    mask = composites.insides(4, SIDE, torch.Generator().manual_seed(3))
    worn = composites.in_colours_of(faces, others, mask)
    for b in range(4):
        where = mask[b].expand(3, -1, -1) == 1
        assert abs(float(worn[b][where].mean() - faces[b][where].mean())) < 0.02
        assert float(others[b][where].mean() - faces[b][where].mean()) < -0.2


def test_a_student_is_persuaded_by_a_small_change_inside(packaged: list[Student]) -> None:
    net = packaged[0]
    images, towards = pictures(5, 1), pictures(5, 2)
    mask = composites.insides(5, SIDE, torch.Generator().manual_seed(3))
    moved = composites.persuaded(images, towards, mask, net, torch.Generator().manual_seed(4))

    def cosine(x: Tensor) -> Tensor:
        return F.cosine_similarity(net(composites.middle(x, net.side)), net(composites.middle(towards, net.side)))

    assert (cosine(moved) > cosine(images) + 0.02).all()
    assert torch.equal(moved[(mask == 0).expand_as(moved)], images[(mask == 0).expand_as(images)])
    size = ((moved - images) ** 2).mean((1, 2, 3)).sqrt()
    assert (size < composites.CHANGE[1]).all()


@pytest.fixture
def faces() -> views.Faces:
    images = (pictures(9, 1) * 255).byte()
    return views.Faces(F.interpolate(images, (256, 256)), torch.tensor(views.TEMPLATE).repeat(9, 1, 1) * 2)


@pytest.mark.parametrize("invented", [False, True])
def test_a_batch_of_views_is_the_same_for_the_same_seed(
    faces: views.Faces, packaged: list[Student], invented: bool
) -> None:
    first, again = (views.draw(faces, torch.Generator().manual_seed(5), packaged, invented) for _ in range(2))
    assert first.shape == (views.BATCH, 3, SIDE, SIDE)
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, again)


def test_invented_faces_are_nobodys(faces: views.Faces) -> None:
    """Two thirds have parts of another, and nearly all have other shapes."""
    plain = torch.cat((torch.zeros(views.BATCH // 2, 3, SIDE, SIDE), torch.ones(views.BATCH // 2, 3, SIDE, SIDE)))
    mixed = views._patched(plain[torch.randperm(views.BATCH)], torch.Generator().manual_seed(1))
    both = (mixed.amax((1, 2, 3)) - mixed.amin((1, 2, 3))) > 0.5
    assert 0.15 < float(both.float().mean()) < 0.6
    seen = views._cut(faces, torch.Generator().manual_seed(2))
    moved = (views._bent(seen, torch.Generator().manual_seed(3)) - seen).abs().mean((1, 2, 3))
    assert float((moved > 0.002).float().mean()) > 0.9


@pytest.mark.parametrize("kind", list(students.SCHOOLS))
def test_a_school_names_and_measures_its_students(kind: str) -> None:
    school = students.SCHOOLS[kind]
    assert school.referee in school.lessons
    for name, lesson in school.lessons.items():
        encoder = school.as_encoder(name, lesson.untaught())
        assert school.packaged(name).is_file()
        assert encoder.name == school.packaged(name).stem
        assert (encoder.role == "referee") == (name == school.referee)
