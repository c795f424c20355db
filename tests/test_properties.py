"""Property tests: parsers give valid results or a one-sentence error; geometry is invertible."""

from __future__ import annotations

import json
import math
import struct
import tempfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from PIL import Image

from micromotion.errors import BundleError, ImageError, MotionError, OptionError
from micromotion.face.crop import AlignedFace, ffhq_quad
from micromotion.face.images import load_image
from micromotion.learn.template import fill, number_degrees
from micromotion.motion.anchors import Anchors
from micromotion.motion.directions import read_direction
from micromotion.motion.playable import load_motion
from micromotion.motion.recipe import MAX_TEXT, PLACE
from micromotion.motion.spline import smoothing_spline
from micromotion.option_checks import check_strength, check_whole
from micromotion.options import AnimateOptions
from micromotion.runtime.folders import is_plain_name
from micromotion.weights.bundle_record import read_about, recorded_files

pytestmark = pytest.mark.slow

quick = settings(deadline=None, max_examples=150)
numbers = (
    st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.booleans() | st.none() | st.text()
)


def assert_sentence(error: Exception) -> None:
    text = str(error)
    assert text.endswith(".")
    assert len(text) < 700
    assert "Traceback" not in text


# --- templates and degrees ----------------------------------------------------------------------------------

texts = st.text(max_size=320) | st.builds(
    lambda a, b: a + PLACE + b, st.text(max_size=150), st.text(max_size=150)
)


@pytest.mark.slow
@quick
@given(texts, st.lists(st.text(max_size=8), min_size=1, max_size=5))
@example("{degree!r}", ["no"])
@example("{{degree}}", ["no"])
def test_a_template_is_filled_letter_by_letter_or_refused(template: str, words: list[str]) -> None:
    """A filled template has the words in place of the placeholder and is otherwise unchanged."""
    degrees = tuple((word, float(number)) for number, word in enumerate(words))
    try:
        sentences = fill(template, degrees)
    except OptionError as error:
        assert_sentence(error)
        return
    before, after = template.strip().split(PLACE)
    assert sentences == [before + word + after for word in words]
    assert len(template) <= MAX_TEXT
    assert not set("{}") & set(before + after)
    assert (before + after).isprintable()


@quick
@given(st.lists(st.text(max_size=10) | st.sampled_from(["no", "10%", "50%", "-5%", "100%"]), max_size=8))
def test_degrees_increase_or_are_refused(words: list[str]) -> None:
    try:
        degrees = number_degrees(words)
    except OptionError as error:
        assert_sentence(error)
        return
    assert [word for word, _ in degrees] == words
    assert all(math.isfinite(number) for _, number in degrees)
    assert all(a < b for (_, a), (_, b) in pairwise(degrees))


# --- options ------------------------------------------------------------------------------------------------


@quick
@given(numbers)
def test_a_strength_is_finite_and_small_or_refused(value: Any) -> None:
    try:
        check_strength(value)
    except OptionError as error:
        assert_sentence(error)
        assert not (isinstance(value, int | float) and abs(value) <= 5)
    else:
        assert -5 <= value <= 5


@quick
@given(numbers, st.integers(-9, 9), st.integers(0, 9))
def test_a_whole_number_is_within_its_limits_or_refused(value: Any, low: int, span: int) -> None:
    try:
        check_whole("frames", value, low, low + span)
    except OptionError:
        assert not (type(value) is int and low <= value <= low + span)
    else:
        assert low <= value <= low + span


@quick
@given(st.dictionaries(st.sampled_from(["strength", "frames", "fps", "face", "seed", "refine"]), numbers))
def test_options_are_valid_or_refused(options: dict[str, Any]) -> None:
    with suppress(OptionError):
        AnimateOptions(**options)


@quick
@given(st.text(max_size=130))
def test_a_plain_name_is_not_a_path(name: str) -> None:
    if is_plain_name(name):
        assert Path(name).name == name
        assert name.isascii()
        assert name[0] not in ".-"


# --- pictures -----------------------------------------------------------------------------------------------


HEADS = [
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"P6 ",
    b"qoif",
    b"RIFF\0\0\0\0WEBP",
]


@quick
@given(st.binary(max_size=400), st.sampled_from(HEADS))
def test_any_bytes_are_a_picture_or_a_sentence(content: bytes, head: bytes) -> None:
    try:
        picture = load_image(head + content)
    except ImageError as error:
        assert_sentence(error)
        return
    assert picture.mode == "RGB"


# --- geometry of the crop -----------------------------------------------------------------------------------

coordinates = st.floats(-3000, 3000, allow_nan=False)
points = hn.arrays(np.float64, (68, 2), elements=coordinates)


def a_face(centre: tuple[float, float], size: float, turn: float) -> np.ndarray:
    """Landmarks [68, 2] of an upright face, rotated and moved."""
    marks = np.zeros((68, 2))
    marks[36:42], marks[42:48], marks[48:68] = (-1, -1), (1, -1), (0, 1)
    marks[48], marks[54] = (-0.5, 1), (0.5, 1)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return marks * size @ rotation.T + centre


faces = st.builds(
    a_face,
    st.tuples(coordinates, coordinates),
    st.floats(2, 800),
    st.floats(-math.pi, math.pi, allow_nan=False),
)


@quick
@given(faces)
def test_the_crop_is_a_square_around_the_face(landmarks: np.ndarray) -> None:
    quad = ffhq_quad(landmarks)
    sides = np.diff(np.vstack([quad, quad[:1]]), axis=0)
    lengths = np.linalg.norm(sides, axis=1)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-6)
    for one, two in pairwise(sides):
        assert abs(one @ two) < 1e-6 * lengths[0] ** 2
    middle = (landmarks[36:48].mean(0) + landmarks[[48, 54]].mean(0)) / 2
    assert np.linalg.norm(quad.mean(0) - middle) < lengths[0] / 2


@quick
@given(faces, coordinates, coordinates, st.floats(0.1, 10), st.floats(-math.pi, math.pi, allow_nan=False))
def test_the_crop_moves_with_the_face(
    landmarks: np.ndarray, x: float, y: float, scale: float, turn: float
) -> None:
    rotation = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    moved = ffhq_quad(landmarks @ rotation.T + (x, y))
    np.testing.assert_allclose(moved, ffhq_quad(landmarks) @ rotation.T + (x, y), atol=1e-4)


@quick
@given(faces, st.integers(16, 1024), hn.arrays(np.float64, (5, 2), elements=coordinates))
def test_mapping_to_the_crop_and_back_is_the_identity(
    landmarks: np.ndarray, size: int, places: np.ndarray
) -> None:
    quad = ffhq_quad(landmarks)
    face = AlignedFace(Image.new("RGB", (size, size)), quad, (0, 0, 1, 1), 1.0, landmarks)
    np.testing.assert_allclose(face.to_source(face.to_aligned(places)), places, atol=1e-5)
    np.testing.assert_allclose(face.to_aligned(quad[:1]), [[-0.5, -0.5]], atol=1e-6)
    np.testing.assert_allclose(face.to_aligned(quad[2:3]), [[size - 0.5, size - 0.5]], atol=1e-6)


# --- splines ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-1000, 1000), min_size=3, max_size=9, unique=True),
    st.integers(0, 2**31),
    st.floats(0, 100),
)
def test_a_spline_is_linear_in_its_points_and_keeps_lines(
    knots: list[int], seed: int, smoothing: float
) -> None:
    places = torch.tensor(sorted(knots)).double()
    rng = torch.Generator().manual_seed(seed)
    one, two = torch.randn(2, len(places), 3, generator=rng, dtype=torch.float64)
    at = float(places.mean()) + 0.3
    together = smoothing_spline(places, one + 2 * two, smoothing)(at)
    apart = smoothing_spline(places, one, smoothing)(at) + 2 * smoothing_spline(places, two, smoothing)(at)
    torch.testing.assert_close(together, apart, atol=1e-7, rtol=1e-7)
    line = places[:, None] * torch.tensor([0.5, -2.0, 0.0], dtype=torch.float64) + 3
    found = smoothing_spline(places, line, smoothing)
    for place in (at, float(places[0]) - 50, float(places[-1]) + 50):
        expected = place * torch.tensor([0.5, -2.0, 0.0], dtype=torch.float64) + 3
        torch.testing.assert_close(found(place), expected, atol=1e-5, rtol=1e-7)


# --- files of motions and bundles ---------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
entries = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "F64", "I8", "BF16", "F99"]) | json_values,
     "shape": st.lists(st.integers(-2, 2**64), max_size=4) | json_values,
     "data_offsets": st.lists(st.integers(0, 300), min_size=2, max_size=2) | json_values}
)  # fmt: skip
ours = {
    "format": st.just("micromotion/1"),
    "kind": st.sampled_from(["anchors", "direction"]),
    "provenance": st.text(max_size=30) | json_values.map(json.dumps),
}
metadata = st.fixed_dictionaries(ours) | json_values
headers = st.fixed_dictionaries(
    {}, optional={"__metadata__": metadata, "w_plus": entries, "degrees": entries, "direction": entries}
)


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(
    headers.map(lambda header: json.dumps(header).encode()) | st.binary(max_size=100), st.binary(max_size=300)
)
def test_any_motion_file_is_a_motion_or_a_sentence(header: bytes, body: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "m.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + body)
        for read in (load_motion, Anchors.load, read_direction):
            try:
                read(path)
            except MotionError as error:
                assert_sentence(error)
        path.write_bytes(header + body)
        with pytest.raises(MotionError):
            load_motion(path)


codes = st.floats(-(2.0**100), 2.0**100, width=32)
degree = st.floats(-1000, 1000, width=32)
arrays = st.integers(2, 6).flatmap(
    lambda count: st.tuples(
        hn.arrays(np.float32, (count, 2, 3), elements=codes),
        st.lists(degree, min_size=count, max_size=count, unique=True).map(sorted),
    )
)
plain = st.text(max_size=10) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=60)
@given(arrays, st.dictionaries(st.text(max_size=10), plain))
def test_any_anchors_survive_a_round_trip(arrays: Any, provenance: dict[str, Any]) -> None:
    w_plus, degrees = torch.from_numpy(arrays[0].copy()), torch.tensor(arrays[1])
    assume(bool((degrees.diff() > 0).all()))
    anchors = Anchors(w_plus, degrees, provenance)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "m.safetensors"
        anchors.save(path)
        again = Anchors.load(path)
    assert torch.equal(again.w_plus, anchors.w_plus)
    assert torch.equal(again.degrees, anchors.degrees)
    assert again.provenance == provenance


@pytest.mark.slow
@quick
@given(
    json_values
    | st.fixed_dictionaries(
        {"format": st.just("micromotion-bundle/1"), "name": st.text(), "files": json_values}
    )
)
def test_any_description_of_a_bundle_is_read_or_refused(about: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "bundle.json").write_text(json.dumps(about))
        try:
            found = read_about(Path(name))
        except BundleError as error:
            assert_sentence(error)
            return
    for part in recorded_files(found):
        assert not Path(part).is_absolute()
        assert ".." not in Path(part).parts
