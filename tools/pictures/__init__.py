"""The pictures of docs/method.md and docs/cookbook.md, made by the project itself (`make docs-pictures`)."""
