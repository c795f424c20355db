"""Hostile and broken inputs, and a runner that sends them to the real server and command line.

    python -m abuse             the whole corpus, with a table (`make test-abuse`)
    python -m abuse.soak        many good and bad predictions in a row (`make test-soak`)

The inputs are generated from seeds: nothing is downloaded, and every run sends the same bytes.
"""
