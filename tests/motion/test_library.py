"""Where learned micromotions are stored, how they are found, and which model each belongs to."""

import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from random_networks import STYLE_DIM, STYLES, random_anchors, random_generator, random_inverter

from micromotion.animator import Animator
from micromotion.errors import MicromotionError, MotionError, OptionError, OutputError
from micromotion.learn.provenance import with_provenance
from micromotion.motion.anchors import Anchors, Provenance
from micromotion.motion.library import (
    find_motion,
    learned_motions,
    load_fitting,
    place_for,
    playable_motions,
)
from micromotion.motion.playable import Motion
from micromotion.runtime.folders import DATA_VARIABLE, data_folder, learned_folder
from micromotion.weights.bundle import Bundle, find_bundle, load_bundle, save_bundle


@pytest.fixture
def bundle(random_bundle: Path) -> Bundle:
    return load_bundle(random_bundle, "cpu")


def learn(name: str, bundle: Bundle, seed: int = 5, force: bool = False) -> Path:
    """Save random anchors as a learned micromotion."""
    path = place_for(name, bundle, force=force)
    with_provenance(random_anchors(seed), name, bundle, "line").save(path)
    return path


def one_sentence(error: MicromotionError) -> str:
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text
    return text


# --- the folder ---------------------------------------------------------------------------------------------


def test_one_variable_sets_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Bundle
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "mine"))
    assert learn("grin", bundle) == tmp_path / "mine/motions/random/grin.safetensors"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(DATA_VARIABLE, "~/here")
    assert data_folder() == tmp_path / "home/here"
    monkeypatch.delenv(DATA_VARIABLE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert learned_folder("avatar") == tmp_path / "share/micromotion/motions/avatar"
    monkeypatch.setenv(DATA_VARIABLE, "~nobody-of-this-name/x")
    with pytest.raises(OutputError, match=DATA_VARIABLE):
        data_folder()
    assert learned_motions("avatar") == {}, "a listing does not fail over it"


def test_listing_creates_no_folder(bundle: Bundle) -> None:
    assert learned_motions("random") == {}
    assert list(playable_motions(bundle)) == ["headsTurn", "smile"]
    assert not data_folder().exists()


def test_learned_motions_are_listed_with_the_models_own(bundle: Bundle, random_bundle: Path) -> None:
    learn("wink", bundle)
    learn("grin", bundle)
    folder = learned_folder("random")
    (folder / ".grin-progress").mkdir()
    (folder / "grin.png").write_bytes(b"preview")
    (folder / "a name.safetensors").write_bytes(b"")
    assert list(learned_motions("random")) == ["grin", "wink"]
    for each in (bundle, find_bundle(random_bundle)):
        assert list(playable_motions(each)) == ["grin", "headsTurn", "smile", "wink"]
    assert learned_motions("other") == learned_motions("../motions/random") == {}


def test_a_learned_motion_never_hides_one_of_the_models_own(bundle: Bundle) -> None:
    shutil.copy(learn("grin", bundle), learned_folder("random") / "smile.safetensors")
    assert playable_motions(bundle)["smile"] == bundle.motions["smile"]


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../up", "a/b", "/etc/x", ".hidden", "a b", "ä", "a" * 200, "grin.safetensors", "a\0"],
)
def test_only_plain_names_are_accepted(name: str, bundle: Bundle) -> None:
    with pytest.raises(OptionError, match="name may have only letters") as caught:
        place_for(name, bundle, force=True)
    assert len(one_sentence(caught.value)) < 250
    assert not data_folder().exists()


def test_names_in_use_are_refused(bundle: Bundle) -> None:
    with pytest.raises(OptionError, match=r"its own micromotion .*: choose another"):
        place_for("smile", bundle, force=True)
    path = learn("grin", bundle)
    before = path.read_bytes()
    with pytest.raises(OptionError, match=r"already exists in .*grin\.safetensors: .*--force") as caught:
        place_for("grin", bundle)
    one_sentence(caught.value)
    assert learn("grin", bundle, seed=9, force=True) == path
    assert path.read_bytes() != before


def test_an_unusable_folder_is_reported_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Bundle
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(OutputError, match=f"name another folder in {DATA_VARIABLE}") as caught:
        place_for("grin", bundle)
    one_sentence(caught.value)


def test_a_model_without_a_plain_name_stores_no_motions(bundle: Bundle) -> None:
    with pytest.raises(OptionError, match=r"its name in bundle\.json is not valid"):
        place_for("grin", replace(bundle, name="../../etc"))


def test_a_motion_is_found_by_name_or_file(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = learn("grin", bundle)
    assert find_motion("grin", bundle) == path
    assert find_motion("smile", bundle) == bundle.motions["smile"]
    assert find_motion("shared.safetensors", bundle) == Path("shared.safetensors")
    assert find_motion(tmp_path / "d_latent", bundle) == tmp_path / "d_latent"
    for unknown in ("girn", "../smile", "/etc/passwd", "smile/d_latent"):
        with pytest.raises(MotionError, match="this model has grin, headsTurn, smile") as caught:
            find_motion(unknown, bundle)
        one_sentence(caught.value)
    with pytest.raises(MotionError, match="did you mean 'grin'"):
        find_motion("girn", bundle)


# --- the file -----------------------------------------------------------------------------------------------


def test_the_file_holds_its_recipe(bundle: Bundle) -> None:
    anchors = random_anchors(5)
    halved = Anchors(anchors.w_plus, anchors.degrees / 2, {"template": "a {degree} grin", "seed": 3})
    path = place_for("grin", bundle)
    with_provenance(halved, "grin", bundle, "curve").save(path)
    kept = Anchors.load(path)
    assert float(kept.degrees[-1]) == 1.0, "strength 1 is the last anchor"
    torch.testing.assert_close(kept.degrees, anchors.degrees)
    assert torch.equal(kept.w_plus, anchors.w_plus)
    about = kept.provenance
    assert (about["template"], about["seed"], about["motion"]) == ("a {degree} grin", 3, "grin")
    assert (about["model"], about["path"]) == ("random", "curve")
    assert about["generator"] == bundle.generator_hash() != ""
    assert load_fitting(path, bundle).curve is not None


@pytest.mark.parametrize("degrees", [[-1.0, -0.5, 0.0], [-3.0, -2.0, -1.0]])
def test_anchors_with_a_last_degree_of_0_cannot_be_calibrated(degrees: list[float], bundle: Bundle) -> None:
    anchors = Anchors(torch.randn(3, STYLES, STYLE_DIM), torch.tensor(degrees))
    with pytest.raises(MotionError, match="must be above 0"):
        with_provenance(anchors, "grin", bundle, "line")


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("a sentence", "more steps"),
        ("video", "a larger motion"),
        ("images", "moves more"),
        ("random", "others"),
    ],
)
@pytest.mark.parametrize("size", [0.0, 1e-5])
def test_anchors_without_a_motion_are_refused(source: str, advice: str, size: float, bundle: Bundle) -> None:
    moving = random_anchors(5)
    still = moving.w_plus[0] + size * (moving.w_plus - moving.w_plus[0])
    anchors = Anchors(still, moving.degrees, {"source": source})
    with pytest.raises(
        MotionError, match=rf"learned for 'grin': its 6 anchors all show the same face; .*{advice}"
    ):
        with_provenance(anchors, "grin", bundle, "line")


def test_a_small_change_of_one_style_is_a_motion(bundle: Bundle) -> None:
    codes = torch.zeros(3, STYLES, STYLE_DIM)
    codes[1:, 2] = torch.tensor([[0.05], [0.1]])
    with_provenance(Anchors(codes, torch.linspace(0, 1, 3)), "blink", bundle, "line")


def test_the_generators_hash_is_that_of_its_file(bundle: Bundle, random_bundle: Path) -> None:
    import hashlib

    wanted = hashlib.sha256((random_bundle / "generator.safetensors").read_bytes()).hexdigest()
    assert bundle.generator_hash() == find_bundle(random_bundle).generator_hash() == wanted
    assert replace(bundle, files=()).generator_hash() == ""


def test_a_learned_motion_plays_by_name_and_as_a_file(bundle: Bundle, tmp_path: Path) -> None:
    animator = Animator(bundle)
    code = torch.randn(1, STYLES, STYLE_DIM, generator=torch.Generator().manual_seed(3))
    path = learn("grin", bundle)
    shared = shutil.copy(path, tmp_path / "from a friend.safetensors")
    assert animator.motions == ["grin", "headsTurn", "smile"]
    wanted = code + Motion.from_anchors(random_anchors(5), "grin").offset(1.0)
    for motion in ("grin", str(shared), Path(shared)):
        *_, last = animator.animate(code, motion, frames=3).latents()
        torch.testing.assert_close(last, wanted)


def retrained(folder: Path, name: str) -> Bundle:
    """A model of the same shapes and with other weights."""
    generator = random_generator()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(1.25)
    save_bundle(folder, name=name, generator=generator, inverter=random_inverter(), about={})
    return load_bundle(folder, "cpu")


def test_another_models_motion_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    path = learn("grin", bundle)
    with pytest.raises(
        MotionError, match="'grin' was learned for another version of the model 'random'"
    ) as caught:
        load_fitting(path, retrained(tmp_path / "new", "random"))
    one_sentence(caught.value)
    with pytest.raises(MotionError, match=r"for the model 'random', not for 'toon'.*weights add") as caught:
        load_fitting(path, retrained(tmp_path / "toon", "toon"))
    one_sentence(caught.value)
    load_fitting(path, replace(bundle, name="a copy"))  # the same generator, whatever its name


def test_a_file_that_names_only_the_model_is_checked_by_name(bundle: Bundle, tmp_path: Path) -> None:
    anchors = random_anchors(5)
    named: list[tuple[Provenance, bool]] = [
        ({}, True),
        ({"model": "random"}, True),
        ({"model": "ffhq" * 999}, False),
    ]
    for about, fits in named:
        path = tmp_path / "x.safetensors"
        Anchors(anchors.w_plus, anchors.degrees, about).save(path)
        if fits:
            load_fitting(path, bundle)
            continue
        with pytest.raises(MotionError, match="was learned for the model 'ffhq") as caught:
            load_fitting(path, bundle)
        assert len(one_sentence(caught.value)) < 400


def test_a_motion_added_to_a_model_counts_as_its_own(bundle: Bundle, tmp_path: Path) -> None:
    """A fine-tuned model may share its parent's latents; adding the motion to the model declares this."""
    path = learn("grin", bundle)
    toon = retrained(tmp_path / "toon", "toon")
    load_fitting(path, replace(toon, motions={"grin": path}))


def test_another_shape_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "big.safetensors"
    Anchors(torch.randn(3, 18, 512), torch.linspace(0, 1, 3)).save(path)
    with pytest.raises(
        MotionError, match=r"'big' was learned for another model: its latents have the shape \[18, 512\]"
    ) as caught:
        load_fitting(path, bundle)
    one_sentence(caught.value)


class Mischief:
    """An object whose unpickling would write a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.mark),)


def test_a_hostile_or_cut_file_is_refused_and_runs_nothing(bundle: Bundle, tmp_path: Path) -> None:
    good = learn("grin", bundle).read_bytes()
    mark = tmp_path / "executed"
    torch.save({"w_plus": Mischief(mark)}, tmp_path / "saved")
    hostile = [pickle.dumps(Mischief(mark)), (tmp_path / "saved").read_bytes()]
    hostile += [good[:length] for length in (0, 4, 100, len(good) // 2, len(good) - 1)] + [good + b"more"]
    for content in hostile:
        path = learned_folder("random") / "bad.safetensors"
        path.write_bytes(content)
        with pytest.raises(MotionError, match="bad") as caught:
            load_fitting(find_motion("bad", bundle), bundle)
        one_sentence(caught.value)
    assert not mark.exists()
    with pytest.raises(MotionError, match="does not exist"):
        load_fitting(Path("gone.safetensors"), bundle)
