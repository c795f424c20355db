"""What a clip must be: still at strength 0, straight in W+, the same each time, rendered when asked for."""

import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import RESOLUTION, STYLE_DIM, STYLES, random_anchors
from PIL import Image

from micromotion import Animator
from micromotion.errors import (
    DeviceMemoryError,
    ImageError,
    MotionError,
    NoFaceError,
    OptionError,
    OutputError,
)
from micromotion.frames import fetch, take_turns, told_when_full
from micromotion.motion import load_motion
from micromotion.pixels import to_uint8
from micromotion.timeline import parse_timeline
from stylegan2 import Generator


@pytest.fixture(scope="module")
def animator(random_bundle: Path) -> Animator:
    return Animator.load(random_bundle, "cpu")


@pytest.fixture(scope="module")
def code(animator: Animator, astronaut: Image.Image) -> torch.Tensor:
    return animator.encode(astronaut)


@pytest.fixture
def rendered(animator: Animator, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The W+ codes that the generator was asked for, as they come."""
    codes: list[torch.Tensor] = []
    synthesize = Generator.synthesize

    def listening(self: Generator, w_plus: torch.Tensor, **options: object) -> torch.Tensor:
        codes.append(w_plus)
        return synthesize(self, w_plus, **options)

    monkeypatch.setattr(Generator, "synthesize", listening)
    return codes


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


# The golden behaviour.


def test_the_first_frame_is_the_inverted_face(animator: Animator, code: torch.Tensor) -> None:
    with torch.inference_mode():
        image = animator.bundle.generator.synthesize(code)[0].double().numpy()
    expected = np.clip(np.rint((image + 1) * 127.5), 0, 255).transpose(1, 2, 0)
    first = next(iter(animator.animate(code, frames=5)))
    assert first.dtype == np.uint8
    assert first.shape == (RESOLUTION, RESOLUTION, 3)
    assert np.abs(first - expected).max() <= 1  # a tie may round either way in float32
    assert np.mean(first == expected) > 0.999


def test_strength_0_is_a_still_picture(animator: Animator, code: torch.Tensor) -> None:
    frames = list(animator.animate(code, strength=0, frames=5))
    assert all(np.array_equal(frame, frames[0]) for frame in frames)
    assert np.ptp(frames[0]) > 50


def test_the_last_frame_is_the_full_motion(
    animator: Animator, code: torch.Tensor, random_bundle: Path
) -> None:
    direction = load_motion(random_bundle / "anchors" / "smile.safetensors").direction
    first, *_, last = animator.animate(code, "smile", strength=1.5, frames=7).latents()
    assert torch.equal(first, code)
    assert torch.allclose(last, code + 1.5 * direction, atol=1e-6)
    assert torch.equal(next(animator.animate(code, strength=1.5, frames=1).latents()), last)


@pytest.mark.parametrize("strength", [-2.0, -1.0, 0.5, 3.0])
def test_strength_is_linear_in_the_latent_and_negative_plays_the_opposite(
    animator: Animator, code: torch.Tensor, strength: float
) -> None:
    unit = torch.cat(list(animator.animate(code, "headsTurn", frames=9).latents())) - code
    change = (
        torch.cat(list(animator.animate(code, "headsTurn", strength=strength, frames=9).latents())) - code
    )
    assert torch.allclose(change, strength * unit, atol=1e-5)
    assert torch.allclose(change, torch.linspace(0, 1, 9)[:, None, None] * change[-1:], atol=1e-5)


def test_the_same_call_gives_the_same_bytes(animator: Animator, astronaut_file: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        animator.animate(astronaut_file, frames=6, seed=3).save(
            tmp_path / name, sheet=tmp_path / f"{name}.png"
        )
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert (tmp_path / "a.mp4.png").read_bytes() == (tmp_path / "b.mp4.png").read_bytes()


def test_a_seed_changes_the_noise_but_does_not_let_it_boil(animator: Animator, code: torch.Tensor) -> None:
    def still(seed: int | None) -> list[np.ndarray]:
        return list(animator.animate(code, strength=0, frames=3, seed=seed))

    one, two, fixed = still(1), still(2), still(None)
    assert all(np.array_equal(frame, one[0]) for frame in one)
    assert not np.array_equal(one[0], two[0])
    assert not np.array_equal(one[0], fixed[0])
    assert np.array_equal(one[0], still(1)[0])


def test_the_global_random_state_is_neither_read_nor_changed(animator: Animator, code: torch.Tensor) -> None:
    state = torch.random.get_rng_state()
    first = animator.animate(code, seed=5).sheet(2)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert animator.animate(code, seed=5).sheet(2) == first


# Several motions, timelines, loops.


def test_one_motion_is_the_same_however_it_is_asked_for(animator: Animator, code: torch.Tensor) -> None:
    """Bit by bit also what the straight line gave before there were timelines."""
    direction = load_motion(animator.bundle.motions["smile"]).direction
    expected = [code + 1.3 * (i / 6) * direction for i in range(7)]
    ways = [
        "smile",
        ["smile"],
        {"smile": 1},
        animator.bundle.motions["smile"],
        str(animator.bundle.motions["smile"]),
    ]
    for motion in ways:
        latents = animator.animate(code, motion, strength=1.3, frames=7).latents()
        assert all(torch.equal(a, b) for a, b in zip(latents, expected, strict=True)), motion


def test_motions_add_up(animator: Animator, code: torch.Tensor) -> None:
    smile, turn = (
        load_motion(animator.bundle.motions[name]).direction.double() for name in ("smile", "headsTurn")
    )
    clip = animator.animate(code, {"headsTurn": -0.5, "smile": 2}, strength=1.5, frames=11)
    for i, latent in enumerate(clip.latents()):
        expected = code.double() + 1.5 * i / 10 * (2 * smile - 0.5 * turn)
        assert torch.allclose(latent.double(), expected, atol=1e-5)
        assert latent.dtype == torch.float32


def test_a_timeline_moves_the_code_as_it_says(animator: Animator, code: torch.Tensor) -> None:
    smile, turn = (
        load_motion(animator.bundle.motions[name]).direction.double() for name in ("smile", "headsTurn")
    )
    timeline = parse_timeline("0s headsTurn=1, 1s smile=2 headsTurn=0 smooth, 2s hold, 3s smile=0")
    clip = animator.animate(code, timeline, fps=4, strength=-1)
    assert (len(clip), clip.fps) == (13, 4)
    latents = list(clip.latents())
    for i, (s, t) in {
        0: (0, 1),
        1: (2 * 0.15625, 1 - 0.15625),
        4: (2, 0),
        8: (2, 0),
        10: (1, 0),
        12: (0, 0),
    }.items():
        assert torch.allclose(latents[i].double(), code.double() - s * smile - t * turn, atol=1e-5), i
    assert torch.equal(latents[12], code)
    assert len(list(animator.animate(code, parse_timeline("1s hold"), fps=2))) == 3


def test_motions_along_curves_keep_to_them(animator: Animator, code: torch.Tensor, tmp_path: Path) -> None:
    anchors = random_anchors(3)
    drawn = torch.randn(STYLES, STYLE_DIM, generator=torch.Generator().manual_seed(4))
    bent = anchors.w_plus + anchors.degrees.square()[:, None, None] * drawn
    path = tmp_path / "bent.safetensors"
    type(anchors)(bent, anchors.degrees, {"path": "curve"}).save(path)
    curved, line = load_motion(path), load_motion(animator.bundle.motions["smile"])
    assert curved.curve is not None
    latents = list(animator.animate(code, {path: 1.0, "smile": 0.5}, strength=2, frames=5).latents())
    for i, latent in enumerate(latents):
        expected = code + curved.offset(2 * i / 4) + line.offset(i / 4)
        assert torch.allclose(latent, expected, atol=1e-5)
    straight = (latents[0] + latents[4]) / 2
    assert not torch.allclose(latents[2], straight, atol=0.1), "the middle of the way is no chord"


def test_a_clip_goes_back_the_way_it_came(animator: Animator, code: torch.Tensor) -> None:
    clip = animator.animate(code, frames=4, loop="pingpong", easing="smooth")
    frames = list(clip)
    assert len(frames) == len(clip) == 7
    assert all(np.array_equal(a, b) for a, b in zip(frames, frames[::-1], strict=True))
    held = list(animator.animate(code, frames=4, loop="hold", easing="smooth"))
    assert all(np.array_equal(a, b) for a, b in zip(held, frames[:4] + frames[3:4] * 3, strict=True))
    assert not np.array_equal(frames[0], frames[3])


def test_a_sheet_says_how_strong_each_motion_is(
    animator: Animator, code: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[list[str]] = []
    monkeypatch.setattr("micromotion.clip.contact_sheet", lambda frames, labels: said.append(labels))
    animator.animate(code, strength=-2, frames=3).sheet()
    animator.animate(code, parse_timeline("1s smile=0.5, 2s headsTurn=-1, 3s smile=0"), fps=1).sheet()
    assert said == [
        ["0%", "-100%", "-200%"],
        ["0%", "smile 50%", "smile 50%, headsTurn -100%", "headsTurn -100%"],
    ]


# A clip renders when asked for, and no more than asked for.


def test_frames_render_one_by_one(
    animator: Animator, code: torch.Tensor, rendered: list[torch.Tensor]
) -> None:
    clip = animator.animate(code, frames=600, fps=24)
    assert (len(clip), clip.fps, clip.size) == (600, 24, (RESOLUTION, RESOLUTION))
    assert not rendered
    frames = iter(clip)
    for count in range(1, 4):
        next(frames)
        assert len(rendered) == count
    assert all(w_plus.shape == (1, STYLES, STYLE_DIM) for w_plus in rendered)


def test_a_clip_can_be_iterated_again(animator: Animator, code: torch.Tensor) -> None:
    clip = animator.animate(code, frames=4)
    once, twice = list(clip), list(clip)
    assert all(np.array_equal(a, b) for a, b in zip(once, twice, strict=True))


def test_the_sheet_is_made_of_the_frames_of_the_video(
    animator: Animator, code: torch.Tensor, rendered: list[torch.Tensor], tmp_path: Path
) -> None:
    clip = animator.animate(code, strength=3, frames=20)
    clip.save(tmp_path / "clip.mp4", sheet=tmp_path / "sheet.png", count=5)
    assert len(rendered) == 20
    with Image.open(tmp_path / "sheet.png") as saved:
        assert np.array_equal(np.asarray(saved), np.asarray(clip.sheet(5)))
    assert len(rendered) == 25  # clip.sheet alone renders only what it shows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "sheet.png"]


def test_a_code_is_inverted_once_and_played_often(
    animator: Animator, astronaut: Image.Image, code: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code.shape == (1, STYLES, STYLE_DIM)
    direct = animator.animate(astronaut, "headsTurn", frames=3)
    assert {"align", "invert"} <= direct.timings.keys()

    def refuse(*_: object) -> None:
        raise AssertionError("inverted again")

    monkeypatch.setattr(animator.bundle.inverter, "invert", refuse)
    for motion in animator.motions:
        assert len(list(animator.animate(code, motion, frames=2))) == 2
    again = animator.animate(code, "headsTurn", frames=3)
    assert all(np.array_equal(a, b) for a, b in zip(again, direct, strict=True))


def test_no_gradient_is_kept(code: torch.Tensor) -> None:
    assert not code.requires_grad
    assert code.dtype == torch.float32


def test_timings_of_each_stage(animator: Animator, astronaut: Image.Image, tmp_path: Path) -> None:
    clip = animator.animate(astronaut, frames=3)
    for name in ("a.mp4", "b.mp4"):
        clip.save(tmp_path / name)
        assert set(clip.timings) == {"motion", "align", "invert", "render", "encode"}
        assert all(math.isfinite(seconds) and seconds >= 0 for seconds in clip.timings.values())


def test_progress_counts_the_frames(animator: Animator, code: torch.Tensor, tmp_path: Path) -> None:
    seen: list[int] = []
    animator.animate(code, frames=5, fps=10).save(tmp_path / "clip.mp4", on_frame=seen.append)
    assert seen == [1, 2, 3, 4, 5]
    assert len(frames_of(tmp_path / "clip.mp4")) == 5


def test_an_interrupted_save_leaves_nothing(animator: Animator, code: torch.Tensor, tmp_path: Path) -> None:
    def interrupt(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animator.animate(code, frames=9).save(
            tmp_path / "clip.mp4", sheet=tmp_path / "sheet.png", on_frame=interrupt
        )
    assert not list(tmp_path.iterdir())


def test_a_sheet_of_a_short_clip_shows_every_frame(animator: Animator, code: torch.Tensor) -> None:
    for frames in (1, 2):
        clip = animator.animate(code, frames=frames)
        assert clip.sheet(600).size == clip.sheet(frames).size
    for count in (0, 601, 2.5):
        with pytest.raises(OptionError, match=r"^count"):
            clip.sheet(count)


@pytest.mark.parametrize("sheet", ["sheet.xyz", "missing/sheet.png", ""])
def test_a_sheet_that_cannot_be_written_is_told_before_rendering(
    animator: Animator, code: torch.Tensor, rendered: list[torch.Tensor], tmp_path: Path, sheet: str
) -> None:
    with pytest.raises(OutputError):
        animator.animate(code, frames=3).save(tmp_path / "clip.mp4", sheet=tmp_path / sheet)
    assert not rendered
    assert not list(tmp_path.iterdir())


def test_frames_under_way_are_neither_lost_nor_doubled(
    animator: Animator, code: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where the next picture is asked for before a frame is handed out."""
    one_by_one = list(animator.animate(code, frames=5, seed=1))
    monkeypatch.setattr("micromotion.clip.fetch", lambda pictures, ahead: fetch(pictures, ahead=1))
    ahead = animator.animate(code, frames=5, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(ahead, one_by_one, strict=True))


def test_noise_is_drawn_once_for_a_clip(
    animator: Animator, code: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = Generator.draw_noise
    monkeypatch.setattr(Generator, "draw_noise", lambda *given: drawn.append(1) or draw(*given))
    frames = list(animator.animate(code, strength=0, frames=4, seed=7))
    assert len(drawn) == 1
    with torch.inference_mode():
        noise = torch.Generator().manual_seed(7)
        expected = to_uint8(animator.bundle.generator.synthesize(code, noise=noise)[0])
    assert all(np.array_equal(frame, expected) for frame in frames)


# A GPU without enough memory, played by nets that say so.


class Full:
    """Stands in for a method: raises torch.OutOfMemoryError at the calls with these numbers, from 0."""

    def __init__(self, original: Callable[..., object], *calls: int) -> None:
        self.original = original
        self.calls = calls
        self.count = -1

    def __call__(self, *given: object, **named: object) -> object:
        self.count += 1
        if self.count in self.calls:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 512.00 MiB.")
        return self.original(*given, **named)


@pytest.fixture
def moved(animator: Animator, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nets that were sent to main memory to make room, in order."""
    names: list[str] = []
    for name in ("generator", "inverter"):
        net = getattr(animator.bundle, name)

        def to(*where: object, name: str = name, net: torch.nn.Module = net) -> torch.nn.Module:
            if where == ("cpu",):
                names.append(name)
            return net

        monkeypatch.setattr(net, "to", to)
    return names


@pytest.mark.parametrize("full", [(0,), (2,), (4,), (0, 2, 4), (5,)])
@pytest.mark.parametrize("ahead", [0, 1])
def test_a_frame_renders_again_where_memory_was_full(
    animator: Animator,
    code: torch.Tensor,
    moved: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    full: tuple[int, ...],
    ahead: int,
) -> None:
    clip = animator.animate(code, frames=5)
    expected = list(clip)
    monkeypatch.setattr("micromotion.clip.fetch", lambda pictures, **_: fetch(pictures, ahead=ahead))
    generator = animator.bundle.generator
    synthesize = Full(generator.synthesize, *full)
    monkeypatch.setattr(generator, "synthesize", synthesize)
    frames: list[np.ndarray] = []
    clip.save(tmp_path / "clip.mp4", on_frame=lambda done: frames.append(np.array(done)))
    assert len(frames) == len(frames_of(tmp_path / "clip.mp4")) == 5
    hits = sum(call <= synthesize.count for call in full)
    assert moved == ["inverter"] * hits
    assert synthesize.count + 1 == 5 + hits
    synthesize.count = -1
    assert all(np.array_equal(a, b) for a, b in zip(clip, expected, strict=True))


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("ahead", [0, 1])
def test_a_gpu_that_stays_full_is_told_and_nothing_is_left(
    animator: Animator,
    code: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    first: int,
    ahead: int,
) -> None:
    monkeypatch.setattr("micromotion.clip.fetch", lambda pictures, **_: fetch(pictures, ahead=ahead))
    synthesize = Full(animator.bundle.generator.synthesize, *range(first, 99))
    monkeypatch.setattr(animator.bundle.generator, "synthesize", synthesize)
    clip = animator.animate(code, frames=5)
    with pytest.raises(DeviceMemoryError, match=r"too little memory for rendering 32×32 .*--device cpu"):
        clip.save(tmp_path / "clip.mp4", sheet=tmp_path / "sheet.png")
    assert synthesize.count == first + 1, "one retry, no more"
    assert not list(tmp_path.iterdir())
    with pytest.raises(DeviceMemoryError):
        clip.sheet()


def test_noise_and_the_way_back_to_the_device_are_tried_again_too(
    animator: Animator, code: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = animator.bundle.generator
    expected = list(animator.animate(code, frames=2, seed=1))
    monkeypatch.setattr(generator, "draw_noise", Full(generator.draw_noise, 0))
    monkeypatch.setattr(generator, "to", Full(lambda *_: generator, 0))
    with pytest.raises(DeviceMemoryError):  # first the way back fails, then the noise
        list(animator.animate(code, frames=2, seed=1))
    again = animator.animate(code, frames=2, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(again, expected, strict=True))


def test_a_net_that_went_along_with_the_other_comes_back() -> None:
    """A ReStyle inverter takes its generator, which is the bundle's, wherever it goes."""

    class Net(torch.nn.Module):
        place: object = "gpu"
        part: "Net | None" = None

        def to(self, place: object) -> "Net":  # type: ignore[override]
            self.place = place
            if self.part is not None:
                self.part.to(place)
            return self

    gpu = torch.device("cuda:0")
    inverter, generator = Net(), Net()
    object.__setattr__(inverter, "part", generator)
    take_turns(inverter, generator, gpu)
    assert (inverter.place, generator.place) == ("cpu", gpu)
    take_turns(generator, inverter, gpu)
    assert (inverter.place, generator.place) == (gpu, gpu)


def test_the_inversion_is_tried_again_with_the_generator_out_of_the_way(
    animator: Animator,
    astronaut: Image.Image,
    code: torch.Tensor,
    moved: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inverter = animator.bundle.inverter
    invert = inverter.invert
    monkeypatch.setattr(inverter, "invert", Full(invert, 0))
    assert torch.equal(animator.encode(astronaut), code)
    assert moved == ["generator"]
    monkeypatch.setattr(inverter, "invert", Full(invert, 0, 1))
    with pytest.raises(DeviceMemoryError, match=r"the face's code"):
        animator.animate(astronaut)
    assert len(list(animator.animate(astronaut, frames=2))) == 2, "the next request is served"


# Half precision.


def test_half_precision_nets_play_the_same_clip(random_bundle: Path, astronaut: Image.Image) -> None:
    animator, half = (Animator.load(random_bundle, "cpu") for _ in range(2))
    half.bundle.generator.use_half()
    half.bundle.inverter.use_half()
    code = half.encode(astronaut)
    assert code.dtype == torch.float32
    assert torch.allclose(code, animator.encode(astronaut), atol=0.02)
    for seed in (None, 1):
        clips = [each.animate(code, frames=3, seed=seed) for each in (animator, half)]
        for exact, rough in zip(*clips, strict=True):
            assert rough.dtype == np.uint8
            assert np.abs(exact.astype(int) - rough).max() <= 4
            assert np.mean(exact != rough) < 0.2


# Photos.


def test_a_photo_may_come_in_any_form(
    animator: Animator, code: torch.Tensor, astronaut: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    astronaut.save(path)
    for photo in (path, str(path), path.read_bytes(), BytesIO(path.read_bytes())):
        assert torch.equal(animator.encode(photo), code)


def test_aligned_takes_the_picture_as_it_is(animator: Animator, astronaut: Image.Image) -> None:
    from micromotion import align

    crop = align(astronaut, 256).image
    assert torch.allclose(animator.encode(crop, aligned=True), animator.encode(astronaut), atol=1e-5)
    grey = Image.new("RGB", (256, 256), "grey")
    assert animator.encode(grey, aligned=True).shape == (1, STYLES, STYLE_DIM)
    with pytest.raises(NoFaceError):
        animator.encode(grey)


def test_face_takes_another_one(animator: Animator, astronaut: Image.Image, code: torch.Tensor) -> None:
    two = Image.new("RGB", (1024, 512))
    two.paste(astronaut, (0, 0))
    two.paste(astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (512, 0))
    first, second = animator.encode(two), animator.encode(two, face=1)
    assert not torch.allclose(first, second, atol=1e-2)
    with pytest.raises(NoFaceError):
        animator.encode(astronaut, face=9)


# Wrong options are told before the photo is opened.


@pytest.mark.parametrize(
    "options",
    [
        {"strength": math.nan},
        {"strength": math.inf},
        {"strength": 5.01},
        {"strength": "1"},
        {"strength": 10**400},
        {"frames": 0},
        {"frames": 10**9},
        {"frames": 2.5},
        {"fps": 0},
        {"fps": 61},
        {"fps": math.nan},
        {"face": -1},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": "x"},
        {"loop": "bounce"},
        {"easing": "bouncy"},
    ],
)
def test_options_are_checked_first(animator: Animator, options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(OptionError, match=f"^{name} must be .*not "):
        animator.animate("missing.jpg", **options)


def test_an_unknown_motion_is_told_with_the_known_ones(animator: Animator) -> None:
    with pytest.raises(MotionError, match=r"did you mean 'smile'\?.*headsTurn, smile\."):
        animator.animate("missing.jpg", "Smlie")
    with pytest.raises(MotionError, match=r"'xyz'; this model has headsTurn, smile\.$"):
        animator.animate("missing.jpg", "xyz")
    for several in (["smile", "xyz"], {"xyz": 0}, parse_timeline("1s smile xyz")):
        with pytest.raises(MotionError, match="'xyz'"):
            animator.animate("missing.jpg", several)


def test_a_motion_of_another_model_is_told(animator: Animator, code: torch.Tensor, tmp_path: Path) -> None:
    anchors = random_anchors(0)
    path = tmp_path / "smile.safetensors"
    type(anchors)(anchors.w_plus[:, :-2].contiguous(), anchors.degrees, anchors.provenance).save(path)
    other = Animator(
        type(animator.bundle)(**{**vars(animator.bundle), "motions": {"smile": path}})  # the same nets
    )
    with pytest.raises(MotionError, match="another model"):
        other.animate(code)


def test_a_bad_photo_is_told(animator: Animator) -> None:
    with pytest.raises(ImageError):
        animator.animate("missing.jpg")


@pytest.mark.parametrize("shape", [(STYLES, STYLE_DIM), (2, STYLES, STYLE_DIM), (1, STYLES + 1, STYLE_DIM)])
def test_a_code_of_another_model_is_told(animator: Animator, shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="code"):
        animator.animate(torch.zeros(shape))


# The embedded avatar.


@pytest.fixture(scope="module")
def avatar() -> Animator:
    return Animator.load("avatar", "cpu")


def test_the_avatar_plays_every_motion_on_a_real_photo(avatar: Animator, astronaut: Image.Image) -> None:
    code = avatar.encode(astronaut)
    for motion in avatar.motions:
        clip = avatar.animate(code, motion, frames=3)
        first, _, last = (frame.astype(float) for frame in clip)
        assert first.std() > 20, "a picture, not a flat colour"
        assert np.abs(last - first).max() > 40, f"{motion} is not seen"
        assert np.abs(last - first).mean() < 40, f"{motion} leaves another picture"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 512.00 MiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_a_full_gpu_has_many_words(error: RuntimeError) -> None:
    with (
        pytest.raises(DeviceMemoryError, match="too little memory for the model"),
        told_when_full("the model", torch.device("cpu")),
    ):
        raise error


def test_other_errors_of_pytorch_stay_what_they_are() -> None:
    with (
        pytest.raises(RuntimeError, match="shapes") as caught,
        told_when_full("the model", torch.device("cpu")),
    ):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert not isinstance(caught.value, DeviceMemoryError)
