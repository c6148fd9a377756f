"""What a model card says of a run, read from run.json, the data card and the evaluation."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.against import against_folders
from eval.report.wording import counts_said, gates_said
from recipes.runner.core.hashes import file_hash
from recipes.runner.core.recipe import ROOT, display_path
from recipes.runner.core.terminal import answers_text, duration
from recipes.runner.run.fingerprint import digest, folder_digest
from recipes.runner.run.finished import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Run

_LICENCE = re.compile(r"^\| Licence \| (.+) \|$", re.MULTILINE)
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_GIB = 2**30


@dataclass(frozen=True)
class DataFacts:
    """The data set of a run.

    Attributes:
        name: its folder's name, or the file's where it is not one of this repository's.
        licence: as its card says; None without a card.
        summary: Markdown: title, notice, description, source and splits; no row of it.
    """

    name: str
    licence: str | None
    summary: str


def data_facts(run: Run) -> DataFacts:
    """The data set that a run was trained on, from the card beside the rows."""
    sources = run.config.get("datasets") or [{}]
    path = Path(str(sources[0].get("path", "")))
    file = path if path.is_absolute() else ROOT / path
    entries: list[dict[str, Any]] = run.record.get("data") or []
    used = next((entry for entry in entries if entry.get("use") == "datasets"), {})
    rows = f" ({used['rows']:,} rows)" if used.get("rows") else ""
    card = file.parent / "card.md"
    if not card.is_file():
        return DataFacts(path.name, None, f"Trained on `{path.name}`{rows}, which has no card.")
    text = card.read_text(encoding="utf-8")
    licence = _LICENCE.search(text)
    summary = _TITLE.sub(r"**\1**", text.split("\n## Steps\n")[0].strip(), count=1)
    summary = summary.replace("\n## ", "\n### ")
    if used.get("sha256") and not (file.is_file() and used["sha256"] == file_hash(file)):
        summary = (
            f"**The data were made anew since this run{rows}: the card below is of the newer ones."
            f"**\n\n{summary}"
        )
    return DataFacts(file.parent.name, licence[1].strip() if licence else None, summary)


def evaluation_is_of_adapter(run: Run, summary: dict[str, Any]) -> bool:
    """Whether an evaluation was made with the adapter that is in the folder now.

    One of served models can't be told, and counts as another's.
    """
    adapter = folder_digest(run.path, (ADAPTER_WEIGHTS, ADAPTER_CONFIG))
    settings = summary["settings"]
    return bool(digest([settings.get("base_digest"), adapter]) == settings.get("tuned_digest"))


def evaluation_facts(run: Run) -> dict[str, Any] | None:
    """The verdicts of the last evaluation, ready for the template; None when there is none."""
    summary = run.summary()
    if summary is None:
        return None
    decoding = list((summary["settings"].get("decoding") or {}).values())
    samples = decoding[0].get("samples", 1) if decoding else 1
    rows = []
    for row in summary["suites"]:
        found = row["compared"]
        low, high = found["interval"]["low"], found["interval"]["high"]
        rows.append(
            {
                **row,
                "n": found["n"],
                "base": f"{found['base']:.3f}",
                "tuned": f"{found['tuned']:.3f}",
                "tuned_value": round(float(found["tuned"]), 4),
                "difference": f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
            }
        )
    return {
        "rows": rows,
        "gates": summary["gates"],
        "decision": summary.get("decision"),
        "counts": counts_said(summary),
        "gates_hold": summary["gates_hold"],
        "gates_said": gates_said(summary["gates"]),
        "limit": summary["settings"].get("limit"),
        "of_this_adapter": evaluation_is_of_adapter(run, summary),
        "answers": "greedy decoding" if samples == 1 else f"{samples} samples a prompt",
    }


def against_facts(run: Run) -> list[dict[str, Any]]:
    """What evaluations with another run in base's place found (`make eval RUN=x AGAINST=y`)."""
    found = []
    for path in (folder / "summary.json" for folder in against_folders(run)):
        if not path.is_file():
            continue
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            of_this = evaluation_is_of_adapter(run, summary)
            sentence = summary["decision"]["sentence"]
        except (ValueError, KeyError, TypeError):
            continue  # the evaluation's own command says what is wrong with it
        found.append(
            {
                "name": summary["settings"]["against"],
                "sentence": sentence,
                "counts": counts_said(summary),
                "of_this_adapter": of_this,
            }
        )
    return found


def loss_rows(run: Run) -> list[dict[str, str]]:
    """Train and held-out loss at each evaluation of the run, and what a few answers showed."""
    return [
        {
            "step": str(point["step"]),
            "train": _loss(point.get("train_loss")),
            "held_out": _loss(point.get("held_out_loss")),
            "answers": answers_text(point.get("answers") or {}),
        }
        for point in run.record.get("evaluations") or []
    ]


def export_rows(run: Run) -> list[dict[str, Any]]:
    """What `make export` proved of each file that is there and of the adapter as it is now."""
    adapter = folder_digest(run.path, (ADAPTER_WEIGHTS, ADAPTER_CONFIG))
    rows = []
    for path in sorted(run.path.glob(f"{run.name}-*.json")):
        try:
            proof = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if not path.with_suffix(".gguf").is_file() or proof.get("adapter_digest") != adapter:
            continue
        loss, likely = proof.get("held_out_loss"), proof.get("likelihoods")
        answers = proof.get("answers")
        rows.append(
            {
                "file": path.with_suffix(".gguf").name,
                "commands": run_commands(path.with_suffix(".gguf")),
                "size": f"{proof['bytes'] / 1e6:,.0f} MB",
                "loss": f"{loss['file']:.3f} ({loss['rise']:+.4f}, 95% {loss['low']:+.4f} to"
                f" {loss['high']:+.4f})" if loss else "not measured",
                "prompts": f"{proof['prompts_equal']} of {likely['prompts']}" if likely else "",
                "next": f"{likely['same']} of {likely['prompts']}" if likely else "",
                "same": f"{answers['same']} of {answers['asked']}" if answers else "",
                "stops": f"{answers['stopped']} ({answers['stopped_before']})" if answers else "",
                "turned": f"{answers['no_longer_stop']} / {answers.get('newly_stop', '?')}"
                if answers else "",
            }
        )  # fmt: skip
    return rows


def run_commands(file: Path) -> list[str]:
    """What runs an exported file: llama.cpp's server, and Ollama where it has a Modelfile."""
    run = file.parent.name
    apart = file.name.startswith(f"{run}-lora-")
    whole = file.with_name(f"{run}-base-bf16.gguf") if apart else file
    over = f" --lora {_quoted(file)}" if apart else ""
    commands = [f"llama-server -m {_quoted(whole)}{over} --jinja"]
    recipe = file.with_name("Modelfile-lora" if apart else "Modelfile")
    # There is one, of the type that was exported last.
    if recipe.is_file() and f"./{file.name}\n" in recipe.read_text(encoding="utf-8"):
        commands.append(f"ollama create {shlex.quote(run)} -f {_quoted(recipe)}")
    return commands


def _quoted(path: Path) -> str:
    return shlex.quote(display_path(path))


def setting_rows(run: Run) -> list[tuple[str, str]]:
    """What decided the run, as rows of a table; what the record doesn't know is left out."""
    record, config = run.record, run.config
    machine = record.get("machine") or {}
    packages = record.get("packages") or {}
    git = record.get("git") or {}
    rows = [
        ("adapter", _adapter(record, config)),
        ("base in training", _held(record)),
        ("sequence length", _join(config, "sequence_len", packed="sample_packing")),
        ("batch", _batch(record, config)),
        ("optimizer", _join(config, "optimizer", "lr_scheduler")),
        ("learning rate", str(config.get("learning_rate") or "")),
        ("steps", _steps(record)),
        ("tokens", f"{record['tokens']:,}" if record.get("tokens") else ""),
        ("seed", str(config.get("seed") if config.get("seed") is not None else "")),
        ("device", str(machine.get("device") or "")),
        ("time", duration(record["seconds"]) if record.get("seconds") else ""),
        ("speed", f"{record['tokens_per_second']:,.0f} tokens/s"
         if record.get("tokens_per_second") else ""),
        ("peak memory", f"{record['peak_memory_bytes'] / _GIB:.2f} GiB"
         if record.get("peak_memory_bytes") else ""),
        ("fallbacks", "; ".join(f"{f['part']}: {f['took']}"
                                for f in record.get("fallbacks") or [])),
        ("packages", ", ".join(f"{name} {version}" for name, version in packages.items())),
        ("commit", git.get("commit", "") + (" (modified)" if git.get("modified") else "")),
    ]  # fmt: skip
    return [(key, value) for key, value in rows if value]


def command_of(run: Run) -> str:
    """The command that makes this run again; empty for a recipe outside the repository."""
    path = run.record.get("recipe_path")
    if not path or not (ROOT / path).is_file() or Path(display_path(ROOT / path)).is_absolute():
        return ""
    pairs = shlex.split(str(run.record.get("overrides") or ""))
    kept = [pair for pair in pairs if not pair.startswith("output_dir=")]
    variables = f' SET="{" ".join(kept)}"' if kept else ""
    return f"make train RECIPE={run.record.get('recipe')}{variables} RUN={run.name}"


def _adapter(record: dict[str, Any], config: dict[str, Any]) -> str:
    trained = record.get("trained") or {}
    parts = [f"{config[key]}" for key in ("adapter",) if config.get(key)]
    parts += [
        f"{word} {config[key]}"
        for word, key in (("rank", "lora_r"), ("alpha", "lora_alpha"), ("dropout", "lora_dropout"))
        if config.get(key) is not None
    ]
    targets = config.get("lora_target_modules")
    if isinstance(targets, list):
        parts.append(f"on {' '.join(targets)}")
    if trained.get("parameters"):
        parts.append(f"{trained['parameters'] / 1e6:.2f}M parameters")
    return ", ".join(parts)


def _held(record: dict[str, Any]) -> str:
    return ", ".join(
        f"{row['modules']} {row['class']} {row['dtype'].removeprefix('torch.')}"
        for row in record.get("base_as_held") or []
        if row.get("modules")
    )


def _batch(record: dict[str, Any], config: dict[str, Any]) -> str:
    micro, steps = config.get("micro_batch_size"), config.get("gradient_accumulation_steps")
    if not micro:
        return ""
    ranks = record.get("world_size") or 1
    return f"{micro} x {steps or 1} accumulated" + (f" x {ranks} devices" if ranks > 1 else "")


def _steps(record: dict[str, Any]) -> str:
    if record.get("steps") is None:
        return ""
    planned = record.get("steps_planned") or record["steps"]
    epochs = f", {record['epoch']:.2f} epochs" if record.get("epoch") else ""
    return f"{record['steps']} of {planned}{epochs}"


def _join(config: dict[str, Any], *keys: str, packed: str = "") -> str:
    words = [str(config[key]) for key in keys if config.get(key) is not None]
    if words and packed and config.get(packed):
        words.append("packed")
    return ", ".join(words)


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
