"""Checkpoint formats of generators, and the reader that runs nothing of a file."""
