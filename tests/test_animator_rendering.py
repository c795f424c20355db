"""A video renders lazily, only the frames needed, also when a GPU has too little memory."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from random_networks import RESOLUTION, STYLE_DIM, STYLES

from micromotion import Animator
from micromotion.errors import (
    DeviceMemoryError,
    OptionError,
    OutputError,
)
from micromotion.runtime.device_memory import DeviceMemory, translate_oom
from micromotion.runtime.frame_transfer import fetch_frames
from micromotion.video.pixels import to_uint8
from stylegan2 import Generator


@pytest.fixture(scope="module")
def latent(animator: Animator, astronaut: Image.Image) -> torch.Tensor:
    return animator.encode(astronaut)


@pytest.fixture
def rendered(animator: Animator, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The W+ latents that the generator is called with, in order."""
    latents: list[torch.Tensor] = []
    synthesize = Generator.synthesize

    def listening(self: Generator, w_plus: torch.Tensor, **options: Any) -> torch.Tensor:
        latents.append(w_plus)
        return synthesize(self, w_plus, **options)

    monkeypatch.setattr(Generator, "synthesize", listening)
    return latents


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


# A video renders lazily, only the frames needed.


def test_frames_render_one_by_one(
    animator: Animator, latent: torch.Tensor, rendered: list[torch.Tensor]
) -> None:
    video = animator.animate(latent, frames=600, fps=24)
    assert (len(video), video.fps, video.size) == (600, 24, (RESOLUTION, RESOLUTION))
    assert not rendered
    frames = iter(video)
    for count in range(1, 4):
        next(frames)
        assert len(rendered) == count
    assert all(w_plus.shape == (1, STYLES, STYLE_DIM) for w_plus in rendered)


def test_a_video_can_be_iterated_again(animator: Animator, latent: torch.Tensor) -> None:
    video = animator.animate(latent, frames=4)
    once, twice = list(video), list(video)
    assert all(np.array_equal(a, b) for a, b in zip(once, twice, strict=True))


def test_the_sheet_is_made_of_the_frames_of_the_video(
    animator: Animator, latent: torch.Tensor, rendered: list[torch.Tensor], tmp_path: Path
) -> None:
    video = animator.animate(latent, strength=3, frames=20)
    video.save(tmp_path / "video.mp4", sheet=tmp_path / "sheet.png", count=5)
    assert len(rendered) == 20
    with Image.open(tmp_path / "sheet.png") as saved:
        assert np.array_equal(np.asarray(saved), np.asarray(video.sheet(5)))
    assert len(rendered) == 25  # video.sheet renders only the frames it shows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sheet.png", "video.mp4"]


def test_a_photo_is_inverted_once_and_played_often(
    animator: Animator, astronaut: Image.Image, latent: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert latent.shape == (1, STYLES, STYLE_DIM)
    direct = animator.animate(astronaut, "headsTurn", frames=3)
    assert {"align", "invert"} <= direct.timings.keys()

    def refuse(*_: object) -> None:
        raise AssertionError("inverted again")

    monkeypatch.setattr(animator.bundle.inverter, "invert", refuse)
    for motion in animator.motions:
        assert len(list(animator.animate(latent, motion, frames=2))) == 2
    again = animator.animate(latent, "headsTurn", frames=3)
    assert all(np.array_equal(a, b) for a, b in zip(again, direct, strict=True))


def test_no_gradient_is_stored(latent: torch.Tensor) -> None:
    assert not latent.requires_grad
    assert latent.dtype == torch.float32


def test_timings_of_each_stage(animator: Animator, astronaut: Image.Image, tmp_path: Path) -> None:
    video = animator.animate(astronaut, frames=3)
    for name in ("a.mp4", "b.mp4"):
        video.save(tmp_path / name)
        assert set(video.timings) == {"motion", "align", "invert", "render", "encode"}
        assert all(math.isfinite(seconds) and seconds >= 0 for seconds in video.timings.values())


def test_progress_counts_the_frames(animator: Animator, latent: torch.Tensor, tmp_path: Path) -> None:
    seen: list[int] = []
    animator.animate(latent, frames=5, fps=10).save(tmp_path / "video.mp4", on_frame=seen.append)
    assert seen == [1, 2, 3, 4, 5]
    assert len(frames_of(tmp_path / "video.mp4")) == 5


def test_an_interrupted_save_leaves_nothing(animator: Animator, latent: torch.Tensor, tmp_path: Path) -> None:
    def interrupt(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animator.animate(latent, frames=9).save(
            tmp_path / "video.mp4", sheet=tmp_path / "sheet.png", on_frame=interrupt
        )
    assert not list(tmp_path.iterdir())


def test_a_sheet_of_a_short_video_shows_every_frame(animator: Animator, latent: torch.Tensor) -> None:
    for frames in (1, 2):
        video = animator.animate(latent, frames=frames)
        assert video.sheet(600).size == video.sheet(frames).size
    counts: list[Any] = [0, 601, 2.5]
    for count in counts:
        with pytest.raises(OptionError, match=r"^count"):
            video.sheet(count)


@pytest.mark.parametrize("sheet", ["sheet.xyz", "missing/sheet.png", ""])
def test_an_unwritable_sheet_is_refused_before_rendering(
    animator: Animator, latent: torch.Tensor, rendered: list[torch.Tensor], tmp_path: Path, sheet: str
) -> None:
    with pytest.raises(OutputError):
        animator.animate(latent, frames=3).save(tmp_path / "video.mp4", sheet=tmp_path / sheet)
    assert not rendered
    assert not list(tmp_path.iterdir())


def test_frames_in_flight_are_neither_lost_nor_repeated(
    animator: Animator, latent: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where the next picture is begun before a frame is returned."""
    one_by_one = list(animator.animate(latent, frames=5, seed=1))
    monkeypatch.setattr(
        "micromotion.animation.fetch_frames", lambda pictures, ahead: fetch_frames(pictures, ahead=1)
    )
    ahead = animator.animate(latent, frames=5, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(ahead, one_by_one, strict=True))


def test_noise_is_drawn_once_for_a_video(
    animator: Animator, latent: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = Generator.draw_noise

    def counting(*given: Any) -> Any:
        drawn.append(1)
        return draw(*given)

    monkeypatch.setattr(Generator, "draw_noise", counting)
    frames = list(animator.animate(latent, strength=0, frames=4, seed=7))
    assert len(drawn) == 1
    with torch.inference_mode():
        noise = torch.Generator().manual_seed(7)
        expected = to_uint8(animator.bundle.generator.synthesize(latent, noise=noise)[0])
    assert all(np.array_equal(frame, expected) for frame in frames)


class Full:
    """Replaces a method: raises torch.OutOfMemoryError at the calls with these indices, from 0."""

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
    """The networks that were offloaded to main memory, in order."""
    names: list[str] = []
    for name in ("generator", "inverter"):
        net = getattr(animator.bundle, name)

        def to(*where: object, name: str = name, net: torch.nn.Module = net) -> torch.nn.Module:
            if where == ("cpu",):
                names.append(name)
            return net

        monkeypatch.setattr(net, "to", to)
    return names


# A GPU without enough memory, simulated by the networks.


@pytest.mark.slow
@pytest.mark.parametrize("full", [(0,), (2,), (4,), (0, 2, 4), (5,)])
@pytest.mark.parametrize("ahead", [0, 1])
def test_a_frame_is_rendered_again_after_an_out_of_memory_error(
    animator: Animator,
    latent: torch.Tensor,
    moved: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    full: tuple[int, ...],
    ahead: int,
) -> None:
    video = animator.animate(latent, frames=5)
    expected = list(video)
    monkeypatch.setattr(
        "micromotion.animation.fetch_frames", lambda pictures, **_: fetch_frames(pictures, ahead=ahead)
    )
    generator = animator.bundle.generator
    synthesize = Full(generator.synthesize, *full)
    monkeypatch.setattr(generator, "synthesize", synthesize)
    frames: list[np.ndarray] = []
    video.save(tmp_path / "video.mp4", on_frame=lambda done: frames.append(np.array(done)))
    assert len(frames) == len(frames_of(tmp_path / "video.mp4")) == 5
    hits = sum(call <= synthesize.count for call in full)
    assert moved == ["inverter"] * hits
    assert synthesize.count + 1 == 5 + hits
    synthesize.count = -1
    assert all(np.array_equal(a, b) for a, b in zip(video, expected, strict=True))


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("ahead", [0, 1])
def test_a_gpu_that_stays_full_is_reported_and_nothing_is_left(
    animator: Animator,
    latent: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    first: int,
    ahead: int,
) -> None:
    monkeypatch.setattr(
        "micromotion.animation.fetch_frames", lambda pictures, **_: fetch_frames(pictures, ahead=ahead)
    )
    synthesize = Full(animator.bundle.generator.synthesize, *range(first, 99))
    monkeypatch.setattr(animator.bundle.generator, "synthesize", synthesize)
    video = animator.animate(latent, frames=5)
    with pytest.raises(DeviceMemoryError, match=r"too little memory for rendering 32×32 .*--device cpu"):
        video.save(tmp_path / "video.mp4", sheet=tmp_path / "sheet.png")
    assert synthesize.count == first + 1, "one retry, no more"
    assert not list(tmp_path.iterdir())
    with pytest.raises(DeviceMemoryError):
        video.sheet()


def test_noise_and_moving_back_to_the_device_are_retried_too(
    animator: Animator, latent: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = animator.bundle.generator
    expected = list(animator.animate(latent, frames=2, seed=1))
    monkeypatch.setattr(generator, "draw_noise", Full(generator.draw_noise, 0))
    monkeypatch.setattr(generator, "to", Full(lambda *_: generator, 0))
    with pytest.raises(DeviceMemoryError):  # first the move back fails, then the noise
        list(animator.animate(latent, frames=2, seed=1))
    again = animator.animate(latent, frames=2, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(again, expected, strict=True))


def test_a_network_that_was_moved_along_is_moved_back() -> None:
    """A ReStyle inverter moves its generator, which is the bundle's, along with it."""

    class Net(torch.nn.Module):
        place: object = "gpu"
        part: "Net | None" = None

        def to(self, place: object) -> "Net":  # type: ignore[override]  # as little of torch's as is called
            self.place = place
            if self.part is not None:
                self.part.to(place)
            return self

    gpu = torch.device("cuda:0")
    inverter, generator = Net(), Net()
    object.__setattr__(inverter, "part", generator)
    DeviceMemory(gpu, generator, spare=inverter).offload()
    assert (inverter.place, generator.place) == ("cpu", gpu)
    DeviceMemory(gpu, inverter, spare=generator).offload()
    assert (inverter.place, generator.place) == (gpu, gpu)


@pytest.mark.slow
def test_the_inversion_is_retried_with_the_generator_offloaded(
    animator: Animator,
    astronaut: Image.Image,
    latent: torch.Tensor,
    moved: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inverter = animator.bundle.inverter
    invert = inverter.invert
    monkeypatch.setattr(inverter, "invert", Full(invert, 0))
    assert torch.equal(animator.encode(astronaut), latent)
    assert moved == ["generator"]
    monkeypatch.setattr(inverter, "invert", Full(invert, 0, 1))
    with pytest.raises(DeviceMemoryError, match=r"inverting the face"):
        animator.animate(astronaut)
    assert len(list(animator.animate(astronaut, frames=2))) == 2, "the next request is served"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 512.00 MiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_all_out_of_memory_errors_are_recognised(error: RuntimeError) -> None:
    with (
        pytest.raises(DeviceMemoryError, match="too little memory for the model"),
        translate_oom("the model", torch.device("cpu")),
    ):
        raise error


def test_other_pytorch_errors_are_unchanged() -> None:
    with (
        pytest.raises(RuntimeError, match="shapes") as caught,
        translate_oom("the model", torch.device("cpu")),
    ):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert not isinstance(caught.value, DeviceMemoryError)
