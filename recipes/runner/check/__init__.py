"""Whether a recipe can work, offline."""
