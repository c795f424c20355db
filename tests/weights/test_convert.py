"""Public files become a bundle's parts: recognised by their contents, with the same weights, safely."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hostile_pickles
import pytest
import torch
from encoder4editing_reference import make_generator, make_inverter, make_restyle, published_decoder
from misbehaving_server import MisbehavingServer
from public_files import (
    SHAPE,
    Offer,
    write_clip,
    write_d_latent,
    write_e4e,
    write_identity,
    write_restyle,
    write_rosinality,
)
from torch import nn

from encoder4editing import ReStyle, load_identity, load_inverter
from micromotion.errors import BundleError, MicromotionError
from micromotion.motion.directions import read_direction, read_published
from micromotion.motion.playable import load_motion
from micromotion.motion.recipe import Recipe
from micromotion.weights.clip_model import load_clip
from micromotion.weights.convert import Given, convert, kind_of, motion_name
from stylegan2 import load_generator

pytestmark = pytest.mark.slow
STEM = "encoder.backbone.stem.conv.weight"
NETS = [f"{net}{half}.safetensors" for net in ("generator", "inverter") for half in ("", ".half")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"


def run(folder: Path, *paths: Path, recipes: dict[str, Recipe] | None = None) -> list[list[str]]:
    given = [Given(path, f"https://example.org/{path.name}", "MIT") for path in paths]
    return convert(given, folder, name="mine", recipes=recipes)


def assert_equal(loaded: nn.Module, original: nn.Module) -> None:
    theirs = original.state_dict()
    assert loaded.state_dict().keys() == theirs.keys()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


WRITERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "e4e": (write_e4e, "inverter"),
    "restyle": (write_restyle, "inverter"),
    "restyle without decoder": (lambda path: write_restyle(path, decoder=False), "inverter"),
    "rosinality": (write_rosinality, "generator"),
    "decoder alone": (
        lambda path: torch.save({"state_dict": published_decoder(make_generator(SHAPE))}, path),
        "generator",
    ),
    "identity": (write_identity, "identity"),
    "clip": (write_clip, "clip"),
    "direction": (lambda path: write_d_latent(path, 1), "published"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_contents_decide_and_not_names(name: str, tmp_path: Path) -> None:
    write, kind = WRITERS[name]
    for misleading in ("ViT-B-32.pt", "ffhq.pkl", "model.safetensors", "nameless"):
        write(tmp_path / misleading)
        assert kind_of(tmp_path / misleading) == kind


def test_our_own_files_are_recognised(folder: Path, tmp_path: Path) -> None:
    writers = [write_e4e, write_identity, write_clip]
    paths = [tmp_path / write.__name__ for write in writers]
    for write, path in zip(writers, paths, strict=True):
        write(path)
    run(folder, *paths, write_d_latent(tmp_path / "smile", 1))
    kinds = {path: kind_of(folder / path) for path in contents(folder)}
    assert kinds == {
        "generator.safetensors": "generator",
        "generator.half.safetensors": "generator",
        "inverter.safetensors": "inverter",
        "inverter.half.safetensors": "inverter",
        "identity.safetensors": "identity",
        "clip.safetensors": "clip",
        "anchors/smile.safetensors": "motion",
    }


def test_every_weight_is_converted(folder: Path, tmp_path: Path) -> None:
    files = [write_e4e(tmp_path / "a"), write_identity(tmp_path / "b"), write_clip(tmp_path / "c")]
    assert run(folder, *files) == [NETS, ["identity.safetensors"], ["clip.safetensors"]]
    assert_equal(load_generator(folder / "generator.safetensors"), make_generator(SHAPE))
    inverter = make_inverter(SHAPE)
    inverter.latent_avg.copy_(make_generator(SHAPE).latent_avg.expand_as(inverter.latent_avg))
    assert_equal(load_inverter(folder / "inverter.safetensors"), inverter)
    assert_equal(load_identity(folder / "identity.safetensors"), load_identity(tmp_path / "b"))
    assert_equal(load_clip(folder / "clip.safetensors"), load_clip(tmp_path / "c"))


def test_half_precision_is_that_of_the_networks(folder: Path, tmp_path: Path) -> None:
    run(folder, write_e4e(tmp_path / "a"))
    half = load_generator(folder / "generator.half.safetensors", half=True)
    assert_equal(half, load_generator(folder / "generator.safetensors", half=True))
    assert half.synthesis.constant.dtype == torch.float16
    assert half.latent_avg.dtype == torch.float32
    inverter = load_inverter(folder / "inverter.half.safetensors", half=True)
    assert_equal(inverter, load_inverter(folder / "inverter.safetensors", half=True))


def test_the_later_of_two_files_is_used(folder: Path, tmp_path: Path) -> None:
    first, second = write_e4e(tmp_path / "a", seed=0), write_e4e(tmp_path / "b", seed=1)
    assert run(folder, first, second) == [NETS[:2], NETS[2:]]
    weight = load_inverter(folder / "inverter.safetensors").get_parameter(STEM)
    assert torch.equal(weight, make_inverter(SHAPE, 1).get_parameter(STEM))


def test_a_separate_generator_replaces_a_decoder(folder: Path, tmp_path: Path) -> None:
    generator, e4e = write_rosinality(tmp_path / "a"), write_e4e(tmp_path / "b")
    assert run(folder, generator, e4e) == [NETS[:2], NETS[2:]]
    assert load_generator(folder / "generator.safetensors").latent_avg.tolist() == [0.25] * SHAPE.style_dim


@pytest.mark.parametrize("decoder", [True, False])
def test_restyle_renders_with_the_generator_of_the_folder(
    folder: Path, tmp_path: Path, decoder: bool
) -> None:
    e4e, restyle = write_e4e(tmp_path / "a"), write_restyle(tmp_path / "b", decoder=decoder)
    assert run(folder, e4e, restyle) == [NETS[:2], NETS[2:]]
    generator = load_generator(folder / "generator.safetensors")
    assert_equal(generator, make_generator(SHAPE))
    inverter = load_inverter(folder / "inverter.safetensors", generator=generator)
    assert isinstance(inverter, ReStyle)
    assert_equal(inverter, make_restyle())


def test_restyle_alone_brings_its_decoder(folder: Path, tmp_path: Path) -> None:
    assert run(folder, write_restyle(tmp_path / "a")) == [NETS]


def test_a_part_is_added_to_existing_ones(folder: Path, tmp_path: Path) -> None:
    run(folder, write_e4e(tmp_path / "a"))
    before = {name: (folder / name).read_bytes() for name in NETS}
    assert run(folder, write_identity(tmp_path / "b")) == [["identity.safetensors"]]
    assert {name: (folder / name).read_bytes() for name in NETS} == before


def test_links_to_an_older_bundle_are_not_written_through(folder: Path, tmp_path: Path) -> None:
    run(folder, write_e4e(tmp_path / "a"), write_d_latent(tmp_path / "smile", 1))
    newer = tmp_path / "newer"
    shutil.copytree(folder, newer, copy_function=lambda source, target: Path(target).hardlink_to(source))
    before = {path: (folder / path).read_bytes() for path in contents(folder)}
    other = tmp_path / "other"
    other.mkdir()
    run(other, write_e4e(tmp_path / "a"), write_d_latent(tmp_path / "smile", 7))
    own = other / "anchors/smile.safetensors"
    run(newer, write_e4e(tmp_path / "b", seed=4), write_rosinality(tmp_path / "c"), own)
    assert {path: (folder / path).read_bytes() for path in contents(folder)} == before
    assert (newer / "anchors/smile.safetensors").read_bytes() == own.read_bytes()


def test_directions_are_full_motions_at_their_recipes_scale(folder: Path, tmp_path: Path) -> None:
    e4e, smile, wink = write_e4e(tmp_path / "a"), tmp_path / "smile.d_latent", tmp_path / "wink"
    write_d_latent(smile, 1)
    write_d_latent(wink, 2)
    recipe = Recipe("smile", template="{degree} smile", degrees=(("no", 0.0), ("full", 1.0)), scale=3)
    made = run(folder, e4e, smile, wink, recipes={"smile": recipe})
    assert made[1:] == [["anchors/smile.safetensors"], ["anchors/wink.safetensors"]]
    for path, scale in ((smile, 3), (wink, 5)):
        direction, about = read_direction(folder / f"anchors/{path.stem}.safetensors")
        torch.testing.assert_close(direction, 0.99 * scale * read_published(path))
        assert about["source"] == f"https://example.org/{path.name}"
        assert about["licence"] == "MIT"
        assert (about["motion"], about["scale"]) == (path.stem, scale)
        assert load_motion(folder / f"anchors/{path.stem}.safetensors").direction.equal(direction)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("smile.d_latent", "smile"),
        ("smile/d_latent", "smile"),
        ("aging/d_latent_oldGrayHair", "aging_oldGrayHair"),
        ("x/left_wink.safetensors", "left_wink"),
    ],
)
def test_names_of_motions(path: str, name: str) -> None:
    assert motion_name(Path("/folder") / path) == name


def test_motions_without_a_usable_name() -> None:
    for path in ("/x/näme.pt", "/x/a b.pt", "/d_latent"):
        with pytest.raises(BundleError, match="no usable name"):
            motion_name(Path(path))


# What is refused.


def refused(folder: Path, paths: Sequence[Path], *words: str) -> None:
    with pytest.raises(MicromotionError) as caught:
        run(folder, *paths)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


def test_parts_that_are_missing_or_do_not_fit(folder: Path, tmp_path: Path) -> None:
    generator, identity, e4e = (
        write_rosinality(tmp_path / "a"),
        write_identity(tmp_path / "b"),
        write_e4e(tmp_path / "c"),
    )
    refused(folder, [identity], "no generator among them")
    refused(folder, [generator], "no inverter among them")
    wide = write_d_latent(tmp_path / "wide", 1, styles=18)
    refused(folder, [e4e, wide], "wide", "[18, 24], not [10, 24]")
    small = make_generator(SHAPE, resolution=32)
    torch.save({"g_ema": _bare(published_decoder(small)), "latent_avg": small.latent_avg}, tmp_path / "d")
    shutil.rmtree(folder)
    folder.mkdir()
    refused(folder, [tmp_path / "d", e4e], "10 styles of 24, its generator takes 8 of 24")


def _bare(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("decoder."): tensor for name, tensor in state.items()}


def test_files_of_unknown_kinds_are_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    unknown: list[Any] = [
        {},
        {"state_dict": {}},
        {"weights": torch.zeros(3)},
        {"state_dict": 3},
        [1, 2],
        "text",
    ]
    for contents_ in unknown:
        torch.save(contents_, path)
        refused(folder, [path], str(path))
    for data in (b"", b"text", b"PK\x03\x04", b"\x08" + bytes(7) + b"{}      "):
        path.write_bytes(data)
        refused(folder, [path], str(path))
    refused(folder, [tmp_path], str(tmp_path))
    refused(folder, [tmp_path / "none"], "none")


def test_truncated_files_are_not_converted(folder: Path, tmp_path: Path) -> None:
    for name, (write, _) in WRITERS.items():
        path = tmp_path / "file"
        write(path)
        whole = path.read_bytes()
        for kept in (len(whole) - 100, len(whole) // 2, 64):
            path.write_bytes(whole[:kept])
            with pytest.raises(MicromotionError):
                run(folder, write_e4e(tmp_path / "e4e"), path)
        assert not list(folder.rglob(".*")), name


@pytest.mark.parametrize("form", hostile_pickles.FORMS)
def test_harmful_files_do_no_harm(form: str, folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for stream in hostile_pickles.programs(canary).values():
        hostile_pickles.FORMS[form](stream, tmp_path / "file")
        with pytest.raises(MicromotionError):
            run(folder, write_e4e(tmp_path / "e4e"), tmp_path / "file")
        assert not canary.exists()


def test_the_offered_files_are_of_their_kind(tmp_path: Path) -> None:
    """The tests of `weights` fetch these."""
    with MisbehavingServer() as server:
        Offer(server, tmp_path)
    kinds = {path.name: kind_of(path) for path in (tmp_path / "public").iterdir()}
    assert kinds == {
        "e4e.pt": "inverter",
        "restyle.pt": "inverter",
        "rosinality.pt": "generator",
        "arcface.pth": "identity",
        "clip.pt": "clip",
        "smile.d_latent": "published",
        "headsTurn.d_latent": "published",
    }
