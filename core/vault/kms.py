"""AWS KMS as the protector of a keyring: its file then holds keys that only KMS can unwrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from core.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

# What KMS itself says about a request that will never succeed.
REFUSED = ("InvalidCiphertextException", "AccessDeniedException", "NotFoundException", "DisabledException",
           "KMSInvalidStateException", "IncorrectKeyException", "ValidationException")  # fmt: skip


@dataclass(frozen=True, slots=True)
class KmsKey:
    """A symmetric key of AWS KMS by id, ARN or alias. Region and credentials come from boto3's own chain.

    One call a version when a process reads the keyring, none for a photo: KMS may be away for a while.
    """

    key_id: str

    def wrap(self, key: bytes, version: int) -> bytes:
        """A key of the keyring, encrypted (ConfigurationError, Unavailable)."""
        try:
            answer = _client().encrypt(KeyId=self.key_id, Plaintext=key, EncryptionContext=_context(version))
        except (ClientError, BotoCoreError) as error:
            raise self._failure(error) from error
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, version: int) -> bytes:
        """The key again (ConfigurationError, Unavailable)."""
        try:
            answer = _client().decrypt(KeyId=self.key_id, CiphertextBlob=wrapped, EncryptionContext=_context(version))
        except (ClientError, BotoCoreError) as error:
            raise self._failure(error) from error
        return bytes(answer["Plaintext"])

    def _failure(self, error: Exception) -> ConfigurationError | Unavailable:
        reason = str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__
        message = f"AWS KMS does not serve the key {self.key_id} ({reason})"
        return ConfigurationError(message) if reason in REFUSED else Unavailable(message, code="kms_unavailable")


# Authenticated with the ciphertext and shown in CloudTrail: a version cannot be passed off as another.
def _context(version: int) -> dict[str, str]:
    return {"sider": "keyring", "version": str(version)}


def _client() -> KMSClient:
    return boto3.client("kms", config=Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard"}))
