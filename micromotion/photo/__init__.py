"""Move a face in the photo's own pixels."""
