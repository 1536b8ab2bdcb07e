"""Dashboard and alerts ask for what there is, and the alerts fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY, generate_latest

from api.metrics import Gauges
from api.problems import OF_JOB
from core import metrics
from core.jobs import database

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
HERE = Path(__file__).parent
ADDED = {"job", "instance", "le"}  # by Prometheus to every sample, and by a histogram to its buckets
OF_PROMETHEUS = {"up": set[str]()}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Names of samples and their labels, as a process of the API and of a worker tell them."""
    url = f"sqlite:///{tmp_path_factory.mktemp('monitoring') / 's.db'}"
    database.upgrade(url)
    engine = database.connect(url)
    found: dict[str, set[str]] = {}
    for family in (*REGISTRY.collect(), *Gauges(engine).collect()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    engine.dispose()
    # Those with labels have no samples before there is something to tell.
    for metric in vars(metrics).values():
        if isinstance(metric, metrics.Counter | metrics.Gauge | metrics.Histogram):
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(metric._type, ("",))
            found |= {metric._name + suffix: set(metric._labelnames) for suffix in suffixes}
    return found | OF_PROMETHEUS


def alerts() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return list(group["rules"])


def asked() -> Iterator[str]:
    """Every expression of alerts and dashboard."""
    yield from (alert["expr"] for alert in alerts())
    for panel in json.loads((MONITORING / "grafana" / "sider.json").read_text())["panels"]:
        yield from (target["expr"].replace("$__rate_interval", "5m") for target in panel.get("targets", ()))


def test_every_name_and_label_is_there(known: dict[str, set[str]]) -> None:
    names = set()
    for text in asked():
        nodes: list[Any] = []
        promql_parser.walk(promql_parser.parse(text), nodes.append)
        selectors = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
        assert {selector.name for selector in selectors} <= known.keys(), text
        labels = ADDED.union(*(known[selector.name] for selector in selectors))
        for node in nodes:
            if isinstance(node, promql_parser.VectorSelector):
                assert {m.name for m in node.matchers.matchers} <= known[node.name] | ADDED, text
            elif isinstance(node, promql_parser.AggregateExpr) and node.modifier:
                assert set(node.modifier.labels) <= labels, text
        names |= {selector.name for selector in selectors}
    assert len(names) > 15


def test_every_metric_of_ours_is_shown(known: dict[str, set[str]]) -> None:
    text = "\n".join(asked())
    ours = {re.sub("_(bucket|count|sum)$", "", name) for name in known if name.startswith("sider_")}
    assert [name for name in sorted(ours) if name not in text] == []


def test_every_alert_is_tried_and_says_what_to_do() -> None:
    tried = (HERE / "alerts.yml").read_text()
    for alert in alerts():
        assert f'alertname="{alert["alert"]}"' in tried
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"].keys() == {"summary", "description"}


@pytest.mark.parametrize(
    ("name", "label"),
    [("SiderJobsFailing", "code=~"), ("SiderRestoresRefused", "outcome!~")],  # what is alerted, and what is no refusal
)
def test_every_end_by_our_fault_is_taken_for_one(name: str, label: str) -> None:
    [expression] = (alert["expr"] for alert in alerts() if alert["alert"] == name)
    [codes] = re.findall(f'{label}"([^"]+)"', expression)
    assert [code for code, status in OF_JOB.items() if (status >= 500) != bool(re.fullmatch(codes, code))] == []


def test_panels_have_their_own_places() -> None:
    places = [panel["gridPos"] for panel in json.loads((MONITORING / "grafana" / "sider.json").read_text())["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize(
    "argv",
    [
        ("check", "config", MONITORING / "prometheus.yml"),
        ("test", "rules", HERE / "alerts.yml"),
        ("check", "metrics"),  # their names, from standard input
    ],
)
def test_promtool_agrees(argv: tuple[str | Path, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool (Debian: in the package prometheus): alerts are parsed, but not tried")
    done = subprocess.run([promtool, *argv], input=generate_latest(), capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
