"""Fingerprints of texts: exact hashes and MinHash bands (datasketch).

Rows are compared by Jaccard similarity |A n B| / |A u B| of their sets of word shingles (Broder,
"On the resemblance and containment of documents", 1997). With b bands of r values, two sets of
similarity s share a band with probability 1 - (1 - s^r)^b (Leskovec et al., "Mining of Massive
Datasets", 3.4).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from datasketch import MinHash

from datasets_prep.words import tokens

# Answers, threshold 0.8, 3-word shingles: 20 bands of 6 find a pair at 0.8 with p = 0.998.
ANSWER_BANDS, ANSWER_ROWS, ANSWER_SHINGLE = 20, 6, 3
# Questions, threshold 0.7, content words: 40 bands of 6 find a pair at 0.7 with p = 0.993.
QUESTION_BANDS, QUESTION_ROWS = 40, 6

_LEXICON = Path(__file__).parent / "lexicons" / "function_words.txt"
FUNCTION_WORDS = frozenset(_LEXICON.read_text(encoding="utf-8").split())
_SCHEME = "affine32"


def normalise(text: str) -> str:
    """Lower case, words only: two texts that differ in case or punctuation are the same.

    Where words have no spaces between them, pairs of characters stand for words.
    """
    return " ".join(tokens(text.casefold()))


def shingles(normal: str, size: int) -> set[str]:
    """Runs of ``size`` words; a shorter text is one shingle."""
    words = normal.split()
    if len(words) <= size:
        return {normal}
    return {" ".join(words[i : i + size]) for i in range(len(words) - size + 1)}


def content_words(normal: str) -> set[str]:
    """The words of a text but function words, which most questions share; all if there are none."""
    words = set(normal.split())
    return (words - FUNCTION_WORDS) or words


def jaccard(left: set[str], right: set[str]) -> float:
    """Jaccard similarity of two sets; 1.0 for two empty ones."""
    if not left and not right:
        return 1.0
    return len(left & right) / len(left | right)


def exact(normal: str) -> int:
    """A 64-bit hash of a normalised text."""
    return xxhash.xxh3_64_intdigest(normal.encode())


def bands(features: set[str], count: int, rows: int) -> bytes:
    """Hashes of the MinHash bands of a set.

    Returns:
        ``count`` little-endian uint64 values as bytes; equal bands are likely near-duplicates.
    """
    minhash = _minhash(count * rows)
    minhash.clear()
    minhash.update_batch([feature.encode() for feature in features])
    values = minhash.hashvalues.astype(np.uint64).reshape(count, rows)
    return (values @ _multipliers(rows)).astype("<u8").tobytes()


@cache
def _multipliers(rows: int) -> np.ndarray:
    """Odd 64-bit factors: their sum of products modulo 2^64 is a multilinear hash of a band."""
    return np.random.default_rng(rows).integers(0, 2**64, rows, np.uint64) | np.uint64(1)


@cache
def _minhash(number: int) -> Any:
    # Drawing the permutations, and checking them anew, costs more than hashing a text with them.
    return MinHash(num_perm=number, hashfunc=xxhash.xxh32_intdigest, scheme=_SCHEME)
