"""Encoders from a face picture to its latent in a StyleGAN2 generator's W+ space: pSp, e4e and ReStyle.

Also the identity network, which measures whether two pictures show the same person.
"""

from encoder4editing.checkpoint import load_inverter, save_inverter
from encoder4editing.encoder import EncoderConfig
from encoder4editing.identity import IdentityConfig, IdentityNet, load_identity, save_identity
from encoder4editing.inverter import Inverter
from encoder4editing.restyle import ReStyle

__all__ = [
    "EncoderConfig",
    "IdentityConfig",
    "IdentityNet",
    "Inverter",
    "ReStyle",
    "load_identity",
    "load_inverter",
    "save_identity",
    "save_inverter",
]
