"""Write the manifest of the packaged bundle: `python -m training.manifest`. Run after anything in it changed."""

from __future__ import annotations

import json

from core.networks.bundle import MANIFEST, PACKAGED, digest

OURS = "Apache-2.0, with this project"
CONGRESS = "official portraits of the US Congress (us_house, us_senate; public domain)"
LONDON = "Face Research Lab London Set (CC-BY 4.0)"
CLEAN = f"{CONGRESS}; Congress photos 200x250 (public domain); {LONDON}"
ORIGINS = {
    "autoencoder": CLEAN,
    "occlusion": CLEAN,
    "personas": f"means of groups of {CONGRESS}, or of {LONDON}",
    "encoders/dlib.json": f"mean embedding: {CLEAN}; thresholds measured on evaluation pairs, not trained on",
    "denoiser": f"{CLEAN}; omi (CC BY-NC-SA 4.0)",
    "generator": f"{CLEAN}; omi (CC BY-NC-SA 4.0); against the encoders of this bundle and networks trained on "
    "MS-Celeb-1M and others (research)",
    "apparent.json": f"{CLEAN}, gender as stated by the sources' table, ages by dates of birth (CC0, CC-BY 4.0)",
    "encoders/facenet": "published thresholds, of networks trained on VGGFace2 and CASIA-WebFace (research)",
    "encoders/clean": f"views of {CLEAN}, to imitate dlib's network (CC0)",
    "encoders/student-facenet": f"views of {CLEAN}; omi (CC BY-NC-SA 4.0); Labeled Faces in the Wild (research), to "
    "imitate FaceNet, trained on VGGFace2 (research)",
    "encoders/student": f"views of {CLEAN}; omi (CC BY-NC-SA 4.0); Labeled Faces in the Wild (research), "
    "to imitate networks trained on MS-Celeb-1M and others (research)",
}
RESEARCH = ("denoiser", "encoders/facenet", "encoders/student", "generator")


def main() -> None:
    files = {}
    for path in sorted(PACKAGED.rglob("*")):
        name = path.relative_to(PACKAGED).as_posix()
        if path.is_file() and name not in (MANIFEST, "README.md"):
            trained_on = next(text for prefix, text in ORIGINS.items() if name.startswith(prefix))
            kind = "research" if name.startswith(RESEARCH) else "clean"
            files[name] = {"sha256": digest(path), "licence": OURS, "licence_class": kind, "trained_on": trained_on}
    kinds = {facts["licence_class"] for facts in files.values()}
    manifest = {"name": "mini", "licence_class": "research" if "research" in kinds else "clean", "files": files}
    (PACKAGED / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    size = sum((PACKAGED / name).stat().st_size for name in files)
    print(f"{len(files)} files, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
