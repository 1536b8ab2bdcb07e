"""Protect a folder of photos as one batch, and follow all of its jobs at once.

SIDER_SERVER=http://... SIDER_API_KEY=sdr_... python examples/many_at_once.py photos/ protected/
"""

import asyncio
import os
import sys
from pathlib import Path

from sider.client import AcceptedBatch, AsyncClient, SiderError


async def main(photos: list[Path], folder: Path) -> None:
    async with AsyncClient(os.environ["SIDER_SERVER"], os.environ["SIDER_API_KEY"]) as client:
        # One photo is no batch.
        accepted = await (client.protect_batch(photos) if len(photos) > 1 else client.protect(photos[0]))
        print(f"restore code of all, shown this once: {accepted.restore_code}")

        async def finish(photo: Path, job_id: str, photo_id: str) -> None:
            try:
                await client.wait(job_id)
                await client.download(photo_id, folder / f"{photo.stem}.png")
                print(f"{photo.name} is protected: {photo_id}")
            except SiderError as error:
                print(f"{photo.name}: {error.code}: {error}")

        jobs = accepted.jobs if isinstance(accepted, AcceptedBatch) else [accepted]
        pairs = zip(photos, jobs, strict=True)
        await asyncio.gather(*(finish(photo, job.job_id, job.photo_id) for photo, job in pairs))


if len(sys.argv) != 3 or not (photos := sorted(Path(sys.argv[1]).glob("*.png"))):
    sys.exit(__doc__)
Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
asyncio.run(main(photos, Path(sys.argv[2])))
