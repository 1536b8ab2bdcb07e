"""S3 through a connection that breaks."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from core.errors import ConfigurationError, NotFound, Unavailable
from core.vault.blobs import S3Blobs


@pytest.fixture
def store() -> S3Blobs:
    """One that nobody asks: a test puts answers in its place, or needs none."""
    return S3Blobs("b", "http://store:8333", "us-east-1", ("key", "secret"))


@pytest.mark.timeout(60)
def test_a_connection_that_ends_within_100_continue_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n")

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unavailable):
            S3Blobs("sider-photos", url, "us-east-1", ("key", "secret")).put("a/b", b"picture")
        server.shutdown(socket.SHUT_RDWR)


def test_links_lead_to_the_store_as_clients_reach_it() -> None:
    store = S3Blobs("b", "http://store:8333", "us-east-1", ("key", "secret"), link_endpoint="https://photos.example")
    assert store.link("a", 60, "a.png").startswith("https://photos.example/b/a?")


def test_links_live_as_long_as_they_are_asked_to(store: S3Blobs) -> None:
    assert parse_qs(urlsplit(store.link("a", 60, "a.png")).query)["X-Amz-Expires"] == ["60"]


OPERATIONS: list[Callable[[S3Blobs, str], object]] = [
    lambda store, key: store.put(key, b""),
    lambda store, key: store.put_once(key, b""),
    lambda store, key: store.replace(key, b"", "tag"),
    lambda store, key: store.get(key),
    lambda store, key: store.delete(key),
    lambda store, key: store.link(key, 60, "a.png"),
]


@pytest.mark.parametrize("key", ["", "../x", "a/../b", "a//b", "/a", "a/", "a b", "a\n"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=["put", "put_once", "replace", "get", "delete", "link"])
def test_the_store_is_asked_for_no_key_that_we_would_not_make(
    store: S3Blobs, operation: Callable[[S3Blobs, str], object], key: str
) -> None:
    with Stubber(store._client), pytest.raises(ValueError, match="object key"):
        operation(store, key)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("NoSuchKey", NotFound),
        ("SlowDown", Unavailable),
        ("AccessDenied", Unavailable),
        ("InternalError", Unavailable),
        ("NoSuchBucket", Unavailable),
    ],
)
def test_only_what_the_store_does_not_have_is_not_found(store: S3Blobs, code: str, error: type[Exception]) -> None:
    """Whatever else it says may pass: a photo that is called lost is given up."""
    with Stubber(store._client) as stubbed:
        stubbed.add_client_error("get_object", code)
        with pytest.raises(error):
            store.get("a")


@pytest.mark.parametrize("operation", OPERATIONS[1:3], ids=["put_once", "replace"])
@pytest.mark.parametrize("code", ["SlowDown", "AccessDenied", "InternalError"])
def test_a_write_that_failed_is_not_taken_for_one_that_came_too_late(
    store: S3Blobs, operation: Callable[[S3Blobs, str], object], code: str
) -> None:
    with Stubber(store._client) as stubbed:
        stubbed.add_client_error("put_object", code)
        with pytest.raises(Unavailable):
            operation(store, "a")


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_buckets_are_made_in_every_region_of_aws(region: str) -> None:
    with mock_aws():
        for _ in range(2):  # one that is there stays as it is
            S3Blobs("sider-photos", None, region, ("key", "secret")).create_bucket()
        client = boto3.client("s3", region, aws_access_key_id="key", aws_secret_access_key="secret")
        assert (client.get_bucket_location(Bucket="sider-photos")["LocationConstraint"] or "us-east-1") == region


def test_a_locked_bucket_keeps_its_own_rule() -> None:
    with mock_aws():
        store = S3Blobs("sider-audit", None, "us-east-1", ("key", "secret"))
        store.create_bucket(30)
        client = boto3.client("s3", "us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")

        def days() -> int:
            found = client.get_object_lock_configuration(Bucket="sider-audit")
            return found["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]["Days"]

        assert days() == 30
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 365}}
        client.put_object_lock_configuration(
            Bucket="sider-audit", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )
        store.create_bucket(30)
        assert days() == 365


@pytest.mark.parametrize(
    "endpoint", [None, "https://s3.us-east-1.amazonaws.com", "https://s3.us-east-1.amazonaws.com/"]
)
def test_a_strangers_bucket_is_not_taken_for_ours(endpoint: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_aws():
        monkeypatch.setenv("MOTO_ACCOUNT_ID", "111111111111")
        S3Blobs("sider-photos", None, "us-east-1", ("key", "secret")).create_bucket()
        monkeypatch.setenv("MOTO_ACCOUNT_ID", "222222222222")
        with pytest.raises(ConfigurationError, match="SIDER_BUCKET_PHOTOS"):
            S3Blobs("sider-photos", endpoint, "us-east-1", ("key", "secret")).create_bucket()


def test_seaweedfs_says_of_an_own_bucket_what_aws_says_of_a_strangers() -> None:
    store = S3Blobs("sider-audit", "http://store:8333", "us-east-1", ("key", "secret"))
    with Stubber(store._client) as stubbed:
        stubbed.add_client_error("create_bucket", "BucketAlreadyExists")
        stubbed.add_response("list_buckets", {"Buckets": [{"Name": "sider-audit"}]})
        store.create_bucket()
        stubbed.assert_no_pending_responses()  # it was said, and no error was raised


def test_a_bucket_that_is_not_among_ours_is_a_strangers_on_any_store() -> None:
    store = S3Blobs("sider-photos", "https://s3.wasabi.example", "us-east-1", ("key", "secret"))
    with Stubber(store._client) as stubbed:
        stubbed.add_client_error("create_bucket", "BucketAlreadyExists")
        stubbed.add_response("list_buckets", {"Buckets": [{"Name": "else"}]})
        with pytest.raises(ConfigurationError, match="SIDER_BUCKET_PHOTOS"):
            store.create_bucket()


def test_who_asks_how_a_silent_store_is_does_not_wait_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = S3Blobs("b", f"http://127.0.0.1:{silent.getsockname()[1]}", "us-east-1", ("key", "secret"))
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            store.check()
        assert time.monotonic() - begun < 10
