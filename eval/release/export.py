"""`make export FORMAT=gguf`: the merged model as a file for llama.cpp and Ollama, proven."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from eval.release.card import renew_card
from eval.release.converter import convert, install_converter
from eval.release.half_made import half_made, keep, shown
from eval.release.merge import (
    BYTES,
    PROOF,
    adapter_digest,
    check_memory,
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

if TYPE_CHECKING:
    from eval.generation.heldout import HeldOut

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
        _check_machine(run, merged, outtype)
        _make(run, merged, converter, folder, outtype)
        keep(folder, run)
    renew_card(run.path)
    return target


def _check_machine(run: Run, merged: Path, outtype: str) -> None:
    """Room for the file, and beside one in fewer bits for the one in 16; memory for its proof.

    That holds the merged model in 32 bits, while llama.cpp holds the file.
    """
    whole = sum(path.stat().st_size for path in merged.glob("*.safetensors"))
    file = 2 * whole if outtype == "f32" else whole if outtype in WHOLE else 0.6 * whole
    check_room("the file", int(1.05 * (file if outtype in WHOLE else file + whole)), run.path)
    dtype = json.loads((merged / PROOF).read_text("utf-8"))["dtype"]
    check_memory("proving the file", int(1.05 * (4 * whole / BYTES[dtype] + file)))


def _make(run: Run, merged: Path, converter: Path, folder: Path, outtype: str) -> None:
    """File, Modelfile and proof, in a folder of their own."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(merged)
    rows = AutoConfig.from_pretrained(merged).vocab_size
    refuse_added_tokens(run, tokenizer, rows, display_path(merged))
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
    """The file against the merged model: in transformers, and in llama.cpp itself.

    One after the other: two models in 32 bits would take twice the memory.
    """
    from transformers.utils import logging as transformers_logging

    from eval.release.export_proof import in_llama_cpp
    from eval.release.read_back import read_back

    transformers_logging.disable_progress_bar()
    asked = _Asked.of(run, tokenizer, logits=outtype in WHOLE)
    found = _said(read_back(file, merged, converter), asked)
    wanted = load_merged(merged, "fp32")
    proof: dict[str, Any] = {
        "type": outtype,
        "bytes": file.stat().st_size,
        "adapter_digest": adapter_digest(run),
    }
    proof |= _compare(found, _said(wanted, asked), asked, _effect(merged), outtype, file)
    effect = _effect(merged) if outtype in WHOLE else None
    return proof | in_llama_cpp(
        file, wanted, tokenizer, turns, outtype, effect=effect, merged=merged
    )


@dataclass(frozen=True)
class _Asked:
    """What both models are asked.

    Attributes:
        rows: token ids whose logits are compared; None where a type has fewer bits.
        source: where they are from, in words.
        held_out: held-out conversations; empty where the run has none.
    """

    rows: list[list[int]] | None
    source: str
    held_out: list[HeldOut]

    @classmethod
    def of(cls, run: Run, tokenizer: Any, logits: bool) -> Self:
        from eval.generation.heldout import read_held_out

        rows, source = held_out_rows(run, tokenizer) if logits else (None, "")
        try:
            path = run.held_out_file()
        except UserError as error:
            print(f"No held-out loss: {error}")
            return cls(rows, source, [])
        return cls(rows, source, read_held_out(path, run.config, tokenizer, _CONVERSATIONS))


@dataclass(frozen=True)
class _Said:
    """What a model says of `_Asked`: logits, and nats of each conversation."""

    logits: Any
    nats: list[float]


def _said(model: Any, asked: _Asked) -> _Said:
    from eval.release.export_proof import nats_of
    from eval.release.proof import logits_of

    logits = logits_of(model, asked.rows) if asked.rows is not None else None
    return _Said(logits, nats_of(model, [(row.ids, row.labels) for row in asked.held_out]))


def _compare(
    found: _Said, wanted: _Said, asked: _Asked, effect: float, outtype: str, file: Path
) -> dict[str, Any]:
    """Logits and held-out loss of the file beside the merged model's, for the proof.

    Raises:
        UserError: the file says something else.
    """
    from eval.release.export_proof import held_out_loss, refuse_loss
    from eval.release.proof import LARGEST_SHARE, distance

    proof: dict[str, Any] = {}
    if asked.rows is not None:
        apart = distance(found.logits, wanted.logits)
        print(
            f"Logits of {apart.positions} positions ({asked.source}): {apart.relative:.2g} from the"
            f" merged model's, and the adapter's own effect is {effect:.2g}"
        )
        if not apart.relative <= LARGEST_SHARE * effect:
            raise UserError(
                "the file does not say what the merged model says, and was not kept",
                shown(file),
                "Take TYPE=f32, or bf16",
            )
        proof["logits"] = apart.relative
    if asked.held_out:
        tokens = [sum(label != -100 for label in row.labels[1:]) for row in asked.held_out]
        loss = held_out_loss(found.nats, wanted.nats, tokens)
        print(
            f"Held-out loss: {loss.file:.4f}, merged {loss.merged:.4f}: {loss.rise:+.4f} nats a"
            f" token (95% {loss.low:+.4f} to {loss.high:+.4f}, {loss.conversations} conversations)"
        )
        refuse_loss(loss, outtype, file)
        proof["held_out_loss"] = asdict(loss)
    return proof


def _effect(merged: Path) -> float:
    """What the adapter changes, relative to the logits, as the merge measured it."""
    return float(json.loads((merged / PROOF).read_text("utf-8"))["adapter_effect"]["relative"])


_CONVERSATIONS = 40


def _ends(merged: Path) -> list[int]:
    """Ids that end an answer, as the merged model's generation_config.json names them."""
    from transformers import GenerationConfig

    ends = GenerationConfig.from_pretrained(merged).eos_token_id
    return list(ends) if isinstance(ends, list) else [int(ends)]


def _elsewhere(merged: Path, target: Path, outtype: str) -> str:
    """The commands that convert it where llama.cpp can be had."""
    written = outtype in (*WHOLE, "q8_0")  # the converter's own types
    first = target if written else target.with_name(f"{target.stem}-whole.gguf")
    commands = [
        "git clone https://github.com/ggml-org/llama.cpp",
        "pip install -r llama.cpp/requirements/requirements-convert_hf_to_gguf.txt",
        f"python llama.cpp/convert_hf_to_gguf.py {display_path(merged)}"
        f" --outfile {display_path(first)} --outtype {outtype if written else 'bf16'}",
    ]
    if not written:
        files = f"{display_path(first)} {display_path(target)}"
        commands.append(f"llama-quantize {files} {outtype.upper()}")
    return f"where it can: {' && '.join(commands)}"
