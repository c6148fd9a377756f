"""From judged answers to preference rows: what a model is trained on next."""
