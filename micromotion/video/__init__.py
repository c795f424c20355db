"""Frames into files: encoders, contact sheets, comparisons."""
