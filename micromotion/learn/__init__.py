"""Learning a micromotion from text, from a video, or from pictures.

Importing this package imports nothing else, so that `micromotion --help` stays fast.
"""
