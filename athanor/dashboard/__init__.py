"""The overview, the Optuna dashboard and metrics, on one address behind one token."""
