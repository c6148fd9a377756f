"""From checked answers to verdicts: pairs, statistics, gates, a judge's and people's votes."""
