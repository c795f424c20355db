"""Light: a key from any side, sky and bounce, a rim from behind, and the backdrop."""

from torch import Tensor

from avatar.renderer.colour import Colour, Material, from_hue, mix
from avatar.renderer.factors import Factors
from avatar.renderer.pose import Vector
from avatar.renderer.sdf import bump, length, smoothstep


def sunlight(f: Factors) -> Vector:
    """Unit vector [B, 1] towards the key light."""
    az, el = 0.8 * f["light_azimuth"], 0.15 + 0.75 * f["light_elevation"]
    return az.sin() * el.cos(), el.sin(), az.cos() * el.cos()


def lit(
    f: Factors, material: Material, normal: Vector, along: Vector, open_sky: Tensor, sun: Tensor
) -> Colour:
    """Light a surface.

    Args:
        f: factors.
        material: what the surface does with light.
        normal: unit normals [B, N].
        along: unit tangents of strands [B, N], for hair.
        open_sky: ambient occlusion, 1 in the open.
        sun: shadow of the key light, 1 where it is unobstructed.
    """
    nx, ny, nz = normal
    lx, ly, lz = sunlight(f)
    facing = nx * lx + ny * ly + nz * lz
    warm = f["light_warmth"]
    shade = 0.45 + 0.55 * sun
    sky = (0.14 + 0.80 * f["fill"]) * (0.68 + 0.32 * ny) * open_sky
    bounce = 0.10 * (1 - ny) * open_sky
    rim = (1 - nz).clamp(0, 1).pow(3) * 0.40 * open_sky * (0.55 - 0.45 * nx * lx.sign())
    highlight = _highlight(material, (lx, ly, lz), normal, along) * shade
    # Red light travels farthest under skin: it wraps around the edge of shade.
    seep = material.soft * open_sky
    key = [
        ((facing + wrap) / (1 + wrap)).clamp(min=0) * shade
        for wrap in (0.28 + 0.34 * seep, 0.28 + 0.20 * seep, 0.28 + 0.14 * seep)
    ]
    tint_key = 1.20 * (1.0 + 0.09 * warm), 1.10 + 0 * warm, 1.01 - 0.12 * warm
    tint_sky = 0.94 - 0.05 * warm, 0.98 + 0 * warm, 1.06 + 0.05 * warm
    seeping = material.soft * bump(facing + 0.02, 0.40) * 0.05 * shade
    lights = [
        key[i] * tint_key[i]
        + sky * tint_sky[i]
        + bounce * (1.2, 1.0, 0.85)[i]
        + rim
        + (1.2, 0.2, 0.0)[i] * seeping
        for i in range(3)
    ]
    red, green, blue = (
        _shoulder(c * light + highlight) for c, light in zip(material.colour, lights, strict=True)
    )
    return red, green, blue


def _highlight(material: Material, light: Vector, normal: Vector, along: Vector) -> Tensor:
    """Blinn's highlight, and for hair that of strands (Kajiya and Kay 1989)."""
    nx, ny, nz = normal
    hx, hy, hz = light[0], light[1], light[2] + 1
    norm = length(hx, hy, hz)
    gloss = ((nx * hx + ny * hy + nz * hz) / norm).clamp(min=0)
    smooth = (gloss.pow(12) * 0.65 + gloss.pow(50) * 0.35) * material.shine
    across = (along[0] * hx + along[1] * hy + along[2] * hz) / norm
    sheen = (1 - across.square()).clamp(min=0).pow(30) * gloss
    bright = 0.06 + 0.30 * (material.colour[0] + material.colour[1]).clamp(max=0.5)
    return smooth * (1 - material.hair) + sheen * bright * material.hair


def _shoulder(c: Tensor) -> Tensor:
    """Keep the bright end from clipping: linear below 0.6, bending towards 1."""
    over = (c - 0.6).clamp(min=0)
    return c.clamp(max=0.6) + 0.4 * over / (over + 0.4)


def background(f: Factors, u: Tensor, v: Tensor) -> Colour:
    """A studio backdrop over picture coordinates u, v in [-1, 1].

    It has one hue, and is lighter on the side away from the key light.
    """
    glow = 1.18 - 0.42 * length(u + 0.5 * f["light_azimuth"].sin(), v - 0.1)
    value = ((0.12 + 0.9 * f["background_value"]) * glow).clamp(0.02, 1.0)
    flat = from_hue(f["background_hue"], f["background_saturation"], value)
    warm = from_hue(f["background_hue"] + 0.06, f["background_saturation"], value)
    return mix(flat, warm, smoothstep(0.6, -1.0, v))
