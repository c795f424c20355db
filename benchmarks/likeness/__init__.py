"""How well a photo's own face moves: measured on real faces, compared with the previous method."""
