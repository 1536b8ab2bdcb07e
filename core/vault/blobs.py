"""Where bytes live: S3-compatible storage through boto3."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header

from core import metrics
from core.errors import ConfigurationError, NotFound, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CreateBucketRequestTypeDef, DefaultRetentionTypeDef

DEFAULT_REGION = "us-east-1"
# Keys are made by us; anything else is a mistake or an attack.
KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
OCTETS = "application/octet-stream"


class Blobs(Protocol):
    """A flat store of named bytes. `get` raises NotFound; every call may raise Unavailable.

    `put_once` and `replace` write only where there is nothing, and only what has not changed since `get_tagged`;
    they tell whether they did. `names` lists what begins so and, if a time is given, was written before it.
    `history` also yields what was overwritten or deleted, where the store keeps it.
    """

    def put(self, key: str, data: bytes, content_type: str = OCTETS) -> None: ...
    def put_once(self, key: str, data: bytes) -> bool: ...
    def replace(self, key: str, data: bytes, tag: str) -> bool: ...
    def get(self, key: str) -> bytes: ...
    def get_tagged(self, key: str) -> tuple[bytes, str]: ...
    def names(self, prefix: str = "", before: datetime | None = None) -> Iterator[str]: ...
    def history(self, prefix: str) -> Iterator[tuple[str, bytes]]: ...
    def delete(self, key: str) -> None: ...
    def link(self, key: str, seconds: int, filename: str) -> str: ...
    def check(self) -> None: ...


class S3Blobs:
    """One bucket of an S3-compatible store. Deleting what is not there is no error, as in S3."""

    def __init__(
        self,
        bucket: str,
        endpoint: str | None,
        region: str,
        credentials: tuple[str, str] | None,
        checksums: bool = True,
        link_endpoint: str | None = None,
    ) -> None:
        self.bucket = bucket
        when: Literal["when_supported", "when_required"] = "when_supported" if checksums else "when_required"
        config = Config(
            signature_version="s3v4",  # boto3 would still presign with SigV2
            s3={"addressing_style": "path"},
            connect_timeout=3,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 3},
            request_checksum_calculation=when,
            response_checksum_validation=when,
        )
        hasty = config.merge(Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 1}))
        key_id, secret = credentials or (None, None)
        connect: Callable[..., S3Client] = partial(
            boto3.client,
            "s3",
            region_name=region,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
        )
        self._client = connect(endpoint_url=endpoint, config=config)
        self._links = connect(endpoint_url=link_endpoint, config=config) if link_endpoint else self._client
        self._prober = connect(endpoint_url=endpoint, config=hasty)  # who asks how it is waits seconds, not minutes
        # botocore reads on for ever when the connection ends within the answer "100 Continue".
        self._client.meta.events.unregister("before-call.s3", add_expect_header)

    def create_bucket(self, lock_days: int = 0) -> None:
        """Make the bucket if it is not there; with `lock_days` nothing in it can be deleted for so long (WORM), unless
        it has a rule of its own.

        Raises:
            ConfigurationError: it is somebody else's.
        """
        client = self._client
        options: CreateBucketRequestTypeDef = {"Bucket": self.bucket, "ObjectLockEnabledForBucket": lock_days > 0}
        if client.meta.region_name != DEFAULT_REGION:  # which AWS wants unsaid, and all others said
            options["CreateBucketConfiguration"] = {"LocationConstraint": client.meta.region_name}  # type: ignore[typeddict-item]
        with _asked("create_bucket"):
            try:
                client.create_bucket(**options)
            except client.exceptions.BucketAlreadyOwnedByYou:
                pass
            except client.exceptions.BucketAlreadyExists as error:
                # SeaweedFS says so of its own that was made without the lock. Elsewhere it may be a stranger's: big
                # stores share names among all customers, and he could let us write to it, and read what we write.
                if self.bucket not in (own["Name"] for own in client.list_buckets()["Buckets"]):
                    raise ConfigurationError(
                        f"the bucket {self.bucket} belongs to somebody else; choose other names: SIDER_BUCKET_PHOTOS, "
                        "SIDER_BUCKET_KEYS, SIDER_BUCKET_AUDIT"
                    ) from error
            if lock_days and not self._has_rule():
                keep: DefaultRetentionTypeDef = {"Mode": "COMPLIANCE", "Days": lock_days}
                client.put_object_lock_configuration(
                    Bucket=self.bucket,
                    ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": keep}},
                )

    def _has_rule(self) -> bool:
        """Whether the bucket says how long objects are kept."""
        try:
            found = self._client.get_object_lock_configuration(Bucket=self.bucket)
        except ClientError as error:
            if _code(error) != "ObjectLockConfigurationNotFoundError":
                raise
            return False
        return "Rule" in found.get("ObjectLockConfiguration", {})

    def put(self, key: str, data: bytes, content_type: str = OCTETS) -> None:
        told = {"sha256": hashlib.sha256(data).hexdigest()}  # for who downloads it by a link
        with _asked("put"):
            self._client.put_object(
                Bucket=self.bucket, Key=_checked(key), Body=data, ContentType=content_type, Metadata=told
            )

    def put_once(self, key: str, data: bytes) -> bool:
        return _done(lambda: self._client.put_object(Bucket=self.bucket, Key=_checked(key), Body=data, IfNoneMatch="*"))

    def replace(self, key: str, data: bytes, tag: str) -> bool:
        return _done(lambda: self._client.put_object(Bucket=self.bucket, Key=_checked(key), Body=data, IfMatch=tag))

    def get(self, key: str) -> bytes:
        return self.get_tagged(key)[0]

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        with _asked("get"):
            try:
                found = self._client.get_object(Bucket=self.bucket, Key=_checked(key))
            except ClientError as error:
                if _code(error) in ("NoSuchKey", "404"):  # no bucket is a store that is not set up
                    raise NotFound("no such object") from error
                raise
            return found["Body"].read(), found["ETag"]

    def names(self, prefix: str = "", before: datetime | None = None) -> Iterator[str]:
        with _asked("list"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    if before is None or entry["LastModified"] < before:
                        yield entry["Key"]

    def history(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        with _asked("list"):
            for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Versions", []):
                    key, version = entry["Key"], entry["VersionId"]
                    yield key, self._client.get_object(Bucket=self.bucket, Key=key, VersionId=version)["Body"].read()

    def delete(self, key: str) -> None:
        with _asked("delete"):
            self._client.delete_object(Bucket=self.bucket, Key=_checked(key))

    def link(self, key: str, seconds: int, filename: str) -> str:
        """A presigned download link; whoever holds it may use it until it expires."""
        asked = {"Bucket": self.bucket, "Key": _checked(key)}
        named = {"ResponseContentDisposition": f'attachment; filename="{filename}"'}
        with _asked("link"):  # the credentials may have to be fetched
            return self._links.generate_presigned_url("get_object", Params=asked | named, ExpiresIn=seconds)

    def check(self) -> None:
        with _asked("check"):
            self._prober.head_bucket(Bucket=self.bucket)


def _checked(key: str) -> str:
    if not KEY.fullmatch(key):
        raise ValueError(f"no valid object key: {key[:80]!r}")
    return key


@contextmanager
def _asked(operation: str) -> Iterator[None]:
    """While the store is asked (Unavailable); what it does not answer is counted."""
    try:
        yield
    except (ClientError, BotoCoreError, OSError) as error:
        metrics.ERRORS.labels("store", operation).inc()
        reason = _code(error) if isinstance(error, ClientError) else type(error).__name__
        message = f"the object store does not answer as expected ({reason})"
        raise Unavailable(message, code="store_unavailable") from error


def _done(put: Callable[[], object]) -> bool:
    """Whether a conditional write was done."""
    with _asked("put"):
        try:
            put()
        except ClientError as error:
            # What is to be replaced but is gone: AWS says NoSuchKey, others that the condition failed.
            if _code(error) in ("PreconditionFailed", "NoSuchKey"):
                return False
            raise
    return True


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
