"""The step that proves: every kept row through the `prove.Prover`."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from datasets_prep.whole import WholeSet

_BATCH = 1000


def prove_rows(rows: WholeSet) -> None:
    """The step: prove all kept rows, note their lengths, and keep what stands in for long ones."""
    settings = rows.definition.steps.prove
    if rows.prover is None or rows.tokens is None or settings is False:
        return
    limits = rows.definition.steps.filter or None
    kept = np.flatnonzero(rows.keep).tolist()
    for start in tqdm(range(0, len(kept), _BATCH), desc="prove", disable=None):
        indices = kept[start : start + _BATCH]
        ledger = rows.ledger("prove")
        batch = [rows.store.row(i) for i in indices]
        proven = rows.prover.prove(batch, settings, limits, ledger)
        for index, row, result in zip(indices, batch, proven, strict=True):
            rows.tokens.lengths += result.tokens
            rows.tokens.sides.update(result.sides)
            rows.tokens.add(rows.store.part[index], result.tokens, result.trained)
            if not result.rows:
                rows.keep[index] = False
            elif len(result.rows) > 1 or result.rows[0]["id"] != row["id"]:
                rows.pieces[index] = result
        ledger.flush()
