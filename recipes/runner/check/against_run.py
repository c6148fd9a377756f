"""A recipe against the run that it makes: steps, warm-up, evaluation, stopping, validation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from recipes.runner.check.finding import Finding, entries, number, spelt, whole
from recipes.runner.core.local_data import count_rows, training_rows


def check_against_run(config: dict[str, Any]) -> Iterator[Finding]:
    """Settings that come to nothing in the run, or turn against each other."""
    yield from _steps(config)
    yield from _length(config)
    yield from _validation(config)
    yield from _stopping(config)
    yield from _best(config)
    yield from _spread(config)
    if config.get("excess_length_strategy") in ("drop", "truncate"):
        done = "dropped" if config["excess_length_strategy"] == "drop" else "cut at their end"
        length = spelt(config.get("sequence_len", 512))
        what = f"rows of more than {length} tokens are {done}, with one line in the log"
        yield Finding(("excess_length_strategy",), what, "", "note")


def most_steps(config: dict[str, Any]) -> int | None:
    """Optimizer steps of one process at the most: fewer where rows are packed; None if unknown."""
    steps = number(config.get("max_steps"))
    if steps is not None and steps > 0:
        return int(steps)
    rows, epochs = training_rows(config), number(config.get("num_epochs", 1.0)) or 0.0
    micro = (number(config.get(key, 1)) or 0 for key in _SIZES)
    if rows is None or not 0 < epochs < math.inf or any(size < 1 for size in micro):
        return None
    # As Axolotl counts them (`calculate_total_num_steps`).
    most = rows * epochs / _sequences_a_step(config)
    return math.ceil(most) if math.isfinite(most) else None


_SIZES = ("micro_batch_size", "gradient_accumulation_steps")


def _sequences_a_step(config: dict[str, Any]) -> int:
    micro = whole(config, "micro_batch_size", 1)
    if (batch := whole(config, "batch_size", 0)) > 0 and not config.get(
        "gradient_accumulation_steps"
    ):
        return batch
    return max(1, micro * whole(config, "gradient_accumulation_steps", 1))


def _rows(config: dict[str, Any]) -> int | None:
    """Rows of all training data, where each is a local file."""
    total = 0
    listed = entries(config, "datasets")
    for _, entry in listed:
        path = entry.get("path")
        rows = count_rows(path) if isinstance(path, str) else None
        if rows is None:
            return None
        total += rows
    return total if listed else None


def _steps(config: dict[str, Any]) -> Iterator[Finding]:
    rows, a_step = _rows(config), _sequences_a_step(config)
    if rows is not None and a_step > max(rows, 1):
        accumulated, micro = (
            whole(config, key, 1) for key in ("gradient_accumulation_steps", "micro_batch_size")
        )
        key = "gradient_accumulation_steps" if accumulated > micro else "micro_batch_size"
        what = f"0 whole optimizer steps an epoch: a step takes {a_step:,} sequences of {rows:,}"
        yield Finding((key,), what, "Lower it")
        return  # what is said of steps below would be of steps that are none
    elif rows is None and a_step > 100_000:
        key = "gradient_accumulation_steps"
        what = f"a step takes {a_step:,} sequences: few data sets have as many"
        yield Finding((key,), what, "Lower it", "warning")
    if "num_epochs" in config and (number(config.get("max_steps")) or 0) > 0:
        what = "is not read: max_steps decides how long the run is"
        yield Finding(("num_epochs",), what, "Take one of them out", "warning")
    steps = most_steps(config)
    warmup = number(config.get("warmup_steps"))
    if steps is not None and warmup is not None and warmup >= steps and warmup > 0:
        what = f"is {warmup:g}, and the run has {steps:,} steps at the most"
        todo = "Lower it: the learning rate is never reached"
        yield Finding(("warmup_steps",), what, todo, "warning")
    yield from _often(config, rows, a_step)
    for key, verb in (("eval_steps", "evaluates"), ("save_steps", "saves")):
        every = number(config.get(key))
        if steps is not None and every is not None and every >= 1 and every > steps:
            what = f"is {every:g}, and the run has {steps:,} steps at the most: it never {verb}"
            stops = config.get("load_best_model_at_end") or config.get("early_stopping_patience")
            yield Finding((key,), what, "Lower it", "error" if stops else "warning")
        elif every is not None and 1 < every < 1_000_000 and every != int(every):
            what = f"is {every:g}: neither a number of steps nor a share of them"
            yield Finding((key,), what, "Give a whole number, or a share below 1")
    logging = number(config.get("logging_steps"))
    if steps is not None and logging is not None and logging > steps:
        what = f"is {logging:g}, and the run has {steps:,} steps at the most: no loss is logged"
        yield Finding(("logging_steps",), what, "Lower it", "warning")


def _often(config: dict[str, Any], rows: int | None, a_step: int) -> Iterator[Finding]:
    """So many times an epoch that it can't be, or none at all."""
    epochs = number(config.get("num_epochs", 1.0)) or 0.0
    for key in _NONE:
        times = number(config.get(key))
        if times is None or (key == "evals_per_epoch" and not validates(config)):
            continue
        other = key.replace("s_per_epoch", "")
        if times == 0 and (config.get(f"{other}_steps") or config.get(f"{other}_strategy")):
            continue  # which says it
        if times == 0:
            what = f"is 0, which Axolotl takes for none given: {_WITHOUT[key]}"
            yield Finding((key,), what, f"Write {_NONE[key]}", "warning")
        elif rows is not None and times > (steps := max(rows // a_step, 1)):
            what = f"is {times:g}, and an epoch has {steps:,} steps"
            yield Finding((key,), what, "Lower it", "warning")
        elif key == "evals_per_epoch" and times * epochs == 1:
            what = "is one evaluation in all, for which Axolotl sets no step: it never evaluates"
            yield Finding((key,), what, "Write 2, or eval_strategy: epoch", "warning")


_WITHOUT = {"evals_per_epoch": "it never evaluates", "saves_per_epoch": "it saves every epoch"}
_NONE = {"evals_per_epoch": "val_set_size: 0", "saves_per_epoch": 'save_strategy: "no"'}


def _length(config: dict[str, Any]) -> Iterator[Finding]:
    longest, evaluated = whole(config, "sequence_len", 0), whole(config, "eval_sequence_len", 0)
    if evaluated and longest and evaluated > 4 * longest:
        what = f"is {evaluated:,}, and training sees {longest:,} tokens"
        yield Finding(("eval_sequence_len",), what, "", "warning")


def validates(config: dict[str, Any]) -> bool:
    """Whether a recipe has rows to evaluate on."""
    return bool(config.get("test_datasets")) or (number(config.get("val_set_size")) or 0) > 0


def _validation(config: dict[str, Any]) -> Iterator[Finding]:
    share, rows = number(config.get("val_set_size")), _rows(config)
    if share is not None and rows is not None and share >= max(rows, 2):
        what = f"is {share:,.0f}, and there are {rows:,} rows: none is left to train on"
        yield Finding(("val_set_size",), what, "Lower it")
    if validates(config):
        return
    # Without rows to evaluate on, nothing of this can happen.
    for key in ("early_stopping_patience", "load_best_model_at_end"):
        if config.get(key):
            what = "can't act: there is no validation data"
            yield Finding((key,), what, "Add test_datasets or val_set_size, or take it out")
    if config.get("lr_scheduler") in ("reduce_lr_on_plateau", "greedy"):
        what = f"is {config['lr_scheduler']}, which goes by evaluations, and there are none"
        yield Finding(("lr_scheduler",), what, "Add test_datasets or val_set_size")
    for key in ("eval_steps", "evals_per_epoch", "eval_sample_packing"):
        if config.get(key) and "val_set_size" not in config and not _reinforced(config):
            what = "is not read: there is no validation data"
            yield Finding((key,), what, "Add test_datasets or val_set_size", "warning")
            return
    if "val_set_size" not in config and not _reinforced(config):
        what = "has no validation data: nothing tells when it learns by heart"
        todo = "Add test_datasets, or say val_set_size: 0"
        yield Finding(("datasets",), what, todo, "warning")


def _spread(config: dict[str, Any]) -> Iterator[Finding]:
    sharded = config.get("fsdp_config") or config.get("fsdp")
    if config.get("deepspeed") and sharded:
        key = "fsdp_config" if config.get("fsdp_config") else "fsdp"
        yield Finding((key,), "stands beside deepspeed: one of them shards the run", "Take one out")


def _reinforced(config: dict[str, Any]) -> bool:
    others = ("rl", "pretraining_dataset", "streaming", "reward_model", "process_reward_model")
    return any(config.get(key) for key in others) or not config.get("datasets")


def _stopping(config: dict[str, Any]) -> Iterator[Finding]:
    patience = number(config.get("early_stopping_patience"))
    if not patience or patience < 1 or not validates(config):
        return
    steps, every = most_steps(config), number(config.get("eval_steps"))
    epochs = number(config.get("num_epochs", 1.0)) or 0.0
    # Axolotl evaluates before the first step too: that is what the others are measured by.
    evaluations: float | None = None
    if every and every > 0 and steps is not None:
        evaluations = steps // every if every >= 1 else 1 / every
    elif config.get("evals_per_epoch"):
        evaluations = (number(config["evals_per_epoch"]) or 0) * epochs
    if evaluations is not None and evaluations < patience:
        what = f"is {patience:g}, and there are {evaluations:g} evaluations at the most"
        yield Finding(("early_stopping_patience",), f"{what}: it can't act", "Lower it", "warning")


def _best(config: dict[str, Any]) -> Iterator[Finding]:
    metric = config.get("metric_for_best_model")
    is_loss = metric is None or (isinstance(metric, str) and metric.endswith("loss"))
    if config.get("greater_is_better") is True and is_loss:
        what = "is true for a loss: it keeps the worst checkpoint"
        yield Finding(("greater_is_better",), what, "Write false", "warning")
    rises = ("accuracies", "accuracy", "margins", "bleu", "chrf")
    if config.get("greater_is_better") is False and str(metric).endswith(rises):
        what = f"is false for {metric}: it keeps the worst checkpoint"
        yield Finding(("greater_is_better",), what, "Write true", "warning")
    saves, evaluates = number(config.get("save_steps")), number(config.get("eval_steps"))
    if config.get("load_best_model_at_end") and saves and evaluates:
        whole_steps = saves >= 1 and evaluates >= 1
        # Axolotl asks it of shares of the run too, and then looks for no best one in silence.
        if not whole_steps and saves % evaluates:
            what = f"is {saves:g}, no multiple of eval_steps ({evaluates:g}): no best one is kept"
            yield Finding(("save_steps",), what, f"Write {evaluates:g}", "warning")
        elif whole_steps and saves % evaluates:
            what = f"is {saves:g}, no multiple of eval_steps ({evaluates:g})"
            todo = "The best checkpoint is only known where both fall together"
            yield Finding(("save_steps",), what, todo)
