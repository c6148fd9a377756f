"""Fingerprints of texts: exact hashes and MinHash bands.

The MinHash is datasketch's (scheme ``affine32``) to the bit, whose import alone takes as long as
hashing some thousand rows; a test holds ours to it.

Rows are compared by Jaccard similarity |A n B| / |A u B| of their sets of word shingles (Broder,
"On the resemblance and containment of documents", 1997). With b bands of r values, two sets of
similarity s share a band with probability 1 - (1 - s^r)^b (Leskovec et al., "Mining of Massive
Datasets", 3.4).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import xxhash

from datasets_prep.words import has_unspaced, tokens

# Answers, threshold 0.8, 3-word shingles: 20 bands of 6 find a pair at 0.8 with p = 0.998.
ANSWER_BANDS, ANSWER_ROWS, ANSWER_SHINGLE = 20, 6, 3
# Questions, threshold 0.7, content words: 40 bands of 6 find a pair at 0.7 with p = 0.993.
QUESTION_BANDS, QUESTION_ROWS = 40, 6

_LEXICON = Path(__file__).parent / "lexicons" / "function_words.txt"
FUNCTION_WORDS = frozenset(_LEXICON.read_text(encoding="utf-8").split())
_SEED = 1
# Finalizer of MurmurHash3 for 32 bits: shifts and odd factors.
_MIX = ((16, np.uint32(0x85EBCA6B)), (13, np.uint32(0xC2B2AE35)))


def normalise(text: str) -> str:
    """Lower case, words only: two texts that differ in case or punctuation are the same.

    Where words have no spaces between them, pairs of characters stand for words.
    """
    return " ".join(tokens(text.casefold()))


def shingles(normal: str, size: int) -> set[str]:
    """Runs of ``size`` words; a shorter text is one shingle.

    Where words have no spaces, the pairs of characters that stand for them are the runs: longer
    ones would take a copy with two characters changed in forty for another text.
    """
    words = normal.split()
    if has_unspaced(normal):
        return set(words)
    if len(words) <= size:
        return {normal}
    return set(map(" ".join, zip(*(words[i:] for i in range(size)), strict=False)))


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
    hashes = np.array([xxhash.xxh32_intdigest(f.encode()) for f in features], np.uint32)
    for shift, factor in _MIX:
        hashes = (hashes ^ (hashes >> np.uint32(shift))) * factor
    hashes ^= hashes >> np.uint32(16)
    factors, offsets = _permutations(count * rows)
    # uint32 [features, permutations]; the overflow is the modulo.
    mapped = hashes[:, None] * factors
    mapped += offsets
    values = mapped.min(axis=0).astype(np.uint64)
    return (values.reshape(count, rows) @ _multipliers(rows)).astype("<u8").tobytes()


@cache
def _multipliers(rows: int) -> np.ndarray:
    """Odd 64-bit factors: their sum of products modulo 2^64 is a multilinear hash of a band."""
    return np.random.default_rng(rows).integers(0, 2**64, rows, np.uint64) | np.uint64(1)


@cache
def _permutations(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Odd factors and offsets of the maps h -> a h + b modulo 2^32, uint32 [number] each."""
    generator = np.random.RandomState(_SEED)
    factors = generator.randint(0, 1 << 31, number, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return factors, generator.randint(0, 1 << 32, number, dtype=np.uint32)
