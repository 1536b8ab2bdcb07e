"""The whole flow with marked secrets and faces, on real servers at debug level: nothing that is left has a mark."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import httpx2
import jwt
import pytest
import redis
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.jobs import database
from core.jobs.webhooks import Webhooks
from core.stages.validate import Photo
from core.vault.blobs import S3Blobs
from core.vault.envelope import kdf_of
from core.vault.keyring import Keyring
from core.vault.passwords import derive_key
from deploy.folder import REGION
from deploy.local import LocalStack
from tests.e2e.test_metrics import scraped
from tests.e2e.test_service import finished, noise
from tests.security.formats import encoded
from tests.security.report import Report

pytestmark = pytest.mark.security
PASSWORD = 'marked "pässword" 9f31c07e'
WRONG = 'marked wrong "pässword" 51d2'
TEXT = "marked bytes of an upload 77aa01"
ISSUER = {"SIDER_JWT_SECRET": "marked jwt secret of 32 bytes ab12", "SIDER_JWT_ISSUER": "i", "SIDER_JWT_AUDIENCE": "a"}
# Who starts the service gives it these; everything else in its folder was written by the service and its servers.
GIVEN = ("secrets.json", "keyring.json", "valkey.conf")


@dataclass
class Receiver:
    """Of webhooks, or of spans."""

    url: str = ""
    got: list[bytes] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/"
        Thread(target=server.serve_forever, daemon=True).start()
        yield receiver
        server.shutdown()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def collector() -> Iterator[Receiver]:
    with listening() as collector:
        yield collector


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, collector: Receiver) -> Iterator[LocalStack]:
    """The service at debug level, with traces, and with a second credential for restores."""
    tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    told = {"SIDER_LOG_LEVEL": "DEBUG", "SIDER_WEBHOOK_PRIVATE": "true"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ISSUER, **tracing, **told}.items():
            patch.setenv(name, value)
        with LocalStack(tmp_path_factory.mktemp("guarded")) as stack:
            yield stack


@dataclass
class Flow:
    """A caller of the service, and the marks of all that passes."""

    stack: LocalStack
    http: httpx2.Client
    png: bytes
    marks: dict[str, bytes] = field(default_factory=dict)

    def protect(self, **form: str) -> httpx2.Response:
        return self.http.post("/protect", data=form, files={"photo": ("me.png", self.png)})

    def restore(self, photo_id: str, password: str) -> httpx2.Response:
        claims = {"iss": "i", "aud": "a", "sub": "clerk", "scope": "restore", "exp": int(time.time()) + 600}
        token = jwt.encode(claims, ISSUER["SIDER_JWT_SECRET"])
        self.marks["token"] = token.encode()
        form = {"photo_id": photo_id, "password": password, "reason": "dispute 1"}
        return self.http.post("/restore", data=form, headers={"Authorization": f"Bearer {token}"})

    def blobs(self, bucket: str) -> S3Blobs:
        credentials = (self.stack.secrets["s3_access"], self.stack.secrets["s3_secret"])
        return S3Blobs(bucket, self.stack.s3_url, REGION, credentials)


@pytest.fixture(scope="module")
def flow(guarded: LocalStack, astronaut: Photo, receiver: Receiver, collector: Receiver) -> Iterator[Flow]:
    """Everything that can be done, done once, well and badly."""
    info = PngInfo()
    info.add_text("Comment", TEXT)
    png = encoded(Image.fromarray(astronaut.pixels), format="PNG", pnginfo=info)
    engine = database.connect(guarded.database_url)
    webhook = Webhooks(engine).new_secret("local", Keyring.open(guarded.data / "keyring.json"))
    engine.dispose()
    with httpx2.Client(base_url=guarded.api_url, headers={"X-API-Key": guarded.api_key}, timeout=60) as http:
        flow = Flow(guarded, http, png)
        accepted = flow.protect(password=PASSWORD, preset="natural", webhook_url=receiver.url)
        photo_id = accepted.json()["photo_id"]
        assert finished(http, accepted)["state"] == "succeeded"
        coded = flow.protect(preset="natural")
        code = coded.json()["restore_code"]
        assert finished(http, coded)["state"] == "succeeded"
        assert finished(http, flow.restore(photo_id, PASSWORD))["state"] == "succeeded"
        assert finished(http, flow.restore(photo_id, WRONG))["problem"]["code"] == "restore_denied"
        assert finished(http, flow.restore(coded.json()["photo_id"], code))["state"] == "succeeded"
        salt, cost = kdf_of(flow.blobs("sider-keys").get(f"local/restoration/{photo_id}.1")) or (b"", None)
        assert cost
        keyring = Keyring.open(guarded.data / "keyring.json")
        flow.marks |= {
            "password": PASSWORD.encode(), "wrong password": WRONG.encode(), "restore code": code.encode(),
            "upload": TEXT.encode(), "pixels": astronaut.pixels[150, 200:216].tobytes(),
            "key of the password": derive_key(PASSWORD, salt, cost), "key-encryption key": keyring.keys[1],
            "key of the fingerprints": keyring.fingerprint_keys()[1], "API key": guarded.api_key.split("_")[2].encode(),
            "webhook secret": base64.b64decode(webhook.removeprefix("whsec_")),
            "jwt secret": ISSUER["SIDER_JWT_SECRET"].encode(),
        }  # fmt: skip
        for name in ("broker", "s3_secret", "weed_write", "weed_filer_read"):
            flow.marks[name] = guarded.secrets[name].encode()
        metrics = scraped(guarded.ports["metrics"])  # some end with their process
        fail(flow)
        http.delete(f"/photos/{coded.json()['photo_id']}")
        metrics += scraped(guarded.ports["metrics"])
        guarded.data.joinpath("metrics.dump").write_text("".join(metrics))
        break_down(flow)
        guarded.data.joinpath("spans.dump").write_bytes(b"".join(collector.got))
        assert receiver.got
        yield flow


def fail(flow: Flow) -> None:
    """What callers get wrong, and a job that takes its worker along until it is called poisonous."""
    http, url = flow.http, "/protect"
    for data, form in (
        (flow.png[:-5000], {"password": PASSWORD}),
        (flow.png, {"password": PASSWORD, "variants": PASSWORD}),
        (flow.png, {"password": PASSWORD[:7]}),
        (flow.png, {"password": PASSWORD, "webhook_url": f"https://{PASSWORD}"}),
    ):
        assert 400 <= http.post(url, data=form, files={"photo": ("a.png", data)}).status_code < 500
    assert http.post(url, data={"password": PASSWORD, "photo": TEXT}).status_code == 422
    assert http.post(url, content=PASSWORD.encode(), headers={"Content-Type": "multipart/form-data"}).status_code == 400
    assert http.get(f"/jobs/{quote(PASSWORD)}?password={quote(PASSWORD)}").status_code == 404
    assert http.get("/jobs", headers={"X-API-Key": PASSWORD.encode()}).status_code == 401
    faceless = http.post(url, data={"password": PASSWORD}, files={"photo": ("a.png", noise())})
    assert finished(http, faceless)["problem"]["code"] == "no_face_found"
    accepted = flow.protect(password=PASSWORD, preset="strong", variants="4")
    while http.get(accepted.headers["location"]).json()["step"] != "optimise":
        time.sleep(0.1)
    worker = next(part.process for part in flow.stack.parts if part.name == "worker")
    assert worker
    argv = ["pgrep", "-P", str(worker.pid), "-f", "spawn_main"]
    [child] = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(child), signal.SIGABRT)
    http.delete(accepted.headers["location"])


def break_down(flow: Flow) -> None:
    """Broker and store go; what comes then is refused, or accepted for later."""
    queue = redis.Redis.from_url(flow.stack.broker_url)
    flow.stack.data.joinpath("queue.dump").write_bytes(b"\n".join(everything(queue)))
    queue.close()
    for name in ("valkey", "seaweedfs"):
        next(part for part in flow.stack.parts if part.name == name).stop()
        assert flow.protect(password=PASSWORD).status_code == (202 if name == "valkey" else 503)
    api = next(part.process for part in flow.stack.parts if part.name == "api")
    assert api
    api.send_signal(signal.SIGABRT)  # as after a fault in a library
    api.wait()


def everything(client: redis.Redis) -> Iterator[bytes]:
    """Keys and values of the queue."""
    for key in client.scan_iter():
        yield key
        kind = client.type(key)
        if kind == b"list":
            yield from client.lrange(key, 0, -1)
        elif kind == b"hash":
            yield from (part for pair in client.hgetall(key).items() for part in pair)
        elif kind == b"string":
            yield client.get(key) or b""


def spellings(mark: bytes) -> set[bytes]:
    """How a mark may be written."""
    out = {mark, mark.hex().encode(), mark.hex().upper().encode(), repr(mark)[2:-1].encode()}
    for skip in range(3):  # base64 of a longer text that holds the mark
        whole = base64.b64encode(bytes(skip) + mark)
        core = whole[4 if skip else 0 :].rstrip(b"=")[: -1 if (len(mark) + skip) % 3 else None]
        out |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
    try:
        text = mark.decode()
    except UnicodeDecodeError:
        return out
    escaped = (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1], quote(text))
    return out | {form.encode() for form in escaped} | {text.encode("utf-16-le"), text.encode("latin-1")}


def test_a_mark_would_be_found() -> None:
    mark = PASSWORD.encode()
    for prefix in (b"", b"a", b"ab", b"abc"):
        texts = [base64.b64encode(prefix + mark + b"xyz"), json.dumps({"p": PASSWORD}).encode(), repr(mark).encode()]
        for text in (*texts, prefix + mark, (prefix + mark).hex().encode()):
            assert any(form in text for form in spellings(mark)), text


def test_nothing_that_is_left_has_a_mark(flow: Flow, report: Report) -> None:
    files = [path for path in flow.stack.data.rglob("*") if path.is_file() and path.name not in GIVEN]
    contents = {path: path.read_bytes() for path in files}
    assert {"api.log", "worker.log", "sider.db", "queue.dump"} <= {path.name for path in files}
    spans, metrics = (contents[flow.stack.data / f"{name}.dump"] for name in ("spans", "metrics"))
    assert all(
        name in spans for name in (b"sider-api", b"sider-worker", b"POST /restore", b"optimise", b"RestoreDenied")
    )
    assert b'sider_jobs_ended_total{code="restore_denied"' in metrics
    assert b'"level": "debug"' in contents[flow.stack.logs / "worker.log"]
    assert any(b"succeeded" in data for path, data in contents.items() if path.name.startswith("sider.db"))
    forms = [(name, form) for name, mark in flow.marks.items() for form in spellings(mark)]
    size = sum(map(len, contents.values())) // 2**20
    report.add("marked secrets", f"{len(flow.marks)} in {len(forms)} spellings, {len(files)} files of {size} MiB")
    assert [(path.name, name) for path, data in contents.items() for name, form in forms if form in data] == []


def test_a_process_that_ends_badly_leaves_no_memory_behind(flow: Flow) -> None:
    folders = (flow.stack.data, Path.cwd(), Path(__file__).parents[2])
    assert [path for folder in folders for path in folder.glob("core*") if path.is_file()] == []
    for part in flow.stack.parts:
        if part.name == "worker" and part.process:
            limits = Path(f"/proc/{part.process.pid}/limits").read_text().splitlines()
            assert next(line.split()[4] for line in limits if line.startswith("Max core")) == "0"
