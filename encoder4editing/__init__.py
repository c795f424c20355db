"""From a face picture to its latent code in the W+ space of a StyleGAN2 generator: pSp, e4e and ReStyle."""

from encoder4editing.checkpoint import load_inverter, save_inverter
from encoder4editing.encoder import EncoderConfig
from encoder4editing.inverter import Inverter
from encoder4editing.restyle import ReStyle

__all__ = ["EncoderConfig", "Inverter", "ReStyle", "load_inverter", "save_inverter"]
