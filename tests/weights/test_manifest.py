"""The manifest: ours is complete and valid, and an invalid one is refused in one sentence."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from micromotion.errors import ManifestError
from micromotion.motion.recipe import find_recipes
from micromotion.weights.manifest import Manifest, load_manifest
from micromotion.weights.sources import Drive, Hub, Url

GOOD = """
format = "micromotion-manifest/1"
landmarks = "b.dat"
[licences.nc]
name = "CC BY-NC"
commercial = false
link = "https://example.org/nc"
[models.one]
purpose = "to test"
files = ["a.pt"]
motions = ["c.d_latent"]
[models.one.optional]
more = "b.dat"
[files."a.pt"]
purpose = "a generator"
bytes = 10
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
licence = "nc"
sources = [{ hub = "owner/name", path = "folder/a.pt", revision = "v1" }, { drive = "0123456789-_abcdef" }]
[files."b.dat"]
purpose = "landmarks"
licence = "nc"
sources = [{ url = "https://example.org/b.dat.bz2", unpack = "bz2" }]
[files."c.d_latent"]
purpose = "a motion"
licence = "nc"
sources = [{ url = "http://example.org/c" }, { hub = "owner/name", path = "c" }]
"""


def read(text: str, folder: Path) -> Manifest:
    (folder / "manifest.toml").write_text(text)
    return load_manifest(folder / "manifest.toml")


def test_every_entry_of_a_manifest_is_read(tmp_path: Path) -> None:
    manifest = read(GOOD, tmp_path)
    model = manifest.models["one"]
    assert [file.name for file in model.files] == ["a.pt"]
    assert [file.name for file in model.motions] == ["c.d_latent"]
    assert {name: file.name for name, file in model.optional.items()} == {"more": "b.dat"}
    (file,) = model.files
    assert (file.bytes, file.purpose, file.licence.commercial) == (10, "a generator", False)
    assert file.sources == (Hub("owner/name", "folder/a.pt", "v1"), Drive("0123456789-_abcdef"))
    assert manifest.landmarks is not None
    assert manifest.landmarks.sources == (Url("https://example.org/b.dat.bz2", "bz2"),)
    assert (manifest.landmarks.bytes, manifest.landmarks.sha256) == (None, None)
    assert model.motions[0].sources[1] == Hub("owner/name", "c", "main")


def test_the_environment_can_name_another_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(GOOD, tmp_path)
    monkeypatch.setenv("MICROMOTION_MANIFEST", str(tmp_path / "manifest.toml"))
    assert list(load_manifest().models) == ["one"]


BAD = [
    ('format = "micromotion-manifest/1"', 'format = "micromotion-manifest/2"', "format"),
    ('format = "micromotion-manifest/1"', "", "lacks 'format'"),
    ('landmarks = "b.dat"', 'landmarks = "d.dat"', "names 'd.dat'"),
    ('landmarks = "b.dat"', "landmarks = 3", "not a line of text"),
    ('landmarks = "b.dat"', "surprise = 1", "unknown entry 'surprise'"),
    ("[licences.nc]", "[licences.other]", "names 'nc'"),
    ("commercial = false", 'commercial = "no"', "neither true nor false"),
    ('link = "https://example.org/nc"', 'link = "javascript:alert(1)"', "not an http or https address"),
    ('link = "https://example.org/nc"', "", "lacks 'link'"),
    ("[models.one]", '[models."../one"]', "not a plain name"),
    ('files = ["a.pt"]', "files = []", "is empty"),
    ('files = ["a.pt"]', 'files = "a.pt"', "not a list of texts"),
    ('files = ["a.pt"]', "files = [1]", "not a list of texts"),
    ('files = ["a.pt"]', 'files = ["a.pt", "a.pt"]', "names something twice"),
    ('files = ["a.pt"]', 'files = ["../a.pt"]', "names '../a.pt'"),
    ('motions = ["c.d_latent"]', 'motions = ["none"]', "names 'none'"),
    ('more = "b.dat"', "more = 1", "not a line of text"),
    ('more = "b.dat"', '"a/b" = "b.dat"', "not a plain name"),
    ('[files."a.pt"]', '[files."/a.pt"]', "not a plain name"),
    ('[files."a.pt"]', '[files."..pt"]', "not a plain name"),
    ('[files."a.pt"]', '[files."x/a.pt"]', "not a plain name"),
    ('[files."a.pt"]', '[files."a\\\\b.pt"]', "not a plain name"),
    ("bytes = 10", "bytes = 0", "not a size"),
    ("bytes = 10", "bytes = -1", "not a size"),
    ("bytes = 10", "bytes = 1.5", "not a size"),
    ("bytes = 10", "bytes = true", "not a size"),
    ("bytes = 10", 'bytes = "10"', "not a size"),
    ("bytes = 10", "size = 10", "unknown entry 'size'"),
    ('sha256 = "0123', 'sha256 = "0', "64 lower-case"),
    ('sha256 = "0123', 'sha256 = "G123', "64 lower-case"),
    ('sha256 = "0123456789abcdef', 'sha256 = "0123456789ABCDEF', "64 lower-case"),
    ("sources = [{ url", "sources = []\nothers = [{ url", "unknown entry 'others'"),
    ('sources = [{ url = "https://example.org/b.dat.bz2", unpack = "bz2" }]', "sources = []", "at least one"),
    ('url = "https://example.org/b.dat.bz2"', 'url = "file:///etc/passwd"', "not an http or https address"),
    ('unpack = "bz2"', 'unpack = "zip"', "not 'bz2'"),
    ('unpack = "bz2"', 'path = "b"', "unknown entry 'path'"),
    ('unpack = "bz2"', 'drive = "0123456789"', "one of url, hub and drive"),
    ('hub = "owner/name", path = "c"', 'hub = "owner", path = "c"', "not a repository"),
    ('hub = "owner/name", path = "c"', 'hub = "owner/name"', "lacks 'path'"),
    ('hub = "owner/name", path = "c"', 'hub = "owner/name", path = "/c"', "absolute or has dotted parts"),
    ('hub = "owner/name", path = "c"', 'hub = "owner/name", path = "a/../c"', "absolute or has dotted parts"),
    ('hub = "owner/name", path = "c"', 'hub = "../name", path = "c"', "not a repository"),
    ('drive = "0123456789-_abcdef"', 'drive = "a&confirm=t#b"', "not a Google Drive id"),
    ('{ drive = "0123456789-_abcdef" }', '"https://example.org"', "one of url, hub and drive"),
    ("[models.one.optional]", "[models.one.extra]", "unknown entry 'extra'"),
    ("[licences.nc]", "[[licences.nc]]", "not a table of tables"),
]


@pytest.mark.parametrize(("old", "new", "word"), BAD)
def test_an_invalid_manifest_is_refused_in_one_sentence(
    old: str, new: str, word: str, tmp_path: Path
) -> None:
    assert old in GOOD
    with pytest.raises(ManifestError) as caught:
        read(GOOD.replace(old, new, 1), tmp_path)
    sentence = str(caught.value)
    assert word in sentence
    assert str(tmp_path / "manifest.toml") in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize("content", [b"", b"= 3", b"\xff\xfe", b"a" * (2 << 20), b"a = " + b"[" * 100_000])
def test_files_that_are_not_manifests_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(ManifestError, match=r"bad\.toml"):
        load_manifest(tmp_path / "bad.toml")
    with pytest.raises(ManifestError, match="cannot be read"):
        load_manifest(tmp_path / "none.toml")
    with pytest.raises(ManifestError, match="cannot be read"):
        load_manifest(tmp_path)


# Our manifest.

KNOWN: dict[str, tuple[int, str]] = {
    "e4e_ffhq_encode.pt": (
        1_201_649_680,
        "2ace1d9a8c05c10a399bcd500b8dda118f759ff1aac89dbdab7435f2136a0999",
    ),
    "stylegan2-ffhq-config-f.pt": (
        381_462_551,
        "bae494ef77e32a9cd1792a81a3c167692a0e64f6bcd8b06592ff42917e2ed46e",
    ),
    "model_ir_se50.pth": (175_367_323, "a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28"),
    "shape_predictor_68_face_landmarks.dat": (
        99_693_937,
        "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    ),
    "ffhq.pkl": (381_624_121, "a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c"),
    "ViT-B-32.pt": (353_976_522, "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
}


@pytest.fixture(scope="module")
def own() -> dict[str, Any]:
    path = Path(__file__).resolve().parents[2] / "weights/manifest.toml"
    return tomllib.loads(path.read_text())


def test_our_manifest_is_read() -> None:
    manifest = load_manifest()
    assert list(manifest.models) == ["ffhq"]
    ffhq = manifest.models["ffhq"]
    assert [file.name for file in ffhq.files] == ["e4e_ffhq_encode.pt"], "one necessary download"
    assert set(ffhq.optional) == {"identity", "clip", "restyle", "restyle-e4e", "nvidia", "rosinality"}
    assert manifest.landmarks is not None
    files = [*ffhq.files, *ffhq.motions, *ffhq.optional.values(), manifest.landmarks]
    found = {file.name: (file.bytes, file.sha256) for file in files}
    assert {name: found[name] for name in KNOWN} == KNOWN
    unknown = {name for name, (size, digest) in found.items() if size is None or digest is None}
    assert unknown == {"restyle_psp_ffhq_encode.pt", "restyle_e4e_ffhq_encode.pt"}


def test_our_manifest_describes_only_offered_files(own: dict[str, Any]) -> None:
    ffhq = own["models"]["ffhq"]
    offered = {*ffhq["files"], *ffhq["motions"], *ffhq["optional"].values(), own["landmarks"]}
    assert set(own["files"]) == offered
    assert {entry["licence"] for entry in own["files"].values()} == set(own["licences"])


def test_licences_forbid_commercial_use_where_they_do() -> None:
    manifest = load_manifest()
    ffhq = manifest.models["ffhq"]
    assert manifest.landmarks is not None
    free = {
        file.name: file.licence.commercial
        for file in (*ffhq.files, *ffhq.motions, *ffhq.optional.values(), manifest.landmarks)
    }
    assert {name for name, value in free.items() if value} == {file.name for file in ffhq.motions} | {
        "ViT-B-32.pt"
    }
    assert {name for name, value in free.items() if value is None} == {"model_ir_se50.pth"}


def test_the_seven_published_directions() -> None:
    motions = load_manifest().models["ffhq"].motions
    assert sorted(file.bytes or 0 for file in motions) == [37_611] + [37_624] * 6
    assert len({file.sha256 for file in motions}) == 7
    addresses = {file.name: file.sources[0].address for file in motions}
    assert all(
        address.startswith("https://raw.githubusercontent.com/wuqiuche/micromotion-styleGAN/d4ff949b")
        for address in addresses.values()
    )
    for name, recipe in find_recipes("ffhq").items():
        assert addresses[recipe.published or ""].endswith(f"/pregen_latents/{name}/d_latent")


def test_all_sources_use_https() -> None:
    """Everything is fetched over https."""
    manifest = load_manifest()
    ffhq = manifest.models["ffhq"]
    for file in (*ffhq.files, *ffhq.motions, *ffhq.optional.values()):
        assert all(source.address.startswith("https://") for source in file.sources)
