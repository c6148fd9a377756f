"""Pairs of alike rows: by a shared MinHash band, and by the words that any two share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets_prep.store import Hashes

Pairs = npt.NDArray[np.int64]
# A bucket up to this size gives all its pairs. A larger one (a phrase that thousands share) gives
# a linear number: each row with the bucket's first, and with its neighbour.
_FULL_BUCKET = 16
_CHUNK = 1 << 16


def candidate_pairs(bands: Hashes, rows: Pairs) -> Pairs:
    """Pairs of rows with an equal band.

    Args:
        bands: shape (rows, bands), uint64.
        rows: the indices to compare, ascending, int64.

    Returns:
        Shape (pairs, 2), int64; each pair once, the lower index first, sorted by the higher one.
    """
    found: Pairs = np.zeros((0, 2), np.int64)
    for band in range(bands.shape[1]):
        new = list(_pairs_of_band(bands[rows, band], rows))
        if new:
            found = np.unique(np.concatenate([found, *new]), axis=0)
    return found[np.lexsort((found[:, 0], found[:, 1]))]


def _pairs_of_band(values: Hashes, rows: Pairs) -> Iterator[Pairs]:
    order = np.argsort(values, kind="stable")
    ordered, rows = values[order], rows[order]
    if len(ordered) < 2:
        return
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[starts, len(ordered)])
    size_of = np.repeat(sizes, sizes)
    first_of = np.repeat(rows[starts], sizes)
    large = (size_of > _FULL_BUCKET) & (first_of != rows)
    yield np.stack([first_of[large], rows[large]], axis=1)
    for distance in range(1, min(_FULL_BUCKET, int(sizes.max()))):
        same = ordered[distance:] == ordered[:-distance]
        if distance > 1:
            same &= size_of[distance:] <= _FULL_BUCKET
        yield np.stack([rows[:-distance][same], rows[distance:][same]], axis=1)


def each_pair(pairs: Pairs) -> Iterator[list[int]]:
    """The pairs one by one: as Python's numbers they take ten times the memory of the array."""
    for start in range(0, len(pairs), _CHUNK):
        yield from pairs[start : start + _CHUNK].tolist()


def word_matrix(columns: list[list[int]], width: int) -> Any:
    """A sparse float32 matrix, a row for each text, 1 in the columns of its different words.

    The product of two such matrices counts the words that each two texts share.
    """
    from scipy.sparse import csr_matrix

    ends = np.cumsum([0, *map(len, columns)])
    flat = np.array([c for row in columns for c in row], np.int64)
    return csr_matrix((np.ones(len(flat), np.float32), flat, ends), (len(columns), width))
