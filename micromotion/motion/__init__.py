"""Micromotions: anchors, robust PCA, directions and paths in W+, timelines and schedules."""
