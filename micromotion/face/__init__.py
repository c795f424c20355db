"""Pictures in, faces found in them, landmarks, and FFHQ's crop of a face."""
