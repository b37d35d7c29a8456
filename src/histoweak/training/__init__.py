"""Training: one thin wrapper over Lightning."""
