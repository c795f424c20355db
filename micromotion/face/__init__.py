"""Reading pictures, face detection, landmarks, and FFHQ's crop of a face."""
