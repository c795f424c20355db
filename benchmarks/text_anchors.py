"""Time and peak memory of collecting anchors from a sentence on a CPU: ours and the original's loop.

    python benchmarks/text_anchors.py                                  # 64², to check that it runs
    python benchmarks/text_anchors.py --size full                      # 1024², ViT-B/32, IR-SE50
    python benchmarks/text_anchors.py --size full --original CHECKOUT  # with the public code itself

The public code is a checkout of github.com/wuqiuche/micromotion-styleGAN, patched to stay on the CPU. Without
it its loop runs on our networks: one degree after the other, pictures enlarged seven times and averaged,
gradients of the weights computed and discarded. Each way runs in a process of its own; weights are random,
and nothing is downloaded. CPU seconds are less disturbed by other programs than wall time.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from encoder4editing import IdentityConfig, IdentityNet
from micromotion.inversion.gradients import frozen
from micromotion.learn.losses import TextLoss, text_features, tokenize
from micromotion.learn.template import DEFAULT_DEGREES, fill
from micromotion.learn.text import optimise, sample_identity
from micromotion.runtime.process import keep_memory
from stylegan2 import Generator, GeneratorConfig

SENTENCES = fill("a person with {degree} smile", DEFAULT_DEGREES)
STEPS = 40
RESOLUTIONS = {"tiny": 64, "full": 1024}
VIT_B32 = (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12)
TINY_VIT = (64, 224, 2, 128, 32, 77, 49408, 64, 1, 2)
Timed = tuple[float, float]


def main() -> None:
    """Measure what the command line selects and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(RESOLUTIONS), default="tiny")
    parser.add_argument("--original", type=Path, help="folder of the public code")
    parser.add_argument(
        "--sample", type=int, default=3, help="degrees of the loop that are timed, of 11 (default: 3)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--keep-memory", action="store_true", help="let glibc keep freed memory")
    given = parser.parse_args()
    ways: dict[str, Callable[..., Timed]] = {"convolutions alone": convolutions, "ours, side by side": ours}
    ways |= {"the original": original} if given.original else {"its loop, our networks": loop}
    print(f"{given.size}, {RESOLUTIONS[given.size]}², {given.threads} threads, torch {torch.__version__}")
    count = len(SENTENCES)
    print(f"{'':<20} {'a degree and step':^21} {f'{count} degrees, {STEPS} steps':^21}   peak")
    for name, way in ways.items():
        wall, cpu, peak = alone(way, given)
        whole = count * STEPS / 60
        print(
            f"{name:<20} {wall:7.2f} s {cpu:7.2f} CPU s {wall * whole:6.0f} min {cpu * whole:6.0f} CPU min "
            f"{peak:6.2f} GB",
            flush=True,
        )


def alone(way: Callable[..., Timed], given: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds and CPU seconds for a degree and step, and the peak memory in GB of a process that does it."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, way, given))
    process.start()
    sender.close()
    try:
        result: tuple[float, float, float] = receiver.recv()
    except EOFError:
        raise SystemExit(f"{way.__name__} failed, see above") from None
    finally:
        process.join()
    return result


def _work(sender: Any, way: Callable[..., Timed], given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    if given.keep_memory:
        keep_memory()
    torch.manual_seed(0)
    wall, cpu = way(given)
    sender.send((wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9))


def timed(work: Callable[[], object], per: int) -> Timed:
    """Seconds and CPU seconds of the second of two calls, for each of `per` things done in it."""
    work()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) / per, (time.process_time() - cpu) / per


def nets(size: str) -> tuple[Generator, Any, IdentityNet]:
    """Generator, CLIP and identity network of a size, with random weights."""
    from clip.model import CLIP

    generator = Generator(GeneratorConfig(RESOLUTIONS[size])).eval()
    clip = CLIP(*(VIT_B32 if size == "full" else TINY_VIT)).eval()
    return generator, clip, IdentityNet(IdentityConfig()).eval()


def ours(given: argparse.Namespace) -> Timed:
    """What `collect_from_text` does, all degrees in each of two steps."""
    return timed(our_step(given.size), len(SENTENCES))


def our_step(size: str, sentences: Sequence[str] = SENTENCES) -> Callable[[], object]:
    """One step for all degrees in one batch."""
    generator, clip, identity = nets(size)
    start = sample_identity(generator, 0)
    with torch.no_grad():
        judge = TextLoss(clip, identity, sentences, generator.synthesize(start[None]))
    return lambda: optimise(generator, judge, start, sentences, steps=1)


def loop(given: argparse.Namespace) -> Timed:
    """The original's loop on our networks; one step for some of the degrees."""
    generator, clip, identity = nets(given.size)
    start = sample_identity(generator, 0)[None]
    with torch.no_grad():
        person = identity.features(generator.synthesize(start))

    def losses(picture: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        seen = F.avg_pool2d(F.interpolate(picture, scale_factor=7), generator.resolution // 32)
        cosine = F.normalize(clip.encode_image(seen)) @ text_features(clip, [SENTENCES[0]]).T
        return 1 - clip.logit_scale.exp() * cosine / 100, identity.loss(picture, person)

    return timed(lambda: _one_by_one(generator.synthesize, losses, start, clip, given.sample), given.sample)


def original(given: argparse.Namespace) -> Timed:
    """The public code's networks and losses in its own loop; one step for some of the degrees."""
    return timed(original_step(given.original, given.size, given.sample), given.sample)


def original_step(folder: Path, size: str, count: int) -> Callable[[], object]:
    """One step of the public code for each of `count` degrees, one after the other."""

    def stay(self: Any, *_: Any, **__: Any) -> Any:
        return self

    torch.Tensor.cuda = torch.nn.Module.cuda = stay  # type: ignore[method-assign]  # their code expects a GPU
    sys.path.insert(0, str(folder.resolve()))
    import clip
    from StyleCLIP.criteria.clip_loss import CLIPLoss
    from StyleCLIP.criteria.id_loss import IDLoss
    from StyleCLIP.models.facial_recognition.model_irse import Backbone
    from StyleCLIP.models.stylegan2.model import Generator as TheirGenerator

    resolution = RESOLUTIONS[size]
    _, small, _ = nets(size) if size == "tiny" else (None, clip.model.CLIP(*VIT_B32).eval(), None)
    clip.load = lambda *_, **__: (small, None)
    file = Path(__file__).with_name(".ir_se50.tmp")
    try:  # its loss reads a file, which here holds only random numbers
        torch.save(Backbone(112, 50, "ir_se", 0.6).state_dict(), file)
        args = SimpleNamespace(stylegan_size=resolution, ir_se50_weights=str(file))
        clip_loss, identity_loss = CLIPLoss(args), IDLoss(args)
    finally:
        file.unlink(missing_ok=True)
    generator = TheirGenerator(resolution, 512, 8).eval()

    def synthesize(latents: Tensor) -> Tensor:
        picture: Tensor = generator([latents], input_is_latent=True, randomize_noise=False)[0]
        return picture

    with torch.no_grad():
        start = generator.get_latent(torch.randn(1, 512))[:, None].repeat(1, generator.n_latent, 1)
        person = synthesize(start)

    def losses(picture: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        return clip_loss(picture, ids), identity_loss(picture, person)[0]

    return lambda: _one_by_one(synthesize, losses, start, small, count)


def _one_by_one(
    synthesize: Callable[[Tensor], Tensor],
    losses: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    start: Tensor,
    clip: Any,
    count: int,
) -> None:
    """One step of the original's loop for each of `count` degrees, including the weights' gradients."""
    for sentence in SENTENCES[:count]:
        ids = tokenize([sentence], clip)
        latent = start.clone().requires_grad_()
        adam = torch.optim.Adam([latent], lr=0.1)
        fit, identity = losses(synthesize(latent), ids)
        loss = fit + 0.008 * (latent - start).square().sum() + 0.005 * identity
        adam.zero_grad()
        loss.sum().backward()
        adam.step()


def convolutions(given: argparse.Namespace) -> Timed:
    """The arithmetic that every way needs."""
    return timed(arithmetic(given.size), 1)


def arithmetic(size: str) -> Callable[[], object]:
    """For one degree: the generator's convolutions forward and backward, and the scores.

    The convolutions are one chain, without modulation, noise or filters between them.
    """
    generator, clip, identity = nets(size)
    layers = list(generator.synthesis.styled_convs)
    picture = torch.zeros(1, 3, generator.resolution, generator.resolution)

    def chain() -> None:
        x = generator.synthesis.constant.detach().requires_grad_()
        y = x.contiguous(memory_format=torch.channels_last)
        for layer in layers:
            if layer.up:
                y = F.conv_transpose2d(y, layer.weight.transpose(0, 1), stride=2)[:, :, :-1, :-1]
            else:
                y = F.conv2d(y, layer.weight, padding=1)
        torch.autograd.grad(y.mean(), x)

    def scores() -> None:
        image = F.adaptive_avg_pool2d(picture, 256).requires_grad_()
        seen = clip.encode_image(image[:, :, :224, :224]).sum() + identity.features(image).sum()
        torch.autograd.grad(seen, image)

    def both() -> None:
        with frozen(generator, clip, identity):
            chain()
            scores()

    return both


if __name__ == "__main__":
    main()
