"""Shared fixtures: a small model bundle with random weights, and one real photo."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads: see micromotion.cli.main.main

import pytest
import torch
from PIL import Image
from torch import Tensor

import micromotion
from encoder4editing import EncoderConfig, Inverter
from encoder4editing.identity import IdentityConfig, IdentityNet
from micromotion import Animator
from micromotion.motion.micromotion import Anchors
from micromotion.weights.bundle import save_bundle
from stylegan2 import Generator, GeneratorConfig

if TYPE_CHECKING:
    from hub_server import HubServer
    from misbehaving_server import MisbehavingServer
    from page_browser import Served
    from playwright.sync_api import Browser
    from public_files import Offer

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # one core for each worker

# Run in the background by a shell, the tests would ignore Ctrl-C, and so would the processes they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

RESOLUTION, STYLES, STYLE_DIM = 32, 8, 16


def random_generator() -> Generator:
    """A generator of 32×32 pixels and 8 styles of 16, with random noise strengths (fresh ones are zero)."""
    rng = torch.Generator().manual_seed(1)
    widths = {4: 16, 8: 16, 16: 8, 32: 8}
    config = GeneratorConfig(RESOLUTION, STYLE_DIM, z_dim=STYLE_DIM, mapping_layers=2, channels=widths)
    generator = Generator(config, rng)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if "noise_strength" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
            if ".to_rgbs." in f".{name}" and name.endswith("weight") and parameter.ndim == 4:
                parameter.mul_(0.2)  # so that most pixels are within [-1, 1]
    return generator.eval()


def same(one: Generator, other: Generator) -> bool:
    """Whether all parameters and buffers are equal."""
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def random_inverter(num_styles: int = STYLES) -> Inverter:
    """An inverter that reads 32×32 pixels."""
    config = EncoderConfig(
        input_size=32,
        num_styles=num_styles,
        style_dim=STYLE_DIM,
        widths=(8, 8, 8, 8),
        depths=(1, 1, 1, 1),
        fpn_width=8,
        head_width=8,
        se_reduction=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Inverter(config).eval()


def random_identity() -> IdentityNet:
    """An identity network that reads 16×16 pixels and gives 8 features."""
    rng = torch.Generator().manual_seed(4)
    return IdentityNet(IdentityConfig(16, 8, (8, 8), (1, 1), 2), rng).eval().requires_grad_(False)


def random_code(generator: Generator) -> Tensor:
    """A random latent of this generator, [1, styles, dim]."""
    z = torch.randn(1, STYLE_DIM, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return generator.mapping(z)[:, None].repeat(1, STYLES, 1)


def zero_code(generator: Generator) -> Tensor:
    """A latent of the right shape, [1, styles, dim]."""
    return torch.zeros(1, generator.num_styles, generator.style_dim)


def random_anchors(seed: int) -> Anchors:
    """Six latents on a straight line."""
    rng = torch.Generator().manual_seed(seed)
    still, direction = torch.randn(2, STYLES, STYLE_DIM, generator=rng)
    degrees = torch.linspace(0, 1, 6)
    return Anchors(still + degrees[:, None, None] * direction, degrees, {"source": "random"})


@pytest.fixture(scope="session", autouse=True)
def _data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of user data for what fixtures of a module write, as credentials keep a root there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICROMOTION_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for each test, and an empty folder of learned micromotions beside it.

    No test finds the user's own. Other processes run the package under test, installed or not.
    """
    monkeypatch.setenv("PYTHONPATH", str(Path(micromotion.__file__).parent.parent), prepend=os.pathsep)
    folder = tmp_path_factory.mktemp("cache", numbered=True)
    monkeypatch.setenv("MICROMOTION_CACHE", str(folder))
    monkeypatch.setenv("MICROMOTION_DATA", str(folder.with_name(f"{folder.name}-data")))
    for name in ("MANIFEST", "MODEL", "FETCH", "LANDMARKS", "CREDENTIALS"):
        monkeypatch.delenv(f"MICROMOTION_{name}", raising=False)
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> "Iterator[MisbehavingServer]":
    """A file server on this machine; the user's proxies and tokens are not used."""
    from misbehaving_server import MisbehavingServer

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with MisbehavingServer() as running:
        yield running


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Iterator[HubServer]":
    """A Hugging Face hub on this machine, which the library uses, with an empty cache and no token."""
    from hub_server import HubServer, use_server

    with HubServer() as running:
        use_server(monkeypatch, running.base, tmp_path / "hub-home")
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The target of a download, in a folder that does not exist yet."""
    return tmp_path / "models" / "weights.pt"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; temporary files go to a folder beside it."""
    folder, temporary = tmp_path / "desk", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.delenv("MICROMOTION_DEBUG", raising=False)
    return folder


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Offer]":
    """The model `tiny` on a server, and its manifest, also for other processes."""
    from misbehaving_server import MisbehavingServer
    from public_files import Offer

    with MisbehavingServer() as server:
        offer = Offer(server, tmp_path)
        monkeypatch.setenv("MICROMOTION_MANIFEST", str(offer.manifest))
        yield offer


@pytest.fixture(scope="module")
def chrome() -> "Iterator[Browser]":
    """A Chromium; the test is skipped if there is none."""
    from page_browser import browser

    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Served]":
    """A running `micromotion page`, which contacts no other machine."""
    from page_browser import served

    with served(tmp_path_factory.mktemp("page")) as running:
        yield running
        assert running.asked_outside == [], "the server asked another machine"


@pytest.fixture(scope="session")
def random_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle folder with random weights and the motions smile and headsTurn; do not write into it."""
    folder = tmp_path_factory.mktemp("bundle")
    save_bundle(
        folder,
        name="random",
        generator=random_generator(),
        inverter=random_inverter(),
        about={"training": "none, random weights"},
    )
    (folder / "anchors").mkdir()
    for seed, motion in enumerate(("smile", "headsTurn")):
        random_anchors(seed).save(folder / "anchors" / f"{motion}.safetensors")
    return folder


@pytest.fixture(scope="module")
def generator() -> Generator:
    return random_generator()


@pytest.fixture(scope="module")
def identity() -> IdentityNet:
    return random_identity()


@pytest.fixture(scope="module")
def latent(generator: Generator) -> Tensor:
    return random_code(generator)


@pytest.fixture(scope="module")
def image() -> Tensor:
    """A smooth picture, [1, 3, R, R], that no latent of the generator gives."""
    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, RESOLUTION, mode="bicubic").clamp(-1, 1)


@pytest.fixture(scope="module")
def animator(random_bundle: Path) -> Animator:
    """An animator of the bundle with random weights."""
    return Animator.load(random_bundle, "cpu")


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """A real photo, 512×512, with one face and a second, false one on the suit."""
    from skimage.data import astronaut as pixels

    return Image.fromarray(pixels())


@pytest.fixture(scope="session")
def astronaut_file(astronaut: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photo as a JPEG file."""
    path = tmp_path_factory.mktemp("photo") / "astronaut.jpg"
    astronaut.save(path, quality=95)
    return path
