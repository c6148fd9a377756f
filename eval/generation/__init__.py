"""Both arms answer the prompts: models, decoding, dialogue, held-out likelihood, the cache."""
