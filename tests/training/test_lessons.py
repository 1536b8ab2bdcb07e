"""Students of `training.students`: what they begin with, and what they need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import ConfigurationError
from training import facenet, students


def school_in(folder: Path) -> students.School:
    school = students.SCHOOLS["research"]
    return replace(school, folder=folder, shards=folder)


def test_a_new_student_begins_with_all_but_the_head_of_another() -> None:
    school = students.SCHOOLS["research"]
    new = school.lessons["facenet"].untaught()
    head = new.head.weight.clone()
    students.begin_like(new, school, "residual")
    other = load_file(school.packaged("residual"))
    assert torch.equal(new.gather[0].weight, other["gather.0.weight"].float())
    assert torch.equal(new.head.weight, head)


@pytest.mark.parametrize("other", ["separable", "large_kernel"])
def test_a_student_of_another_architecture_is_no_beginning(other: str) -> None:
    school = students.SCHOOLS["research"]
    with pytest.raises(ValueError, match="another architecture"):
        students.begin_like(school.lessons["facenet"].untaught(), school, other)


def test_a_student_without_weights_is_no_beginning(tmp_path: Path) -> None:
    school = replace(school_in(tmp_path), prefix="nobody")
    with pytest.raises(ValueError, match="no weights"):
        students.begin_like(school.lessons["facenet"].untaught(), school, "residual")


def test_shards_without_the_teacher_are_refused_by_its_name(tmp_path: Path) -> None:
    school = school_in(tmp_path)
    save_file({"images": torch.zeros(4, 3, 128, 128, dtype=torch.uint8)}, tmp_path / "000.safetensors")
    run = students.Run.start(school, "facenet", None, torch.device("cpu"))
    with pytest.raises(ValueError, match="without 'facenet'"):
        next(students.batches(run))


def test_facenet_is_taken_only_where_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SIDER_FACENET", raising=False)
    assert facenet.load() is None
    (tmp_path / "other.pt").write_bytes(b"no weights")
    monkeypatch.setenv("SIDER_FACENET", str(tmp_path / "other.pt"))
    with pytest.raises(ConfigurationError, match=r"other\.pt"):
        facenet.load()
