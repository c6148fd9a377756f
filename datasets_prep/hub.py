"""Rows of a data set on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datasets_prep.definition import Source
from recipes.errors import UserError


def read_hub(source: Source) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``source.hub`` at its revision.

    Raises:
        UserError: the Hub cannot be reached, or has no such data set, config, split or revision.
    """
    import datasets

    where = source.hub + (f"@{source.revision}" if source.revision else "")  # type: ignore[operator]
    datasets.logging.set_verbosity_error()
    try:
        rows = datasets.load_dataset(
            source.hub, source.config, split=source.hub_split, revision=source.revision
        )
    except Exception as error:
        # datasets raises a different type for each way in which a Hub can fail.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"cannot be read from the Hugging Face Hub ({reason[:200]})",
            where,
            "Check the name and the network, or give a local copy with --source",
        ) from None
    for row in rows:
        yield dict(row)
