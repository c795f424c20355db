"""Tests that need a GPU, at FFHQ's full size with random weights; skipped without one."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from encoder4editing import EncoderConfig, Inverter
from micromotion.animator import Animator, Video
from micromotion.motion.playable import Motion
from micromotion.motion.schedule import schedule
from micromotion.options import AnimateOptions
from micromotion.weights.bundle import Bundle
from stylegan2 import Generator, GeneratorConfig
from stylegan2.fast_gpu import kernels_for

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.fixture(autouse=True)
def exact_float32() -> Iterator[None]:
    """Float32 convolutions in float32, not TF32, whose ten bits are no better than half precision's."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.empty_cache()


def drawn(resolution: int, *, half: bool) -> Generator:
    """A generator on the GPU with pictures within [-1, 1]; the same for the same resolution."""
    rng = torch.Generator().manual_seed(resolution)
    generator = Generator(GeneratorConfig(resolution), rng)
    with torch.no_grad():
        for name, parameter in generator.synthesis.named_parameters():
            if name.endswith("noise_strength"):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
        for layer in generator.synthesis.rgb_layers:
            layer.weight.mul_(0.1)
    return (generator.use_half() if half else generator).cuda().eval()


def video(generator: Generator, frames: int, seed: int | None = None) -> Video:
    rng = torch.Generator().manual_seed(1)
    latent, direction = torch.randn(2, generator.num_styles, generator.style_dim, generator=rng)
    motion = Motion("random", 0.3 * direction)
    return Video(
        generator,
        latent[None].cuda(),
        [motion],
        schedule("random", AnimateOptions(frames=frames))[1],
        fps=30,
        seed=seed,
    )


@pytest.mark.parametrize("resolution", [256, 1024])
@pytest.mark.parametrize("seed", [None, 3])
def test_half_precision_draws_the_pictures_of_float32(resolution: int, seed: int | None) -> None:
    exact, half = (list(video(drawn(resolution, half=half), 3, seed)) for half in (False, True))
    error = float(np.mean([(a.astype(float) - b) ** 2 for a, b in zip(exact, half, strict=True)]))
    assert np.std(exact) > 10
    assert 10 * math.log10(255**2 / max(error, 1e-9)) > 45


def test_our_kernels_draw_the_pictures_of_the_reference() -> None:
    for resolution in (256, 1024):
        generator = drawn(resolution, half=True)
        assert kernels_for(generator.latent_avg.device) is not None
        w_plus = torch.randn(2, generator.num_styles, 512, generator=torch.Generator().manual_seed(1)).cuda()
        with torch.inference_mode():
            ours, reference = (generator.synthesize(w_plus, fast=fast) for fast in (True, False))
        assert (ours - reference).abs().mean() < 2e-3 * reference.abs().max()


def test_float32_on_the_gpu_draws_the_pictures_of_the_cpu() -> None:
    generator = drawn(256, half=False)
    w_plus = torch.randn(2, 14, 512, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        gpu = generator.synthesize(w_plus.cuda()).cpu()
        cpu = generator.cpu().synthesize(w_plus)
    assert (gpu - cpu).abs().max() < 1e-4 * cpu.abs().max()


def test_extreme_styles_overflow_nowhere() -> None:
    generator = drawn(256, half=True)
    w_plus = torch.randn(1, 14, 512, generator=torch.Generator().manual_seed(1)).cuda()
    with torch.inference_mode():
        assert all(generator.synthesize(size * w_plus).isfinite().all() for size in (0.0, 1e3, 1e6, 1e12))


@pytest.mark.parametrize("seed", [None, 3])
def test_the_same_video_gives_the_same_frames(seed: int | None) -> None:
    generator = drawn(1024, half=True)
    first, second = (list(video(generator, 4, seed)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], first[3])


def test_the_frames_are_those_rendered_one_by_one() -> None:
    """No frame is returned before it is complete, or overwritten while the caller uses it."""
    generator = drawn(256, half=True)
    played = video(generator, 12)
    frames = list(played)
    for latent, frame in zip(played.latents(), frames, strict=True):
        with torch.inference_mode():
            image = generator.synthesize(latent)[0].cpu()
        expected = ((image + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        assert np.abs(expected.astype(int) - frame).max() <= 2  # cuDNN may have chosen another algorithm


@pytest.mark.parametrize("seed", [None, 3])
def test_the_frame_loop_waits_for_events_only(seed: int | None) -> None:
    frames = iter(video(drawn(256, half=True), 10, seed))
    next(frames)
    torch.cuda.set_sync_debug_mode("error")
    assert len(list(frames)) == 9


def test_a_whole_prediction_stays_below_6_gb() -> None:
    """e4e and generator of full size on the GPU, one inversion and 90 frames of 1024²."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inverter = Inverter(EncoderConfig()).eval().use_half().cuda()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    bundle = Bundle("random", drawn(1024, half=True), inverter, {}, torch.device("cuda"))
    picture = torch.randint(
        0, 256, (256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    from PIL import Image

    latent = Animator(bundle).encode(Image.fromarray(picture.numpy()), aligned=True)
    assert latent.shape == (1, 18, 512)
    assert latent.dtype == torch.float32
    assert latent.isfinite().all()
    assert sum(1 for _ in video(bundle.generator, 90)) == 90
    assert torch.cuda.max_memory_reserved() < 6e9


def test_memory_does_not_grow_with_the_frames() -> None:
    generator = drawn(1024, half=True)
    peaks = []
    for frames in (5, 40):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        for _ in video(generator, frames):
            pass
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] <= peaks[0] + (8 << 20)


def test_a_full_gpu_is_reported_with_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    from micromotion.errors import DeviceMemoryError

    generator = drawn(256, half=True)

    def hungry(*_: object, **__: object) -> torch.Tensor:
        return torch.empty(1 << 50, dtype=torch.uint8, device="cuda")

    monkeypatch.setattr(generator, "synthesize", hungry)
    with pytest.raises(DeviceMemoryError, match=r"\d GB are free"):
        list(video(generator, 2))
