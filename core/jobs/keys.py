"""API keys: `sdr_<id>_<secret><crc>`. The checksum lets scanners and typos be recognised without a look-up."""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from datetime import datetime
from hmac import compare_digest

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from core.errors import AccessDenied, NotFound, RequestRefused
from core.jobs.audit import Entry, append
from core.jobs.database import now
from core.jobs.tables import LONGEST_NAME, ApiKey

SCOPES = ("protect", "restore", "ops", "admin")
PREFIX = "sdr_"
FORM = re.compile(PREFIX + r"([0-9a-f]{12})_([0-9a-f]{40})([0-9a-f]{8})")


class ApiKeys:
    """The table of credentials."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def issue(
        self, tenant: str, scopes: tuple[str, ...], name: str = "", expires_at: datetime | None = None
    ) -> tuple[ApiKey, str]:
        """A new key, and its text, which is shown this once.

        Raises:
            RequestRefused: unknown scope, unusable tenant name, or a name that is too long.
        """
        if not scopes or set(scopes) - set(SCOPES):
            raise RequestRefused(f"scopes are of {', '.join(SCOPES)}; got {', '.join(scopes) or 'none'}")
        check_tenant(tenant)
        if len(name) > LONGEST_NAME:
            raise RequestRefused(f"a key's name has at most {LONGEST_NAME} characters")
        identifier, secret = secrets.token_hex(6), secrets.token_hex(20)
        row = ApiKey(
            id=identifier,
            tenant=tenant,
            name=name,
            secret_sha256=_digest(secret),
            scopes=" ".join(scopes),
            created_at=now(),
            expires_at=expires_at,
        )
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            session.add(row)
            session.flush()
            details = {"scopes": row.scopes, "name": name}
            append(session.connection(), Entry("api_key", "issued", "operator", tenant, identifier, details))
        return row, f"{PREFIX}{identifier}_{secret}{_checksum(identifier, secret)}"

    def verify(self, text: str) -> ApiKey:
        """The key behind a text.

        Raises:
            AccessDenied: malformed, unknown, revoked or expired: one and the same answer.
        """
        form = FORM.fullmatch(text)
        if form and compare_digest(_checksum(form[1], form[2]), form[3]):
            with Session(self.engine, expire_on_commit=False) as session:
                row = session.get(ApiKey, form[1])
            # The secret has 160 random bits, so a plain hash needs no salt and no stretching.
            if row and compare_digest(row.secret_sha256, _digest(form[2])) and _alive(row):
                self._touch(row)
                return row
        raise AccessDenied("the API key is missing, unknown, revoked or expired", code="unauthenticated")

    def revoke(self, identifier: str) -> None:
        """End a key, if it has not ended.

        Raises:
            NotFound: no such key.
        """
        this = ApiKey.id == identifier
        change = update(ApiKey).where(this, ApiKey.revoked_at.is_(None)).values(revoked_at=now())
        with self.engine.begin() as connection:
            tenant = connection.execute(select(ApiKey.tenant).where(this)).scalar_one_or_none()
            if tenant is None:
                raise NotFound(f"no API key {identifier!r}")
            if connection.execute(change).rowcount:
                append(connection, Entry("api_key", "revoked", "operator", tenant, identifier))

    def all(self) -> list[ApiKey]:
        """All keys, oldest first; their secrets are nowhere."""
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at)))

    def _touch(self, row: ApiKey) -> None:
        # Once a minute is enough to see whether a key is in use.
        if row.last_used_at is None or (now() - row.last_used_at).total_seconds() > 60:
            with self.engine.begin() as connection:
                connection.execute(update(ApiKey).where(ApiKey.id == row.id).values(last_used_at=now()))


def check_tenant(name: str) -> None:
    """Raises RequestRefused for a name that no tenant can have."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise RequestRefused("a tenant's name is lower-case letters, digits and hyphens")


def _alive(row: ApiKey) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > now())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(identifier: str, secret: str) -> str:
    return f"{zlib.crc32(f'{identifier}_{secret}'.encode()):08x}"
