"""`make export FORMAT=gguf`: the merged model as a file for llama.cpp and Ollama, proven."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.release.card import renew_card
from eval.release.converter import convert, install_converter
from eval.release.half_made import half_made, keep
from eval.release.merge import (
    PROOF,
    adapter_digest,
    check_room,
    ensure_merged,
    held_out_rows,
    load_merged,
    refuse_added_tokens,
)
from eval.release.modelfile import TurnFormat, modelfile, turns_of
from eval.release.quantise import K_TYPES, PLAIN, quantise, refuse_without_quantiser
from recipes.runner.core.errors import UserError
from recipes.runner.core.files import write_json
from recipes.runner.core.recipe import did_you_mean, display_path
from recipes.runner.run.finished import Run

WHOLE = ("bf16", "f16", "f32")
OUTTYPES = (*WHOLE, *PLAIN, *K_TYPES)
MODELFILE = "Modelfile"


class NoConverter(UserError):
    """The converter can't be had here; the message holds the commands that do it elsewhere."""


def export(run: Run, outtype: str = "") -> Path:
    """Write ``runs/<run>/<run>-<type>.gguf``, its proof and a Modelfile; merge where needed.

    Args:
        run: with an adapter.
        outtype: one of `OUTTYPES`; empty: ``bf16``.

    Raises:
        NoConverter: the converter can't be had.
        UserError: an unknown type, no room, the converter or the quantiser fails, or the
            file does not answer as the merged model does; then nothing is kept.
    """
    outtype = (outtype or "bf16").lower()
    if outtype not in OUTTYPES:
        raise UserError(f"{outtype!r} is no type", "TYPE", did_you_mean(outtype, OUTTYPES))
    refuse_without_quantiser(outtype)
    merged = ensure_merged(run)
    target = run.path / f"{run.name}-{outtype}.gguf"
    try:
        converter = install_converter()
    except UserError as error:
        raise NoConverter(f"{error}\n{_elsewhere(merged, target, outtype)}") from None
    # Apart from the adapter: transformers would read the file's folder as an adapter's.
    with half_made(run) as folder:
        check_room("the file", _needed(merged, outtype), run.path)
        _make(run, merged, converter, folder, outtype)
        keep(folder, run)
    renew_card(run.path)
    return target


def _needed(merged: Path, outtype: str) -> int:
    """Bytes of disk for a while: the file, and beside one in fewer bits the one in 16."""
    whole = sum(path.stat().st_size for path in merged.glob("*.safetensors"))
    return int(whole * (2.1 if outtype == "f32" else 1.05 if outtype in WHOLE else 1.7))


def _make(run: Run, merged: Path, converter: Path, folder: Path, outtype: str) -> None:
    """File, Modelfile and proof, in a folder of their own."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(merged)
    rows = AutoConfig.from_pretrained(merged).vocab_size
    refuse_added_tokens(tokenizer, rows, display_path(merged))
    turns = turns_of(tokenizer)
    file = folder / f"{run.name}-{outtype}.gguf"
    whole = outtype if outtype in WHOLE else "bf16"
    source = file if outtype in WHOLE else folder / "whole.gguf"
    print(f"Converting {display_path(merged)} to {whole} ...", flush=True)
    convert(converter, merged, source, whole)
    if source != file:
        print(f"Quantising to {outtype} ...", flush=True)
        quantise(source, file, outtype)
        source.unlink()
    print("Reading it back ...", flush=True)
    proof = _prove(run, merged, converter, file, tokenizer, turns, outtype)
    write_json(file.with_suffix(".json"), proof)
    if turns is not None:
        ends = tokenizer.convert_ids_to_tokens(_ends(merged))
        (folder / MODELFILE).write_text(
            modelfile(file.name, turns, list(ends), run.name), encoding="utf-8"
        )


def _prove(
    run: Run,
    merged: Path,
    converter: Path,
    file: Path,
    tokenizer: Any,
    turns: TurnFormat | None,
    outtype: str,
) -> dict[str, Any]:
    """The file against the merged model: in transformers, and in llama.cpp itself."""
    from transformers.utils import logging as transformers_logging

    from eval.release.export_proof import in_llama_cpp
    from eval.release.read_back import read_back

    transformers_logging.disable_progress_bar()
    wanted = load_merged(merged, "fp32")
    model = read_back(file, merged, converter)
    proof: dict[str, Any] = {
        "type": outtype,
        "bytes": file.stat().st_size,
        "adapter_digest": adapter_digest(run),
    }
    exact = outtype in WHOLE
    if exact:
        proof["logits"] = _prove_logits(run, merged, model, wanted, tokenizer)
    proof |= _loss(run, model, wanted, tokenizer, outtype, file)
    del model
    effect = _effect(merged) if exact else None
    return proof | in_llama_cpp(
        file, wanted, tokenizer, turns, outtype, effect=effect, merged=merged
    )


def _prove_logits(run: Run, merged: Path, model: Any, wanted: Any, tokenizer: Any) -> float:
    from eval.release.proof import LARGEST_SHARE, distance, logits_of

    rows, source = held_out_rows(run, tokenizer)
    found = distance(logits_of(model, rows), logits_of(wanted, rows))
    effect = _effect(merged)
    print(
        f"Logits of {found.positions} positions ({source}): {found.relative:.2g} from the merged"
        f" model's, and the adapter's own effect is {effect:.2g}"
    )
    if not found.relative <= LARGEST_SHARE * effect:
        raise UserError(
            "the file does not say what the merged model says, and was not kept",
            display_path(run.path),
            "Take TYPE=f32, or bf16",
        )
    return found.relative


def _effect(merged: Path) -> float:
    """What the adapter changes, relative to the logits, as the merge measured it."""
    return float(json.loads((merged / PROOF).read_text("utf-8"))["adapter_effect"]["relative"])


def _loss(
    run: Run, model: Any, wanted: Any, tokenizer: Any, outtype: str, file: Path
) -> dict[str, Any]:
    """Held-out loss beside the merged model's, where the run has held-out conversations."""
    from eval.generation.heldout import read_held_out
    from eval.release.export_proof import held_out_loss, refuse_loss

    try:
        path = run.held_out_file()
    except UserError as error:
        print(f"No held-out loss: {error}")
        return {}
    held_out = read_held_out(path, run.config, tokenizer, _CONVERSATIONS)
    loss = held_out_loss(model, wanted, [(row.ids, row.labels) for row in held_out])
    print(
        f"Held-out loss: {loss.file:.4f}, merged {loss.merged:.4f}: {loss.rise:+.4f} nats a token"
        f" (95% {loss.low:+.4f} to {loss.high:+.4f}, {loss.conversations} conversations)"
    )
    refuse_loss(loss, outtype, file)
    return {"held_out_loss": asdict(loss)}


_CONVERSATIONS = 40


def _ends(merged: Path) -> list[int]:
    """Ids that end an answer, as the merged model's generation_config.json names them."""
    from transformers import GenerationConfig

    ends = GenerationConfig.from_pretrained(merged).eos_token_id
    return list(ends) if isinstance(ends, list) else [int(ends)]


def _elsewhere(merged: Path, target: Path, outtype: str) -> str:
    """The commands that convert it where llama.cpp can be had."""
    return (
        "where it can: git clone https://github.com/ggml-org/llama.cpp && "
        "pip install -r llama.cpp/requirements/requirements-convert_hf_to_gguf.txt && "
        f"python llama.cpp/convert_hf_to_gguf.py {display_path(merged)} "
        f"--outfile {display_path(target)} --outtype {outtype}"
    )
