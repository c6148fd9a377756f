"""What shows only across a suite: answers that fit any question, and one answer to many prompts.

Both fail the whole answer: it may hold good words, and they are no answer to this person.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from eval.answers import AnsweredConversation
from eval.checks.base import CANT_TELL, CheckResult
from eval.checks.encoder import embed
from eval.checks.meaning import asked, prefetch, read, readable
from eval.checks.scripts import words

FITS, OWN = "fits_question", "own_answer"
OTHERS = 20  # questions of the suite that an answer is held against
FEWEST_OTHERS = 5
# An answer to its question is nearer to it than to all but a few others: good ones that no head had
# seen to 97% of them on average, stray ones to half. The lower that share, the less the reading has
# to say for "off topic" (in logits): no good planted answer of any suite is taken for stray.
_FITS_BETTER_THAN = 0.9
_LEANS, _LEANS_AT_LEAST, _SLOPE = -2.0, -5.0, 20.0
# Canned: nearly the same words for so many prompts, and for so large a share of the suite.
_ALIKE, _FEWEST_PROMPTS, _SHARE = 0.8, 4, 0.1
_SHINGLE = 3


def check_across(conversations: Sequence[AnsweredConversation]) -> list[list[CheckResult]]:
    """Both checks, of each of one arm's conversations over a suite, in their order."""
    prefetch(
        (asked(held, turn), answer.text)
        for held in conversations
        for turn, answer in enumerate(held.answers)
        if answer.text.strip()
    )
    fits, own = _fits(conversations), _own(conversations)
    return [[one, other] for one, other in zip(fits, own, strict=True)]


def _fits(conversations: Sequence[AnsweredConversation]) -> list[CheckResult]:
    """Fails where the answer is no nearer to its question than to others, and reads off topic.

    Near in meaning, by the cosine of sentence vectors; others are 20 questions of the suite.
    """
    by_prompt = {held.prompt_id: asked(held, len(held.turns) - 1) for held in conversations}
    results = []
    for held in conversations:
        question, text = by_prompt[held.prompt_id], held.last.text
        others = sorted(q for i, q in by_prompt.items() if i != held.prompt_id)
        others = random.Random(held.prompt_id).sample(others, min(OTHERS, len(others)))
        if not text.strip() or not readable(text):
            results.append(_result(FITS, True, CANT_TELL))
            continue
        share = fits_better_than(text, question, others)
        margin = read(question, text).margins["off_topic"]
        stray = margin > 0
        if len(others) >= FEWEST_OTHERS:
            lean = _LEANS - _SLOPE * (_FITS_BETTER_THAN - share)
            stray = share < _FITS_BETTER_THAN and margin > max(lean, _LEANS_AT_LEAST)
        said = f"nearer to its question than to {share:.0%} of {len(others)} others"
        results.append(_result(FITS, not stray, said))
    return results


def fits_better_than(answer: str, question: str, others: Sequence[str]) -> float:
    """Share of other questions that the answer is farther from than from its own; ties half."""
    if not others:
        return 1.0
    vectors = embed([answer, question, *others])
    near = vectors[1:] @ vectors[0]
    return float(np.mean((near[1:] < near[0]) + 0.5 * (near[1:] == near[0])))


def _own(conversations: Sequence[AnsweredConversation]) -> list[CheckResult]:
    """Fails where nearly the same last answer is given to many prompts of the suite."""
    shingles = [_shingles(held.last.text) for held in conversations]
    prompts = [held.prompt_id for held in conversations]
    wanted = max(_FEWEST_PROMPTS, _SHARE * len(set(prompts)))
    results = []
    for mine in shingles:
        same = {
            prompt
            for prompt, theirs in zip(prompts, shingles, strict=True)
            if mine and len(mine & theirs) >= _ALIKE * len(mine | theirs)
        }
        results.append(
            _result(OWN, len(same) < wanted, f"nearly the same answer to {len(same)} prompts")
        )
    return results


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    said = words(text)
    if len(said) < _SHINGLE:
        return frozenset([tuple(said)]) if said else frozenset()
    return frozenset(tuple(said[i : i + _SHINGLE]) for i in range(len(said) - _SHINGLE + 1))


def _result(name: str, passed: bool, detail: str) -> CheckResult:
    return CheckResult(name, float(passed), red_line=False, scored=False, detail=detail, voids=True)
