"""Through every interface, a photo stored rotated gives the same results as the upright one."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from running_server import Server, data_url, serving
from shown import shown
from turned import KINDS, UPRIGHT, stored, upright
from typer.testing import CliRunner

from micromotion import Animator, align
from micromotion.cli.main import app
from micromotion.face.alignment import as_aligned
from micromotion.face.images import as_loaded, load_image
from micromotion.learn.video import collect_from_images
from micromotion.page.sessions import take_upload
from micromotion.page.studio import STANDARD, Studio
from micromotion.photo.paste import Paste

pytestmark = pytest.mark.slow
STILL: dict[str, Any] = {
    "view": "photo",
    "strength": 0.0,
}  # a model with random weights has no trackable faces
ALL = pytest.mark.parametrize("orientation", UPRIGHT)


@pytest.fixture(scope="module")
def photo(astronaut: Image.Image) -> Image.Image:
    """A photo that is not square, with the face off its centre."""
    return astronaut.crop((120, 0, 320, 190)).resize((150, 140))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, random_bundle: Path) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server"), random_bundle) as server:
        yield server


def both(photo: Image.Image, orientation: int, folder: Path, kind: str = "JPEG") -> tuple[Path, Path]:
    """The rotated file, and an upright one with the same visible pixels."""
    data = stored(photo, orientation, kind)
    turned, right = folder / f"turned.{kind.split()[0].lower()}", folder / "upright.png"
    turned.write_bytes(data)
    upright(data, orientation).save(right)
    return turned, right


def equal(one: object, other: object) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


@ALL
@pytest.mark.parametrize("kind", KINDS)
def test_loading_rotates_only_once(photo: Image.Image, orientation: int, kind: str) -> None:
    data = stored(photo, orientation, kind)
    loaded = load_image(data)
    assert loaded.size == photo.size
    assert equal(loaded, upright(data, orientation))
    assert (loaded.info, dict(loaded.getexif())) == ({}, {})
    assert equal(load_image(loaded), loaded)
    with Image.open(io.BytesIO(data)) as opened:
        assert equal(load_image(opened), loaded)


def test_a_loaded_picture_is_not_copied_again(photo: Image.Image) -> None:
    loaded = load_image(stored(photo, 6))
    assert as_loaded(loaded) is loaded
    assert load_image(loaded) is not loaded
    for other in (photo.convert("L"), Image.open(io.BytesIO(stored(photo, 6)))):
        assert equal(as_loaded(other), load_image(other))
        assert as_loaded(other) is not other


@ALL
def test_align(photo: Image.Image, orientation: int, tmp_path: Path) -> None:
    turned, right = both(photo, orientation, tmp_path)
    expected, whole = align(right).image, as_aligned(right).image
    for source in (load_image(turned), Image.open(turned)):
        assert equal(align(source).image, expected)
        assert equal(as_aligned(source).image, whole)


@ALL
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_the_animator(
    animator: Animator, photo: Image.Image, orientation: int, kind: str, tmp_path: Path
) -> None:
    turned, right = both(photo, orientation, tmp_path, kind)
    assert torch.equal(animator.encode(turned), animator.encode(right))
    assert torch.equal(animator.encode(turned, aligned=True), animator.encode(right, aligned=True))


@ALL
def test_the_animators_views(
    animator: Animator, photo: Image.Image, orientation: int, tmp_path: Path
) -> None:
    turned, right = both(photo, orientation, tmp_path)
    for options in (STILL, {"compare": True}, {"compare": True, "aligned": True}):
        made, expected = (list(animator.animate(path, frames=1, **options)) for path in (turned, right))
        assert equal(made[0], expected[0]), options


def test_a_photo_is_decoded_once(
    animator: Animator, photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned, _ = both(photo, 6, tmp_path)
    opened = []
    really = Image.open

    def counting(*given: Any, **also: Any) -> Any:
        opened.append(given)
        return really(*given, **also)

    monkeypatch.setattr(Image, "open", counting)
    list(animator.animate(turned, frames=1, **STILL))
    assert len(opened) == 1


@ALL
def test_the_command(photo: Image.Image, random_bundle: Path, orientation: int, tmp_path: Path) -> None:
    turned, right = both(photo, orientation, tmp_path)
    whole = ["--view", "photo", "--strength", "0"]
    common = ["--model", str(random_bundle)]
    for number, options in enumerate(([], whole, ["--compare"], ["--aligned", "--compare"])):
        videos = [tmp_path / f"{path.stem}-{number}" for path in (turned, right)]
        for path, video in zip((turned, right), videos, strict=True):
            asked = ["animate", str(path), "--frames", "1", *common, *options, "-o", str(video)]
            result = CliRunner().invoke(app, asked, catch_exceptions=False)
            assert (result.exit_code, result.stderr) == (0, "")
        one, other = (video / "frame_0000.png" for video in videos)
        assert shown(one) == shown(other), options
    strips = [tmp_path / f"{path.stem}-strip.png" for path in (turned, right)]
    for path, strip in zip((turned, right), strips, strict=True):
        asked = ["animate", str(path), "--strengths", "0,1", *common, "-o", str(strip)]
        assert CliRunner().invoke(app, asked, catch_exceptions=False).exit_code == 0
    assert shown(strips[0]) == shown(strips[1])


@ALL
def test_the_service(server: Server, photo: Image.Image, orientation: int, tmp_path: Path) -> None:
    turned, right = both(photo, orientation, tmp_path)
    for options in ({}, STILL, {"compare": True}):
        videos = []
        for path in (turned, right):
            status, answer = server.predict(data_url(path.read_bytes()), **{"frames": 1, **options})
            assert (status, answer["status"]) == (200, "succeeded"), answer
            videos.append(shown(base64.b64decode(answer["output"].partition(",")[2])))
        assert videos[0] == videos[1], options


@ALL
def test_the_page(animator: Animator, photo: Image.Image, orientation: int, tmp_path: Path) -> None:
    turned, right = both(photo, orientation, tmp_path)
    studio, shown = Studio(animator), []
    for path in (turned, right):
        (tmp_path / "upload").mkdir()
        upload = path.rename(tmp_path / "upload" / path.name)
        chosen = studio.open_photo(io.BytesIO(take_upload(upload, tmp_path)))
        still = studio.still(chosen, {"smile": 1.0}, replace(STANDARD, frames=2, loop="once"))
        whole = next(iter(animator.animate(chosen.photo, frames=1, **STILL)))
        shown.append((chosen.photo, chosen.faces[0].image, chosen.latent, still, whole))
    for one, other in zip(*shown, strict=True):
        assert equal(one, other)


@ALL
def test_paste(animator: Animator, photo: Image.Image, orientation: int, tmp_path: Path) -> None:
    turned, right = both(photo, orientation, tmp_path)
    still = next(iter(animator.animate(animator.encode(right), frames=1, strength=0.0)))
    with Image.open(turned) as opened, Image.open(right) as straight:
        made = Paste(opened, align(opened), still)(still)
        assert equal(made, Paste(straight, align(straight), still)(still))
        assert equal(made, straight), "the still face is the photo"


@ALL
def test_learning_from_images(
    animator: Animator, photo: Image.Image, orientation: int, tmp_path: Path
) -> None:
    darker = photo.point(lambda value: value // 2)
    learned = []
    for folder, picture in ((tmp_path / "a", photo), (tmp_path / "b", darker)):
        folder.mkdir()
        learned.append(both(picture, orientation, folder))
    turned, right = (
        collect_from_images(paths, animator.bundle).anchors for paths in zip(*learned, strict=True)
    )
    assert torch.equal(turned.w_plus, right.w_plus)
