"""`sider`: protect and restore files, here or by a service; start the service; see what is installed."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from core import methods
from core.errors import RequestRefused, SiderError
from core.looks import Age, Faces, Presenting
from core.vault.custody import Custody
from sider import operating
from sider.operating import Data, Json, console

if TYPE_CHECKING:
    from sider.runs import Protector, Run

os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # see worker/app.py

app = typer.Typer(
    name="sider", help="Face privacy: a new look for people, the same identity for machines, and a way back.",
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
)  # fmt: skip
for part, commands in operating.APPS.items():
    app.add_typer(commands, name=part)

NEW_FACE = "sider, id2face"  # methods
Paths = Annotated[list[Path], typer.Argument(help="photos, or folders of photos")]
Out = Annotated[Path, typer.Option(help="folder for the results")]
PasswordFile = Annotated[Path | None, typer.Option(help="file whose first line is the password or restore code")]
Overwrite = Annotated[bool, typer.Option(help="replace results of earlier runs; their keys are lost")]
Server = Annotated[
    str | None,
    typer.Option(envvar="SIDER_SERVER", help="address of a service that does the work; its key is in SIDER_API_KEY"),
]
KeyFile = Annotated[Path | None, typer.Option(help="file whose first line is the API key, instead of SIDER_API_KEY")]


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"sider {version_of('sider')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="which is installed", callback=_tell_version)] = False,
) -> None:
    """What every command takes: nothing else."""


@app.command()
def protect(
    paths: Paths,
    out: Out,
    method: Annotated[str, typer.Option(help=f"one of: {', '.join(methods.names())}")] = "sider",
    preset: Annotated[str, typer.Option(help="natural changes least, strong promises most")] = "standard",
    variants: Annotated[int, typer.Option(min=1, max=16, help="different new faces of each photo")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="the same command with it makes the same faces")] = None,
    presentation: Annotated[Presenting, typer.Option(help=f"gender presentation of the new face; {NEW_FACE}")] = (
        Presenting.keep
    ),
    age: Annotated[Age, typer.Option(help=f"that it looks: up to 35, to 50, from 50 on; {NEW_FACE}")] = Age.keep,
    faces: Annotated[Faces, typer.Option(help="of each photo; what is left out stays as it is")] = Faces.all,
    consistent: Annotated[
        bool, typer.Option("--consistent", help="one new identity a person in all photos, here; id2face")
    ] = False,
    password_file: PasswordFile = None,
    custody: Annotated[Custody, typer.Option(help="restoring takes the keyring, both, the password")] = (Custody.SPLIT),
    keep_missed: Annotated[bool, typer.Option(help="write pictures that miss their promise, too; not by a service")] = (
        False
    ),
    overwrite: Overwrite = False,
    as_json: Json = False,
    contact_sheet: Annotated[Path | None, typer.Option(help="HTML file with all protected pictures")] = None,
    with_originals: Annotated[bool, typer.Option(help="the contact sheet shows the originals, too")] = False,
    server: Server = None,
    key_file: KeyFile = None,
) -> None:
    """Protect photos: OUT/<stem>.png, further variants <stem>.v2.png, and the sealed <stem>.key beside them.

    Interrupted, it is run again with the same arguments: what is done is not done twice. A restore code that the first
    run made comes in a --password-file then. With --server the photos are protected by a service, which keeps the keys.
    """
    from sider.files import left_out, new_password, plan, tell_left_out  # noqa: PLC0415
    from sider.runs import Run, Wish  # noqa: PLC0415

    methods.check(method, preset, methods.asked(presentation=presentation, age=age))
    if consistent:
        _check_consistent(method, variants, faces, server)
    if server and keep_missed:
        raise RequestRefused("a service hands out no picture that misses its promise; leave out --keep-missed")
    photos = list(plan(paths, out, variants))
    tell_left_out(left_out(paths, out), console)
    protector: Protector
    with ExitStack() as opened:
        if server:
            from sider import remote  # noqa: PLC0415

            client = opened.enter_context(remote.connect(server, key_file))
        wish = Wish(method, preset, variants, seed, custody, None, presentation, age, consistent, faces)
        run = Run(out, wish, overwrite, as_json)
        password = new_password(password_file, custody, console, run.resumes(photos, server or ""))
        run = replace(run, wish=replace(wish, password=password))
        protector = remote.Service(client, run.wish, server) if server else _engine(run, photos, keep_missed)
        lines = run.protect_all(photos, protector, console)
    if contact_sheet:
        from sider.sheet import write_sheet  # noqa: PLC0415

        write_sheet(contact_sheet, lines, with_originals)
    raise typer.Exit(0 if all(line["held"] for line in lines) else 1)


def _check_consistent(method: str, variants: int, faces: Faces, server: str | None) -> None:
    """Refuse what cannot be done with one new identity a person (RequestRefused)."""
    able = [name for name in methods.names() if "personas" in methods.options(name)]
    if method not in able:
        raise RequestRefused(f"--consistent needs --method {' or '.join(able)}", code="option_not_taken")
    if server:
        raise RequestRefused("--consistent works on this machine only; leave out --server (and SIDER_SERVER)")
    if variants > 1:
        raise RequestRefused("--consistent makes one new identity a person; leave out --variants")
    if faces is not Faces.all:
        raise RequestRefused("--consistent is for everybody in the photos; leave out --faces")


def _engine(run: Run, photos: list[tuple[Path, Path]], keep_missed: bool) -> Protector:
    """This machine's, which knows who is who if the same people are to stay the same."""
    from sider.local import Engine  # noqa: PLC0415

    engine = Engine.load(run.wish, keep_missed)
    if not run.wish.consistent:
        return engine
    from sider.consistent import with_pseudonyms  # noqa: PLC0415 - torch takes seconds

    return with_pseudonyms(engine, photos, run.done(photos, engine.where), console)


@app.command()
def restore(
    paths: Paths,
    out: Out,
    password_file: PasswordFile = None,
    overwrite: Annotated[bool, typer.Option(help="replace files that are there")] = False,
    as_json: Json = False,
    server: Server = None,
    key_file: KeyFile = None,
    token_file: Annotated[Path | None, typer.Option(help="file with the JWT that the service asks for")] = None,
    reason: Annotated[str, typer.Option(help="why; the audit log of the service keeps it")] = "",
) -> None:
    """Restore protected pictures, every pixel, to OUT/<stem>.png; the key is expected beside each picture.

    With --server the service that made the pictures restores them, and needs a --reason.
    """
    from sider.files import read_password  # noqa: PLC0415
    from sider.runs import restore_all  # noqa: PLC0415

    password = cache(partial(read_password, password_file, console, new=False))
    with ExitStack() as opened:
        if server:
            from sider import remote  # noqa: PLC0415

            if not reason:
                raise RequestRefused("the audit log of a service keeps why a photo was restored; say it with --reason")
            client = opened.enter_context(remote.connect(server, key_file, token_file))
            one = partial(remote.restore, client, password=password, reason=reason)
        else:
            from sider import local  # noqa: PLC0415

            one = partial(local.restore, password=password)
        raise typer.Exit(restore_all(paths, out, one, console, overwrite, as_json))


@app.command()
def verify(
    photo: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JPEG, PNG or WebP")],
    data: Data = Path(".local"),
    server: Server = None,
    key_file: KeyFile = None,
) -> None:
    """Was this picture made by the service? Metadata does not matter, but every pixel does."""
    if server:
        from sider import remote  # noqa: PLC0415

        with remote.connect(server, key_file) as client:
            raise typer.Exit(remote.verify(client, photo, Console()))
    from sider.service import settings_of  # noqa: PLC0415
    from sider.verify import verify as look_up  # noqa: PLC0415

    raise typer.Exit(look_up(settings_of(data), photo, Console()))


@app.command()
def erase(
    photos: Annotated[list[str], typer.Argument(help="protected pictures, or ids of photos")],
    server: Annotated[str, typer.Option(envvar="SIDER_SERVER", help="address of the service")],
    key_file: KeyFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    as_json: Json = False,
) -> None:
    """Erase photos from a service: the key first, then the pictures. Nothing brings their originals back."""
    from sider import remote  # noqa: PLC0415

    if not yes:
        typer.confirm(f"Erase {len(photos)} photo{'s' * (len(photos) > 1)} for good?", abort=True, err=True)
    with remote.connect(server, key_file) as client:
        raise typer.Exit(remote.erase_all(client, photos, console, as_json))


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


@app.command()
def prepare(data: Data = Path(".local")) -> None:
    """Make what a new service lacks: the database's schema, the keyring, the buckets. What is there stays as it is."""
    from deploy.prepare import prepare as make  # noqa: PLC0415
    from sider.service import settings_of  # noqa: PLC0415

    make(settings_of(data))


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
    """Entry point: expected failures end in one line, not in a traceback; none in 1, which means that commands found
    something."""
    try:
        app()
    except SiderError as error:
        _fail(error.code, str(error))
    except OSError as error:
        _fail(type(error).__name__, str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - half a second

        if isinstance(error, SQLAlchemyError):
            # Not its text, which may have the database's address, with a password, or what a customer sent.
            kind = type(error).__name__
            _fail("database_unavailable", f"the database that SIDER_DATABASE_URL or --data names fails: {kind}")
        traceback.print_exc()
        sys.exit(2)


def _fail(code: str, message: str) -> NoReturn:
    console.print(f"[red]{code}[/]: {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(2)
