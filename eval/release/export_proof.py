"""Does a GGUF answer as the merged model does? Tokens, template, stops, answers, held-out loss."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.release.greedy import greedy_answers
from eval.release.half_made import shown
from eval.release.likely_tokens import (
    compare_likelihoods,
    likelihoods_of,
    refuse_likelihoods,
)
from eval.release.llama_server import LlamaCpp, installed, llama_cpp
from eval.release.modelfile import Messages, TurnFormat
from recipes.runner.core.errors import UserError
from recipes.runner.core.fallbacks import note_fallback

_PROMPTS = Path(__file__).with_name("odd_prompts.json")
LARGEST_RISE = 0.10
"""Nats a token that a type in fewer bits may add to the held-out loss: 10% of perplexity."""
LARGEST_SHARE_LOST = 0.05
"""Share of the answers that may end by themselves no more, net of those that newly do."""
_CHANCE = 0.05  # level of the paired test
LONGEST = 256  # tokens of an answer, as `make chat` takes it in the recipes
_LARGE = 1_000_000_000  # parameters from which a CPU answers few prompts in reasonable time


@dataclass(frozen=True)
class Answers:
    """Greedy answers of the file in llama.cpp beside those of the merged model in transformers.

    Attributes:
        asked: prompts.
        same: those with the same text, character by character.
        stopped: of the file's answers, those that ended by themselves.
        stopped_before: of the merged model's.
        no_longer_stop: ended by themselves in transformers and not in the file.
        newly_stop: the other way round.
        chance: how likely so many more of the first than of the second are where both are equally
            likely (McNemar's exact test, one-sided).
    """

    asked: int
    same: int
    stopped: int
    stopped_before: int
    no_longer_stop: int
    newly_stop: int
    chance: float

    @property
    def lost(self) -> int:
        """Answers that end by themselves no more, net of those that newly do."""
        return self.no_longer_stop - self.newly_stop


@dataclass(frozen=True)
class Loss:
    """Held-out loss of the file beside the merged model's, in nats a token, conversations paired.

    Attributes:
        merged: of the merged model.
        file: of the file, as transformers reads it.
        rise: the difference.
        low: lower end of its 95% interval.
        high: upper end.
        conversations: how many.
    """

    merged: float
    file: float
    rise: float
    low: float
    high: float
    conversations: int


def odd_prompts() -> list[Messages]:
    """Fifty conversations with odd content: scripts, code, spaces, special tokens as text."""
    prompts: list[Messages] = json.loads(_PROMPTS.read_text(encoding="utf-8"))
    return prompts


def askable_prompts(tokenizer: Any) -> list[Messages]:
    """Those of `odd_prompts` that a chat template takes: some refuse a system message.

    Raises:
        UserError: it takes none.
    """
    from jinja2 import TemplateError

    from eval.generation.generate import prompt_ids

    taken, said = [], ""
    for messages in odd_prompts():
        try:
            prompt_ids(tokenizer, messages)
        except TemplateError as error:
            said = str(error)
        else:
            taken.append(messages)
    if not taken:
        raise UserError(
            f"can't be rendered: {said}", "chat_template", "Name another in the recipe, train again"
        )
    return taken


def odd_prompt_ids(tokenizer: Any) -> list[list[int]]:
    """Token ids of `askable_prompts`, as in training."""
    from eval.generation.generate import prompt_ids

    return [prompt_ids(tokenizer, messages) for messages in askable_prompts(tokenizer)]


def ends_of(model: Any) -> list[int]:
    """Ids that end a model's answers, as its generation_config.json names them."""
    ends = model.generation_config.eos_token_id
    return list(ends) if isinstance(ends, list) else [int(ends)]


def prove_tokens(server: LlamaCpp, tokenizer: Any, turns: TurnFormat | None, file: Path) -> int:
    """Compare the prompts' token ids in transformers, in llama.cpp and by the Modelfile's template.

    Returns:
        The number of prompts, all of them equal.

    Raises:
        UserError: one differs; names it.
    """
    from eval.generation.generate import prompt_ids

    prompts = askable_prompts(tokenizer)
    for number, messages in enumerate(prompts, 1):
        wanted = prompt_ids(tokenizer, messages)
        found = {"the file's template in llama.cpp": server.prompt_ids(messages)}
        if turns is not None and not (turns.trims and _spaced(messages)):
            found["the Modelfile's template"] = server.token_ids(turns.render(messages))
        for where, ids in found.items():
            if ids != wanted:
                said = messages[-1]["content"][:40]
                raise UserError(
                    f"prompt {number} ({said!r}) has other tokens by {where} than in training:"
                    f" {_first_difference(ids, wanted)}; the file was not kept",
                    shown(file),
                    "The tokenizer or the template is not what llama.cpp takes it for",
                )
    return len(prompts)


def prove_answers(
    server: LlamaCpp,
    model: Any,
    tokenizer: Any,
    exact: bool,
    outtype: str,
    file: Path,
    merged: Path | None = None,
) -> Answers:
    """Greedy answers in llama.cpp beside the merged model's, to the odd prompts.

    Args:
        server: with the file.
        model: the merged model.
        tokenizer: its tokenizer.
        exact: the file holds the same values, so that answers differ after a tie alone.
        outtype: of the file's weights; for the error.
        file: for the error.
        merged: the model's folder, where its answers are kept for the next type; None keeps none.

    Raises:
        UserError: as `refuse_answers`.
    """
    # A third of them says less: one answer in 17 that no longer ends is within the bar, two aren't.
    asked = askable_prompts(tokenizer)[:: 3 if model.num_parameters() > _LARGE else 1]
    print(f"Answering {len(asked)} of them, in transformers and in llama.cpp ...", flush=True)
    answers = greedy_answers(model, tokenizer, asked, LONGEST, ends_of(model), merged)
    same, ended = 0, []
    for messages, wanted in zip(asked, answers, strict=True):
        text, stopped = server.answer(messages, LONGEST)
        same += text.strip() == wanted.text
        ended.append((bool(wanted.stopped), stopped))
    found = count_answers(same, ended)
    refuse_answers(found, exact, outtype, file)
    return found


def count_answers(same: int, ended: list[tuple[bool, bool]]) -> Answers:
    """Compare pairs: whether an answer ended by itself in transformers, and in the file.

    Args:
        same: answers with the same text.
        ended: one pair a prompt.
    """
    from scipy import stats

    lost = sum(before and not now for before, now in ended)
    won = sum(now and not before for before, now in ended)
    chance = stats.binomtest(lost, lost + won, alternative="greater").pvalue if lost + won else 1.0
    return Answers(
        asked=len(ended),
        same=same,
        stopped=sum(now for _, now in ended),
        stopped_before=sum(before for before, _ in ended),
        no_longer_stop=lost,
        newly_stop=won,
        chance=float(chance),
    )


def refuse_answers(found: Answers, exact: bool, outtype: str, file: Path) -> None:
    """Stop where answers that ended by themselves don't any more.

    In fewer bits up to one in 20 more may run on: 2 of 50. A file with the same values has its
    likelihoods proven, and its answers part from transformers' at near ties alone, either way; so
    there it has to be more than chance too, which begins at 5 of 50 and none the other way.

    Args:
        found: the comparison.
        exact: the file holds the same values.
        outtype: of the file's weights.
        file: for the error.

    Raises:
        UserError: more than `LARGEST_SHARE_LOST` of the answers.
    """
    allowed = max(1, int(LARGEST_SHARE_LOST * found.asked))
    if found.lost <= allowed or (exact and found.chance > _CHANCE):
        return
    chance = f" (chance {found.chance:.2g})" if exact else ""
    raise UserError(
        f"in {outtype} {found.no_longer_stop} of {found.asked} answers that ended by themselves run"
        f" on in llama.cpp, and {found.newly_stop} the other way{chance}: {found.lost} more, and"
        f" {allowed} more may; the file was not kept",
        shown(file),
        "Take the merged model (make serve)" if exact else more_bits(outtype),
    )


def more_bits(outtype: str) -> str:
    """What to take where a type has too few bits."""
    return f"Take TYPE={'bf16' if outtype == 'q8_0' else 'q8_0'}, which has more bits"


def nats_of(model: Any, rows: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[float]:
    """Negative log likelihood of each conversation's trained tokens, in nats.

    Args:
        model: a causal language model in eval mode.
        rows: token ids and labels of each conversation.
    """
    from eval.generation.heldout import negative_log_likelihood

    return [negative_log_likelihood(model, *row) for row in rows]


def held_out_loss(file: list[float], merged: list[float], tokens: list[int]) -> Loss:
    """Held-out loss of two models over the same conversations, paired.

    The interval is Student's over the conversations' mean differences, weighted by tokens (the
    linearised ratio of Cochran, Sampling Techniques, 1977, section 6.3).

    Args:
        file: `nats_of` the file.
        merged: of the merged model.
        tokens: how many of each conversation count.
    """
    import numpy as np
    from scipy import stats

    nats, weights = np.array([file, merged]), np.array(tokens)
    mine, other = nats.sum(1) / weights.sum()
    rise = mine - other
    residual = nats[0] - nats[1] - rise * weights
    n = len(tokens)
    error = np.sqrt((residual**2).sum() * n / max(n - 1, 1)) / weights.sum()
    reach = float(stats.t.ppf(0.975, max(n - 1, 1))) * error
    return Loss(float(other), float(mine), float(rise), float(rise - reach), float(rise + reach), n)


def refuse_loss(loss: Loss, outtype: str, file: Path) -> None:
    """Stop where a type costs too much.

    Raises:
        UserError: it adds more than `LARGEST_RISE` to the held-out loss.
    """
    if not loss.rise <= LARGEST_RISE:
        raise UserError(
            f"{outtype} adds {loss.rise:.3f} nats a token to the held-out loss ({loss.low:.3f} to"
            f" {loss.high:.3f}), and {LARGEST_RISE} is allowed; the file was not kept",
            shown(file),
            more_bits(outtype),
        )


@dataclass(frozen=True)
class Adapter:
    """A LoRA apart from its base, and what the base says without it.

    Attributes:
        file: the GGUF.
        without: `likelihoods_of` the base, after `odd_prompt_ids`.
    """

    file: Path
    without: Any


def in_llama_cpp(
    file: Path,
    model: Any,
    tokenizer: Any,
    turns: TurnFormat | None,
    outtype: str,
    adapter: Adapter | None = None,
    effect: float | None = None,
    merged: Path | None = None,
) -> dict[str, Any]:
    """What llama.cpp makes of a file; says so where llama.cpp is not here.

    Args:
        file: the GGUF.
        model: what it should be, in transformers.
        tokenizer: its tokenizer.
        turns: the template, taken apart.
        outtype: of the weights; for errors.
        adapter: over the file, for llama.cpp's ``--lora``.
        effect: what the adapter changes, relative to the logits, where the file holds the model's
            own values and so must compute the same; None for fewer bits, and with ``adapter``,
            which tells it.
        merged: the model's folder, where its answers are kept for the next type.

    Returns:
        For the proof: ``prompts_equal``, ``likelihoods`` and ``answers``, or nothing.

    Raises:
        UserError: other tokens, other likelihoods, or answers that stop no more.
    """
    if not installed():
        note_fallback("export", "not read by llama.cpp", "it is not here: make setup EXTRAS=export")
        print("Not read by llama.cpp itself, which is not here: make setup EXTRAS=export")
        return {}
    made = adapter.file if adapter else file
    prompts = odd_prompt_ids(tokenizer)
    wanted = likelihoods_of(model, prompts)
    with llama_cpp(file, adapter.file if adapter else None) as server:
        equal = prove_tokens(server, tokenizer, turns, made)
        print(f"Tokens of {equal} prompts: the same in training and in llama.cpp", flush=True)
        likely = compare_likelihoods(server, prompts, wanted, adapter and adapter.without)
        effect = likely.without_adapter if adapter else effect
        print(
            f"Next token after them{', with --lora' if adapter else ''}: the same likeliest one"
            f" {likely.same} times; likelihoods {likely.relative:.2g} apart"
            + (f", and {effect:.2g} without the adapter" if adapter else ""),
            flush=True,
        )
        if effect is not None:
            refuse_likelihoods(likely, effect, shown(made))
        exact = effect is not None
        answers = prove_answers(server, model, tokenizer, exact, outtype, made, merged)
    print(
        f"Answers in llama.cpp: {answers.same} of {answers.asked} the same to the letter;"
        f" {answers.stopped} end by themselves ({answers.stopped_before} in transformers;"
        f" {answers.no_longer_stop} no longer, {answers.newly_stop} newly)"
    )
    return {
        "prompts_equal": equal,
        "likelihoods": asdict(likely),
        "answers": asdict(answers),
    }


def _spaced(messages: Messages) -> bool:
    """Whether a message has white space at an end, which Ollama's templates can't drop."""
    return any(message["content"] != message["content"].strip() for message in messages)


def _first_difference(found: list[int], wanted: list[int]) -> str:
    place = next(
        (n for n, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b),
        min(len(found), len(wanted)),
    )
    return f"{found[place : place + 4]} for {wanted[place : place + 4]} at token {place}"
