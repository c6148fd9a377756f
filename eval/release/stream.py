"""Answers as the API writes them: cut before a stop text, streams ended by ``[DONE]``.

`transformers serve` leaves the stop text in the answer, ends no stream, writes an error in the
middle of one as text that may be no JSON, and adds a revision to the model's name.
"""

from __future__ import annotations

import json
from typing import Any

from eval.release.request import CHAT, Refused

_DATA, _END = b"data: ", b"\n\n"
_ERROR = b'data: {"error": "'


class StopCut:
    """Text in pieces, up to the first of some stop texts."""

    def __init__(self, stops: list[str]) -> None:
        self.stops = stops
        self.found = False
        self._held = ""

    def feed(self, text: str) -> str:
        """What may be shown: all but an end that could be the beginning of a stop text."""
        if self.found:
            return ""
        text = self._held + text
        places = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        keep = max(
            (n for stop in self.stops for n in range(1, len(stop)) if text.endswith(stop[:n])),
            default=0,
        )
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back, once no more comes."""
        held, self._held = self._held, ""
        return held


class Events:
    """A stream of server-sent events, made what the API sends."""

    def __init__(self, path: str, stops: list[str], model: str) -> None:
        self._chat, self._model = path == CHAT, model
        self._cut = StopCut(stops)
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        """The events that are whole by now."""
        *events, self._rest = (self._rest + piece).split(_END)
        return b"".join(self._event(event) for event in events)

    def end(self) -> bytes:
        """What ends the stream."""
        return self._rest + _DATA + b"[DONE]" + _END

    def break_off(self, error: Refused) -> bytes:
        """What ends a stream that is not whole; what was no event yet is dropped."""
        return _written(error.body) + _DATA + b"[DONE]" + _END

    def _event(self, event: bytes) -> bytes:
        if event.startswith(_ERROR):
            said = event[len(_ERROR) :].removesuffix(b'"}').decode(errors="replace")
            return _written(Refused(said, 500).body)
        if not event.startswith(_DATA):
            return event + _END
        chunk = {**json.loads(event.removeprefix(_DATA)), "model": self._model}
        before = b""
        for choice in chunk.get("choices") or []:
            held = choice.get("delta", {}) if self._chat else choice
            name = "content" if self._chat else "text"
            if held.get(name):
                held[name] = self._cut.feed(held[name])
            if choice.get("finish_reason"):
                if not self._chat:
                    held[name] = held.get(name, "") + self._cut.rest()
                elif rest := self._cut.rest():
                    piece = {**choice, "delta": {"content": rest}, "finish_reason": None}
                    named = {key: value for key, value in chunk.items() if key != "usage"}
                    before = _written({**named, "choices": [piece]})
                if self._cut.found:
                    choice["finish_reason"] = "stop"
        return before + _written(chunk)


def whole_answer(path: str, content: bytes, stops: list[str], model: str) -> bytes:
    """A whole answer, without its first stop text and what follows."""
    answer = {**json.loads(content), "model": model}
    for choice in answer.get("choices") or []:
        held, name = (choice["message"], "content") if path == CHAT else (choice, "text")
        cut = StopCut(stops)
        held[name] = cut.feed(held.get(name) or "") + cut.rest()
        if cut.found:
            choice["finish_reason"] = "stop"
    return json.dumps(answer).encode()


def _written(chunk: dict[str, Any]) -> bytes:
    return _DATA + json.dumps(chunk).encode() + _END
