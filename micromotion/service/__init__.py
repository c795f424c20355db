"""What the prediction service needs besides `predict.py`: its server, its limits, its health."""
