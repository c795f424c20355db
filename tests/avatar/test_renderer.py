"""The avatar's data: latents and factors, the camera, the renderer, and its shards."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from draws import rng
from torch import Tensor
from training_data import person

from avatar.data import dataset
from avatar.renderer import render as renderer
from avatar.renderer.camera import CAMERA_Z, camera_rays
from avatar.renderer.eyes import lid_angles
from avatar.renderer.factors import (
    FACTORS,
    MOTIONS,
    Z_DIM,
    factors_from_z,
    fill_to_norm,
    sample_training_z,
    sample_z,
)
from avatar.renderer.head import distances
from avatar.renderer.mouth import lips
from avatar.renderer.pose import EYE_RADIUS, EYE_Y, EYE_Z, to_head, to_world
from avatar.renderer.render import crop_frame, field, landmarks, march, render, render_quickly
from avatar.renderer.skin import brow_line, wrinkles
from avatar.report.measure import to_picture
from avatar.training.collect import at_rest
from micromotion import align
from stylegan2.mapping import pixel_norm


def stacked(people: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([p[name] for p in people]) for name in people[0]}


# --- latents and factors


def test_factors_survive_pixel_norm() -> None:
    z = sample_z(64, rng())
    before, after = factors_from_z(z), factors_from_z(pixel_norm(z))
    for factor in FACTORS:
        torch.testing.assert_close(before[factor.name], after[factor.name])


def test_filling_preserves_the_given_entries_and_sets_the_length() -> None:
    z = sample_training_z(64, rng())
    filled = fill_to_norm(z)
    torch.testing.assert_close(filled[:, : len(FACTORS)], z[:, : len(FACTORS)])
    torch.testing.assert_close(filled.norm(dim=1), torch.full((64,), math.sqrt(Z_DIM)))


def test_factors_are_within_their_range_and_traits_cover_it() -> None:
    f = factors_from_z(sample_z(4000, rng()))
    for factor in FACTORS:
        values = f[factor.name]
        low = -1.0 if factor.kind == "signed" else factor.low
        assert values.min() >= low
        assert values.max() <= factor.high
        if factor.kind == "trait":
            middle = (factor.low + factor.high) / 2
            assert values.mean() == pytest.approx(middle, abs=0.03 * (factor.high - factor.low))


def test_training_latents_favour_rest_and_extremes() -> None:
    smile = factors_from_z(sample_training_z(4000, rng()))["smile"]
    assert (smile == 0).float().mean() > 0.4
    assert (smile > 0.9).float().mean() > 0.12
    yaw = factors_from_z(sample_training_z(4000, rng()))["yaw"]
    assert abs(yaw.mean()) < 0.05
    assert (yaw.abs() > 0.8).float().mean() > 0.4


# --- the renderer


@pytest.mark.slow
def test_rendering_is_deterministic_and_independent_of_the_batch() -> None:
    f = at_rest(sample_z(3, rng(1)))
    together = render(f, 32)
    alone = torch.cat([render({k: v[i : i + 1] for k, v in f.items()}, 32) for i in range(3)])
    assert together.shape == (3, 3, 32, 32)
    assert together.abs().max() <= 1
    torch.testing.assert_close(together, alone, atol=2e-3, rtol=0)
    assert torch.equal(together, render(f, 32))


@pytest.mark.slow
@pytest.mark.parametrize("motion", MOTIONS)
def test_each_motion_changes_the_face_and_only_turning_changes_the_crop(motion: str) -> None:
    full: dict[str, Any] = {motion: 1.0}
    still, moved = render(person(), 64), render(person(**full), 64)
    change = (moved - still).abs().mean(dim=1)[0]
    assert change.max() > 0.3
    corner = change[:10, :10].max()
    if motion != "yaw":
        assert corner < 0.02  # neither the crop nor the background moves


def test_yaw_turns_towards_the_named_side() -> None:
    left, right = landmarks(person(yaw=-1.0)), landmarks(person(yaw=1.0))
    # A positive yaw carries the mouth to the picture's right.
    assert left["left_mouth"][0] < right["left_mouth"][0]


def test_the_frame_is_the_ffhq_crop_of_the_landmarks() -> None:
    f = person(yaw=0.6)
    p = {k: np.array([v[0].item(), -v[1].item()]) for k, v in landmarks(f).items()}
    eyes, mouth = (p["left_eye"] + p["right_eye"]) / 2, (p["left_mouth"] + p["right_mouth"]) / 2
    between, down = p["right_eye"] - p["left_eye"], mouth - eyes
    # Karras et al. 2019: half the side is the larger of twice the eyes' distance and 1.8 times eyes to mouth
    half = max(np.hypot(*between) * 2.0, np.hypot(*down) * 1.8)
    cx, cy, ours = (float(v) for v in crop_frame(f))
    assert ours == pytest.approx(half, rel=1e-4)
    assert [cx, -cy] == pytest.approx(list(eyes + 0.1 * down), abs=1e-4)


@pytest.mark.slow
def test_dlib_aligns_a_render_to_nearly_the_renderers_own_frame() -> None:
    picture = to_picture(render(person(seed=12), 384, 1, zoom=0.7)[0])
    face = align(picture)
    middle = face.quad.mean(axis=0)
    side = np.hypot(*(face.quad[3] - face.quad[0]))
    assert middle == pytest.approx([191.5, 191.5], abs=0.06 * 384)
    assert side == pytest.approx(0.7 * 384, rel=0.15)


# --- the camera


def test_rays_are_in_row_major_order() -> None:
    rays = camera_rays(person(), 4, supersample=2)
    u, v = (part.view(16, 4) for part in (rays.u, rays.v))
    centres = torch.tensor([-0.75, -0.25, 0.25, 0.75])
    torch.testing.assert_close(u.mean(dim=1), centres.repeat(4))
    torch.testing.assert_close(v.mean(dim=1), -centres.repeat_interleave(4))
    assert (u.amax(dim=1) - u.amin(dim=1)).max() == pytest.approx(0.25)


@pytest.mark.parametrize("pose", [{"roll": 1.0}, {"roll": -0.7, "yaw": 0.8, "pitch": 1.0}, {"yaw": -1.0}])
def test_the_crop_is_level_whatever_the_pose(pose: dict[str, Any]) -> None:
    f = person(**pose)
    p = {k: np.array([v[0].item(), v[1].item()]) for k, v in landmarks(f).items()}
    eyes, mouth = (p["left_eye"] + p["right_eye"]) / 2, (p["left_mouth"] + p["right_mouth"]) / 2
    down = mouth - eyes
    # Karras et al. 2019: the crop's x axis is the eyes' line minus the eyes-to-mouth line, rotated
    axis = p["right_eye"] - p["left_eye"] - np.array([down[1], -down[0]])
    assert axis[1] == pytest.approx(0, abs=1e-6)
    assert axis[0] > 0
    # and the ray through the left eye's pixel meets the left eye
    cx, cy, half = (float(v) for v in crop_frame(f))
    u, v = (p["left_eye"][0] - cx) / half, (p["left_eye"][1] - cy) / half
    rays = camera_rays(f, 256)
    i = int(((rays.u - u).square() + (rays.v - v).square()).argmin())
    side = f["eye_distance"], torch.full((1, 1), EYE_Y), EYE_Z + EYE_RADIUS * f["eye_size"]
    x, y, z = to_world(f, -side[0], *side[1:])
    depth = (z - CAMERA_Z) / rays.direction[2][0, i]
    assert float(rays.direction[0][0, i] * depth) == pytest.approx(float(x), abs=0.01)
    assert float(rays.direction[1][0, i] * depth) == pytest.approx(float(y), abs=0.01)


def test_head_and_world_coordinates_agree() -> None:
    f = person(yaw=0.5, pitch=-0.8, roll=0.9)
    point = torch.randn(3, 1, 20, generator=rng()).unbind()
    for there, back in zip(point, to_head(f, *to_world(f, *point)), strict=True):
        torch.testing.assert_close(there, back, atol=1e-5, rtol=0)


# --- the shape and its motion


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 30, 14])
def test_no_surface_is_before_a_cones_end(size: int) -> None:
    f = stacked([person(4, yaw=0.7, glasses=1.0), person(9, mouth_open=1.0)])
    begun = renderer._cones(field, f, size, 1.0)
    rays = camera_rays(f, size, 3)
    depth = torch.full_like(rays.direction[0], renderer.NEAR)
    slow = march(field, f, rays, depth, 400)
    missed = begun.repeat_interleave(9, dim=1) > slow + 1e-3
    assert missed.float().mean() < 1e-3
    assert (begun > renderer.NEAR + 0.3).all()  # and the cones did advance


@pytest.mark.slow
def test_a_picture_does_not_depend_on_the_batch_of_points(monkeypatch: pytest.MonkeyPatch) -> None:
    f = person(5)
    whole = render(f, 40)
    monkeypatch.setattr(renderer, "CPU_POINTS", 700)
    torch.testing.assert_close(render(f, 40), whole, atol=2e-3, rtol=0)


@pytest.mark.slow
def test_every_factor_is_visible() -> None:
    plain = {"hair_cut": 0.9, "hair_colour": 0.7, "hair_red": 0.9, "skin_tone": 0.2, "glasses": 0.9}
    ends = []
    for factor in FACTORS:
        low = -1.0 if factor.kind == "signed" else factor.low
        high = 0.5 if factor.name.endswith("hue") else factor.high  # hues are cyclic
        base = person(4, **plain) | ({"hair_cut": torch.full((1, 1), 0.3)} if "ear" in factor.name else {})
        ends += [base | {factor.name: torch.full((1, 1), value)} for value in (low, high)]
    pictures = render(stacked(ends), 48)
    change = (pictures[::2] - pictures[1::2]).abs().amax(dim=(1, 2, 3))
    dead = [f.name for f, c in zip(FACTORS, change, strict=True) if c < 0.08]
    assert not dead


def test_lids_close_smoothly_and_completely() -> None:
    degrees = torch.linspace(0, 1, 21).tolist()
    people = stacked([person(4, eyes_closed=d) for d in degrees])
    upper, lower = lid_angles(people)
    opening = (upper + lower)[:, 0]
    assert (opening.diff() < 0).all()
    grid = torch.linspace(-0.6, 0.6, 25)
    ex, ey = torch.meshgrid(grid, grid, indexing="ij")
    radius = EYE_RADIUS * people["eye_size"]
    x, y = people["eye_distance"] + radius * ex.flatten(), EYE_Y + radius * ey.flatten()
    z = EYE_Z + radius * (1.0 - ex.flatten().square() - ey.flatten().square()).sqrt()
    covered = (distances(people, x, y, z).lid < 0).float().mean(dim=1)
    assert covered[0] < 0.5
    assert covered[-1] == 1
    assert (covered.diff() >= 0).all()
    assert covered.diff().max() < 0.25


def test_a_smile_lifts_the_cheeks_and_narrows_the_eyes() -> None:
    rest, smile = person(), person(smile=1.0)
    assert sum(lid_angles(smile)) < 0.8 * sum(lid_angles(rest))
    x, y, z = (torch.full((1, 1), v) for v in (0.33, -0.08, 0.62))
    assert distances(smile, x, y, z).skin < distances(rest, x, y, z).skin - 0.02
    corners = []
    for f in (rest, smile):
        m = lips(f, torch.linspace(0, 0.5, 501)[None])
        corners.append(float(m.upper[0, (m.along - 1).abs().argmin()]))
    assert corners[1] > corners[0] + 0.04


def test_anger_lowers_the_brows_and_tightens_the_lips() -> None:
    rest, anger = person(), person(anger=1.0)
    inner = torch.full((1, 1), 0.12)
    assert brow_line(anger, inner)[0] < brow_line(rest, inner)[0] - 0.08
    middle = torch.zeros(1, 1)
    assert lips(anger, middle).above < 0.7 * lips(rest, middle).above
    assert sum(lid_angles(anger)) < sum(lid_angles(rest))


def test_lines_of_age_are_two_pixels_wide_at_128() -> None:
    f = person()
    pixel = float(crop_frame(f)[2]) * 2 / 128
    y = torch.linspace(0.35, 0.72, 4001)[None]
    line = wrinkles(f, torch.full_like(y, 0.05), y)[0]
    deep = line > line.max() / 2
    lines = int((deep[1:] & ~deep[:-1]).sum())
    width = float(deep.float().sum()) * (0.37 / 4000) / lines
    assert lines == 3
    assert width > 2 * pixel


@pytest.mark.slow
def test_a_rolled_head_leaves_the_face_and_leans_the_shoulders() -> None:
    upright, rolled = render(person(7), 64), render(person(7, roll=1.0), 64)
    change = (rolled - upright).abs().mean(dim=1)[0]
    assert change[-8:].mean() > 3 * change[24:40, 22:42].mean()


@pytest.mark.slow
def test_the_eleven_hair_cuts_differ() -> None:
    bald = person(4, beard=0.0, baldness=0.0)
    cuts = render(stacked([bald | {"hair_cut": torch.full((1, 1), i / 10)} for i in range(11)]), 48)
    apart = (cuts[:, None] - cuts[None]).abs().mean(dim=(2, 3, 4)) + torch.eye(11)
    assert apart.min() > 0.01


# --- shards


@pytest.mark.slow
def test_a_shard_is_made_once_and_contains_its_factors(tmp_path: Path) -> None:
    for index in range(2):
        dataset.make_shard(tmp_path, index, 0, size=16, compiled=False, pairs=2)
    first = tmp_path / "heads-00000.safetensors"
    written = first.read_bytes()
    dataset.make_shard(tmp_path, 0, seed=5, size=16, compiled=False, pairs=2)
    assert first.read_bytes() == written
    assert dataset.check(first) == 16
    with pytest.raises(ValueError, match="16², not 128²; render into a new folder"):
        dataset.check(first, 128)
    heads = dataset.load(tmp_path, held_out=1)
    assert heads.images.shape == (4, 3, 16, 16)
    again = render(factors_from_z(heads.z), 16)
    shown = heads.images.float() / 127.5 - 1
    torch.testing.assert_close(shown, again, atol=0.01, rtol=0)


@pytest.mark.slow
def test_quick_pictures_use_the_rays_of_half_the_size() -> None:
    f = stacked([person(4, yaw=0.5), person(5)])
    quick = render_quickly(f, 32)
    assert quick.shape == (2, 3, 32, 32)
    torch.testing.assert_close(F.avg_pool2d(quick, 2), render(f, 16), atol=1e-5, rtol=0)
    # Each ray is in its own quarter pixel: a full picture of this size agrees except for light and edges.
    off = (quick - render(f, 32, 1)).abs()
    assert off.mean() < 0.02
    assert (off - (quick - render(f, 32, 1).flip(-1)).abs()).mean() < -0.05


@pytest.mark.slow
def test_shards_of_other_factors_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset.make_shard(tmp_path, 0, 0, size=16, compiled=False, pairs=2)
    monkeypatch.setattr(dataset, "FACTORS", FACTORS[:-1])
    with pytest.raises(ValueError, match="drawn with other factors"):
        dataset.load(tmp_path, held_out=1, validation=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["dataset", str(tmp_path), "--device", "cuda"])
    with pytest.raises(SystemExit):
        dataset.command(dataset.make_shard, "heads", "Render heads", count=128)
    assert "there is no CUDA device here" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_renders_the_same_heads() -> None:
    f = at_rest(sample_z(4, rng(2)))
    there = render({k: v.cuda() for k, v in f.items()}, 64).cpu()
    assert (there - render(f, 64)).abs().mean() < 2e-3
