"""One evaluation from beginning to end: load, prove, answer, score, write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from eval.checks.similarity import Embedder
from eval.generation.arms import Arm, LocalArm, local_arms
from eval.generation.base_model import load_base
from eval.generation.decoding import Decoding
from eval.generation.dialogue import answers_wanted, cache_file, check_lengths, hold
from eval.generation.endpoint import ChatEndpoint
from eval.generation.generate import out_of_memory
from eval.generation.heldout import HeldOut, read_held_out, score_held_out
from eval.generation.reference import reference_arms
from eval.generation.remote import IN_PARALLEL, RemoteArm
from eval.generation.version import generation_version
from eval.labelled.pairs import labelled_pairs
from eval.progress import progress_bar
from eval.scoring.calibration import PAIRS, calibrate
from eval.scoring.judge import Judge, judge_items, unfit
from eval.scoring.pairs import Item, pair
from eval.suite import Suite
from recipes.runner.core.errors import UserError
from recipes.runner.core.fallbacks import fallbacks_taken, note_fallback
from recipes.runner.core.recipe import display_path
from recipes.runner.run.finished import Run

Scores = list[tuple[float, int]]


@dataclass
class Options:
    """What the command line asked for.

    Attributes:
        samples: answers per prompt and arm; 1 is greedy.
        batch_size: conversations generated together.
        seed: of sampling.
        dtype: ``auto``, ``bf16``, ``fp16`` or ``fp32``.
        limit: only the first prompts of each suite and the first held-out conversations.
        embedding_model: folder of a local encoder, for embedding similarity.
    """

    samples: int = 1
    batch_size: int = 40
    seed: int = 42
    dtype: str = "auto"
    limit: int | None = None
    embedding_model: Path | None = None


@dataclass
class Evaluation:
    """What an evaluation found.

    Attributes:
        items: scored conversations by suite.
        held_out: (base, tuned) nats and tokens by conversation; None when not measured.
        rows: the held-out conversations behind it.
        settings: what it ran with.
        judge: the judge's figures; None without a judge.
    """

    items: dict[str, list[Item]]
    held_out: tuple[Scores, Scores] | None
    rows: list[HeldOut] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    judge: dict[str, Any] | None = None


def evaluate_run(
    run: Run,
    suites: list[Suite],
    options: Options,
    console: Console,
    against: Run | None = None,
) -> Evaluation:
    """Evaluate a run's adapter against its base, both from one load.

    Args:
        run: whose adapter it is.
        suites: what both are asked.
        options: how.
        console: where its progress is shown.
        against: another run whose tuned model takes base's place, as `eval.against` gives it.

    Raises:
        UserError: whatever is wrong with the run, its data or the suites.
    """
    run.check_adapter()
    test_file = run.held_out_file()
    started = time.monotonic()
    with console.status("loading the base"):
        base = load_base(run.config, options.dtype)
    rows = read_held_out(test_file, run.config, base.tokenizer, options.limit)
    too_long = [row.id for row in rows if len(row.ids) > base.context]
    if too_long:
        raise UserError(
            f"conversation '{too_long[0]}' is longer than the model's context of {base.context} "
            f"tokens ({len(too_long)} such)",
            str(test_file),
            "Make the data again with a smaller length limit",
        )
    with console.status("proving that the adapter changes the base, and off is the base"):
        arms: tuple[LocalArm, LocalArm]
        arms = reference_arms(run, against, base) if against else local_arms(run, base)
    console.print(f"base {run.base_model}: {base.held}", highlight=False, soft_wrap=True)
    if against:
        console.print(
            f"base below is {against.name}: the same model with that run's adapter",
            highlight=False,
            soft_wrap=True,
        )
    folder = run.eval_dir / "cache"
    folders = (against.eval_dir / "cache" if against else folder, folder)
    loaded = time.monotonic()
    with progress_bar(console) as bar:
        task = bar.add_task("held-out", total=2 * len(rows))
        with memory_errors_said("the held-out conversations"):
            scores = [
                score_held_out(arm, rows, kept, lambda n: bar.advance(task, n))
                for arm, kept in zip(arms, folders, strict=True)
            ]
    items = answer_suites(arms, suites, options, folders, console)
    settings = describe(options, suites) | {
        "run": run.name,
        "against": against.name if against else None,
        "recipe": run.record.get("recipe"),
        "base_model": run.base_model,
        "base_held": base.held,
        "base_digest": base.digest,
        "tuned_digest": arms[1].digest,
        "held_out": str(test_file),
        "adapter": str(run.path),
        "seconds": {
            "loading": round(loaded - started, 1),
            "answering": round(time.monotonic() - loaded, 1),
        },
    }
    return Evaluation(items, (scores[0], scores[1]), rows, settings)


def evaluate_endpoints(
    run: Run,
    suites: list[Suite],
    options: Options,
    endpoints: tuple[ChatEndpoint, ChatEndpoint],
    console: Console,
) -> Evaluation:
    """Compare two served models, for example a base and its merged, tuned self.

    Held-out likelihood needs the weights, so it is left out, and that is noted.

    Raises:
        UserError: an endpoint fails, or both are the same model at the same place.
    """
    base, tuned = RemoteArm("base", endpoints[0]), RemoteArm("tuned", endpoints[1])
    if base.digest == tuned.digest:
        raise UserError(
            "both arms are the same model at the same address",
            endpoints[0].url,
            "Give another --tuned-endpoint or --tuned-model",
        )
    for name, end in zip(("base", "tuned"), endpoints, strict=True):
        console.print(
            f"{name}: every prompt is sent to {end.url} (model {end.model})", highlight=False
        )
    note_fallback("eval.held_out", "no held-out likelihood", "a served model shows no likelihoods")
    started = time.monotonic()
    # Small batches: what is lost by an interruption is the batch under way.
    options = replace(options, batch_size=min(options.batch_size, 2 * IN_PARALLEL))
    for arm in (base, tuned):
        _say_what_is_kept(arm, suites, options, run.eval_dir / "cache", console)
    folder = run.eval_dir / "cache"
    items = answer_suites((base, tuned), suites, options, (folder, folder), console)
    settings = describe(options, suites) | {
        "run": run.name,
        "recipe": run.record.get("recipe"),
        "base_model": run.base_model,
        "base_endpoint": f"{endpoints[0].url} {endpoints[0].model}",
        "tuned_endpoint": f"{endpoints[1].url} {endpoints[1].model}",
        "base_digest": base.digest,
        "tuned_digest": tuned.digest,
        "seconds": {"answering": round(time.monotonic() - started, 1)},
    }
    return Evaluation(items, None, [], settings)


def _say_what_is_kept(
    arm: RemoteArm, suites: list[Suite], options: Options, folder: Path, console: Console
) -> None:
    """A server may hold another model under the same name by now, which nothing here can see."""
    files = [cache_file(folder, arm, suite, decoding_of(suite, options)) for suite in suites]
    kept = [path for path in files if path.is_file()]
    if kept:
        since = time.strftime(
            "%Y-%m-%d %H:%M", time.localtime(min(p.stat().st_mtime for p in kept))
        )
        console.print(
            f"{arm.name}: answers to {len(kept)} suites are kept from {since}; if the server holds "
            f"another model now, remove {display_path(folder)} and evaluate again",
            highlight=False,
        )


def judge_outcome(
    outcome: Evaluation, endpoint: ChatEndpoint, folder: Path, console: Console
) -> None:
    """Let a judge that passes its calibration rate every pair; says first where answers go.

    Raises:
        UserError: the judge fails; the verdicts so far are kept.
    """
    items = [item for group in outcome.items.values() for item in group]
    said = f"{endpoint.url} (model {endpoint.model})"
    console.print(
        f"judge: {said} is asked first about {len(PAIRS)} planted pairs of answers, and if it is "
        f"fit about {len(labelled_pairs())} that people labelled",
        highlight=False,
        soft_wrap=True,
    )
    with progress_bar(console) as bar:
        pairs = len(PAIRS) + len(labelled_pairs())
        task = bar.add_task("judge, planted pairs", total=2 * pairs)
        judge = Judge(endpoint, folder / "judge.jsonl", lambda n: bar.advance(task, n))
        calibration = calibrate(judge.choose)
        if not calibration.trusted:
            outcome.judge = unfit(judge, calibration)
            return
        console.print(
            f"judge: {len(items)} prompts with both answers are sent to {said}",
            highlight=False,
            soft_wrap=True,
        )
        wanted = 2 * (len(items) + sum(bool(item.suite.rubric) for item in items))
        bar.reset(task, description="judge", total=wanted)
        outcome.judge = judge_items(judge, items, calibration)


def answer_suites(
    arms: tuple[Arm, Arm],
    suites: list[Suite],
    options: Options,
    folders: tuple[Path, Path],
    console: Console,
) -> dict[str, list[Item]]:
    """Let both arms answer every suite, keep each arm's answers in its folder, and score the pairs.

    Raises:
        UserError: a prompt does not fit, or memory ran out with a single conversation.
    """
    for suite in suites:
        check_lengths(arms[0], suite, suite.max_new_tokens)
    embed = Embedder(options.embedding_model) if options.embedding_model else None
    items: dict[str, list[Item]] = {}
    with progress_bar(console) as bar:
        total = sum(2 * answers_wanted(s, decoding_of(s, options)) for s in suites)
        task = bar.add_task("answers", total=total)
        for suite in suites:
            decoding = decoding_of(suite, options)
            held = []
            for name, arm, kept in zip(("base", "tuned"), arms, folders, strict=True):
                bar.update(task, description=f"{suite.name}, {name}")
                with memory_errors_said(f"suite {suite.name}, {name}"):
                    held.append(hold(arm, suite, decoding, kept, lambda n: bar.advance(task, n)))
            items[suite.name] = pair(suite, held[0], held[1], embed)
    return items


@contextmanager
def memory_errors_said(where: str) -> Iterator[None]:
    """Say in one line that memory ran out with a single conversation."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise UserError(
            "memory ran out with a single conversation; what was answered is kept",
            where,
            "Lower max_new_tokens, or use a machine with more memory",
        ) from None


def decoding_of(suite: Suite, options: Options) -> Decoding:
    """A suite's limit with the command line's settings."""
    return Decoding(
        suite.max_new_tokens, options.samples, seed=options.seed, batch_size=options.batch_size
    )


def describe(options: Options, suites: list[Suite]) -> dict[str, Any]:
    """Settings for summary.json and the report."""
    return {
        "decoding": {s.name: decoding_of(s, options).to_json() for s in suites},
        "limit": options.limit,
        "dtype": options.dtype,
        "embedding_model": str(options.embedding_model) if options.embedding_model else None,
        "code_version": generation_version(),
        "fallbacks": fallbacks_taken(),
    }
