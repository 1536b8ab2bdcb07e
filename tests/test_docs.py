"""What the documents name is there: files, headings, calls, settings, targets of make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from api.app import create_app
from core.settings import Settings

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT, ROOT / "docs", ROOT / "benchmarks", ROOT / "core/networks/bundle")
PAGES = [page for folder in FOLDERS for page in sorted(folder.glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in re.findall(r"\]\((?!https://)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), anchor


def test_the_api_page_lists_every_call() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    listed = re.findall(r"`(GET|POST|DELETE) (/[^`]*)`", table)
    schema = create_app(Settings(), cast(Any, object())).openapi()["paths"]
    calls = {(method.upper(), re.sub(r"\{\w+\}", "{id}", path)) for path, of in schema.items() for method in of}
    assert len(listed) == len(calls)
    assert set(listed) == calls


def test_the_table_of_settings_is_whole_and_right() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `SIDER_(\w+)` \| (.+?) \|", page, re.MULTILINE)
    fields = Settings.model_fields.items()
    assert sorted(listed) == sorted((name.upper(), shown(field.default)) for name, field in fields)


def shown(default: object) -> str:
    """A default as the table has it."""
    if default is None or default == ():
        return "unset"
    text = default.get_secret_value() if isinstance(default, SecretStr) else str(default)
    return f"`{text.lower() if isinstance(default, bool) else text}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= targets
