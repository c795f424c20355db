"""Rewrite micromotion/photo/head.safetensors: the avatar world's mean head, seen from its front and side.

    python -m tools.head_model     # a minute on one core

The head is that of the latent z = 0, seen at yaws of 0, 10, 20 and 30 degrees to the picture's right in the
square that `micromotion.photo.registration` cuts out around a face; the other side is its mirror image.
`micromotion.photo.head` describes the file's contents.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from avatar.renderer.camera import camera_rays, crop_frame
from avatar.renderer.factors import Z_DIM, Factors, factors_from_z
from avatar.renderer.pose import MAX_YAW
from avatar.renderer.render import FAR, _cones, field, meet, render
from micromotion.face.landmarks import find_landmarks
from micromotion.photo.head import ASSET, DEPTH_UNIT, KIND, MIRROR, NOBODY, YAWS
from micromotion.photo.registration import LARGER
from micromotion.types import Floats
from stylegan2.checkpoints.storage import write_safetensors

ASSET_FILE = Path(__file__).resolve().parents[1] / "micromotion" / "photo" / ASSET
SIDE = 208  # grid points per side of a depth map: 346 kB in all
PICTURE = 512  # pixels per side of the picture in which dlib detects the landmarks
BOX = (0.2, 0.3, 0.8, 0.9)  # dlib's, of a face in FFHQ's crop


def main() -> None:
    """Write the file."""
    argparse.ArgumentParser(
        prog="python -m tools.head_model", description=__doc__.split("\n")[0]
    ).parse_args()
    torch.set_grad_enabled(False)
    depths, frames, landmarks = [], [], []
    for yaw in YAWS:
        factors = mean_head(yaw)
        depths.append(depth_map(factors))
        frames.append([float(value) for value in crop_frame(factors)])
        landmarks.append(read_landmarks(factors))
    depths[0] = np.where(depths[0] == NOBODY, depths[0][:, ::-1], depths[0])  # bit-exactly symmetric
    depths[0] = ((depths[0].astype(np.int32) + depths[0][:, ::-1]) // 2).astype(np.int16)
    landmarks[0] = (landmarks[0] + (landmarks[0] * (-1, 1) + (1, 0))[MIRROR]) / 2
    state = {
        "depth": torch.from_numpy(np.stack(depths)),
        "frame": torch.tensor(frames, dtype=torch.float32),
        "landmarks": torch.from_numpy(np.stack(landmarks)).float(),
    }
    write_safetensors(ASSET_FILE, KIND, {}, state)
    print(f"{ASSET_FILE.name}: {ASSET_FILE.stat().st_size // 1000} kB")


def mean_head(yaw: float) -> Factors:
    """The factors of the latent z = 0, turned by so many degrees to the picture's right."""
    factors = factors_from_z(torch.zeros(1, Z_DIM))
    factors["yaw"][:] = np.radians(yaw) / MAX_YAW
    return factors


def depth_map(factors: Factors) -> np.ndarray:
    """The z of the visible surface at each grid point of the square around the face, int16 [SIDE, SIDE]."""
    rays = camera_rays(factors, SIDE, 1, 1 / LARGER)
    distance = meet(field, factors, rays, _cones(field, factors, SIDE, 1 / LARGER))
    z = rays.at(distance)[2]
    depth = torch.where(distance < FAR - 0.01, (z / DEPTH_UNIT).round(), torch.full_like(z, NOBODY))
    return depth.short().reshape(SIDE, SIDE).numpy()


def read_landmarks(factors: Factors) -> Floats:
    """dlib's landmarks [68, 2] of the rendered head, relative to FFHQ's crop."""
    pixels = (render(factors, PICTURE)[0].movedim(0, -1) + 1) * 127.5
    picture = Image.fromarray(pixels.round().byte().numpy())
    left, top, right, bottom = (round(PICTURE * part) for part in BOX)
    return (find_landmarks(picture, (left, top, right, bottom)) + 0.5) / PICTURE


if __name__ == "__main__":
    main()
