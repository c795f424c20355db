"""How well a photo's own face moves: measured on real faces, beside the way of before."""
