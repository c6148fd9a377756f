"""Base models: shapes, families, where they come from."""
