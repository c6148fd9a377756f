"""One answer, token by token, in steps short enough to take turns with other answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import torch
from transformers import DynamicCache, TemperatureLogitsWarper, TextStreamer, TopPLogitsWarper

from eval.answers import Messages
from eval.chat.settings import ChatSettings
from eval.generation.generate import prompt_ids

Reason = Literal["end", "length", "stopped"]

# A prompt is read in pieces, so that a long one can be stopped and holds nobody else up long.
PROMPT_PIECE = 512
# No tokenizer makes tokens this long on average; more text than this is refused unread.
_CHARACTERS_PER_TOKEN = 50


class TooLong(Exception):
    """The last message alone does not fit; the text says so in words."""


def fit(
    tokenizer: Any, messages: Messages, context: int, max_new_tokens: int
) -> tuple[list[int], int]:
    """Token ids of a conversation, without its oldest turns where they don't fit.

    Args:
        tokenizer: with a chat template.
        messages: maybe a system turn, then user and assistant in alternation, user last.
        context: tokens that fit into the model.
        max_new_tokens: kept free for the answer, though never more than a quarter of the context.

    Returns:
        The ids, and how many user turns (with their answers) were left out.

    Raises:
        TooLong: the last message alone does not fit.
    """
    room = context - min(max_new_tokens, context // 4)
    last = messages[-1]["content"]
    if len(last) > _CHARACTERS_PER_TOKEN * room:
        raise TooLong(_too_long(f"{len(last):,} characters", room))
    clean = [{**m, "content": plain_text(tokenizer, m["content"])} for m in messages]
    start = 1 if messages[0]["role"] == "system" else 0
    dropped = 0
    while True:
        ids = prompt_ids(tokenizer, clean[:start] + clean[start + 2 * dropped :])
        if len(ids) <= room:
            return ids, dropped
        if start + 2 * dropped + 1 >= len(clean):
            raise TooLong(_too_long(f"{len(ids):,} tokens", room))
        dropped += 1


def plain_text(tokenizer: Any, text: str) -> str:
    """The text, its literal special tokens broken up: nobody speaks in another's turn."""
    for token in tokenizer.all_special_tokens:
        if len(token) > 1:
            text = text.replace(token, f"{token[0]}\u200b{token[1:]}")
    return text


def _too_long(size: str, room: int) -> str:
    return (
        f"This message is too long: {size}, and {room:,} tokens fit (a token is about four "
        "letters). Shorten it, or send it in parts."
    )


class Answering:
    """An answer in the making.

    Args:
        model: a causal language model in eval mode, its adapter in the right state at each step.
        tokenizer: of the model.
        ids: the prompt.
        context: tokens that fit into the model.
        settings: decoding.
        ends: ids that end an answer.
        seed: of this answer's own random numbers; others in between do not change it.

    Attributes:
        reason: why it ended; None before that.
        tokens: how many were made.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        ids: list[int],
        context: int,
        settings: ChatSettings,
        ends: list[int],
        seed: int,
    ) -> None:
        self.reason: Reason | None = None
        self.tokens = 0
        self._model, self._ids, self._ends = model, ids, ends
        self._limit = min(settings.max_new_tokens, context - len(ids))
        self._random = torch.Generator(device=model.device).manual_seed(seed)
        self._warpers = (
            [TemperatureLogitsWarper(settings.temperature), TopPLogitsWarper(settings.top_p)]
            if settings.temperature > 0
            else []
        )
        self._text = _Pieces(tokenizer)
        self._began = time.monotonic()
        self._first: float | None = None
        self._steps = self._run()

    def step(self) -> str:
        """Go on by one token or one piece of the prompt; returns the text that came of it."""
        next(self._steps, None)
        return self._text.take()

    def stop(self) -> str:
        """End it here; returns the text that was still held back."""
        self._end("stopped")
        return self._text.take()

    def figures(self) -> dict[str, Any]:
        """Tokens, seconds to the first, and tokens a second after it."""
        spent = time.monotonic() - (self._first or self._began)
        return {
            "tokens": self.tokens,
            "first_token_seconds": self._first and round(self._first - self._began, 3),
            "tokens_per_second": round((self.tokens - 1) / spent, 1) if self.tokens > 1 else None,
        }

    def _end(self, reason: Reason) -> None:
        self.reason = reason
        self._text.end()

    @torch.inference_mode()
    def _run(self) -> Iterator[None]:
        cache = DynamicCache(config=self._model.config)
        device = self._model.device
        pieces = [self._ids[i : i + PROMPT_PIECE] for i in range(0, len(self._ids), PROMPT_PIECE)]
        for piece in pieces:
            given = torch.tensor([piece], device=device)
            logits = self._forward(given, cache)
            if piece is not pieces[-1]:
                yield
        while True:
            token = self._pick(logits)
            self.tokens += 1
            self._first = self._first or time.monotonic()
            if int(token) in self._ends:
                self._end("end")
                return
            self._text.put(token.view(1))
            if self.tokens >= self._limit:
                self._end("length")
                return
            yield
            logits = self._forward(token.view(1, 1), cache)

    def _forward(self, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        """Logits of the last position, shape (1, vocabulary)."""
        output = self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1]

    def _pick(self, logits: torch.Tensor) -> torch.Tensor:
        if not self._warpers:
            return logits.argmax(-1)
        scores = logits.float()
        for warper in self._warpers:
            scores = warper(None, scores)
        return torch.multinomial(scores.softmax(-1), 1, generator=self._random)


class _Pieces(TextStreamer):
    """Whole words as they become certain, for `take`, in place of printing them."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer, skip_special_tokens=True)
        self._held = ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Called by `TextStreamer` when words are whole."""
        self._held += text

    def take(self) -> str:
        """What came since the last call."""
        text, self._held = self._held, ""
        return text
