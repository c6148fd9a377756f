"""A `Modelfile` for Ollama beside a GGUF: template, stops, system message, parameters, notice.

Ollama does not read the Jinja template of a file that is imported by a Modelfile: it wants the same
in Go's template language. It is not translated but measured: conversations of marked messages are
rendered by the model's own template, and what stands before and after each marked content is what
the Go template writes. A template that is no such sequence, role by role, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from datasets_prep.crisis import HELP_NOTICE
from eval.release.gate import LONGEST_ANSWER
from eval.release.merge import SAMPLING
from recipes.runner.core.errors import UserError

_BEGINNINGS = ("<|begin_of_text|>", "<s>", "<bos>")
# What `make serve` does where a request says nothing: Ollama draws otherwise, and has no end.
_PARAMETERS = {
    **{name: SAMPLING[name] for name in ("temperature", "top_p", "top_k")},
    "repeat_penalty": SAMPLING["repetition_penalty"],
    "num_predict": LONGEST_ANSWER,
}
ROLES = ("system", "user", "assistant")
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class TurnFormat:
    """A chat template, taken apart.

    Attributes:
        start: what stands before every conversation.
        around: role to what stands before and after a message's content.
        generation: what asks for the next answer.
        default_system: the system message that the template adds where none is given; None where
            it adds none.
        trims: it drops white space at the ends of a message, which Go's templates can't.
    """

    start: str
    around: dict[str, tuple[str, str]]
    generation: str
    default_system: str | None
    trims: bool = False

    def render(self, messages: Messages) -> str:
        """The prompt for the next answer, as the model's own template writes it."""
        if self.default_system is not None and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.default_system}, *messages]
        written = self.start
        for message in messages:
            before, after = self.around[message["role"]]
            content = message["content"].strip() if self.trims else message["content"]
            written += before + content + after
        return written + self.generation


def take_apart(tokenizer: Any) -> TurnFormat:
    """Measure a tokenizer's chat template.

    Raises:
        UserError: it has none, or writes something else than its messages one after another.
    """
    if not tokenizer.chat_template:
        raise UserError(
            "the tokenizer has none, so nobody who loads the file could talk to it",
            "chat_template",
            "Name one in the recipe and train again",
        )
    a, b, c, d = (f"\u27e8mark {letter}\u27e9" for letter in "abcd")
    try:
        talk = _render(tokenizer, [("system", d), ("user", a), ("assistant", b), ("user", c)])
        plain = _render(tokenizer, [("system", d), ("user", a)], generation=False)
        asked = _render(tokenizer, [("system", d), ("user", a)])
        bare = _render(tokenizer, [("user", a)])
        before_system, _, rest = plain.partition(d)
        middle, _, after_user = rest.partition(a)
        after_answer = talk.partition(b)[2].partition(c)[0]
        between = talk.partition(a)[2].partition(b)[0]
        generation = asked.removeprefix(plain)
    except Exception as error:  # a template may raise whatever it likes
        raise UserError(
            f"can't be rendered: {error}", "chat_template", "Export as f16 and write it by hand"
        ) from None
    cuts = _Cuts(before_system, middle, after_user, between, after_answer, generation, bare)
    found = _divide(cuts, a, tokenizer.bos_token or "")
    problem = _differs(tokenizer, found) if found else "a role has no place of its own"
    if found and problem:
        found = replace(found, trims=True)
        problem = _differs(tokenizer, found)
    if found is None or problem:
        raise UserError(
            "the chat template is no sequence of messages, role by role, and Ollama's can't say"
            f" the same ({problem})",
            "chat_template",
            "llama.cpp reads the template in the file itself: use llama-server --jinja",
        )
    texts = [found.start, found.generation, found.default_system or ""]
    texts += [text for pair in found.around.values() for text in pair]
    if odd := [mark for mark in ('"""', "{{") if any(mark in text for text in texts)]:
        raise UserError(
            f"the chat template writes {odd[0]}, and a Modelfile can't",
            "chat_template",
            "llama.cpp reads the template in the file itself: use llama-server --jinja",
        )
    return found


def turns_of(tokenizer: Any) -> TurnFormat | None:
    """The template for Ollama; None, said, where Ollama's language can't say it.

    Raises:
        UserError: there is no template at all.
    """
    if not tokenizer.chat_template:
        take_apart(tokenizer)  # refuses
    try:
        return take_apart(tokenizer)
    except UserError as error:
        print(f"No Modelfile: {error}", flush=True)
        return None


def modelfile(gguf: str, turns: TurnFormat, stops: list[str], title: str, adapter: str = "") -> str:
    """The text of the Modelfile.

    Args:
        gguf: the file's name, beside it.
        turns: the template, taken apart.
        stops: end tokens as text.
        title: of the model, for its first comment.
        adapter: name of a GGUF with a LoRA beside it; empty where the model is whole.
    """
    branches = "".join(
        f'{{{{ {"if" if place == 0 else "else if"} eq .Role "{role}" }}}}'
        f"{before}{{{{ .Content }}}}{after}"
        for place, (role, (before, after)) in enumerate(turns.around.items())
    )
    template = (
        f"{turns.start}{{{{ range .Messages }}}}{branches}{{{{ end }}}}{{{{ end }}}}"
        f"{turns.generation}"
    )
    notice = f"No clinician. {HELP_NOTICE}"
    comments = "".join(f"# {line}\n" for line in notice.splitlines())
    system = f"SYSTEM {_quoted(turns.default_system)}\n" if turns.default_system else ""
    trims = (
        "# The model's own template drops white space at the ends of a message; Ollama keeps it.\n"
        if turns.trims
        else ""
    )
    over = f"ADAPTER ./{adapter}\n" if adapter else ""
    ends = "".join(f"PARAMETER stop {_quoted(stop)}\n" for stop in stops)
    parameters = "".join(f"PARAMETER {name} {value}\n" for name, value in _PARAMETERS.items())
    own = "Modelfile-lora" if adapter else "Modelfile"
    return (
        f"# {' '.join(title.split())}: ollama create NAME -f {own}\n"
        f"{comments}FROM ./{gguf}\n{over}{trims}TEMPLATE {_quoted(template)}\n{system}{ends}"
        f"{parameters}"
        # Comments stay behind in this file; what stands here Ollama keeps with the model, and
        # `ollama show` tells.
        f"LICENSE {_quoted(notice)}\n"
    )


def _quoted(text: str) -> str:
    return f'"""{text}"""'


def _render(tokenizer: Any, turns: list[tuple[str, str]], generation: bool = True) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)
    )


@dataclass(frozen=True)
class _Cuts:
    """What stands around the contents of a conversation of system, user, answer and user.

    Attributes:
        before_system: up to the system's content.
        middle: from there to the user's.
        after_user: after the user's, where nothing follows.
        between: from the user's to the answer's.
        after_answer: from there to the next user's.
        generation: what asks for the next answer.
        bare: the whole prompt of one user's message.
    """

    before_system: str
    middle: str
    after_user: str
    between: str
    after_answer: str
    generation: str
    bare: str


def _divide(cuts: _Cuts, mark: str, bos: str) -> TurnFormat | None:
    """Cut what stands between two contents into one message's end and the next one's start."""
    before_system, middle, after_user = cuts.before_system, cuts.middle, cuts.after_user
    between, after_answer = cuts.between, cuts.after_answer
    before_user = _shared_end(middle, after_answer)
    before_answer = between.removeprefix(after_user)
    if not between.startswith(after_user) or not middle.endswith(before_user):
        return None
    after_system = middle.removesuffix(before_user)
    # Where it begins every message too, it is part of theirs.
    begins = (*_BEGINNINGS, bos) if bos and bos not in middle else _BEGINNINGS
    start = _shared_start(before_system, cuts.bare, begins)
    head = cuts.bare.partition(mark)[0]
    default = None
    if head != start + before_user and head.startswith(before_system):
        default = head.removeprefix(before_system).removesuffix(after_system + before_user)
    around = {
        "system": (before_system.removeprefix(start), after_system),
        "user": (before_user, after_user),
        "assistant": (before_answer, after_answer.removesuffix(before_user)),
    }
    if default is not None or head == start + before_user:
        return TurnFormat(start, around, cuts.generation, default)
    return None


def _shared_end(left: str, right: str) -> str:
    count = 0
    while count < min(len(left), len(right)) and left[-1 - count] == right[-1 - count]:
        count += 1
    shared = left[len(left) - count :]
    # The end of the message before may be alike too ("<|im_end|>\n"): a turn starts at its marker.
    for marker in ("<|im_start|>", "<|start_header_id|>", ">>", "[INST]", "<|"):
        place = shared.rfind(marker) if marker != ">>" else _last_word_marker(shared)
        if place > 0:
            return shared[place:]
    return shared


def _last_word_marker(text: str) -> int:
    """Where the last ``>>WORD<<`` of Falcon's special tokens begins; -1 without one."""
    end = text.rfind("<<")
    return text.rfind(">>", 0, end) if end > 0 else -1


def _shared_start(left: str, right: str, begins: tuple[str, ...]) -> str:
    """What both begin with, when no message's own start is in it: a beginning-of-text token."""
    for token in begins:
        if left.startswith(token) and right.startswith(token):
            return token
    return ""


def _differs(tokenizer: Any, turns: TurnFormat) -> str:
    """The first kind of conversation that the parts don't write as the template does."""
    cases = {
        "one message": [("user", "Hello")],
        "with a system message": [("system", "Be brief."), ("user", "Hello")],
        "several turns": [("user", "Hi"), ("assistant", "Yes?"), ("user", "Odd {{x}} <b> \u00e9")],
        "spaces at the ends": [("user", " a "), ("assistant", "b "), ("user", "\nc\n")],
    }
    for name, case in cases.items():
        messages = [{"role": role, "content": content} for role, content in case]
        if turns.render(messages) != _render(tokenizer, case):
            return name
    return ""
