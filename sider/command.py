"""`sider`: protect and restore files here, start the service, manage its keys, see what is installed."""

from __future__ import annotations

import os
import sys
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from core.errors import SiderError
from core.vault.custody import Custody

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # see worker/app.py

app = typer.Typer(
    name="sider", help="Face privacy: a new look for people, the same identity for machines, and a way back.",
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
)  # fmt: skip
keys_app = typer.Typer(help="API keys of the service.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
webhooks_app = typer.Typer(help="Webhooks of the service.", no_args_is_help=True)
app.add_typer(webhooks_app, name="webhooks")
keyring_app = typer.Typer(help="Key-encryption keys of the service.", no_args_is_help=True)
app.add_typer(keyring_app, name="keyring")
audit_app = typer.Typer(help="The audit log of the service.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")
console = Console(stderr=True)

Paths = Annotated[list[Path], typer.Argument(help="photos, or folders of photos")]
Out = Annotated[Path, typer.Option(help="folder for the results")]
PasswordFile = Annotated[Path | None, typer.Option(help="file whose first line is the password or restore code")]
Overwrite = Annotated[bool, typer.Option(help="replace results of earlier runs; their keys are lost")]
Json = Annotated[bool, typer.Option("--json", help="one JSON line a result on standard output")]
Data = Annotated[Path, typer.Option(help="folder of the local service (`sider up`)")]


@app.command()
def protect(
    paths: Paths,
    out: Out,
    method: str = "sider",
    preset: str = "standard",
    variants: Annotated[int, typer.Option(min=1, max=16)] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="the same seed gives the same faces")] = None,
    password_file: PasswordFile = None,
    custody: Annotated[Custody, typer.Option(help="restoring takes: keyring, keyring and password, password")] = (
        Custody.SPLIT
    ),
    keep_missed: Annotated[bool, typer.Option(help="write pictures that miss their promise, too")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Protect photos: OUT/<stem>.png, further variants <stem>.v2.png, and the sealed <stem>.key beside them."""
    from core.pipeline import Request  # noqa: PLC0415 - torch takes seconds; `sider --help` should not
    from sider.photos import Protection, new_password  # noqa: PLC0415

    run = Protection(
        out=out,
        request=Request(method, preset, variants, seed),
        password=new_password(password_file, custody, console),
        custody=custody,
        keep_missed=keep_missed,
        overwrite=overwrite,
        as_json=as_json,
    )
    raise typer.Exit(run.protect_all(paths, console))


@app.command()
def restore(
    paths: Paths,
    out: Out,
    password_file: PasswordFile = None,
    overwrite: Annotated[bool, typer.Option(help="replace files that are there")] = False,
    as_json: Json = False,
) -> None:
    """Restore protected pictures, every pixel, to OUT/<stem>.png; the key is expected beside each picture."""
    from sider.photos import read_password, restore_all  # noqa: PLC0415

    password = cache(partial(read_password, password_file, console, new=False))
    raise typer.Exit(restore_all(paths, out, password, console, overwrite, as_json))


@app.command()
def verify(
    photo: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JPEG, PNG or WebP")],
    data: Data = Path(".local"),
) -> None:
    """Was this picture made by the service? Metadata does not matter, but every pixel does."""
    from sider.service import settings_of  # noqa: PLC0415
    from sider.verify import verify as look_up  # noqa: PLC0415

    raise typer.Exit(look_up(settings_of(data), photo, Console()))


@app.command()
def up(
    data: Data = Path(".local"),
    port: Annotated[int | None, typer.Option(help="port of the API; a free one by default")] = None,
) -> None:
    """Start every part of the service on this machine; Ctrl-C stops all."""
    from deploy.local import LocalStack  # noqa: PLC0415
    from deploy.local import up as run  # noqa: PLC0415

    def announce(stack: LocalStack) -> None:
        console.print(f"[bold]pages[/]    {stack.api_url}   (API: {stack.api_url}/docs)")
        console.print(f"[bold]store[/]    {stack.s3_url}")
        console.print(f"[bold]metrics[/]  ports {stack.ports['metrics']}, ...: /metrics of each process")
        console.print(f"[bold]data[/]     {stack.data}", soft_wrap=True)
        console.print("Ctrl-C stops everything. A ready-made API key (more: sider keys issue --help):")
        # On standard output, so that a script can take it: KEY=$(sider up | head -1)
        print(stack.api_key, flush=True)  # noqa: T201

    def farewell() -> None:
        console.print("stopping; a job that runs is finished first, or kept for the next start ...")

    console.print("starting Valkey, SeaweedFS, worker and API ...")
    raise typer.Exit(run(data, port, announce, farewell))


@app.command()
def migrate(data: Data = Path(".local")) -> None:
    """Bring the database to this release's schema: the first step of an upgrade, while the older release runs."""
    from core.jobs import database  # noqa: PLC0415
    from sider.service import settings_of  # noqa: PLC0415

    database.upgrade(settings_of(data).database_url)


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


@app.command()
def doctor(
    download: Annotated[str | None, typer.Option(help="fetch the weights of an optional encoder")] = None,
) -> None:
    """What is installed, which device, which weights; what is missing and how to get it."""
    from sider.doctor import examine, fetch  # noqa: PLC0415

    if download:
        console.print(f"fetched {fetch(download)}")
    raise typer.Exit(examine(Console()))


def main() -> None:
    """Entry point: expected failures end in one line, not in a traceback."""
    try:
        app()
    except SiderError as error:
        console.print(f"[red]{error.code}[/]: {error}", highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
