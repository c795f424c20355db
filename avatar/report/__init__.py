"""The report on the embedded model: docs/avatar.md, its figures and its pictures (`make avatar-report`)."""
