"""Answers labelled by meaning, and what the checks of meaning are worth on them."""
