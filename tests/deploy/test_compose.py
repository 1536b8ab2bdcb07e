"""docker-compose.yml: what is published, what is confined, who waits for whom, and which secrets there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import Settings
from tests.deploy.compose import services
from tests.deploy.image import ROOT, SETTINGS

OURS = ("api", "migrate", "worker-cpu", "worker-gpu")


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    return services("cpu", "gpu", "monitoring")


def seconds(text: str) -> int:
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(\d+)s", text).groups()  # type: ignore[union-attr]
    return int(minutes or 0) * 60 + int(rest)


def test_only_api_and_links_are_published_and_only_here(everything: dict[str, Any]) -> None:
    published = {
        (name, port["target"], port["host_ip"]) for name, part in everything.items() for port in part.get("ports", [])
    }
    assert published == {
        ("api", 8000, "127.0.0.1"), ("seaweedfs", 8333, "127.0.0.1"), ("grafana", 3000, "127.0.0.1"),
    }  # fmt: skip
    assert {name for name, part in everything.items() if "outside" not in part["networks"]} == {
        "postgres", "prometheus", "valkey",
    }  # fmt: skip


def test_every_part_is_confined(everything: dict[str, Any]) -> None:
    for name, part in everything.items():
        assert part["read_only"], name
        assert part["cap_drop"] == ["ALL"], name
        assert part["security_opt"] == ["no-new-privileges:true"], name
        limits = part["deploy"]["resources"]["limits"]
        assert limits.keys() == {"cpus", "memory", "pids"}, name
        assert "user" in part or "build" in part or name in ("prometheus", "grafana"), f"{name} runs as root"
        assert "build" in part or re.search(r":v?\d+\.\d+", part["image"]), f"{name} has no exact version"


def test_the_keyring_is_written_by_who_makes_it_only(everything: dict[str, Any]) -> None:
    mounts = {
        name: bool(mount.get("read_only"))
        for name in OURS
        for mount in everything[name]["volumes"]
        if mount["source"] == "keyring"
    }
    assert mounts == {"api": True, "worker-cpu": True, "worker-gpu": True, "migrate": False}


def test_what_is_set_are_settings(everything: dict[str, Any]) -> None:
    for name in OURS:
        environment = {variable.removeprefix("SIDER_").lower() for variable in everything[name]["environment"]}
        secrets = {secret["source"].removeprefix("sider_") for secret in everything[name]["secrets"]}
        assert environment | secrets <= SETTINGS, name


def test_links_lead_to_where_the_store_is_published() -> None:
    part = services(SIDER_HOST="192.0.2.7")
    assert part["api"]["environment"]["SIDER_S3_LINK_ENDPOINT"] == "http://192.0.2.7:8333"
    assert part["seaweedfs"]["ports"][0]["host_ip"] == part["api"]["ports"][0]["host_ip"] == "192.0.2.7"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with all that Compose reads, for files of one's own beside it."""
    for name in ("docker-compose.yml", "deploy/compose.env"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_what_compose_itself_needs_is_kept_in_a_file(elsewhere: Path) -> None:
    (elsewhere / ".env").write_text("SIDER_HOST=192.0.2.7\nTORCH_INDEX=https://torch.example\n", encoding="utf-8")
    part = services("cpu", folder=elsewhere)
    assert part["api"]["ports"][0]["host_ip"] == "192.0.2.7"
    assert part["worker-cpu"]["environment"]["SIDER_S3_LINK_ENDPOINT"] == "http://192.0.2.7:8333"
    assert part["worker-cpu"]["build"]["args"]["TORCH_INDEX"] == "https://torch.example"


def test_an_alertmanager_can_be_added_as_the_page_says(elsewhere: Path) -> None:
    page = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    [override] = re.findall(r"> docker-compose\.override\.yml << 'END'\n(.*?)^END$", page, re.DOTALL | re.MULTILINE)
    (elsewhere / "docker-compose.override.yml").write_text(override, encoding="utf-8")
    everything = services("monitoring", folder=elsewhere)
    added, asking = everything["alertmanager"], everything["prometheus"]
    assert added["networks"].keys() & asking["networks"].keys(), "Prometheus cannot reach it"
    assert "outside" in added["networks"], "it can tell nobody"
    assert added["profiles"] == asking["profiles"]
    config = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yml").read_text(encoding="utf-8"))
    [found] = config["alerting"]["alertmanagers"]
    assert found["dns_sd_configs"] == [{"names": ["alertmanager"], "type": "A", "port": 9093}]


def test_sider_env_says_what_is_not_fixed(elsewhere: Path) -> None:
    links, key = "https://photos.example", "alias/sider"
    told = f"SIDER_S3_LINK_ENDPOINT={links}\nSIDER_KMS_KEY_ID={key}\n"
    (elsewhere / "sider.env").write_text(told, encoding="utf-8")
    everything = services("cpu", folder=elsewhere, SIDER_HOST="192.0.2.7")
    for name in ("api", "migrate", "worker-cpu"):
        environment = everything[name]["environment"]
        assert (environment["SIDER_S3_LINK_ENDPOINT"], environment["SIDER_KMS_KEY_ID"]) == (links, key)
        assert "outside" in everything[name]["networks"], "KMS cannot be reached"
    by_shell = services(SIDER_S3_LINK_ENDPOINT=links)
    assert by_shell["api"]["environment"]["SIDER_S3_LINK_ENDPOINT"] == links


def test_workers_are_chosen_by_profile(everything: dict[str, Any]) -> None:
    assert not [name for name in services() if "worker" in name]
    assert [name for name in services("cpu") if "worker" in name] == ["worker-cpu"]
    devices = everything["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert [device["capabilities"] for device in devices] == [["gpu"]]
    assert services("cpu", TORCH_INDEX="x")["worker-cpu"]["build"]["args"] == {"VARIANT": "cpu", "TORCH_INDEX": "x"}


def test_parts_wait_for_one_another_and_stop_in_time(everything: dict[str, Any]) -> None:
    for name in set(OURS) - {"migrate"}:
        assert everything[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert seconds(everything[name]["stop_grace_period"]) >= Settings().grace_seconds + 10
    for name, wait in everything["migrate"]["depends_on"].items():
        assert wait["condition"] == "service_healthy"
        assert "healthcheck" in everything[name]
    assert everything["migrate"]["restart"] == "no"


def test_secrets_are_made_once_and_are_not_shared_with_git(tmp_path: Path, everything: dict[str, Any]) -> None:
    script, folder = ROOT / "deploy/secrets.sh", tmp_path / "secrets"
    subprocess.run([script, folder], check=True, capture_output=True)
    made = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    wanted = {secret["source"] for part in everything.values() for secret in part.get("secrets", [])}
    assert wanted <= made.keys()
    assert all(made.values())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}, "containers' users cannot read them"
    (folder / "valkey.conf").unlink()
    subprocess.run([script, folder], check=True, capture_output=True)
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == made
    private = ["deploy/secrets/valkey.conf", "sider.env", ".env"]
    ignored = subprocess.run(["git", "check-ignore", *private], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == private
