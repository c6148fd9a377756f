"""Did tuning help? Base versus tuned on the same prompts, paired, with intervals."""
