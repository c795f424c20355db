"""Writes frames to files: encoders, contact sheets, comparisons."""
