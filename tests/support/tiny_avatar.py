"""The shapes of small networks in place of the avatar's, for tests of how these fit together."""

from avatar.renderer.factors import Z_DIM
from encoder4editing import EncoderConfig
from stylegan2 import GeneratorConfig

GENERATOR = GeneratorConfig(32, 16, z_dim=Z_DIM, mapping_layers=1, channels={4: 8, 8: 8, 16: 8, 32: 8})
ENCODER = EncoderConfig(
    input_size=32,
    num_styles=8,
    style_dim=16,
    widths=(8, 8, 8, 8),
    depths=(1, 1, 1, 1),
    fpn_width=8,
    head_width=8,
    se_reduction=4,
)
