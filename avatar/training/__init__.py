"""Training the embedded model's networks, each resumable."""
