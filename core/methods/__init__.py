"""The register of protection methods: one file a method, found by listing this folder.

Torch-free, and imports no method until `load` is called, so that the API can offer a new method by itself.
A method module defines

* `PROMISE: Promise` - what it claims,
* `Config` - a frozen dataclass of hyper-parameters, and `PRESETS: dict[str, Config]`; a field named as one of OPTIONS
  is what a request may ask for besides,
* `protect(faces, networks, config, generator, progress) -> Protected` - the algorithm.
"""

from __future__ import annotations

import ast
import importlib
import re
import threading
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

from core.errors import RequestRefused
from core.promise import Promise

HERE = Path(__file__).parent
OPTIONS = ("presentation", "age", "personas")  # of `core.pipeline.Request`
PARSING = threading.Lock()  # threads that parse at once end in a SystemError in CPython 3.11


class Method(Protocol):
    """What a method module looks like to the pipeline."""

    PROMISE: Promise
    PRESETS: dict[str, Any]
    protect: Callable[..., Any]


def names() -> list[str]:
    """Names of all methods, sorted; imports none of them."""
    return sorted(p.stem for p in HERE.glob("[a-z]*.py"))


@cache
def presets(name: str) -> list[str]:
    """Names of the presets of one method, read from its source, once, without importing it.

    Raises:
        RequestRefused: no such method.
    """
    table = _assigned(name, "PRESETS")
    return [cast(ast.Constant, key).value for key in table.keys] if isinstance(table, ast.Dict) else []  # type: ignore[misc]


@cache
def promise(name: str) -> Promise:
    """What one method claims, read like its presets.

    Raises:
        RequestRefused: no such method.
    """
    claim = cast(ast.Call, _assigned(name, "PROMISE"))
    return Promise(**{str(word.arg): cast(ast.Constant, word.value).value for word in claim.keywords})  # type: ignore[arg-type]


@cache
def options(name: str) -> frozenset[str]:
    """Those of OPTIONS that one method takes, read like its presets.

    Raises:
        RequestRefused: no such method.
    """
    configs = (node for node in _source(name).body if isinstance(node, ast.ClassDef) and node.name == "Config")
    lines = (line.target for config in configs for line in config.body if isinstance(line, ast.AnnAssign))
    return frozenset(target.id for target in lines if isinstance(target, ast.Name)) & frozenset(OPTIONS)


def asked(**options: Any) -> dict[str, Any]:
    """Those of OPTIONS that ask for something; the others say `keep`, or nothing."""
    return {name: value for name, value in options.items() if value not in ("keep", (), False)}


def check(name: str, preset: str, asked: Collection[str] = ()) -> None:
    """Refuse what `load` would not find, and options that are asked for and the method does not take.

    Raises:
        RequestRefused: no such method, or it has no such preset or option.
    """
    known = presets(name)
    if preset not in known:
        raise RequestRefused(f"unknown preset {preset[:32]!r}; known: {', '.join(known)}", code="preset_unknown")
    for option in set(asked) - options(name):
        able = [other for other in names() if option in options(other)]
        message = f"the method {name} does not take {option!r}; these do: {', '.join(able)}"
        raise RequestRefused(message, code="option_not_taken")


def load(name: str) -> Method:
    """Import one method.

    Raises:
        RequestRefused: no such method.
    """
    _path(name)
    return cast(Method, importlib.import_module(f"{__name__}.{name}"))


def _assigned(name: str, variable: str) -> ast.expr | None:
    """What a method's file assigns to one of its variables."""
    for node in _source(name).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == variable:
                return node.value
    return None


def _source(name: str) -> ast.Module:
    path = _path(name)
    with PARSING:
        return ast.parse(path.read_text(encoding="utf-8"))


def _path(name: str) -> Path:
    path = HERE / f"{name}.py"
    # The name comes from a request: only a plain word may ever become a path or a module.
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) or not path.is_file():
        raise RequestRefused(f"unknown method {name[:32]!r}; known: {', '.join(names())}", code="method_unknown")
    return path
