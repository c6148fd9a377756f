"""What a request may ask for: values the server would stumble over, or take and not do."""

from __future__ import annotations

import json
from typing import Any

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
Body = dict[str, Any]

# Fields that the server takes and does not read, and the value under which that is no lie.
_NEUTRAL: Body = {
    "n": 1, "logprobs": False, "top_logprobs": 0, "presence_penalty": 0,
    "response_format": {"type": "text"}, "functions": [], "function_call": "none",
    "tool_choice": "auto", "modalities": ["text"], "best_of": 1, "echo": False, "suffix": "",
    "reasoning_effort": "none", "audio": None, "prediction": None, "web_search_options": None,
    "tools": [], "stop": [], "logit_bias": {},
}  # fmt: skip
_OURS = ("tools", "stop", "logit_bias")  # in `_NEUTRAL` only for what is empty
# Read by the server, and no part of the API: they would pass by every limit. (A request could
# bring a chat template of its own, which is counted as the model's.)
_OWN_FIELDS = ("generation_config", "chat_template_kwargs")
_ROLES = ("system", "user", "assistant", "tool")
# Lowest and highest value, and whether the lowest is one. The server makes a frequency penalty f a
# repetition penalty of 1 + f, which below 0 would ask for repetition.
_RANGES = {"temperature": (0, 2, True), "top_p": (0, 1, False), "frequency_penalty": (0, 2, True)}
# Logits over less than this leave float32; its limit is the likeliest token, as under 0.
_COLDEST = 1e-3
_MOST_STOPS = 4  # as the API has it
_SEEDS = range(-(2**63), 2**63)  # those that torch takes


class Refused(Exception):
    """A request that is answered here, with an error as the API writes it.

    Attributes:
        status: of HTTP.
        body: ``{"error": {"message", "type", "param", "code"}}``.
        headers: beside the usual ones.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        kind = {429: "rate_limit_error", 500: "server_error", 503: "server_error"}
        self.status, self.headers = status, headers
        self.body = {
            "error": {
                "message": message,
                "type": kind.get(status, "invalid_request_error"),
                "param": param,
                "code": code,
            }
        }


def check_fields(path: str, body: Body, model: str) -> int | None:
    """Check a request's fields, and take out those that say nothing.

    Args:
        path: `CHAT` or `PLAIN`.
        body: the request; changed.
        model: the name of the one model.

    Returns:
        The tokens that the answer may have, where the request says so.

    Raises:
        Refused: a field that is no value of the API, or that the server does not do.
    """
    for name in _OWN_FIELDS:
        if name in body:
            raise Refused(f"{name} is not supported", param=name)
    for name, neutral in _NEUTRAL.items():
        if body.get(name) in (None, neutral):
            body.pop(name, None)
        elif name not in _OURS:
            raise Refused(
                f"{name}={json.dumps(body[name])[:200]} is not supported here", param=name,
                code="unsupported_parameter",
            )  # fmt: skip
    if body.get("model") not in (None, model):
        raise Refused(
            f"there is no model {json.dumps(body['model'])[:200]} here, only {model!r}",
            404, param="model", code="model_not_found",
        )  # fmt: skip
    _check_numbers(body)
    _check_stops(body)
    _check_bias(path, body)
    if type(body.get("stream", False)) is not bool and body["stream"] is not None:
        raise Refused("stream must be true or false", param="stream")
    if path == CHAT:
        _check_messages(body.get("messages"))
    return _length(body)


def _check_numbers(body: Body) -> None:
    for name, (low, high, closed) in _RANGES.items():
        value = body.get(name)
        if value is None:
            continue
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= high or (value == low and not closed):
            start = f"from {low}" if closed else f"above {low}"
            raise Refused(f"{name} must be a number {start} to {high}", param=name)
    if body.get("temperature") is not None and body["temperature"] < _COLDEST:
        body["temperature"] = 0
    seed = body.get("seed")
    if seed is not None and (type(seed) is not int or seed not in _SEEDS):
        raise Refused("seed must be a whole number of 64 bits", param="seed")


def _check_stops(body: Body) -> None:
    if "stop" not in body:
        return
    stops = [body["stop"]] if isinstance(body["stop"], str) else body["stop"]
    texts = isinstance(stops, list) and all(isinstance(stop, str) and stop for stop in stops)
    if not texts or len(stops) > _MOST_STOPS:
        raise Refused(
            f"stop must be a text, or a list of up to {_MOST_STOPS}, none of them empty",
            param="stop",
        )
    body["stop"] = stops


def _check_bias(path: str, body: Body) -> None:
    bias = body.get("logit_bias")
    if bias is None:
        return
    if path != CHAT:
        raise Refused(f"logit_bias is only supported by {CHAT}", param="logit_bias")
    fits = isinstance(bias, dict) and all(
        key.isdecimal() and isinstance(value, (int, float)) and abs(value) <= 100
        for key, value in bias.items()
    )
    if not fits:
        raise Refused(
            "logit_bias must map token ids to numbers from -100 to 100", param="logit_bias"
        )
    body["logit_bias"] = {key: float(value) for key, value in bias.items()}  # it takes no integers


def _check_messages(messages: Any) -> None:
    if not messages:
        raise Refused("messages is missing", param="messages")
    if not isinstance(messages, list):
        raise Refused("messages must be a list", param="messages")
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise Refused(f"{where} must have a role: {', '.join(_ROLES)}", param="messages")
        content = message.get("content")
        if content is None and message["role"] == "assistant" and message.get("tool_calls"):
            continue
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list) or not all(_is_text(part) for part in parts):
            raise Refused(
                f"{where}.content must be a text, or parts of type text: this model reads no other",
                param="messages",
            )


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def _length(body: Body) -> int | None:
    newer = body.pop("max_completion_tokens", None)
    asked = newer if newer is not None else body.get("max_tokens")
    if asked is not None and (type(asked) is not int or asked < 1):
        raise Refused("max_tokens must be a whole number from 1 on", param="max_tokens")
    return asked
