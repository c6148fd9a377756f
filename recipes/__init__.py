"""The recipes (YAML) and what reads them: names, overrides, launch, checks, the table."""
