"""API -> Valkey -> worker -> SeaweedFS -> restore, with the real engine on a real photo."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import boto3
import httpx2
import numpy as np
import pytest
from botocore.exceptions import ClientError
from PIL import Image

from core.errors import NotFound
from core.stages.validate import Photo
from core.vault.blobs import S3Blobs
from core.vault.envelope import key_version
from core.vault.keyring import Keyring
from deploy.folder import REGION
from deploy.local import LocalStack
from tests.e2e.conftest import finished

pytestmark = pytest.mark.e2e
PASSWORD = "correct horse battery"


def picture_at(link: str) -> np.ndarray:
    with Image.open(io.BytesIO(httpx2.get(link, timeout=30).raise_for_status().content)) as image:
        return np.asarray(image.convert("RGB"))


def restore(http: httpx2.Client, photo_id: str, password: str) -> dict[str, Any]:
    form = {"photo_id": photo_id, "password": password, "reason": "end-to-end test"}
    return finished(http, http.post("/restore", data=form))


@pytest.fixture(scope="module")
def photo_id(stack: LocalStack, astronaut: Photo) -> str:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    with httpx2.Client(base_url=stack.api_url, headers=headers, timeout=60) as http:
        form = {"password": PASSWORD, "seed": "7"}
        job = finished(http, http.post("/protect", data=form, files={"photo": ("a.png", astronaut.to_png())}))
    assert job["state"] == "succeeded", job["problem"]
    assert job["result"]["report"]["held"]
    return str(job["photo_id"])


def test_protected_picture_differs_only_inside_the_face_box(
    http: httpx2.Client, photo_id: str, astronaut: Photo
) -> None:
    photo = http.get(f"/photos/{photo_id}").json()
    [variant] = photo["variants"]
    changed = (picture_at(variant["link"]) != astronaut.pixels).any(-1)
    x, y, w, h = photo["report"]["variants"][0][0]["box"]
    assert changed[y : y + h, x : x + w].mean() > 0.2
    changed[y : y + h, x : x + w] = False
    assert not changed.any()


def test_restored_bit_for_bit(http: httpx2.Client, photo_id: str, astronaut: Photo) -> None:
    job = restore(http, photo_id, PASSWORD)
    assert (picture_at(job["result"]["link"]) == astronaut.pixels).all()


def test_wrong_password_is_denied(http: httpx2.Client, photo_id: str) -> None:
    job = restore(http, photo_id, "wrong horse battery")
    assert (job["state"], job["problem"]["code"]) == ("failed", "restore_denied")


def noise() -> bytes:
    """A picture without a face."""
    buffer = io.BytesIO()
    Image.effect_noise((300, 300), 60).save(buffer, "PNG")
    return buffer.getvalue()


def faceless(http: httpx2.Client) -> dict[str, Any]:
    files = {"photo": ("noise.png", noise())}
    return finished(http, http.post("/protect", data={"password": PASSWORD}, files=files))


def test_a_photo_without_a_face_fails_with_advice(http: httpx2.Client) -> None:
    job = faceless(http)
    assert (job["state"], job["problem"]["code"]) == ("failed", "no_face_found")


def test_garbage_is_refused_at_the_door(http: httpx2.Client) -> None:
    answer = http.post("/protect", data={"password": PASSWORD}, files={"photo": ("a.jpg", b"\xff\xd8\xff garbage")})
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "photo_damaged"


def test_followed_by_events_to_its_end(http: httpx2.Client, astronaut: Photo) -> None:
    form = {"password": PASSWORD, "preset": "natural"}
    accepted = http.post("/protect", data=form, files={"photo": ("a.png", astronaut.to_png())})
    with http.stream("GET", f"{accepted.headers['location']}/events") as answer:
        told = [line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: ")]
    assert set(told[:-1]) == {"job"}
    assert told[-1] == "end"
    assert http.get(accepted.headers["location"]).json()["state"] == "succeeded"


def test_an_answer_that_waits_is_the_finished_job(http: httpx2.Client) -> None:
    files = {"photo": ("noise.png", noise())}
    answer = http.post("/protect", data={"password": PASSWORD}, files=files, headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.json()["problem"]["code"]) == (200, "no_face_found")


def test_a_running_protection_is_cancelled_and_leaves_nothing(
    http: httpx2.Client, stack: LocalStack, astronaut: Photo
) -> None:
    form = {"password": PASSWORD, "preset": "strong", "variants": "4"}
    accepted = http.post("/protect", data=form, files={"photo": ("a.png", astronaut.to_png())})
    location, photo_id = accepted.headers["location"], accepted.json()["photo_id"]
    while http.get(location).json()["step"] != "optimise":
        time.sleep(0.1)
    assert http.delete(location).json()["state"] == "cancelled"
    faceless(http)  # the only worker is free again
    assert http.get(location).json()["state"] == "cancelled"
    credentials = (stack.secrets["s3_access"], stack.secrets["s3_secret"])
    for bucket, key in {
        "sider-keys": f"local/restoration/{photo_id}.1",
        "sider-photos": f"local/protected/{photo_id}.1/v1.png",
    }.items():
        with pytest.raises(NotFound):
            S3Blobs(bucket, stack.s3_url, REGION, credentials).get(key)


def test_erased_for_good(http: httpx2.Client, astronaut: Photo) -> None:
    form = {"password": PASSWORD, "preset": "natural"}
    job = finished(http, http.post("/protect", data=form, files={"photo": ("a.png", astronaut.to_png())}))
    link = http.get(f"/photos/{job['photo_id']}").json()["variants"][0]["link"]
    assert http.delete(f"/photos/{job['photo_id']}").json()["key_destroyed"]
    assert http.get(f"/photos/{job['photo_id']}").status_code == 404
    assert httpx2.get(link).status_code == 404
    form = {"photo_id": job["photo_id"], "password": PASSWORD, "reason": "too late"}
    assert http.post("/restore", data=form).status_code == 404


def test_nothing_readable_lies_in_the_store(stack: LocalStack, photo_id: str, astronaut: Photo) -> None:
    """No anonymous access, neither by S3 nor by the filer; and restoration keys are sealed."""
    key = f"local/restoration/{photo_id}.1"
    for url in (
        f"{stack.s3_url}/sider-keys/{key}",
        f"http://127.0.0.1:{stack.ports['filer']}/buckets/sider-keys/{key}",
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url, timeout=5)
        assert caught.value.code in (401, 403)
        caught.value.close()
    credentials = (stack.secrets["s3_access"], stack.secrets["s3_secret"])
    sealed = S3Blobs("sider-keys", stack.s3_url, REGION, credentials).get(key)
    assert sealed.startswith(b"SDRV")
    assert b"PNG" not in sealed
    assert astronaut.sha256.encode() not in sealed


def test_no_secret_in_any_log(stack: LocalStack, photo_id: str, http: httpx2.Client) -> None:
    restore(http, photo_id, PASSWORD)
    text = "".join(log.read_text(errors="replace") for log in stack.logs.glob("*.log"))
    assert "succeeded" in text
    for secret in (PASSWORD, "wrong horse battery", *stack.secrets.values()):
        assert secret not in text


def test_a_killed_worker_process_has_a_successor(stack: LocalStack, http: httpx2.Client) -> None:
    """It needs longer to load the networks than Celery's default patience."""
    worker = stack.part("worker").process
    assert worker
    argv = ["pgrep", "-P", str(worker.pid), "-f", "spawn_main"]
    [child] = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(child), signal.SIGKILL)
    assert faceless(http)["problem"]["code"] == "no_face_found"


def test_the_audit_log_is_whole_and_its_heads_cannot_be_deleted(
    stack: LocalStack, photo_id: str, http: httpx2.Client
) -> None:
    restore(http, photo_id, PASSWORD)
    verify = [sys.executable, "-m", "sider", "audit", "verify", "--json", "--data", str(stack.data)]
    for _ in range(60):
        found = json.loads(subprocess.run(verify, capture_output=True, text=True, check=True).stdout)
        if found["heads"]:
            break
        time.sleep(2)
    assert found["heads"] > 0
    assert found["faults"] == []
    env = stack.env()
    client = boto3.client(
        "s3", endpoint_url=stack.s3_url, region_name=REGION, aws_access_key_id=env["SIDER_S3_ACCESS_KEY"],
        aws_secret_access_key=env["SIDER_S3_SECRET_KEY"],
    )  # fmt: skip
    store = S3Blobs("sider-audit", stack.s3_url, REGION, (stack.secrets["s3_access"], stack.secrets["s3_secret"]))
    assert [store.put_once("probe", data) for data in (b"first", b"second")] == [True, False]
    version = client.list_object_versions(Bucket="sider-audit", Prefix="probe")["Versions"][0]["VersionId"]
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket="sider-audit", Key="probe", VersionId=version)
    client.put_object(Bucket="sider-audit", Key="probe", Body=b"forged")
    client.delete_object(Bucket="sider-audit", Key="probe")
    assert sorted(data for _, data in store.history("probe")) == [b"first", b"forged"]


def test_the_keyring_is_rotated_under_a_running_service(
    stack: LocalStack, photo_id: str, http: httpx2.Client, astronaut: Photo
) -> None:
    def sider(*words: str) -> None:
        argv = [sys.executable, "-m", "sider", "keyring", *words, "--data", str(stack.data)]
        subprocess.run(argv, check=True, capture_output=True)

    def version() -> int | None:
        credentials = (stack.secrets["s3_access"], stack.secrets["s3_secret"])
        return key_version(
            S3Blobs("sider-keys", stack.s3_url, REGION, credentials).get(f"local/restoration/{photo_id}.1")
        )

    first = Keyring.open(stack.data / "keyring.json").current  # other tests may have rotated, too
    for words, expected in ((("list",), first), (("rotate",), first), (("rewrap",), first + 1)):
        sider(*words)
        assert version() == expected
        assert restore(http, photo_id, PASSWORD)["result"]["sha256"] == astronaut.sha256
    with pytest.raises(subprocess.CalledProcessError) as caught:
        sider("retire", str(first))
    assert b"may be in use" in caught.value.stderr
    assert list(Keyring.open(stack.data / "keyring.json").keys)[-2:] == [first, first + 1]
