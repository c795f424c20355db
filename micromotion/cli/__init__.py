"""The `micromotion` command, one module per command.

Importing this package imports nothing else, so that `micromotion --help` stays fast.
"""
