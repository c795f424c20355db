"""e4e: from a face picture to its latent code in the W+ space of a StyleGAN2 generator."""

from encoder4editing.checkpoint import load_inverter, save_inverter
from encoder4editing.encoder import EncoderConfig
from encoder4editing.inverter import Inverter

__all__ = ["EncoderConfig", "Inverter", "load_inverter", "save_inverter"]
