"""The prediction service besides `predict.py`: its server, gateway, limits and health checks."""
