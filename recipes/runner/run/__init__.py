"""What a run folder is."""
