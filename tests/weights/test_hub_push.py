"""Pushing to the Hugging Face hub: what arrives, who can see it, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from faulty_downloads import assert_sentence
from hub_server import TOKEN, HubServer, Repository, use_cache
from misbehaving_server import Status, hang_up, page
from PIL import Image
from public_files import Offer
from random_networks import random_anchors, random_code, random_generator, random_inverter
from weights_command import done, refused

from micromotion import Animator
from micromotion.errors import BundleError, MicromotionError, MotionError, OptionError, OutputError
from micromotion.inversion.pivotal_tuning import tune, tuned
from micromotion.types import Frame
from micromotion.weights.bundle import find_bundle, load_bundle, save_bundle
from micromotion.weights.install import add
from micromotion.weights.manifest import load_manifest
from micromotion.weights.publish import push_model, push_motion, require_shareable

ADDRESS = "hf://me/random"


@pytest.fixture
def owner(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The hub, with a token that may push."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


def frames(model: str | Path, motion: str = "smile") -> list[Frame]:
    picture = Image.new("RGB", (64, 64), (180, 140, 120))
    return list(Animator.load(model, "cpu").animate(picture, motion, aligned=True, view="model", frames=3))


def refusal(kind: type[MicromotionError], model: str | Path, **more: str) -> str:
    """The sentence with which a push is refused."""
    with pytest.raises(kind) as caught:
        push_model(ADDRESS, str(model), **{"licence": "mit", **more})  # type: ignore[arg-type]
    assert_sentence(str(caught.value).replace(".safetensors", ""))
    return str(caught.value)


# --- what arrives -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_pushed_model_draws_the_same_frames_elsewhere(
    owner: HubServer, random_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = push_model(ADDRESS, str(random_bundle), licence="mit")
    use_cache(monkeypatch, tmp_path / "elsewhere")
    there = find_bundle(ADDRESS)
    assert there.origin == str(pushed.name) == f"{ADDRESS}@{owner.repositories['me/random'].head}"
    assert list(there.motions) == ["headsTurn", "smile"]
    for motion in there.motions:
        for ours, theirs in zip(frames(random_bundle, motion), frames(ADDRESS, motion), strict=True):
            assert np.array_equal(ours, theirs)


@pytest.mark.slow
def test_the_avatar_travels_whole(
    owner: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    pushed = push_model("hf://me/avatar", "avatar")
    assert len(pushed.files) == 12
    use_cache(monkeypatch, tmp_path / "elsewhere")
    ours, theirs = find_bundle("avatar"), find_bundle("hf://me/avatar")
    assert theirs.motions.keys() == ours.motions.keys()
    assert theirs.generator_hash() == ours.generator_hash()
    assert theirs.view == "photo"
    assert load_bundle(theirs, "cpu").regressor is not None
    card = owner.repositories["me/avatar"].main["README.md"].decode()
    assert card.startswith("---\nlicense: mit\n")
    assert "- data: heads rendered by avatar/" in card


def test_a_repository_is_private_unless_told_otherwise(owner: HubServer, random_bundle: Path) -> None:
    assert push_model(ADDRESS, str(random_bundle), licence="mit").private
    assert owner.repositories["me/random"].private
    assert not push_model("hf://me/open", str(random_bundle), licence="mit", public=True).private
    assert not owner.repositories["me/open"].private


def test_nothing_goes_to_a_public_repository_unless_told(owner: HubServer, random_bundle: Path) -> None:
    owner.repositories["me/random"] = Repository({"a": b"b"})
    said = refusal(OutputError, random_bundle)
    assert said.startswith("me/random is public: push with --public, or to a new repository")
    assert owner.repositories["me/random"].main == {"a": b"b"}
    assert not owner.storage
    push_model(ADDRESS, str(random_bundle), licence="mit", public=True)
    assert "bundle.json" in owner.repositories["me/random"].main


def test_only_the_record_and_its_safetensors_are_pushed(
    owner: HubServer, random_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(random_bundle, folder)
    for name in ("notes.txt", "photo.jpg", "old.pt", ".env", "shape_predictor_68_face_landmarks.dat"):
        (folder / name).write_bytes(b"private")
    pushed = push_model(ADDRESS, str(folder), licence="mit")
    expected = {
        "bundle.json", "generator.safetensors", "inverter.safetensors", "anchors/headsTurn.safetensors",
        "anchors/smile.safetensors", "README.md",
    }  # fmt: skip
    assert set(pushed.files) == expected
    assert owner.repositories["me/random"].main.keys() == expected | {".gitattributes"}


def test_a_second_push_adds_a_commit_and_keeps_the_card(owner: HubServer, random_bundle: Path) -> None:
    first = push_model(ADDRESS, str(random_bundle), licence="mit")
    assert first.card
    owner.repositories["me/random"].commit({"README.md": b"---\nlicense: mit\n---\nMine."})
    second = push_model(ADDRESS, str(random_bundle), licence="cc-by-4.0")
    assert not second.card
    assert second.name != first.name
    assert owner.repositories["me/random"].main["README.md"].endswith(b"Mine.")
    assert find_bundle(str(first.name)).about["licence"] == "mit"
    assert find_bundle(str(second.name)).about["licence"] == "cc-by-4.0"


@pytest.mark.slow
def test_the_record_names_no_files_of_the_user(owner: HubServer, cache: Path, tmp_path: Path) -> None:
    from public_files import write_e4e

    add([write_e4e(tmp_path / "jane-doe.pt")], "mine")
    push_model(ADDRESS, "mine", licence="mit")
    pushed = owner.repositories["me/random"].main
    assert not any(b"jane-doe" in content for content in pushed.values())
    assert find_bundle(ADDRESS).name == "mine"


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_models_made_of_files_for_non_commercial_use(owner: HubServer, offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes")
    said = refusal(BundleError, "tiny")
    assert said.startswith(
        "The model 'tiny' may not be passed on: it is made from e4e.pt, whose licence (CC BY-NC)"
    )
    assert not owner.repositories


@pytest.mark.slow
def test_the_same_file_added_as_the_users_own(
    owner: HubServer, offer: Offer, cache: Path, tmp_path: Path
) -> None:
    own = tmp_path / "my_own.pt"
    own.write_bytes(offer.files["e4e.pt"])
    add([own], "mine")
    assert "it is made from my_own.pt, whose licence (CC BY-NC)" in refusal(BundleError, "mine")


@pytest.mark.parametrize("licence", [False, None])
def test_every_public_file_but_the_free_ones(
    owner: HubServer, random_bundle: Path, tmp_path: Path, licence: bool | None
) -> None:
    """By the SHA-256 in the manifest that comes with this version, whatever the record calls them."""
    folder = tmp_path / "mine"
    shutil.copytree(random_bundle, folder)
    tried = 0
    for file in load_manifest().files:
        if file.sha256 is not None:
            about = json.loads((folder / "bundle.json").read_text())
            about["sources"] = {"mine.pt": {"sha256": file.sha256, "parts": []}}
            (folder / "bundle.json").write_text(json.dumps(about))
            if file.licence.commercial is True:
                require_shareable(find_bundle(folder))
            else:
                with pytest.raises(BundleError, match="may not be passed on"):
                    require_shareable(find_bundle(folder))
                tried += file.licence.commercial is licence
    assert tried >= 1


def test_dlibs_landmarks(owner: HubServer) -> None:
    for name in ("landmarks", "shape_predictor_68_face_landmarks.dat"):
        assert refusal(BundleError, name).startswith("dlib's landmark model may not be passed on")


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_a_generator_tuned_to_a_person(owner: HubServer, tmp_path: Path, cache: Path, cached: bool) -> None:
    """Also through files: saved alone, and made a model of by `weights add`."""
    generator = random_generator()
    person, picture = random_code(generator), torch.zeros(1, 3, generator.resolution, generator.resolution)
    tuning = tuned if cached else tune
    theirs = [tuning(generator, person, picture, steps=1) for _ in range(2)][1]
    save_bundle(tmp_path / "theirs", name="theirs", generator=theirs, inverter=random_inverter(), about={})
    assert "its generator is tuned to one person's photo" in refusal(BundleError, tmp_path / "theirs")
    parts = [tmp_path / "theirs" / part for part in ("generator.safetensors", "inverter.safetensors")]
    add(parts, "again")
    assert "its generator is tuned to one person's photo" in refusal(BundleError, "again")
    assert not owner.repositories
    for path in (cache / "tuned").glob("*.safetensors"):
        with pytest.raises(MotionError, match="is tuned to one person's photo"):
            push_motion("hf://me/random/x.safetensors", path, "avatar", licence="mit")


def test_a_damaged_model(owner: HubServer, random_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(random_bundle, folder)
    with (folder / "generator.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    assert "does not match its recorded SHA-256: fetch or add" in refusal(BundleError, folder)
    shutil.copy(random_bundle / "generator.safetensors", folder)
    (folder / "regressor.safetensors").write_bytes(b"\x80\x04pickle")
    assert "regressor.safetensors of the model 'random' is not a safetensors file" in refusal(
        BundleError, folder
    )
    assert not owner.repositories


def test_a_model_without_a_licence(owner: HubServer, random_bundle: Path) -> None:
    with pytest.raises(OptionError, match="does not say under which licence it may be used: name one"):
        push_model(ADDRESS, str(random_bundle))
    assert "a line of text" in refusal(OptionError, random_bundle, licence="mit\nlicense: other")


def test_wrong_addresses(owner: HubServer, random_bundle: Path) -> None:
    for address, reason in (
        ("hf://me/a@v1", "names a revision, but a push goes to main"),
        ("hf://me/a/b.safetensors", "names a file"),
        ("me/a", "is not an address on the hub"),
    ):
        with pytest.raises(OptionError, match=reason):
            push_model(address, str(random_bundle), licence="mit")
    with pytest.raises(OptionError, match=r"is not a motion's file: write hf://me/a/NAME\.safetensors"):
        push_motion("hf://me/a/x.pt", "smile", "avatar", licence="mit")
    assert owner.asked_for == []


# --- a hub that fails ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "behaviour", "reason"),
    [
        ("/api/repos/create", Status(401), "answers 401, this is not allowed; log in, with `hf auth login`"),
        ("/api/repos/create", Status(403), "answers 403, this is not allowed"),
        ("/api/repos/create", Status(500), "answers 500"),
        ("/api/repos/create", page("<h1>Proxy</h1>"), "the transfer failed"),
        ("/api/models/me/random", Status(429), "answers 429, too many requests"),
        ("/api/models/me/random", hang_up, "cannot be reached"),
        ("/api/validate-yaml", Status(400, body=b'{"errors": [{"message": "no"}]}'), "answers 400"),
        ("/api/models/me/random/preupload/main", Status(503), "answers 503"),
        ("/api/models/me/random/preupload/main", Status(200, body=b"{}"), "the transfer failed"),
        ("/me/random.git/info/lfs/objects/batch", Status(500), "answers 500"),
        ("/verify", Status(422), "answers 422"),
        ("/api/models/me/random/commit/main", Status(412), "answers 412"),
        ("/api/models/me/random/commit/main", hang_up, "cannot be reached"),
        ("/api/models/me/random/commit/main", Status(200, body=b"[]"), "the transfer failed"),
    ],
)
def test_a_push_that_fails_commits_nothing(
    owner: HubServer, random_bundle: Path, path: str, behaviour: Status, reason: str
) -> None:
    owner.add(path, behaviour)
    said = refusal(OutputError, random_bundle)
    assert said.startswith("Nothing was pushed to me/random on the Hugging Face hub: ")
    assert reason in said
    assert TOKEN not in said
    assert "http" not in said
    assert all(set(each.main) == {".gitattributes"} for each in owner.repositories.values())
    del owner.behaviours[path]
    assert push_model(ADDRESS, str(random_bundle), licence="mit").card


def test_without_a_token(hub: HubServer, random_bundle: Path) -> None:
    assert "answers 401, this is not allowed; log in, with `hf auth login`" in refusal(
        OutputError, random_bundle
    )


# --- motions, and the command -------------------------------------------------------------------------------


def test_a_motion_travels(
    owner: HubServer, random_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "nod.safetensors"
    random_anchors(5).save(file)
    address = "hf://me/motions/calm/nod.safetensors"
    pushed = push_motion(address, file, str(random_bundle), licence="cc0-1.0")
    assert pushed.files == ("calm/nod.safetensors", "README.md")
    assert pushed.private
    card = owner.repositories["me/motions"].main["README.md"].decode()
    assert card.startswith("---\nlicense: cc0-1.0\n")
    assert "- source: random\n" in card
    assert f"--motion {address}" in card
    use_cache(monkeypatch, tmp_path / "elsewhere")
    for ours, theirs in zip(frames(random_bundle, str(file)), frames(random_bundle, address), strict=True):
        assert np.array_equal(ours, theirs)


def test_a_models_own_motion_has_its_licence(owner: HubServer) -> None:
    push_motion("hf://me/motions/smile.safetensors", "smile", "avatar")
    card = owner.repositories["me/motions"].main["README.md"].decode()
    assert card.startswith("---\nlicense: mit\n")


def test_what_is_no_motion_is_not_pushed(owner: HubServer, random_bundle: Path, tmp_path: Path) -> None:
    model, address = str(random_bundle), "hf://me/motions/x.safetensors"
    pickled = tmp_path / "pickled.safetensors"
    torch.save(torch.zeros(1, 3), pickled)
    for file in (
        pickled,
        random_bundle / "generator.safetensors",
        tmp_path / "missing.safetensors",
        "nonsense",
    ):
        with pytest.raises(MotionError):
            push_motion(address, file, model, licence="mit")
    with pytest.raises(OptionError, match="The motion 'smile' does not say under which licence"):
        push_motion(address, "smile", model)
    assert not owner.repositories


def test_the_command(owner: HubServer, random_bundle: Path) -> None:
    said = done("push", ADDRESS, "--model", random_bundle, "--licence", "mit")
    commit = owner.repositories["me/random"].head
    assert said.splitlines()[0] == f"Pushed: {ADDRESS}@{commit}, private"
    assert done("path", ADDRESS).strip().endswith(f"snapshots/{commit}")
    assert "random: 4 files, " in done("verify", ADDRESS)
    again = done("push", ADDRESS, "--model", random_bundle, "--licence", "mit", "--public")
    assert "Its model card was left as it was" in again
    assert "The repository existed and stays private" in again
    motion = "hf://me/motions/smile.safetensors"
    said = done("push", motion, "--model", random_bundle, "--licence", "mit", "--public")
    commit = owner.repositories["me/motions"].head
    assert said.splitlines() == [
        f"Pushed: hf://me/motions@{commit}/smile.safetensors, public",
        "Files: smile.safetensors, README.md",
    ]
    assert not owner.repositories["me/motions"].private
    assert "names a revision" in refused("push", f"{ADDRESS}@main", "--model", random_bundle)
