"""`sider keys`, `webhooks`, `keyring`, `audit`: what the operator of a service does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

keys_app = typer.Typer(help="API keys of the service.", no_args_is_help=True)
webhooks_app = typer.Typer(help="Webhooks of the service.", no_args_is_help=True)
keyring_app = typer.Typer(help="Key-encryption keys of the service.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit log of the service.", no_args_is_help=True)
APPS = {"keys": keys_app, "webhooks": webhooks_app, "keyring": keyring_app, "audit": audit_app}
console = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="one JSON line a result on standard output")]
Data = Annotated[Path, typer.Option(help="folder of the local service (`sider up`)")]


@keys_app.command("issue")
def issue_key(
    tenant: str,
    scope: Annotated[list[str], typer.Option(help="protect, restore, ops, admin; may be repeated")],
    name: str = "",
    days: Annotated[int | None, typer.Option(min=1, help="expires after so many days")] = None,
    data: Data = Path(".local"),
) -> None:
    """Make a key; it is shown this once."""
    from sider.keys import issue  # noqa: PLC0415
    from sider.service import settings_of  # noqa: PLC0415

    print(issue(settings_of(data).database_url, tenant, tuple(scope), name, days))  # noqa: T201


@keys_app.command("list")
def list_keys(data: Data = Path(".local")) -> None:
    """Show all keys, without their secrets."""
    from sider.keys import table  # noqa: PLC0415
    from sider.service import settings_of  # noqa: PLC0415

    Console().print(table(settings_of(data).database_url))


@keys_app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="the part between the underscores")], data: Data = Path(".local")
) -> None:
    """End a key at once."""
    from sider.keys import revoke  # noqa: PLC0415
    from sider.service import settings_of  # noqa: PLC0415

    revoke(settings_of(data).database_url, key_id)
    console.print(f"revoked {key_id}")


@webhooks_app.command("secret")
def webhook_secret(tenant: str, data: Data = Path(".local")) -> None:
    """Make the secret that signs a tenant's webhooks, shown this once; the one before signs for another day."""
    from sider.keys import webhook_secret  # noqa: PLC0415
    from sider.service import settings_of  # noqa: PLC0415

    print(webhook_secret(settings_of(data), tenant))  # noqa: T201


@audit_app.command("verify")
def verify_audit(as_json: Json = False, data: Data = Path(".local")) -> None:
    """Find every entry that was removed, altered or moved; the exit code is 1 when there is one."""
    from sider.audit import verify_log  # noqa: PLC0415
    from sider.service import settings_of  # noqa: PLC0415

    raise typer.Exit(verify_log(settings_of(data), console, as_json))


@audit_app.command("list")
def list_audit(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="newest entries to show")] = 50,
    tenant: Annotated[str | None, typer.Option(help="of this tenant only")] = None,
    subject: Annotated[str | None, typer.Option(help="of this photo or API key only")] = None,
    as_json: Json = False,
    data: Data = Path(".local"),
) -> None:
    """Show who protected, restored, fetched and erased what, and why."""
    from sider.audit import show_log  # noqa: PLC0415
    from sider.service import settings_of  # noqa: PLC0415

    show_log(settings_of(data), limit, tenant, subject, as_json)


@keyring_app.command("list")
def list_versions(data: Data = Path(".local")) -> None:
    """Show the versions of the keyring, without keys."""
    from sider.keyring import versions  # noqa: PLC0415
    from sider.service import settings_of  # noqa: PLC0415

    Console().print(versions(settings_of(data)))


@keyring_app.command("rotate")
def rotate_keyring(
    after: Annotated[
        int, typer.Option(min=0, help="minutes until it seals: time to copy the file to all machines")
    ] = 0,
    data: Data = Path(".local"),
) -> None:
    """Make a new key that seals from then on; the older ones still open. Running processes need no restart."""
    from sider.keyring import rotate  # noqa: PLC0415
    from sider.service import settings_of  # noqa: PLC0415

    version, then = rotate(settings_of(data), after), f"in {after} minutes" if after else "from now on"
    console.print(f"version {version} seals {then}; keep a copy of the file, then: rewrap")


@keyring_app.command("rewrap")
def rewrap_store(data: Data = Path(".local")) -> None:
    """Move all sealed items to the newest key, while the service runs. After an interruption run it again."""
    from sider.keyring import rewrap_all  # noqa: PLC0415
    from sider.service import settings_of  # noqa: PLC0415

    raise typer.Exit(rewrap_all(settings_of(data), console))


@keyring_app.command("retire")
def retire_version(version: int, data: Data = Path(".local")) -> None:
    """Destroy an old key, if nothing needs it any more."""
    from sider.keyring import retire  # noqa: PLC0415
    from sider.service import settings_of  # noqa: PLC0415

    retire(settings_of(data), version, console)
    console.print(f"version {version} is destroyed; copies of the keyring still hold it")
