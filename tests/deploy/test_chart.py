"""The Helm chart, rendered by Helm's own engine and held against Kubernetes' schemas."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from core.settings import Settings
from tests.deploy.compose import services
from tests.deploy.image import ROOT, SETTINGS
from worker.app import HARD_LIMIT_SECONDS

helm = pytest.importorskip("helm_python", reason="Helm's engine is packaged for Linux on x86-64 only")

CHART = ROOT / "deploy/helm/sider"
EVERYTHING: dict[str, Any] = {
    "config": {"SIDER_S3_ENDPOINT": "https://s3.example", "SIDER_GRACE_SECONDS": "20", "SIDER_MAX_QUEUE": 500},
    "secrets": {"external": {"enabled": True, "store": {"name": "vault"}}},
    "imagePullSecrets": [{"name": "registry"}],
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/sider"}},
    "worker": {"gpu": {"enabled": True, "count": 2}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]},
    "ingress": {"enabled": True, "className": "nginx", "host": "photos.example", "tlsSecret": "photos-tls"},
    "keda": {"enabled": True},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
}
# Their schemas are those of other projects.
FOREIGN = {"ExternalSecret", "ScaledObject", "PodMonitor"}

Objects = dict[tuple[str, str], dict[str, Any]]


def rendered(values: dict[str, Any]) -> Objects:
    """The chart's objects by kind and name."""
    with helm.Chart.load(str(CHART)) as chart:
        texts = chart.render(values, name="demo", namespace="prod")
    objects = (o for name, text in texts.items() if name.endswith(".yaml") for o in yaml.safe_load_all(text) if o)
    return {(o["kind"], o["metadata"]["name"]): o for o in objects}


@pytest.fixture(scope="module", params=["plain", "everything"])
def objects(request: pytest.FixtureRequest) -> Objects:
    return rendered({} if request.param == "plain" else EVERYTHING)


@pytest.fixture(scope="module")
def everything() -> Objects:
    return rendered(EVERYTHING)


def pods(objects: Objects) -> dict[str, Any]:
    """Pod specs by the name of what makes them."""
    return {name: o["spec"]["template"]["spec"] for (_, name), o in objects.items() if "template" in o.get("spec", {})}


def test_a_worker_is_always_there() -> None:
    rendered({"keda": {"enabled": True, "ownScrape": True, "minReplicas": 1}})
    with pytest.raises(Exception, match="minReplicas"):
        rendered({"keda": {"enabled": True, "ownScrape": True, "minReplicas": 0}})


def test_helm_has_no_complaint() -> None:
    assert [found["error"] for found in helm.lint(str(CHART))["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", ["1.34", "1.37"])
def test_objects_are_what_kubernetes_knows(objects: Objects, version: str) -> None:
    known = {kind: found for (kind, _), found in objects.items() if kind not in FOREIGN}
    assert known.keys() >= {"Deployment", "Service", "ConfigMap", "Job"}
    for (kind, _), found in objects.items():
        if kind in known:
            kubernetes_validate.validate(found, version, strict=True)


def test_pods_are_restricted(objects: Objects) -> None:
    """Pod Security Standards, level restricted, and a root that is read-only."""
    assert pods(objects).keys() == {"demo-api", "demo-worker", "demo-migrate"}
    for name, pod in pods(objects).items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"], name
        assert security["runAsUser"] == security["fsGroup"] == 10001, "the images' user, and who may read the Secret"
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "a Service's name would become variables that look like settings"
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/etc/sider", "/tmp"}  # noqa: S108
            assert container["resources"]["limits"]["memory"]


def test_pods_are_given_what_the_chart_has_no_value_for() -> None:
    bundle = {"name": "AWS_CA_BUNDLE", "value": "/etc/ca/ca.crt"}
    volume, mount = {"name": "ca", "configMap": {"name": "our-ca"}}, {"name": "ca", "mountPath": "/etc/ca"}
    values = {"extraEnv": [bundle], "extraVolumes": [volume], "extraVolumeMounts": [mount]}
    objects = rendered(values)
    for name, pod in pods(objects).items():
        kind = "Job" if name == "demo-migrate" else "Deployment"
        kubernetes_validate.validate(objects[kind, name], "1.37", strict=True)
        [container] = pod["containers"]
        assert container["env"][0]["name"] == "SIDER_SECRETS_DIR"
        assert bundle in container["env"]
        assert volume in pod["volumes"]
        assert mount in container["volumeMounts"]


def test_settings_may_be_numbers_and_switches() -> None:
    config = {"SIDER_MAX_UPLOAD_BYTES": 31457280, "SIDER_TENANT_SHARE": 0.5, "SIDER_S3_CHECKSUMS": False,
              "SIDER_S3_REGION": "eu-1 # \"x\" & é"}  # fmt: skip
    assert rendered({"config": config})["ConfigMap", "demo"]["data"] == {
        "SIDER_MAX_UPLOAD_BYTES": "31457280", "SIDER_TENANT_SHARE": "0.5", "SIDER_S3_CHECKSUMS": "false",
        "SIDER_S3_REGION": "eu-1 # \"x\" & é",
    }  # fmt: skip
    assert rendered({})["ConfigMap", "demo"]["data"] == {}


def test_the_api_decodes_no_more_photos_at_once_than_it_has_memory_for(objects: Objects) -> None:
    """core.stages.sandbox has a place for each CPU of the limit, and needs 817 MiB at worst; the API itself, 1 GiB."""
    limits = pods(objects)["demo-api"]["containers"][0]["resources"]["limits"]
    cpus, memory = float(limits["cpu"]), int(limits["memory"].removesuffix("Gi")) * 2**30
    assert cpus * 817 * 2**20 + 2**30 <= memory
    composed = services()["api"]["deploy"]["resources"]["limits"]
    assert (cpus, memory) == (composed["cpus"], int(composed["memory"]))


def test_clients_are_answered_while_a_part_is_away(objects: Objects) -> None:
    """A pod that leaves the Service answers nobody; but one that was never ready ends a rollout."""
    api = pods(objects)["demo-api"]["containers"][0]
    asked = {name: api[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert asked == {"startup": "/health/ready", "readiness": "/health/live", "liveness": "/health/live"}
    start = api["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] == 300
    assert start["timeoutSeconds"] <= start["periodSeconds"], "or it would take longer"


def test_what_is_set_are_settings(everything: Objects) -> None:
    names = set(everything["ConfigMap", "demo"]["data"])
    for pod in pods(everything).values():
        names |= {variable["name"] for container in pod["containers"] for variable in container["env"]}
    assert {name.removeprefix("SIDER_").lower() for name in names - {"SIDER_SECRETS_DIR"}} <= SETTINGS


def test_a_worker_has_time_to_end_its_job(objects: Objects) -> None:
    grace = pods(objects)["demo-worker"]["terminationGracePeriodSeconds"]
    assert grace > HARD_LIMIT_SECONDS + Settings().grace_seconds


def test_workers_follow_the_jobs(everything: Objects) -> None:
    assert "replicas" not in everything["Deployment", "demo-worker"]["spec"], "KEDA's number would be reset"
    scaled = everything["ScaledObject", "demo-worker"]["spec"]
    assert scaled["scaleTargetRef"] == {"name": "demo-worker"}
    [trigger] = scaled["triggers"]
    assert 'sider_jobs{namespace="prod",state=~"queued|running"}' in trigger["metadata"]["query"]
    assert trigger["metadata"]["ignoreNullValues"] == "false", "no data would be no jobs"
    assert "fallback" not in scaled, "before KEDA 2.17 it is a fixed number, and busy workers would be taken away"
    limits = pods(everything)["demo-worker"]["containers"][0]["resources"]["limits"]
    assert limits == {"nvidia.com/gpu": 2, "memory": "8Gi"}


def test_metrics_are_asked_where_they_are(everything: Objects) -> None:
    wanted = [end["port"] for end in everything["PodMonitor", "demo"]["spec"]["podMetricsEndpoints"]]
    for name, ports in {"demo-api": wanted[:1], "demo-worker": wanted}.items():
        container = pods(everything)[name]["containers"][0]
        first = next(int(v["value"]) for v in container["env"] if v["name"] == "SIDER_METRICS_PORT")
        numbers = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert [numbers.get(port) for port in ports] == [first + n for n in range(len(ports))]
    allowed = everything["NetworkPolicy", "demo"]["spec"]["ingress"][0]["ports"][0]
    assert (allowed["port"], allowed["endPort"]) == (first, first + len(wanted) - 1)


def test_the_migration_needs_nothing_that_comes_after_it(everything: Objects) -> None:
    job = everything["Job", "demo-migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pod = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in pod
    assert "envFrom" not in pod["containers"][0]
    secret = everything["ExternalSecret", "sider"]
    assert secret["metadata"]["annotations"]["helm.sh/hook"] == job["metadata"]["annotations"]["helm.sh/hook"]
    assert int(secret["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0
    assert secret["spec"]["target"]["creationPolicy"] == "Orphan", "an upgrade would delete the Secret"


def test_selectors_find_their_pods(objects: Objects) -> None:
    def labels(name: str) -> set[tuple[str, str]]:
        kind = "Job" if name == "demo-migrate" else "Deployment"
        return set(objects[kind, name]["spec"]["template"]["metadata"]["labels"].items())

    everyone = {"demo-api", "demo-worker", "demo-migrate"}
    wanted = {
        ("Deployment", "demo-api"): {"demo-api"}, ("Deployment", "demo-worker"): {"demo-worker"},
        ("PodDisruptionBudget", "demo-api"): {"demo-api"}, ("PodDisruptionBudget", "demo-worker"): {"demo-worker"},
        ("NetworkPolicy", "demo-api"): {"demo-api"}, ("NetworkPolicy", "demo"): everyone,
        ("Service", "demo-api"): {"demo-api"},
    }  # fmt: skip
    for key, expected in wanted.items():
        spec = objects[key]["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        selected = set(selector.get("matchLabels", selector).items())
        assert {name for name in everyone if selected <= labels(name)} == expected, key


def test_nobody_scales_by_what_nobody_scrapes() -> None:
    with pytest.raises(helm.HelmError, match=r"podMonitor\.enabled.*keda\.ownScrape"):
        rendered({"keda": {"enabled": True}})
    assert ("ScaledObject", "demo-worker") in rendered({"keda": {"enabled": True}, "podMonitor": {"enabled": True}})
    assert ("ScaledObject", "demo-worker") in rendered({"keda": {"enabled": True, "ownScrape": True}})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"config": {"SIDER_DATABASE_URL": "postgresql://sider:secret@db/sider"}}, "'SIDER_DATABASE_URL'"),
        ({"config": {"LOG_LEVEL": "INFO"}}, "'LOG_LEVEL'"),
        ({"config": {"SIDER_MAX_QUEUE": [5]}}, "got array"),
        ({"extraEnv": {"A": "b"}}, "got object, want array"),
        ({"secrets": {"external": {"enabled": True}}}, "/secrets/external/store/name"),
        ({"worker": {"terminationGracePeriodSeconds": 60}}, "want 910"),
        ({"wrokers": 3}, "'wrokers' not allowed"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=named):
        rendered(values)
