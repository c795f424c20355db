"""`python -m micromotion` is the `micromotion` command."""

from micromotion.cli import main

main()
