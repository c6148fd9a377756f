"""One run's talks from beginning to end: load, talk, score, write."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from eval.evaluate import memory_errors_said
from eval.generation.arms import Arm, local_arms
from eval.generation.base_model import load_base
from eval.generation.decoding import Decoding
from eval.generation.endpoint import ChatEndpoint
from eval.generation.remote import IN_PARALLEL, RemoteArm
from eval.generation.store import AnswerStore
from eval.generation.version import generation_version
from eval.progress import progress_bar
from eval.talks.headline import number_of
from eval.talks.hold import hold_talks
from eval.talks.measures import ScoredTalk, score_talks
from eval.talks.outcome import compare_talks
from eval.talks.page import render_talks, talk_rows
from eval.talks.persona import Persona
from eval.talks.played import KEY_VARIABLE, PlayedUser
from eval.talks.user import ScriptedUser, SimulatedUser
from recipes.runner.core.errors import UserError
from recipes.runner.core.fallbacks import fallbacks_taken, note_fallback
from recipes.runner.core.files import write_json, write_jsonl, write_text
from recipes.runner.run.finished import Run


@dataclass(frozen=True)
class TalkOptions:
    """What the command line asked for.

    Attributes:
        max_new_tokens: limit of one answer.
        seed: of the persons and of sampling.
        batch_size: talks that are answered together.
        dtype: ``auto``, ``bf16``, ``fp16`` or ``fp32``.
        user: (URL, model) of an endpoint that plays the persons; None: the script.
        endpoints: base and tuned where they are served; None: loaded here.
    """

    max_new_tokens: int = 96
    seed: int = 42
    batch_size: int = 40
    dtype: str = "auto"
    user: tuple[str, str] | None = None
    endpoints: tuple[ChatEndpoint, ChatEndpoint] | None = None


def talk_with_run(
    run: Run, personas: Sequence[Persona], options: TalkOptions, console: Console
) -> dict[str, Any]:
    """Let every persona talk to base and to tuned; write the page, and return the summary.

    Writes ``talks.html``, ``summary.json`` and ``talks.jsonl`` into ``runs/<run>/eval/talks``.

    Raises:
        UserError: whatever is wrong with the run or an endpoint.
    """
    folder = run.eval_dir / "talks"
    # Small batches where a server answers: what an interruption loses is the batch under way.
    size = min(options.batch_size, 2 * IN_PARALLEL) if options.endpoints else options.batch_size
    decoding = Decoding(options.max_new_tokens, seed=options.seed, batch_size=size)
    arms, held = _arms(run, options, console)
    user = _user(options, folder / "cache" / "user.jsonl", console)
    started = time.monotonic()
    scored: list[list[ScoredTalk]] = []
    with progress_bar(console) as bar:
        task = bar.add_task("talks", total=2 * sum(len(p.story) for p in personas))
        for arm in arms:
            bar.update(task, description=f"talks, {arm.name}")
            with memory_errors_said(f"talks, {arm.name}"):
                talks = hold_talks(
                    personas,
                    arm,
                    decoding,
                    folder / "cache",
                    user,
                    lambda n: bar.advance(task, n),
                )
            scored.append(score_talks(personas, talks))
    summary = compare_talks(*scored)
    left_out = sum(talk.read.talk.left_out > 0 for talk in scored[1])
    if left_out:
        note_fallback(
            "eval.talks",
            "oldest turns left out",
            f"{number_of(left_out, 'talk')} outgrew the model's context",
        )
    lengths = [len(persona.story) for persona in personas]
    summary |= {
        "run": run.name,
        "turns": {"least": min(lengths), "most": max(lengths)},
        "left_out": left_out,
        "settings": {
            "base_model": run.base_model,
            "base_held": held,
            "arms": {arm.name: arm.digest for arm in arms},
            "decoding": decoding.to_json(),
            "user": user.identity,
            "user_said": _user_said(user),
            "code_version": generation_version(),
            "fallbacks": fallbacks_taken(),
            "seconds": round(time.monotonic() - started, 1),
        },
    }
    rows = talk_rows(*scored)
    write_jsonl(folder / "talks.jsonl", rows)
    write_json(folder / "summary.json", summary)
    write_text(folder / "talks.html", render_talks(summary, rows))
    return summary


def _arms(run: Run, options: TalkOptions, console: Console) -> tuple[tuple[Arm, Arm], str]:
    """Both arms, and in words how the base is held."""
    if options.endpoints is None:
        run.check_adapter()
        with console.status("loading the base, proving that the adapter changes it"):
            base = load_base(run.config, options.dtype)
            return local_arms(run, base), base.held
    left, right = RemoteArm("base", options.endpoints[0]), RemoteArm("tuned", options.endpoints[1])
    if left.digest == right.digest:
        raise UserError(
            "both arms are the same model at the same address",
            options.endpoints[0].url,
            "Give another --tuned-endpoint or --tuned-model",
        )
    for arm in (left, right):
        end = arm.endpoint
        console.print(f"{arm.name}: every turn is sent to {end.url} (model {end.model})")
    return (left, right), f"served at {left.endpoint.url}"


def _user(options: TalkOptions, kept: Any, console: Console) -> SimulatedUser:
    if options.user is None:
        return ScriptedUser()
    url, model = options.user
    console.print(f"the persons are played by {model}: every turn is sent to {url}")
    return PlayedUser(ChatEndpoint(url, model, KEY_VARIABLE), options.seed, AnswerStore(kept))


def _user_said(user: SimulatedUser) -> str:
    """Who played the persons, for the page."""
    if isinstance(user, PlayedUser):
        return (
            f"The people were played by a model; {user.as_written} of {user.said} lines were said "
            "as the script has them, because it left something out or broke the role."
        )
    return "The people follow a script that reacts to what is answered, with the same seed in both."
