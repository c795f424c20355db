"""Tiny checkpoints in the public formats, a server that offers them, and its manifest."""

from __future__ import annotations

import bz2
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from encoder4editing_reference import (
    TINY,
    make_generator,
    make_inverter,
    make_restyle,
    published_decoder,
    published_state,
)
from identity_reference import published_state as published_identity
from misbehaving_server import Behaviour, File, MisbehavingServer

SHAPE = dataclasses.replace(TINY, num_styles=10)  # of a 64² generator
OPTIONAL = {
    "identity": "arcface.pth",
    "clip": "clip.pt",
    "restyle": "restyle.pt",
    "rosinality": "rosinality.pt",
}
MOTIONS = {"smile": 1, "headsTurn": 2}

HEADER = """
format = "micromotion-manifest/1"
landmarks = "landmarks.dat"
[licences.free]
name = "MIT"
commercial = true
link = "https://example.org/mit"
[licences.nc]
name = "CC BY-NC"
commercial = false
link = "https://example.org/nc"
[models.tiny]
purpose = "for tests"
files = ["e4e.pt"]
motions = MOTIONS
[models.tiny.optional]"""


def write_e4e(path: Path, seed: int = 0) -> Path:
    """Write an encoder and a generator as e4e's authors publish them."""
    inverter, generator = make_inverter(SHAPE, seed), make_generator(SHAPE)
    state = published_state(inverter) | published_decoder(generator)
    opts = {"encoder_type": "Encoder4Editing", "start_from_latent_avg": True, "stylegan_size": 32}
    average = generator.latent_avg.expand(SHAPE.num_styles, SHAPE.style_dim).clone()
    torch.save({"state_dict": state, "latent_avg": average, "opts": opts}, path)
    return path


def write_restyle(path: Path, *, decoder: bool = True) -> Path:
    """Write a ReStyle-e4e checkpoint; its decoder differs from `write_e4e`'s, to tell the two apart."""
    inverter = make_restyle()
    state = published_state(inverter)
    if decoder:
        state |= {name: -tensor for name, tensor in published_decoder(inverter.generator).items()}
        state |= {n: t for n, t in published_decoder(inverter.generator).items() if n.endswith("kernel")}
    opts = {"encoder_type": "Encoder4Editing", "input_nc": 6, "start_from_latent_avg": True}
    torch.save({"state_dict": state, "latent_avg": inverter.latent_avg, "opts": opts}, path)
    return path


def write_rosinality(path: Path) -> Path:
    """Write a generator alone; its mean latent differs from `write_e4e`'s."""
    generator = make_generator(SHAPE)
    state = {name.removeprefix("decoder."): tensor for name, tensor in published_decoder(generator).items()}
    torch.save({"g_ema": state, "latent_avg": torch.full((SHAPE.style_dim,), 0.25)}, path)
    return path


def write_identity(path: Path) -> Path:
    torch.save(published_identity(), path)
    return path


def write_clip(path: Path) -> Path:
    """Write a CLIP model of one layer, as a state dict."""
    from clip.model import CLIP

    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = CLIP(64, 32, 1, 64, 16, context_length=8, vocab_size=50, transformer_width=64,
                     transformer_heads=1, transformer_layers=1)  # fmt: skip
    torch.save(model.state_dict(), path)
    return path


def write_d_latent(path: Path, seed: int, styles: int = SHAPE.num_styles) -> Path:
    """Write a direction as the method's authors publish theirs: [1, styles, dim]."""
    rng = torch.Generator().manual_seed(seed)
    path.parent.mkdir(exist_ok=True)
    torch.save(0.1 * torch.randn(1, styles, SHAPE.style_dim, generator=rng), path)
    return path


class Offer:
    """Public files on a local server, and their manifest at `manifest`: the model `tiny`, and landmarks."""

    def __init__(self, server: MisbehavingServer, folder: Path) -> None:
        self.server = server
        self.manifest = folder / "offer.toml"
        self.files: dict[str, bytes] = {}
        self.hashes: dict[str, str | None] = {}
        (folder / "public").mkdir()
        written = [
            write_e4e(folder / "public/e4e.pt"),
            write_identity(folder / "public/arcface.pth"),
            write_clip(folder / "public/clip.pt"),
            write_restyle(folder / "public/restyle.pt"),
            write_rosinality(folder / "public/rosinality.pt"),
            *(write_d_latent(folder / f"public/{name}.d_latent", seed) for name, seed in MOTIONS.items()),
        ]
        for path in written:
            self.files[path.name] = path.read_bytes()
            self.hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
            server.add(f"/{path.name}", File(path.read_bytes()))
        self.hashes["restyle.pt"] = None  # not published
        landmarks = b"dlib's model " * 1000
        self.files["landmarks.dat"], self.hashes["landmarks.dat"] = (
            landmarks,
            hashlib.sha256(landmarks).hexdigest(),
        )
        server.add("/landmarks.dat", File(bz2.compress(landmarks)))
        self.write()

    def behave(self, name: str, behaviour: Behaviour) -> None:
        self.server.add(f"/{name}", behaviour)

    def asked(self) -> list[str]:
        """The requested files, in order, since the last `forget`."""
        return [request.path.removeprefix("/") for request in self.server.requests]

    def forget(self) -> None:
        self.server.requests.clear()

    def write(self, sources: Mapping[str, Iterable[str]] | None = None) -> None:
        """Write the manifest; `sources` replaces the addresses of some files."""
        motions = json.dumps([f"{name}.d_latent" for name in MOTIONS])
        lines = [
            HEADER.replace("MOTIONS", motions),
            *(f'{name} = "{file}"' for name, file in OPTIONAL.items()),
        ]
        for name, content in self.files.items():
            licence = "nc" if name == "e4e.pt" else "free"
            lines += [f'[files."{name}"]', 'purpose = "a part"', f'licence = "{licence}"']
            if (digest := self.hashes[name]) is not None:
                lines += [f"bytes = {len(content)}", f'sha256 = "{digest}"']
            unpack = ', unpack = "bz2"' if name == "landmarks.dat" else ""
            addresses = (sources or {}).get(name, [self.server.url(f"/{name}")])
            listed = ", ".join(f'{{ url = "{address}"{unpack} }}' for address in addresses)
            lines += [f"sources = [{listed}]"]
        self.manifest.write_text("\n".join(lines) + "\n")
