"""Hostile and broken inputs, and the machinery that sends them to the real server and the real command line.

    python -m abuse             all of it, with a table (`make test-abuse`)
    python -m abuse.soak        many good and bad predictions in a row (`make test-soak`)

The inputs are made here, from seeds: nothing is downloaded, and every run sends the same bytes.
"""
