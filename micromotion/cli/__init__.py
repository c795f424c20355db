"""The `micromotion` command, one module a command.

Importing this package imports nothing else, so that `micromotion --help` stays fast.
"""
