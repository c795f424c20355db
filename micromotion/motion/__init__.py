"""Micromotions: anchors, robust PCA, directions and paths in W+, and when they are played."""
