"""Where bytes live: S3-compatible storage through boto3, or a local folder for the command line."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Literal, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from core.errors import NotFound, Unavailable

# Keys are made by us; anything else is a mistake or an attack.
KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
OCTETS = "application/octet-stream"


class Blobs(Protocol):
    """A flat store of named bytes. `get` raises NotFound; every call may raise Unavailable."""

    def put(self, key: str, data: bytes, content_type: str = OCTETS) -> None: ...
    def get(self, key: str) -> bytes: ...
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
        key_id, secret = credentials or (None, None)
        self._client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=config,
        )

    def create_bucket(self) -> None:
        """Make the bucket if it is not there."""
        try:
            self._client.create_bucket(Bucket=self.bucket)
        except ClientError as error:
            if _code(error) not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise _unavailable(error) from error
        except BotoCoreError as error:
            raise _unavailable(error) from error

    def put(self, key: str, data: bytes, content_type: str = OCTETS) -> None:
        try:
            self._client.put_object(Bucket=self.bucket, Key=_checked(key), Body=data, ContentType=content_type)
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error

    def get(self, key: str) -> bytes:
        try:
            return self._client.get_object(Bucket=self.bucket, Key=_checked(key))["Body"].read()
        except ClientError as error:
            if _code(error) in ("NoSuchKey", "404", "NoSuchBucket"):
                raise NotFound("no such object") from error
            raise _unavailable(error) from error
        except (BotoCoreError, OSError) as error:
            raise _unavailable(error) from error

    def delete(self, key: str) -> None:
        try:
            self._client.delete_object(Bucket=self.bucket, Key=_checked(key))
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error

    def link(self, key: str, seconds: int, filename: str) -> str:
        """A presigned download link; whoever holds it may use it until it expires."""
        return self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket,
                "Key": _checked(key),
                "ResponseContentDisposition": f'attachment; filename="{filename}"',
            },
            ExpiresIn=seconds,
        )

    def check(self) -> None:
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error


class FolderBlobs:
    """A local folder; writes are all or nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, data: bytes, content_type: str = OCTETS) -> None:  # noqa: ARG002
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NotFound("no such object") from error

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def link(self, key: str, seconds: int, filename: str) -> str:  # noqa: ARG002
        return self._path(key).resolve().as_uri()

    def check(self) -> None:
        if not self.root.is_dir():
            raise Unavailable(f"the folder {self.root} is not there", code="store_unavailable")

    def _path(self, key: str) -> Path:
        return self.root / _checked(key)


def _checked(key: str) -> str:
    if not KEY.fullmatch(key):
        raise ValueError(f"no valid object key: {key[:80]!r}")
    return key


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _unavailable(error: Exception) -> Unavailable:
    reason = _code(error) if isinstance(error, ClientError) else type(error).__name__
    return Unavailable(f"the object store does not answer as expected ({reason})", code="store_unavailable")
