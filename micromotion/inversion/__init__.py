"""From the inverter's latent closer to the photo: refinement, and pivotal tuning."""
