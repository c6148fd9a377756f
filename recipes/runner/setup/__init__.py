"""The environment, help and clean."""
