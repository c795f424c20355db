"""`python -m micromotion` is the `micromotion` command."""

from micromotion.cli.main import main

main()
