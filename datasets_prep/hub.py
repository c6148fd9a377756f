"""Rows of a data set on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datasets_prep.definition import Source
from datasets_prep.quiet import quiet
from recipes.runner.core.errors import UserError

# What the libraries below datasets raise when nobody answers; each wraps the other.
_NO_CONNECTION = (
    "ConnectError",
    "ConnectTimeout",
    "ConnectionError",
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "ReadTimeout",
)


def read_hub(source: Source) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``source.hub`` at its revision.

    Raises:
        UserError: the Hub cannot be reached, or has no such data set, config, split or revision.
    """
    with quiet(bars=True):
        import datasets

    where = str(source.hub) + (f"@{source.revision}" if source.revision else "")
    try:
        with quiet(bars=True):
            rows = datasets.load_dataset(
                source.hub, source.config, split=source.hub_split, revision=source.revision
            )
    except Exception as error:
        # datasets raises a different type for each way in which a Hub can fail.
        raise UserError(
            f"cannot be read from the Hugging Face Hub ({_reason(error)})",
            where,
            "Check the name and the network, or give a local copy with --source",
        ) from None
    for row in rows:
        yield dict(row)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if "client has been closed" in text:
        # How huggingface_hub ends its retries.
        return "no connection"
    inner: BaseException | None = error
    while inner is not None:
        if any(kind.__name__ in _NO_CONNECTION for kind in type(inner).__mro__):
            return "no connection"
        inner = inner.__cause__ or inner.__context__
    return text
