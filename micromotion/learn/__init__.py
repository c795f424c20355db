"""Learning a micromotion: from words, from a video, or from pictures; and where what was learned is kept.

Importing this package imports nothing else, so that `micromotion --help` stays fast.
"""
