"""Hold a suite's conversations with one arm, turn by turn, in batches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from eval.answers import Answer, Conversation, build_messages
from eval.arms import Arm
from eval.decoding import Decoding
from eval.fingerprint import code_version, digest
from eval.store import Store
from eval.suites import Prompt, Suite
from recipes.errors import UserError

Progress = Callable[[int], None]


def cache_file(folder: Path, arm: Arm, suite: Suite, decoding: Decoding) -> Path:
    """Where this arm's answers to this suite are kept; the name says what they depend on."""
    asked = [[prompt.id, prompt.turns] for prompt in suite.prompts]
    key = digest([arm.digest, suite.system, asked, decoding.to_json(), code_version()])
    return folder / f"{arm.name}-{suite.name}-{key[:20]}.jsonl"


def answers_wanted(suite: Suite, decoding: Decoding) -> int:
    """Number of answers that one arm gives to a suite."""
    return sum(len(prompt.turns) for prompt in suite.prompts) * decoding.samples


def hold(
    arm: Arm, suite: Suite, decoding: Decoding, folder: Path, progress: Progress = lambda n: None
) -> list[Conversation]:
    """All conversations of a suite with one arm, in the order of prompts, then samples.

    Args:
        arm: who answers.
        suite: what is asked.
        decoding: how; its ``batch_size`` fixes the batches, so both arms get the same ones.
        folder: where answers are kept as they come, and found again.
        progress: called with the number of answers that were just had.
    """
    store = Store(cache_file(folder, arm, suite, decoding))
    items = [(prompt, sample) for prompt in suite.prompts for sample in range(decoding.samples)]
    conversations: list[Conversation] = []
    # Even batches: a last batch of a few rows would cost as many steps as a full one.
    batches = -(-len(items) // decoding.batch_size)
    edges = [round(len(items) * b / batches) for b in range(batches + 1)]
    for start, end in pairwise(edges):
        batch = items[start:end]
        answers: list[list[Answer]] = [[] for _ in batch]
        for turn in range(max(len(prompt.turns) for prompt, _ in batch)):
            rows = [row for row, (prompt, _) in enumerate(batch) if turn < len(prompt.turns)]
            asked = [
                build_messages(
                    suite.system, batch[row][0].turns, [a.text for a in answers[row]], turn
                )
                for row in rows
            ]
            key = f"{start}/{turn}"
            kept = store.get(key)
            if kept is None:
                given = arm.answer(asked, decoding, f"{suite.name}/{key}")
                store.put(key, [answer.to_json() for answer in given])
            else:
                given = [Answer.from_json(row) for row in kept]
            for row, answer in zip(rows, given, strict=True):
                answers[row].append(answer)
            progress(len(rows))
        conversations += [
            Conversation(prompt.id, suite.system, prompt.turns, tuple(answers[row]), sample)
            for row, (prompt, sample) in enumerate(batch)
        ]
    return conversations


def check_lengths(arm: Arm, suite: Suite, max_new_tokens: int) -> None:
    """Refuse a prompt that can't fit, before anything is generated.

    Raises:
        UserError: the scripted turns with the longest answers allowed exceed the context.
    """
    if arm.context is None:
        return
    for prompt in suite.prompts:
        tokens = _longest(arm, suite, prompt, max_new_tokens)
        if tokens > arm.context:
            raise UserError(
                f"prompt '{prompt.id}' may take {tokens} tokens, the model's context is "
                f"{arm.context}",
                f"suite {suite.name}",
                "Shorten it, or lower max_new_tokens",
            )


def _longest(arm: Arm, suite: Suite, prompt: Prompt, max_new_tokens: int) -> int:
    last = len(prompt.turns) - 1
    messages = build_messages(suite.system, prompt.turns, [""] * last, last)
    return (arm.count_tokens(messages) or 0) + max_new_tokens * len(prompt.turns)
