"""Shared fixtures: a small model bundle with random weights, and one real photo."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads: see micromotion.cli.main.main

import pytest

import micromotion

if TYPE_CHECKING:
    from hub_server import HubServer
    from misbehaving_server import MisbehavingServer
    from page_browser import Served
    from PIL import Image
    from playwright.sync_api import Browser
    from public_files import Offer
    from torch import Tensor

    from encoder4editing.identity import IdentityNet
    from micromotion import Animator
    from stylegan2 import Generator

# The process that starts the workers needs no PyTorch, and starts them sooner without it.
if "PYTEST_XDIST_WORKER" in os.environ:
    import torch

    torch.set_num_threads(1)  # one core for each worker

# Run in the background by a shell, the tests would ignore Ctrl-C, and so would the processes they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of user data for what fixtures of a module write, as credentials keep a root there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICROMOTION_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(autouse=True)
def _one_core() -> Iterator[None]:
    """A worker computes on one core, also after a test that configured its process as the service does."""
    yield
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


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
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MisbehavingServer]:
    """A file server on this machine; the user's proxies and tokens are not used."""
    from misbehaving_server import MisbehavingServer

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with MisbehavingServer() as running:
        yield running


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
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
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offer]:
    """The model `tiny` on a server, and its manifest, also for other processes."""
    from misbehaving_server import MisbehavingServer
    from public_files import Offer

    with MisbehavingServer() as server:
        offer = Offer(server, tmp_path)
        monkeypatch.setenv("MICROMOTION_MANIFEST", str(offer.manifest))
        yield offer


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """A Chromium; the test is skipped if there is none."""
    from page_browser import browser

    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running `micromotion page`, which contacts no other machine."""
    from page_browser import served

    with served(tmp_path_factory.mktemp("page")) as running:
        yield running
        assert running.asked_outside == [], "the server asked another machine"


@pytest.fixture(scope="session")
def random_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle folder with random weights and the motions smile and headsTurn; do not write into it."""
    from random_networks import save_random_bundle

    folder = tmp_path_factory.mktemp("bundle")
    save_random_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def generator() -> Generator:
    from random_networks import random_generator

    return random_generator()


@pytest.fixture(scope="module")
def identity() -> IdentityNet:
    from random_networks import random_identity

    return random_identity()


@pytest.fixture(scope="module")
def latent(generator: Generator) -> Tensor:
    from random_networks import random_code

    return random_code(generator)


@pytest.fixture(scope="module")
def image() -> Tensor:
    """A smooth picture, [1, 3, R, R], that no latent of the generator gives."""
    from random_networks import smooth_image

    return smooth_image()


@pytest.fixture(scope="module")
def animator(random_bundle: Path) -> Animator:
    """An animator of the bundle with random weights."""
    from micromotion import Animator

    return Animator.load(random_bundle, "cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle that can learn and play motions; do not write into it."""
    from learn_networks import save_playing_bundle

    return save_playing_bundle(tmp_path_factory.mktemp("model"))


@pytest.fixture
def predictor(model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The service's predictor of that bundle, as in its worker, in this process."""
    from service_worker import load

    return load(model, monkeypatch)


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """A real photo, 512×512, with one face and a second, false one on the suit."""
    from PIL import Image
    from skimage.data import astronaut as pixels

    return Image.fromarray(pixels())


@pytest.fixture(scope="session")
def astronaut_file(astronaut: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photo as a JPEG file."""
    path = tmp_path_factory.mktemp("photo") / "astronaut.jpg"
    astronaut.save(path, quality=95)
    return path
