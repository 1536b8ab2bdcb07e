"""Each block of shell or Python in README.md and docs/ does what its page says, on the real service.

The blocks of a page are one script, in a folder with two photos, with API and KEY set. A comment just before a block
says why it is not run (`<!-- not run: needs Docker -->`), or what it must print (`<!-- prints: true -->`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from core.stages.validate import Photo
from deploy.local import LocalStack

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
# They start the command line many times, some with the networks.
SLOW = ("bundle.md", "client.md", "operating.md")
PAGES = [
    pytest.param(page, id=page.name, marks=[pytest.mark.slow, pytest.mark.timeout(900)] if page.name in SLOW else [])
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
]
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>not run|prints): (?P<said>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SCRIPTS = {"sh": "{}\n", "python": "python - << 'END OF BLOCK'\n{}END OF BLOCK\n"}
END = "=== end of block ===\n"


@pytest.fixture
def folder(stack: LocalStack, astronaut: Photo, tmp_path: Path) -> Path:
    for program in ("curl", "jq", "sqlite3"):
        if shutil.which(program) is None:
            pytest.skip(f"the pages' commands need {program} (Debian: apt-get install {program})")
    (tmp_path / "photos").mkdir()
    for name in ("me.jpg", "photos/anna.jpg", "photos/ben.jpg"):
        Image.fromarray(astronaut.pixels).save(tmp_path / name, quality=95)
    (tmp_path / ".local").symlink_to(stack.data)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_page_does_what_it_says(page: Path, folder: Path, stack: LocalStack) -> None:
    text = page.read_text(encoding="utf-8")
    found = list(BLOCK.finditer(text))
    assert text.count("```") == 2 * len(found)
    assert {block["language"] for block in found} <= SCRIPTS.keys()
    blocks = [block for block in found if block["mark"] != "not run"]
    script = "".join(SCRIPTS[block["language"]].format(block["code"]) + f"echo '{END.strip()}'\n" for block in blocks)
    env = os.environ | {
        "API": stack.api_url, "KEY": stack.api_key, "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    argv = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env, cwd=folder)
    *printed, rest = done.stdout.split(END)
    assert done.returncode == 0, f"{blocks[len(printed)]['code']}\n{rest}\n{done.stderr}"
    for block, output in zip(blocks, printed, strict=True):
        assert block["mark"] is None or block["said"] in output, f"{block['code']}\n{output}"
