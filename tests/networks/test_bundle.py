"""The packaged bundle is whole; other bundles are checked before they are used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from facenet_pytorch import InceptionResnetV1
from PIL import Image

from core.errors import ConfigurationError
from core.licence import LicenceClass
from core.networks import Networks, bundle, facenet
from core.networks.generator import Generator


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.PACKAGED, tmp_path / "mini"))


def test_packaged_bundle_is_whole_and_small() -> None:
    manifest = bundle.verify(bundle.PACKAGED)
    listed = set(manifest["files"])
    there = {p.relative_to(bundle.PACKAGED).as_posix() for p in bundle.PACKAGED.rglob("*") if p.is_file()}
    assert there - listed <= {"manifest.json", "README.md"}
    assert all(facts["licence"] and facts["trained_on"] for facts in manifest["files"].values())
    assert sum((bundle.PACKAGED / name).stat().st_size for name in listed) < 60e6


def test_an_altered_file_is_found(copy: Path) -> None:
    weights = copy / "autoencoder" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ConfigurationError, match="altered"):
        Networks.load(str(copy), "cpu")


@pytest.mark.parametrize("name", ["autoencoder/weights.pt", "../outside.json"])
def test_pickles_and_paths_outside_are_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"")
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = {"sha256": bundle.digest(copy / name)}
    path.write_text(json.dumps(manifest))
    with pytest.raises(ConfigurationError, match="refused"):
        bundle.verify(copy)


def test_no_such_bundle_tells_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigurationError, match="SIDER_BUNDLE"):
        bundle.locate("nobody/nothing-of-this-name")


def test_absent_encoders_are_named_with_a_remedy(networks: Networks) -> None:
    assert networks.encoders[0].name == "dlib"
    for name in networks.missing:
        assert "sider doctor --download" in networks.missing[name]


def test_clean_weights_alone_are_taken_where_only_these_may_be(networks: Networks) -> None:
    clean = Networks.load(device="cpu", licence_class=LicenceClass.clean)
    files = bundle.verify(bundle.PACKAGED)["files"]
    for encoder in clean.encoders:
        assert files[f"encoders/{encoder.name}.json"]["licence_class"] == "clean"
    assert clean.surrogates
    assert clean.referees
    assert clean.generator is None
    assert clean.bundle != networks.bundle
    # What stands in for better networks is not asked beside them.
    assert {e.name for e in clean.encoders} & {e.name for e in networks.encoders} == {"dlib"}
    assert all("SIDER_LICENCE_CLASS" in clean.missing[name] for name in clean.missing if name.startswith("student"))


def test_a_bundle_that_cannot_do_without_unclean_weights_says_so(copy: Path) -> None:
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["files"]["autoencoder/config.json"]["licence_class"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(ConfigurationError, match=r"autoencoder .* not clean"):
        Networks.load(str(copy), "cpu", LicenceClass.clean)


def test_what_the_manifest_does_not_name_is_not_clean(copy: Path) -> None:
    folder = copy / "encoders"
    for end in ("json", "safetensors"):
        shutil.copy(folder / f"student-residual.{end}", folder / f"somebody.{end}")
    names = [
        {encoder.name for encoder in Networks.load(str(copy), "cpu", kind).encoders}
        for kind in (LicenceClass.research, LicenceClass.clean)
    ]
    assert [("somebody" in some) for some in names] == [True, False]


def signed(folder: Path) -> str:
    """The bundle, with a manifest of what is in it now."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, facts in manifest["files"].items():
        facts["sha256"] = bundle.digest(folder / name)
    path.write_text(json.dumps(manifest))
    return str(folder)


def test_a_generator_of_another_autoencoder_is_refused(copy: Path) -> None:
    Generator(latent_channels=4).save_pretrained(copy / "generator")
    with pytest.raises(ConfigurationError, match=r"the generator .* latents of 4 channels"):
        Networks.load(signed(copy), "cpu")


def test_looks_that_read_an_absent_encoder_are_refused(copy: Path) -> None:
    path = copy / "apparent.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"encoder": "somebody"}))
    with pytest.raises(ConfigurationError, match="needs somebody"):
        Networks.load(signed(copy), "cpu")


@pytest.mark.parametrize("weight", [None, [0.5] * 64])
def test_looks_of_another_shape_are_refused(copy: Path, weight: list[float] | None) -> None:
    path = copy / "apparent.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"age": {"weight": weight, "bias": 30.0}}))
    with pytest.raises(ConfigurationError, match=r"apparent\.json"):
        Networks.load(signed(copy), "cpu")


def test_a_bank_of_before_personas_had_ages_is_refused_with_what_to_do(copy: Path) -> None:
    path = copy / "personas" / "personas.json"
    rows = json.loads(path.read_text())
    del rows[0]["traits"]["age"]
    path.write_text(json.dumps(rows))
    with pytest.raises(ConfigurationError, match=r"training\.personas"):
        Networks.load(signed(copy), "cpu")


def test_personas_of_another_size_are_refused(copy: Path) -> None:
    path = copy / "personas" / "001.webp"
    with Image.open(path) as picture:
        picture.resize((128, 128)).save(path)
    with pytest.raises(ConfigurationError, match="256 px"):
        Networks.load(signed(copy), "cpu")


def test_facenet_is_used_where_its_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(0)
    original = InceptionResnetV1(pretrained=None, classify=False).eval()
    state = original.state_dict() | {"logits.weight": torch.zeros(2, 512)}
    torch.save(state, tmp_path / "checkpoints" / facenet.FILES["facenet-vggface2"])
    clean = Networks.load(device="cpu", licence_class=LicenceClass.clean)  # what it learned from is for research
    assert "facenet-vggface2" not in {e.name for e in clean.encoders}
    networks = Networks.load(device="cpu")
    (encoder,) = (e for e in networks.encoders if e.name == "facenet-vggface2")
    image = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        expected = original((image * 255 - 127.5) / 128)
        assert torch.allclose(encoder.net(image), expected, atol=1e-6)


def test_a_malicious_facenet_file_is_not_run(tmp_path: Path) -> None:
    class Exploit:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "owned").touch, ())

    path = tmp_path / "weights.pt"
    torch.save(Exploit(), path)
    with pytest.raises(ConfigurationError):
        facenet.load(path)
    assert not (tmp_path / "owned").exists()
