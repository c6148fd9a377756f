"""Hold every persona's talk with one arm, turn by turn, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eval.answers import Answer, Messages, build_messages
from eval.generation.arms import Arm
from eval.generation.decoding import Decoding
from eval.generation.dialogue import Progress, answered
from eval.generation.store import AnswerStore
from eval.generation.version import generation_version
from eval.talks.persona import Persona, draw_facts
from eval.talks.reading import Heard, hear
from eval.talks.talk import Line, Talk
from eval.talks.user import Script, ScriptedUser, SimulatedUser
from recipes.runner.core.errors import UserError
from recipes.runner.run.fingerprint import digest


def hold_talks(
    personas: Sequence[Persona],
    arm: Arm,
    decoding: Decoding,
    folder: Path | None = None,
    user: SimulatedUser | None = None,
    progress: Progress = lambda n: None,
) -> list[Talk]:
    """One talk a persona, in their order.

    Args:
        personas: who writes.
        arm: who answers.
        decoding: how; its seed is the persons' too, so that both arms get the same people.
        folder: where answers are kept as they come, and found again; None: nowhere.
        user: who phrases the persons' lines; default: the script.
        progress: called with the number of answers that were just had.

    Raises:
        UserError: a single line of a person does not fit the model's context.
    """
    user = user or ScriptedUser()
    store = _store(folder, arm, decoding, user)
    talks = [_Held(persona, decoding.seed) for persona in personas]
    for turn in range(max(len(persona.story) for persona in personas)):
        going = [talk for talk in talks if turn < len(talk.persona.story)]
        lines = [talk.next_line(turn) for talk in going]
        histories = [talk.messages() for talk in going]
        people = [talk.persona for talk in going]
        for talk, line in zip(going, user.phrase(people, lines, histories), strict=True):
            talk.lines.append(line)
        asked = [talk.fitting(arm, decoding.max_new_tokens) for talk in going]
        keys = [digest([talk.persona.id, m])[:24] for talk, m in zip(going, asked, strict=True)]
        given = answered(arm, asked, keys, decoding, store, progress)
        for talk, answer in zip(going, given, strict=True):
            talk.hear(answer)
    return [talk.talk(arm) for talk in talks]


def _store(
    folder: Path | None, arm: Arm, decoding: Decoding, user: SimulatedUser
) -> AnswerStore | None:
    if folder is None:
        return None
    key = digest([arm.digest, decoding.to_json(), user.identity, generation_version()])
    return AnswerStore(folder / f"{arm.name}-talks-{key[:20]}.jsonl")


class _Held:
    """A talk in the making."""

    def __init__(self, persona: Persona, seed: int) -> None:
        self.persona = persona
        self.lines: list[Line] = []
        self._script = Script(persona, draw_facts(persona, seed), seed)
        self._answers: list[Answer] = []
        self._heard: Heard | None = None
        self._left_out = 0

    def next_line(self, turn: int) -> Line:
        """The script's line for this turn."""
        before = self.lines[-1] if self.lines else None
        text = self._answers[-1].text if self._answers else ""
        return self._script.line(turn, before, self._heard, text)

    def messages(self) -> Messages:
        """All of it so far."""
        turns = tuple(line.text for line in self.lines)
        return build_messages(None, turns, [answer.text for answer in self._answers])

    def fitting(self, arm: Arm, max_new_tokens: int) -> Messages:
        """What the arm is given: without the oldest turns where all of it does not fit."""
        messages = self.messages()
        if arm.context is None:
            return messages
        while (arm.count_tokens(messages) or 0) + max_new_tokens > arm.context:
            if len(messages) <= 2:
                raise UserError(
                    f"a line of '{self.persona.id}' does not fit the context of {arm.context} "
                    f"tokens beside an answer of {max_new_tokens}",
                    "personas",
                    "Lower --max-new-tokens",
                )
            messages = messages[2:]
        self._left_out = len(self._answers) - len(messages) // 2
        return messages

    def hear(self, answer: Answer) -> None:
        """Take the answer to the last line."""
        self._answers.append(answer)
        self._heard = hear(self._so_far().conversation, len(self._answers) - 1)

    def _so_far(self) -> Talk:
        lines, answers = tuple(self.lines), tuple(self._answers)
        return Talk(self.persona.id, "base", self._script.facts, lines, answers, self._left_out)

    def talk(self, arm: Arm) -> Talk:
        """The whole talk, once it has ended."""
        held = self._so_far()
        return Talk(held.persona, arm.name, held.facts, held.lines, held.answers, held.left_out)
