"""Hold a suite's conversations with one arm, turn by turn, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from eval.answers import Answer, AnsweredConversation, Messages, build_messages
from eval.generation.arms import Arm
from eval.generation.decoding import Decoding
from eval.generation.store import AnswerStore
from eval.generation.version import generation_version
from eval.suite import Prompt, Suite
from recipes.runner.core.errors import UserError
from recipes.runner.run.fingerprint import digest

Progress = Callable[[int], None]


def cache_file(folder: Path, arm: Arm, suite: Suite, decoding: Decoding) -> Path:
    """Where this arm's answers to this suite are kept; the name says what they depend on.

    Each answer is kept by what was said before it, so that a prompt that is edited, added or taken
    out leaves the others' answers where they are.
    """
    key = digest([arm.digest, decoding.to_json(), generation_version()])
    return folder / f"{arm.name}-{suite.name}-{key[:20]}.jsonl"


def answers_wanted(suite: Suite, decoding: Decoding) -> int:
    """Number of answers that one arm gives to a suite."""
    return sum(len(prompt.turns) for prompt in suite.prompts) * decoding.samples


def hold(
    arm: Arm, suite: Suite, decoding: Decoding, folder: Path, progress: Progress = lambda n: None
) -> list[AnsweredConversation]:
    """All conversations of a suite with one arm, in the order of prompts, then samples.

    Args:
        arm: who answers.
        suite: what is asked.
        decoding: how; the batches are of its ``batch_size``, conversations of like length together.
        folder: where answers are kept as they come, and found again.
        progress: called with the number of answers that were just had.
    """
    store = AnswerStore(cache_file(folder, arm, suite, decoding))
    items = [(prompt, sample) for prompt in suite.prompts for sample in range(decoding.samples)]
    answers: list[list[Answer]] = [[] for _ in items]
    # Turn by turn over the whole suite: the few conversations that go on share one batch.
    for turn in range(max(len(prompt.turns) for prompt in suite.prompts)):
        rows = [row for row, (prompt, _) in enumerate(items) if turn < len(prompt.turns)]
        asked = {
            row: build_messages(
                suite.system, items[row][0].turns, [a.text for a in answers[row]], turn
            )
            for row in rows
        }
        keys = [digest([messages, items[row][1]])[:24] for row, messages in asked.items()]
        given = answered(arm, list(asked.values()), keys, decoding, store, progress)
        for row, answer in zip(rows, given, strict=True):
            answers[row].append(answer)
    return [
        AnsweredConversation(prompt.id, suite.system, prompt.turns, tuple(said), sample)
        for (prompt, sample), said in zip(items, answers, strict=True)
    ]


def answered(
    arm: Arm,
    asked: Sequence[Messages],
    keys: Sequence[str],
    decoding: Decoding,
    store: AnswerStore | None,
    progress: Progress = lambda n: None,
) -> list[Answer]:
    """The arm's answers in their order: those that are kept, and the others in batches.

    Args:
        arm: who answers.
        asked: what it is given, each with its own key.
        keys: names in the store; the first of a batch seeds what is drawn in it.
        decoding: how; the batches are of its ``batch_size``, messages of like length together.
        store: where answers are kept as they come, and found again; None: nowhere.
        progress: called with the number of answers that were just had.
    """
    todo = [row for row, key in enumerate(keys) if store is None or key not in store]
    progress(len(keys) - len(todo))
    # A short question beside a long one would be padded to its length.
    todo.sort(key=lambda row: sum(len(m["content"]) for m in asked[row]))
    given: dict[int, Answer] = {}
    for batch in even_batches(todo, decoding.batch_size):
        answers = arm.answer([asked[row] for row in batch], decoding, keys[batch[0]])
        given |= dict(zip(batch, answers, strict=True))
        if store is not None:
            store.put_all({keys[row]: given[row].to_json() for row in batch})
        progress(len(batch))
    return [
        Answer.from_json(store[key]) if store is not None else given[row]
        for row, key in enumerate(keys)
    ]


def even_batches(rows: list[int], size: int) -> list[list[int]]:
    """As few batches as ``size`` allows, of nearly the same size.

    A last batch of a few rows would cost as many steps as a full one.
    """
    if not rows:
        return []
    count = -(-len(rows) // size)
    edges = [round(len(rows) * index / count) for index in range(count + 1)]
    return [rows[start:end] for start, end in pairwise(edges)]


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
