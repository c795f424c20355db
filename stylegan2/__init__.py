"""StyleGAN2's generator in plain PyTorch, of any resolution and widths, and its checkpoint formats."""

from stylegan2.checkpoints.files import load_generator, save_generator
from stylegan2.errors import CheckpointError
from stylegan2.generator import Generator, GeneratorConfig

__all__ = ["CheckpointError", "Generator", "GeneratorConfig", "load_generator", "save_generator"]
