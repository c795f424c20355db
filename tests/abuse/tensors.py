"""Motion files and bundles whose tensors are missing, extra, huge, not finite or of another shape."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hostile_pickles
import numpy as np
import torch

from abuse.items import FAILED, REFUSED, Command, Content, Item, Request, data_url, expected

FORMAT = "micromotion/1"
Arrays = dict[str, np.ndarray]


def safetensors(arrays: Arrays, metadata: object = None, **header: object) -> bytes:
    """A safetensors file of these float32 arrays; metadata and header entries replace the correct ones."""
    kind = {"format": FORMAT, "kind": "anchors", "provenance": "{}"}
    entries: dict[str, Any] = {"__metadata__": kind if metadata is None else metadata}
    body = b""
    for name, array in arrays.items():
        data = array.astype(np.float32).tobytes()
        place = [len(body), len(body) + len(data)]
        entries[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": place}
        body += data
    text = json.dumps({**entries, **header}).encode()
    return struct.pack("<Q", len(text)) + text + body


def anchors(styles: int, dim: int, count: int = 6) -> Arrays:
    rng = np.random.default_rng(3)
    return {"w_plus": rng.normal(size=(count, styles, dim)), "degrees": np.linspace(0, 1, count)}


def _with(arrays: Arrays, name: str, at: tuple[int, ...], value: float) -> Arrays:
    changed = arrays[name].copy()
    changed[at] = value
    return {**arrays, name: changed}


def motion_files(styles: int, dim: int) -> dict[str, Content]:
    """Invalid motion files for a model with this many styles and dimensions."""
    good = anchors(styles, dim)
    headers = {name: partial(safetensors, good, **each) for name, each in _headers(good).items()}
    told = {name: partial(safetensors, good, each) for name, each in _metadata().items()}
    return _wrong_numbers(good) | headers | told | _wrong_bytes(safetensors(good))


def _wrong_numbers(good: Arrays) -> dict[str, Content]:
    """Well-formed files whose tensors cannot be anchors."""
    _, styles, dim = good["w_plus"].shape
    arrays: dict[str, Arrays] = {
        "no tensors": {},
        "without degrees": {"w_plus": good["w_plus"]},
        "without codes": {"degrees": good["degrees"]},
        "one tensor more": {**good, "extra": np.zeros(3)},
        "10,000 tensors": {f"t{i}": np.zeros(1) for i in range(10_000)},
        "NaN in a code": _with(good, "w_plus", (0, 0, 0), np.nan),
        "infinity in a code": _with(good, "w_plus", (0, 0, 0), np.inf),
        "NaN in a degree": _with(good, "degrees", (3,), np.nan),
        "−infinity in a degree": _with(good, "degrees", (0,), -np.inf),
        "codes of ±3e38": {**good, "w_plus": np.sign(good["w_plus"]) * 3e38},
        "degrees a hair apart": {**good, "degrees": np.arange(6) * 1e-45},
        "degrees that fall": {**good, "degrees": good["degrees"][::-1]},
        "equal degrees": {**good, "degrees": np.zeros(6)},
        "one anchor": anchors(styles, dim, 1),
        "129 anchors": anchors(styles, dim, 129),
        "fewer degrees than codes": {**good, "degrees": good["degrees"][:4]},
        "codes with an axis more": {**good, "w_plus": good["w_plus"][..., None]},
        "flat codes": {**good, "w_plus": good["w_plus"].reshape(6, -1)},
        "no numbers": {"w_plus": np.zeros((6, 0, dim)), "degrees": good["degrees"]},
        "another model's shape": anchors(18, 512),
        "one style more": anchors(styles + 1, dim),
        "7 MB of another shape": anchors(64, 512, 50),
    }
    return {name: partial(safetensors, each) for name, each in arrays.items()}


def _headers(good: Arrays) -> dict[str, dict[str, object]]:
    """Files with false headers."""
    _, styles, dim = good["w_plus"].shape
    size = good["w_plus"].nbytes // 2
    return {
        "a shape of 2⁶⁰": {"w_plus": _entry([2**30, 2**30], [0, size])},
        "a shape that overflows": {"w_plus": _entry([2**63, 2], [0, size])},
        "a negative shape": {"w_plus": _entry([-6, styles, dim], [0, size])},
        "a shape of words": {"w_plus": _entry(["6"], [0, size])},
        "offsets beyond the end": {"w_plus": _entry([6, styles, dim], [0, 2**40])},
        "offsets that run backwards": {"w_plus": _entry([6, styles, dim], [size, 0])},
        "offsets that overlap": {"degrees": _entry([6], [0, 24])},
        "float64": {"w_plus": {**_entry([6, styles, dim // 2], [0, size]), "dtype": "F64"}},
        "integers": {"w_plus": {**_entry([6, styles, dim], [0, size]), "dtype": "I32"}},
        "an unknown type of number": {"w_plus": {**_entry([6, styles, dim], [0, size]), "dtype": "F7"}},
        "metadata that is a list": {"__metadata__": []},
        "metadata of numbers": {"__metadata__": {"format": 1}},
    }


def _metadata() -> dict[str, dict[str, str]]:
    """Files with invalid metadata."""
    sound = {"format": FORMAT, "kind": "anchors"}
    provenances = {
        "not JSON": "{",
        "a list": "[]",
        "deep": "[" * 50_000,
        "with NaN": '{"a": NaN}',
        "nested": '{"a": {}}',
    }
    return {
        **{f"provenance {name}": {**sound, "provenance": text} for name, text in provenances.items()},
        "metadata none": {},
        "metadata of networks": {"format": FORMAT, "kind": "generator"},
        "a path that is none": {**sound, "provenance": '{"path": "spiral"}'},
    }


def _wrong_bytes(whole: bytes) -> dict[str, Content]:
    """Files that are not safetensors, or damaged ones."""
    return {
        "nothing": bytes,
        "eight zeros": lambda: bytes(8),
        "a header of 2⁶³": lambda: struct.pack("<Q", 2**63) + whole[8:],
        "a header of 99 MB": lambda: struct.pack("<Q", 99 << 20) + whole[8:],
        "a header that is no JSON": lambda: struct.pack("<Q", 9) + b"{not json" + bytes(99),
        "a header of lists of lists": lambda: struct.pack("<Q", 100_000) + b'{"a":' + b"[" * 99_995,
        "a header with a name twice": lambda: struct.pack("<Q", 19) + b'{"a":null,"a":null}',
        "33 MB": lambda: whole + bytes(33 << 20),
        "half of it": lambda: whole[: len(whole) // 2],
        "one byte short": lambda: whole[:-1],
        "one byte more": lambda: whole + b"\0",
        "text": lambda: b"This is not a motion.\n" * 40,
        "a pickle": lambda: pickle.dumps({"w_plus": [1.0]}),
        "JPEG's head": lambda: b"\xff\xd8\xff\xe0" + bytes(99),
    }


def _entry(shape: Sequence[object], place: list[int]) -> dict[str, object]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": place}


def uploads(photo: str, styles: int, dim: int) -> Iterator[Item]:
    """Motion files over HTTP, including hostile pickles that plain Python would load."""
    for name, content in motion_files(styles, dim).items():
        yield Request(
            "motion files", f"motion file: {name}", partial(_body, photo, content), expected(FAILED)
        )
    programs = hostile_pickles.programs(Path("sprung")) | hostile_pickles.bombs()
    for name, stream in list(programs.items())[::6]:
        content = partial(bytes, stream)
        yield Request("motion files", f"pickle: {name}", partial(_body, photo, content), expected(FAILED))
    for name, url in {"a path": "/etc/passwd", "a file URL": "file:///etc/passwd", "nothing": ""}.items():
        body = {"input": {"image": photo, "frames": 1, "motion_file": url}}
        yield Request(
            "motion files", f"motion file from {name}", partial(dict, body), expected(FAILED), "URL"
        )


def _body(photo: str, content: Content) -> object:
    sent = data_url(content(), "application/octet-stream")
    return {"input": {"image": photo, "frames": 1, "motion_file": sent}}


# --- bundles, at the command line --------------------------------------------------------------------------


def bundles(model: Path, photo: Path) -> Iterator[Item]:
    """Bundles from strangers, each a folder: copies of the good `model` with a defect."""
    for name, spoil in _SPOILT.items():
        arguments = partial(_animate, model, photo, spoil)
        yield Command("bundles", f"bundle: {name}", arguments, expected(FAILED, REFUSED))
    for name, (what, stream) in _streams().items():
        arguments = partial(_animate, model, photo, partial(_overwrite, what, stream))
        yield Command("bundles", f"bundle: {name}", arguments, expected(FAILED))


def _animate(model: Path, photo: Path, spoil: Any, folder: Path) -> Sequence[str]:
    copied = folder / "model"
    shutil.copytree(model, copied)
    spoil(copied)
    return ["animate", str(photo), "--model", str(copied), "--frames", "1", "-o", str(folder / "video.gif")]


def _overwrite(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)


def _change(name: str, how: Any, folder: Path) -> None:
    """Read a network's file, change its dictionary of tensors, and write it again."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = folder / name
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = {key: value.clone() for key, value in load_file(path).items()}
    path.unlink()
    save_file(how(tensors), path, metadata)


def _fill(value: float) -> Any:
    return lambda tensors: {
        key: torch.full_like(each, value) if each.is_floating_point() else each
        for key, each in tensors.items()
    }


def _drop(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(list(tensors.items())[1:])


def _extra(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**tensors, "extra": torch.zeros(3)}


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: each.flatten()[:1].clone() if each.ndim else each for key, each in tensors.items()}


def _config(text: str, folder: Path) -> None:
    """Replace the configuration in the generator's file."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = folder / "generator.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), "config": text}
    tensors = {key: value.clone() for key, value in load_file(path).items()}
    path.unlink()
    save_file(tensors, path, metadata)


def _removed(name: str, folder: Path) -> None:
    (folder / name).unlink()


def _as_folder(name: str, folder: Path) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()


GENERATOR, INVERTER, ABOUT, SMILE = (
    "generator.safetensors",
    "inverter.safetensors",
    "bundle.json",
    "anchors/smile.safetensors",
)
_HUGE = (
    '{"resolution": 1048576, "style_dim": 1048576, "z_dim": 1, "mapping_layers": 1000000, '
    '"channels": {"4": 1000000}}'
)
_SPOILT = {
    "no generator": partial(_removed, GENERATOR),
    "no inverter": partial(_removed, INVERTER),
    "no description": partial(_removed, ABOUT),
    "no such motion": partial(_removed, SMILE),
    "a folder in place of the generator": partial(_as_folder, GENERATOR),
    "a description of 2 MB": partial(_overwrite, ABOUT, b"{" + b" " * (2 << 20) + b"}"),
    "a description of lists of lists": partial(_overwrite, ABOUT, b"[" * 100_000),
    "a description that is a list": partial(_overwrite, ABOUT, b"[]"),
    "a description in another alphabet": partial(_overwrite, ABOUT, b"\xff\xfe\0\0"),
    "another format": partial(_overwrite, ABOUT, b'{"format": "micromotion-bundle/99", "name": "x"}'),
    "an empty generator": partial(_overwrite, GENERATOR, b""),
    "a text as the generator": partial(_overwrite, GENERATOR, b"weights\n" * 99),
    "a header of 2⁶³": partial(_overwrite, GENERATOR, struct.pack("<Q", 2**63) + b"{}"),
    "the generator of NaN": partial(_change, GENERATOR, _fill(float("nan"))),
    "the generator of infinity": partial(_change, GENERATOR, _fill(float("inf"))),
    "the generator of 3e38": partial(_change, GENERATOR, _fill(3e38)),
    "the inverter of NaN": partial(_change, INVERTER, _fill(float("nan"))),
    "a tensor less": partial(_change, GENERATOR, _drop),
    "a tensor more": partial(_change, GENERATOR, _extra),
    "tensors of one number": partial(_change, GENERATOR, _shapes),
    "the inverter in the generator's place": lambda folder: shutil.copyfile(
        folder / INVERTER, folder / GENERATOR
    ),
    "a configuration that is none": partial(_config, "[]"),
    "a huge configuration": partial(_config, _HUGE),
    "a configuration of words": partial(_config, '{"resolution": "large"}'),
    "a motion of NaN": partial(
        _overwrite, SMILE, safetensors(_with(anchors(8, 16), "w_plus", (0, 0, 0), np.nan))
    ),
    "a motion of another shape": partial(_overwrite, SMILE, safetensors(anchors(18, 512))),
}


def _streams() -> dict[str, tuple[str, bytes]]:
    """A few pickles that Python's own unpickler would execute, as the generator's file and as a motion's."""
    programs = list(hostile_pickles.programs(Path("sprung")).items())
    return {
        f"{name} as {what}": (file, stream)
        for (name, stream) in programs[::5]
        for what, file in (("generator", GENERATOR), ("motion", SMILE))
    }
