"""The person played by a model behind an OpenAI-compatible endpoint.

The script still says what happens in which turn, so that a signal, a refusal or a wanted fact comes
in the same turn of both arms; the model says it in its own words, in reply to what was answered.
What it leaves out or breaks is said as it is written, and that is counted.
"""

from __future__ import annotations

import re
from dataclasses import replace

from eval.answers import Messages
from eval.generation.endpoint import ChatEndpoint, parallel
from eval.generation.generate import derived_seed
from eval.generation.store import AnswerStore
from eval.talks.persona import Persona
from eval.talks.talk import Line
from recipes.runner.run.fingerprint import digest

KEY_VARIABLE = "EVAL_USER_API_KEY"
IN_PARALLEL = 8
_MAX_TOKENS = 120
_TEMPERATURE = 0.7
_LONGEST = 90  # words
_OUT_OF_ROLE = re.compile(
    r"\b(?:as an ai|language model|i'?m an ai|i can(?:no|')t (?:assist|play|go on)|role-?play)\b",
    re.IGNORECASE,
)
_INSTRUCTION = (
    "You play a person who writes to a support chatbot, for a test of that chatbot. The person: "
    "{who}. How they write: {style}. Stay in the role, never help or comfort the other side, never "
    "mention the test. Each time you are told what the message has to say. Write only the message: "
    "one to three sentences in the person's own way, as a reply to what the chatbot just said. "
    "Keep every name, number and day exactly as given, and keep how strong it is."
)


class PlayedUser:
    """A model that phrases the scripted lines.

    Args:
        endpoint: where it is served.
        seed: of its sampling.
        store: where its lines are kept, so that both arms and a second run get the same ones.

    Attributes:
        identity: for the cache of answers.
        said: how many lines it was asked for.
        as_written: how many of them were said as the script has them, because it broke the role,
            said nothing, or left out a fact.
    """

    def __init__(self, endpoint: ChatEndpoint, seed: int, store: AnswerStore) -> None:
        self.identity = digest([endpoint.url, endpoint.model, _INSTRUCTION, seed])
        self.said = 0
        self.as_written = 0
        self._endpoint, self._seed, self._store = endpoint, seed, store

    def phrase(
        self, personas: list[Persona], lines: list[Line], histories: list[Messages]
    ) -> list[Line]:
        """The lines in the model's words.

        Raises:
            UserError: the endpoint fails.
        """
        asked = [
            self._messages(persona, line, history)
            for persona, line, history in zip(personas, lines, histories, strict=True)
        ]
        keys = [digest([self.identity, messages])[:24] for messages in asked]
        todo = [row for row, key in enumerate(keys) if self._store.get(key) is None]
        with parallel(IN_PARALLEL) as pool:
            replies = pool.map(self._ask, (asked[r] for r in todo), (keys[r] for r in todo))
            for row, reply in zip(todo, replies, strict=True):
                self._store.put(keys[row], reply)
        found = []
        for line, key in zip(lines, keys, strict=True):
            text = str(self._store.get(key))
            usable = _usable(line, text)
            self.said += 1
            self.as_written += not usable
            found.append(replace(line, text=text) if usable else line)
        return found

    def _ask(self, asked: Messages, key: str) -> str:
        reply = self._endpoint.ask(
            asked,
            max_tokens=_MAX_TOKENS,
            temperature=_TEMPERATURE,
            seed=derived_seed(self._seed, key) % 2**31,
        )
        return reply.text.strip().strip('"').strip()

    def _messages(self, persona: Persona, line: Line, history: Messages) -> Messages:
        """The talk with the roles the other way round, and what is to be said now."""
        system = _INSTRUCTION.format(who=persona.who, style=persona.style)
        roles = {"user": "assistant", "assistant": "user"}
        turned = [{"role": roles[m["role"]], "content": m["content"]} for m in history]
        now = f"[The next message has to say: {line.text}]"
        if turned and turned[-1]["role"] == "user":
            turned[-1] = {"role": "user", "content": f"{turned[-1]['content']}\n\n{now}"}
        else:
            turned.append({"role": "user", "content": now})
        if turned[0]["role"] == "assistant":
            turned.insert(0, {"role": "user", "content": "[Begin.]"})
        return [{"role": "system", "content": system}, *turned]


def _usable(line: Line, text: str) -> bool:
    """Whether the model's message can stand for the written line."""
    if not text or len(text.split()) > _LONGEST or _OUT_OF_ROLE.search(text) or "[" in text:
        return False
    said = text.lower()
    return all(value.lower() in said for value in line.gives) and not any(
        re.search(rf"(?<!\w){re.escape(wording)}(?!\w)", said) for wording in line.hides
    )
