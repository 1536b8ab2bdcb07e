"""A contact sheet: one HTML file with everything in it, to look through what a run has made.

Beside protected faces an original gives its person away. So originals are on it only if that is asked for.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

from core.errors import SiderError
from core.vault.durable import make_folder
from sider.files import read_made, write_file
from sider.lines import outcome_of

SIDE = 320  # pixels of a thumbnail's longer side

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>sider: contact sheet</title>
<style>
:root { color-scheme: light dark; --line: #d5d9e0; --soft: #5d6675; --card: #fff; --page: #f4f5f7; --ink: #171b22;
  --good: #1a7f4b; --bad: #b3261e; --bar: #dfe3ea }
@media (prefers-color-scheme: dark) { :root { --line: #333a46; --soft: #9aa5b5; --card: #1d222b; --page: #14181f;
  --ink: #e8ebf0; --good: #5fc98f; --bad: #ff8a80; --bar: #363e4b } }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif }
h1 { font-size: 1.4rem; margin: 0 } p { margin: .3rem 0 } .soft { color: var(--soft) }
main { display: grid; gap: 1rem; align-items: start; margin-top: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)) }
article { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem }
article.wide { grid-column: span 2 } @media (max-width: 40rem) { article.wide { grid-column: auto } }
h2 { font-size: 1rem; margin: 0 0 .6rem; overflow-wrap: anywhere }
.pictures { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)) }
figure { margin: 0 } figcaption { font-size: .85rem }
img { display: block; width: 100%; height: auto; border-radius: 4px }
table { width: 100%; border-collapse: collapse; font-size: .85rem; margin-top: .6rem }
td { padding: .1rem .3rem .1rem 0; white-space: nowrap } td:nth-child(2) { width: 60% }
td:last-child { text-align: right; font-variant-numeric: tabular-nums }
.bar { position: relative; height: .5rem; background: var(--bar); border-radius: 2px }
.bar i { display: block; height: 100%; border-radius: 2px; background: var(--good) }
.missed i { background: var(--bad) }
.bar b { position: absolute; top: -.15rem; width: 2px; height: .8rem; background: var(--ink) }
.code { color: var(--bad); font-weight: 600 }
@media print { body { background: none } article { break-inside: avoid } }
</style>
<h1>Contact sheet</h1>
<p>$counts</p>
<p class="soft">$warning Bars: how alike protected face and original are to each network, from 0 to 1; of several faces
the nearest to a miss. The mark is the least it must be or, where the method hides faces from machines, the most.</p>
<main>
$cards
</main>
</html>
""")
PROTECTED = "Protected faces only."
ORIGINALS = "<strong>With originals: keep this file as safe as them.</strong>"


def write_sheet(target: Path, lines: list[dict[str, Any]], originals: bool) -> None:
    """Write the contact sheet of a run's lines."""
    counts = ", ".join(
        f"{count} {escape(outcome)}" for outcome, count in sorted(Counter(map(outcome_of, lines)).items())
    )
    cards = "\n".join(_card(line, originals) for line in sorted(lines, key=lambda line: str(line["file"])))
    page = PAGE.substitute(counts=counts, warning=ORIGINALS if originals else PROTECTED, cards=cards)
    make_folder(target.parent)
    write_file(target, page.encode())


def _card(line: dict[str, Any], originals: bool) -> str:
    named = [("original", line["file"])] if originals else []
    named += [(f"protected {n}", name) for n, name in enumerate(line.get("protected", ()), 1)]
    figures = "".join(_figure(caption, Path(name)) for caption, name in named)
    error = line.get("error")
    told = f'<p class="code">{escape(error["code"])}</p><p>{escape(error["message"])}</p>' if error else ""
    wide = ' class="wide"' if len(named) > 1 else ""
    pictures = f'<div class="pictures">{figures}</div>' if figures else ""
    return (
        f"<article{wide}><h2>{escape(line['file'])}</h2>{pictures}{told}{_promise(line.get('report') or {})}</article>"
    )


def _figure(caption: str, path: Path) -> str:
    try:
        photo = read_made(path)
    except (SiderError, OSError):
        return ""  # what is wrong with it is in its line
    image, buffer = Image.fromarray(photo.pixels), io.BytesIO()
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    image.save(buffer, "WEBP", quality=85, icc_profile=photo.profile)
    source = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{caption}" width="{image.width}" height="{image.height}" '
        f'src="data:image/webp;base64,{source}"><figcaption class="soft">{caption}</figcaption></figure>'
    )


def _promise(report: dict[str, Any]) -> str:
    """A bar a network, for the face and variant that comes nearest to missing what was promised."""
    shown: dict[str, dict[str, Any]] = {}
    for face in (face for variant in report.get("variants", ()) for face in variant):
        nearest = min if report["promise"]["machines_match"] else max
        for name, facts in face["encoders"].items():
            shown[name] = nearest(shown.get(name, facts), facts, key=lambda found: float(found["cosine"]))
    return f"<table>{''.join(_bar(name, facts) for name, facts in shown.items())}</table>" if shown else ""


def _bar(name: str, facts: dict[str, Any]) -> str:
    reached, needed = (100 * max(0.0, min(1.0, float(facts[key]))) for key in ("cosine", "required"))
    missed = "" if facts["held"] else " missed"
    return (
        f'<tr><td>{escape(name)}<td><div class="bar{missed}"><i style="width:{reached:.0f}%"></i>'
        f'<b style="left:{needed:.0f}%"></b></div><td>{facts["cosine"]:.2f} / {facts["required"]:.2f}'
    )
