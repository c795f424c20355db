"""What the networks are trained on: heads, people, sentences, disturbances."""
