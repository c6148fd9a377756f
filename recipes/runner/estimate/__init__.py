"""What a recipe will take, before it is run."""
