"""One turn out of a list: its role, its text, its tool calls, and whether it is trained."""

from __future__ import annotations

import json
from typing import Any

from datasets_prep.cells import Unusable, parsed, plain, text_of
from datasets_prep.conversation import Message
from datasets_prep.signatures import normalise

# A ShareGPT turn is {from, value}; the others are the keys that turn lists in the wild use.
ROLE_KEYS = ("role", "from", "speaker", "author", "sender", "name")
CONTENT_KEYS = ("content", "value", "text", "utterance", "message")
TRAIN_KEYS = (
    "weight", "train", "training", "trainable", "train_on_turn", "loss_weight", "loss_mask",
)  # fmt: skip
# A flag, or what a model lost there: only the first says anything.
_LOSS = "loss"
# Which parts of a turn are trained, or a mask whose sense differs from source to source.
_UNCLEAR = ("mask", "masked", "train_detail", "training_detail")
_SAID = {"true": True, "false": False, "yes": True, "no": False}
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_CALL_ROLES = ("function_call", "tool_call")
# Content parts that call a tool; the second is Anthropic's, with its arguments as ``input``.
_CALL_PARTS = ("tool_call", "tool_use", "function_call")
TOOL_ROLES = ("tool", "observation", "function", "function_response", "tool_response", "ipython")
# Keys of a turn that are read, or that mean nothing for training.
READ_KEYS = frozenset(
    {*ROLE_KEYS, *CONTENT_KEYS, *TRAIN_KEYS, _LOSS, *_UNCLEAR, *_REASONING_KEYS}
    | {"tool_calls", "tool_call_id", "function_call"}
)


# Keys of an element that holds a question and its answer.
_PAIRS = (
    ("input", "output"),
    ("instruction", "output"),
    ("question", "answer"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("query", "response"),
    ("human", "assistant"),
    ("human", "gpt"),
    ("user", "assistant"),
    ("user", "bot"),
    ("q", "a"),
)


def pairs_to_turns(items: list[Any]) -> list[Any]:
    """A list of exchanges as a list of turns; any other list as it is.

    A ``system`` of the first exchange is a turn before it.
    """
    if not items or not all(isinstance(item, dict) for item in items):
        return items
    for asked, answered in _PAIRS:
        if all(asked in item and answered in item for item in items):
            turns: list[Any] = []
            if plain(items[0].get("system")).strip():
                turns.append({"role": "system", "content": items[0]["system"]})
            for item in items:
                turns.append({"role": "user", "content": item[asked]})
                turns.append({"role": "assistant", "content": item[answered]})
            return turns
    return items


def is_call(name: str) -> bool:
    """Whether a role is ShareGPT's for a call of a tool."""
    return name in _CALL_ROLES


def train_of(item: dict[str, Any], where: str) -> bool:
    """Whether a turn is trained on: its ``weight``, ``train`` or the like says no.

    Raises:
        Unusable: a weight between 0 and 1, which no trainer here can give to a turn.
    """
    for key in _UNCLEAR:
        if item.get(key):
            raise Unusable(
                f"{where} has '{key}', which may mean either: say train: true or false instead"
            )
    for key in (*TRAIN_KEYS, _LOSS):
        value = flag_of(item.get(key))
        if value is None or (key == _LOSS and value not in (0, 1)):
            continue
        if value not in (0, 1):
            raise Unusable(f"{where} has the {key} {value}: a turn is trained on or not, 0 or 1")
        if not value:
            return False
    return True


def flag_of(value: Any) -> Any:
    """A flag or a weight that may stand there as text ("False", "0.0"), by its value."""
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    try:
        return _SAID[word] if word in _SAID else float(word)
    except ValueError:
        return value if word else None


def calls_of(item: dict[str, Any], role: str, text: Any) -> list[dict[str, Any]]:
    """The tool calls of a turn, in OpenAI's form; arguments stay a JSON text.

    Raises:
        Unusable: a call that names no function.
    """
    raw = item.get("tool_calls")
    if isinstance(raw, str):
        raw = parsed(raw)
    calls = list(raw) if isinstance(raw, list) else []
    if item.get("function_call"):
        calls.append(item["function_call"])
    if is_call(role):
        found = parsed(text) if isinstance(text, str) else text
        calls += found if isinstance(found, list) else [found]
    return [_call(call) for call in calls]


def _parts_called(item: dict[str, Any], parts: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    """A turn with the calls among its content parts as its ``tool_calls``, and the other parts."""
    kinds = [part.get("type") if isinstance(part, dict) else None for part in parts]
    calls = [p.get("value", p) for p, kind in zip(parts, kinds, strict=True) if kind in _CALL_PARTS]
    if not calls:
        return item, parts
    own = item.get("tool_calls")
    rest = [p for p, kind in zip(parts, kinds, strict=True) if kind not in _CALL_PARTS]
    return {**item, "tool_calls": [*(own if isinstance(own, list) else []), *calls]}, rest


def _call(call: Any) -> dict[str, Any]:
    if isinstance(call, str):
        call = parsed(call)
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not function.get("name"):
        raise Unusable(f"tool_calls: a call names no function ({str(call)[:60]})")
    arguments: Any = next(
        (function[key] for key in ("arguments", "parameters", "input") if key in function), {}
    )
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    made = {
        "type": "function",
        "function": {"name": plain(function["name"]), "arguments": arguments},
    }
    return {"id": plain(call["id"]), **made} if call.get("id") else made


def tool_of(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool in OpenAI's form, its parameters as JSON text.

    They differ by tool, and readers of JSON Lines make one type of a whole column; Axolotl reads
    the text.
    """
    function = dict(tool["function"] if isinstance(tool.get("function"), dict) else tool)
    if isinstance(function.get("parameters"), dict):
        function["parameters"] = json.dumps(function["parameters"], ensure_ascii=False)
    return {"type": "function", "function": function}


def message(item: dict[str, Any], role: str, source_role: str, value: Any, where: str) -> Message:
    """The message of a turn.

    Args:
        item: the turn.
        role: system, user, assistant or tool.
        source_role: what the role is called in the source, lower case.
        value: the turn's content.
        where: its name, for reasons.

    Raises:
        Unusable: it holds what is no text.
    """
    if role == "assistant" and isinstance(value, list):
        item, value = _parts_called(item, value)
    calls = calls_of(item, source_role, value) if role == "assistant" else []
    if is_call(source_role):
        text = ""
    elif role == "tool" and isinstance(value, dict | list):
        # What a tool answers is data; JSON is its own form.
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = text_of(value, where, parts=True)
    thought = next((item[key] for key in _REASONING_KEYS if item.get(key)), None)
    if thought and role == "assistant" and "<think>" not in text:
        text = f"<think>\n{text_of(thought, where, parts=True).strip()}\n</think>\n\n{text}"
    # Only answers are ever trained: a weight of 0 at the others says nothing.
    train = role != "assistant" or train_of(item, where)
    made = Message(role, text, train=train, calls=calls)
    if role == "tool":
        made.call_id = plain(item.get("tool_call_id"))
        made.name = plain(item.get("name"))
    return made


def together(parts: list[str]) -> str:
    """The parts of a question, a blank line between; what another part says already is left out."""
    kept: list[str] = []
    for part in filter(str.strip, parts):
        said = [f" {normalise(other)} " for other in kept]
        if any(f" {normalise(part)} " in text for text in said):
            continue
        kept = [k for k in kept if f" {normalise(k)} " not in f" {normalise(part)} "] + [part]
    return "\n\n".join(kept)


def columns_to_rows(value: dict[str, Any]) -> list[Any]:
    """A struct of lists of one length as a list of structs; any other as the one item."""
    lists = [v for v in value.values() if isinstance(v, list)]
    if len(lists) != len(value) or len({len(v) for v in lists}) != 1:
        return [value]
    return [dict(zip(value, items, strict=True)) for items in zip(*lists, strict=True)]


def first_key(item: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    """The first of ``keys`` that the item has."""
    return next((key for key in keys if key in item), None)


def sort_key(value: Any) -> tuple[int, float, str]:
    """Numbers by their value, before other text by its letters."""
    text = plain(value)
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)
