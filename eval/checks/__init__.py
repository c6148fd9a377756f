"""What an answer is checked for, by its wording."""
