"""What the networks are trained on: heads, people, captions, augmentations."""
