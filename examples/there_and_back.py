"""Protect a photo and bring the original back.

SIDER_SERVER=http://... SIDER_API_KEY=sdr_... python examples/there_and_back.py me.jpg folder/
"""

import os
import sys
from pathlib import Path

from sider.client import Client, PromiseNotMet

if len(sys.argv) != 3:
    sys.exit(__doc__)
photo, folder = Path(sys.argv[1]), Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
password = "correct horse battery"  # of the person on the photo; without one the service makes a restore code

with Client(os.environ["SIDER_SERVER"], os.environ["SIDER_API_KEY"]) as client:
    accepted = client.protect(photo, password=password)
    try:
        job = client.wait(accepted.job_id, told=lambda progress: print(f"{progress.progress:4.0%} {progress.step}"))
    except PromiseNotMet as error:
        sys.exit(f"this photo cannot be protected well enough: {error}")
    client.download(accepted.photo_id, folder / "protected.png")

    restored = client.wait(client.restore(accepted.photo_id, reason="an example", password=password).job_id)
    client.download_restored(restored, folder / "restored.png")
    client.erase(accepted.photo_id)
