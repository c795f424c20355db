"""ICC profiles, written byte by byte (ICC.1:2010): for RGB, gray and CMYK."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
D50 = np.array([0.9642, 1.0, 0.8249])
D65 = np.array([0.9505, 1.0, 1.0891])


@dataclass(frozen=True)
class Curve:
    """A gamma curve: light is value ** power."""

    power: float

    def encoded(self, light: Floats) -> Floats:
        return light ** (1 / self.power)

    def tag(self) -> bytes:
        return b"curv" + bytes(4) + struct.pack(">IH", 1, round(self.power * 256)) + bytes(2)


def _space(white: Floats, *corners: tuple[float, float]) -> Floats:
    """From linear light to XYZ under D50, [3, 3], for the primaries' x and y; its white becomes D50's."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in corners]).T
    matrix = columns * np.linalg.solve(columns, white)
    cones = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adapted = (
        np.linalg.inv(cones) @ np.diag((cones @ D50) / (cones @ white)) @ cones
    )  # the Bradford transform
    return np.asarray(adapted @ matrix)


SRGB = _space(D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3 = _space(D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
PROPHOTO = _space(D50, (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))


def rgb_profile(space: Floats, curve: Curve) -> bytes:
    """The profile of a screen: three primaries and one curve."""
    columns = {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), space.T, strict=True)}
    curves = {name: curve.tag() for name in (b"rTRC", b"gTRC", b"bTRC")}
    return _profile(b"mntr", b"RGB ", b"XYZ ", columns | curves)


def gray_profile(curve: Curve) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve.tag()})


def ink_profile() -> bytes:
    """The profile of a press: a share a of cyan leaves (1 − a)^1.5 of red, in sRGB values, and so on."""
    steps = 17
    ramp = np.linspace(0, 1, steps)
    cyan, magenta, yellow, black = np.meshgrid(ramp, ramp, ramp, ramp, indexing="ij")
    values = (1 - np.stack([cyan, magenta, yellow], axis=-1)) ** 1.5 * (1 - black[..., None])
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    relative = (light @ SRGB.T) / D50
    root = np.where(relative > 216 / 24389, np.cbrt(relative), (24389 / 27 * relative + 16) / 116)
    lab = np.stack(
        [
            (116 * root[..., 1] - 16) * 652.8,
            (500 * (root[..., 0] - root[..., 1]) + 128) * 256,
            (200 * (root[..., 1] - root[..., 2]) + 128) * 256,
        ],
        axis=-1,
    )
    table = np.rint(lab).clip(0, 65535).astype(">u2").tobytes()
    even = struct.pack(">2H", 0, 65535)
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    head = b"mft2" + bytes(4) + struct.pack(">4B", 4, 3, steps, 0) + identity + struct.pack(">2H", 2, 2)
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": head + even * 4 + table + even * 3})


def _xyz(values: Floats) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))


def _profile(kind: bytes, colours: bytes, through: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"ours\0" + bytes(78), **tags}
    tags |= {b"wtpt": _xyz(D50), b"cprt": b"text" + bytes(4) + b"none\0"}
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4xI", 132 + 12 * len(tags) + len(body), 0x02400000)[:12] + kind + colours + through
    head += bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(65536 * value) for value in D50))
    return head.ljust(128, b"\0") + table + body
