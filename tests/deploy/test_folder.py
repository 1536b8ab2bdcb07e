"""What the folder of a local service keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.folder import OFFSET, PORTS, ports


@pytest.mark.parametrize("offset", [0, OFFSET])
def test_the_port_that_is_asked_for_is_nobody_elses(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "ports.json"
    before = ports(path, None)
    asked = before["s3"] + offset  # SeaweedFS listens there, too
    after = ports(path, asked)
    assert after["api"] == asked
    assert len(set(after.values())) == len(PORTS)
    assert asked not in (after["s3"], after["s3"] + OFFSET)
    kept = set(PORTS) - {"api", "s3"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
