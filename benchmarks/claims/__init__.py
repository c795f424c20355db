"""The method's claims, measured in the avatar world: docs/claims.md (`make claims`)."""
