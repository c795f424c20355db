"""How a face moves, drawn in the photo's own pixels."""
