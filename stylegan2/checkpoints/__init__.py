"""Checkpoint formats of generators, and a reader that runs no code from a file."""
