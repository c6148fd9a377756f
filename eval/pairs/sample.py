"""K answers to each prompt, kept as they come: an interrupted command goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from eval.answers import Answer
from eval.generation.arms import Arm
from eval.generation.decoding import Decoding
from eval.generation.dialogue import even_batches
from eval.generation.store import AnswerStore
from eval.generation.version import generation_version
from eval.pairs.prompts import Asked
from recipes.runner.run.fingerprint import digest


def sample(
    arm: Arm,
    prompts: list[Asked],
    decoding: Decoding,
    folder: Path,
    progress: Callable[[int], None] = lambda count: None,
) -> list[list[Answer]]:
    """Answers to each prompt, ``decoding.samples`` of them.

    Args:
        arm: who answers.
        prompts: what is asked.
        decoding: sampled; its seed decides the answers, together with the prompts of a batch.
        folder: where answers are kept.
        progress: called with the number of answers that were just had.
    """
    # One sample, too, is drawn: greedily all would be the same.
    drawn = replace(decoding, samples=max(2, decoding.samples))
    key = digest([arm.digest, drawn.to_json(), generation_version()])
    store = AnswerStore(folder / f"{arm.name}-pairs-{key[:20]}.jsonl")
    wanted = [(asked, k) for asked in prompts for k in range(decoding.samples)]
    keys = [f"{asked.id}-{k}" for asked, k in wanted]
    todo = [index for index, name in enumerate(keys) if name not in store]
    progress(len(wanted) - len(todo))
    # A short question beside a long one would be padded to its length.
    todo.sort(key=lambda index: sum(len(text) for _, text in wanted[index][0].messages))
    for batch in even_batches(todo, decoding.batch_size):
        given = arm.answer([wanted[i][0].chat for i in batch], drawn, keys[batch[0]])
        store.put_all({keys[i]: a.to_json() for i, a in zip(batch, given, strict=True)})
        progress(len(batch))
    answers = [Answer.from_json(store[name]) for name in keys]
    count = decoding.samples
    return [answers[start : start + count] for start in range(0, len(answers), count)]
