"""A video drives a photo: what its face does is read into a trajectory, which is played on another face."""
