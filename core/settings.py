"""What the environment decides. Read only by the composition roots (api/app.py, worker/app.py, sider/)."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, IPvAnyNetwork, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.errors import ConfigurationError
from core.licence import LicenceClass

ALIKE = 0.9  # of two names, from 0 to 1: a letter or two off
T = TypeVar("T")
# a,b,c in the environment
Listed = Annotated[
    tuple[T, ...],
    NoDecode,
    BeforeValidator(lambda v: [part.strip() for part in v.split(",") if part.strip()] if isinstance(v, str) else v),
]


class Settings(BaseSettings):
    """Environment variables `SIDER_*`, or files `sider_*` in the folder that SIDER_SECRETS_DIR names.

    Every default suits one machine; secrets have none.
    """

    model_config = SettingsConfigDict(
        env_prefix="SIDER_", frozen=True, extra="ignore", secrets_dir=os.environ.get("SIDER_SECRETS_DIR")
    )

    # Not shown: it may hold a password.
    database_url: str = Field(default="sqlite:///sider.db", repr=False, description="SQLAlchemy URL of the job table")
    broker_url: SecretStr = Field(default=SecretStr("redis://127.0.0.1:6379/0"), description="Redis or Valkey")
    s3_endpoint: str | None = Field(default=None, description="S3-compatible endpoint; unset: AWS")
    s3_link_endpoint: str | None = Field(default=None, description="the store as clients reach it; unset: s3_endpoint")
    s3_region: str = Field(default="us-east-1", description="region that SigV4 signs for")
    s3_access_key: SecretStr | None = Field(default=None, description="unset: boto3's own credential chain")
    s3_secret_key: SecretStr | None = Field(default=None, description="unset: boto3's own credential chain")
    s3_checksums: bool = Field(default=True, description="False for S3 servers that refuse boto3's checksums")
    bucket_photos: str = Field(default="sider-photos", description="uploads (sealed), protected photos, results")
    bucket_keys: str = Field(default="sider-keys", description="sealed restoration keys and job secrets")
    bucket_audit: str = Field(default="sider-audit", description="signed heads of the audit log, written once")
    audit_head_seconds: float = Field(default=60, gt=0, description="a changed audit log is signed this often at most")
    keyring_file: Path = Field(default=Path("keyring.json"), description="key-encryption keys, mode 0600")
    kms_key_id: str | None = Field(default=None, description="AWS KMS key that encrypts the keys in a new keyring")

    jwt_jwks: str | None = Field(default=None, description="https address or file of public keys: restores need a JWT")
    jwt_secret: SecretStr | None = Field(default=None, description="instead of keys: shared secret (HS256), 32 bytes")
    jwt_issuer: str | None = Field(default=None, description="the only `iss` that is accepted")
    jwt_audience: str | None = Field(default=None, description="what `aud` must contain")
    jwt_tenant_claim: str | None = Field(default=None, description="claim that must name the API key's tenant")
    jwt_leeway_seconds: int = Field(default=30, ge=0, le=300, description="clocks may differ by so much")
    mtls_proxies: Listed[IPvAnyNetwork] = Field(
        default=(), description="networks of proxies whose Client-Cert header (RFC 9440) is believed"
    )
    mtls_certificates: Listed[str] = Field(
        default=(), description="sha256, hex, of client certificates that may restore"
    )

    hsts_seconds: int = Field(default=0, ge=0, description="Strict-Transport-Security's max-age; 0: not sent")
    max_guesses: int = Field(default=10, gt=0, description="wrong passwords an hour of a photo, or of all of a batch")
    max_upload_bytes: int = Field(default=20 * 2**20, gt=0, description="largest photo file, bytes")
    # Pillow itself refuses more.
    max_pixels: int = Field(default=40_000_000, gt=0, le=178_956_970, description="largest photo, pixels")
    max_queue: int = Field(default=1000, gt=0, description="jobs waiting before uploads are refused with 503")
    tenant_share: float = Field(
        default=0.5, gt=0, le=1, description="share of queue and decoders that one tenant may fill"
    )
    rate_writes: str = Field(default="1200/minute", description="POST and DELETE calls an API key may make")
    rate_reads: str = Field(default="6000/minute", description="GET calls an API key may make")
    max_batch: int = Field(default=32, ge=1, le=1000, description="photos of one POST /protect")
    max_variants: int = Field(default=4, ge=1, le=16, description="protected variants a photo")
    retention_days: int | None = Field(default=None, gt=0, description="photos are erased after so long; unset: never")
    restored_seconds: int = Field(default=3600, gt=0, description="restored originals are deleted after so long")
    orphan_seconds: float = Field(
        default=3600, gt=0, description="uploads of requests that never became a job are deleted after so long"
    )
    webhook_private: bool = Field(
        default=False, description="for tests: webhooks may go to plain http and to addresses that are not global"
    )
    link_seconds: int = Field(default=300, gt=0, description="life of a presigned download link")
    lease_seconds: int = Field(
        default=60, gt=5, description="a running job without heartbeat for this long is requeued"
    )

    grace_seconds: float = Field(
        default=15, ge=0, description="a worker that is told to stop hands its job back if it is not done by then"
    )

    metrics_host: str = Field(default="127.0.0.1", description="where GET /metrics is answered, without any credential")
    metrics_port: int | None = Field(
        default=None, gt=0, lt=65536, description="each process takes the next port from here on; unset: no metrics"
    )

    bundle: str | None = Field(default=None, description="folder or hub repository of weights; unset: the packaged one")
    licence_class: LicenceClass = Field(
        default=LicenceClass.research, description="clean: only weights made from public-domain and CC-BY data"
    )
    device: str | None = Field(default=None, description="torch device; unset: cuda if there is one, else cpu")
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        BeforeValidator(lambda v: v.upper() if isinstance(v, str) else v),
    ] = Field(default="INFO", description="which lines are written")

    def __init__(self, **given: Any) -> None:
        """Of the environment, but for what is given.

        Raises:
            ConfigurationError: there is no such setting, or no such value. Values are not told: they may be secrets.
        """
        try:
            super().__init__(**given)
        except ValidationError as error:
            wrong = [(*(f"SIDER_{field}".upper() for field in e["loc"][:1]), e["msg"]) for e in error.errors()]
            raise ConfigurationError("; ".join(map(": ".join, wrong))) from None

    @model_validator(mode="after")
    def _all_are_known(self) -> Self:
        """A name that is nearly a setting's is a mistake, and the default in its stead may be an open door. Others are
        left alone: those of tools and benchmarks, and what Kubernetes makes of a Service's name."""
        names = [f"SIDER_{field}".upper() for field in type(self).model_fields]
        for name in os.environ:
            if name.upper() not in names and (meant := get_close_matches(name.upper(), names, 1, ALIKE)):
                raise PydanticCustomError(
                    "unknown", "{name} is no setting; is {meant} meant?", {"name": name, "meant": meant[0]}
                )
        return self
