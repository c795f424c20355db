"""Heads with known factors, drawn by ray marching: the embedded model's teacher."""
