"""`make export FORMAT=gguf-lora`: the adapter apart from its base, for llama.cpp's ``--lora``.

One base in a file serves many adapters. The base is written with the values that the adapter was
trained over (a quantised one unpacked), since over another it answers otherwise.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from eval.release.card import renew_card
from eval.release.converter import Rows, convert, install_converter, rows_of
from eval.release.export_proof import Adapter, ends_of, in_llama_cpp, odd_prompt_ids
from eval.release.half_made import half_made, keep
from eval.release.likely_tokens import likelihoods_of
from eval.release.merge import (
    adapter_digest,
    check_memory,
    check_room,
    refuse_added_tokens,
    write_base,
)
from eval.release.modelfile import modelfile, turns_of
from recipes.runner.core.errors import UserError
from recipes.runner.core.files import write_json
from recipes.runner.core.recipe import did_you_mean, display_path
from recipes.runner.run.finished import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Run

OUTTYPES = ("f16", "bf16", "f32")
MODELFILE = "Modelfile-lora"
_PREFIX = "base_model.model."
# Of PEFT's configuration, what llama.cpp has no place for.
_NO_PLACE = (
    "use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "target_parameters",
)  # fmt: skip


def export_adapter(run: Run, outtype: str = "") -> Path:
    """Write ``<run>-lora-<type>.gguf``, its base, its proof and a Modelfile into the run's folder.

    Args:
        run: with an adapter.
        outtype: of the adapter's weights: ``f16``, ``bf16`` or ``f32``; empty: ``f16``.

    Raises:
        UserError: an unknown type, an adapter that llama.cpp has no place for, no room, the
            converter fails, or llama.cpp computes something else; then nothing is kept.
    """
    outtype = (outtype or "f16").lower()
    if outtype not in OUTTYPES:
        raise UserError(
            f"{outtype!r} is no type of an adapter", "TYPE", did_you_mean(outtype, OUTTYPES)
        )
    run.check_adapter()
    pairs = read_pairs(run)
    converter = install_converter()
    with half_made(run) as folder:
        target = _make(run, pairs, converter, folder, outtype)
        keep(folder, run)
    renew_card(run.path)
    return run.path / target.name


def _make(run: Run, pairs: dict[str, Any], converter: Path, folder: Path, outtype: str) -> Path:
    from eval.generation.arms import attach_adapter
    from eval.generation.base_model import load_base

    print(f"Loading {run.base_model} ...", flush=True)
    base = load_base(run.config, "bf16", device="cpu")
    refuse_added_tokens(run, base.tokenizer, base.model.config.vocab_size, run.base_model)
    # It is held in 16 bits by now; its proof wants 32, and llama.cpp holds it in 16.
    needed = int(4.2 * base.model.num_parameters())
    check_room("the base as a file", needed, run.path)
    check_memory("proving the adapter", needed)
    with tempfile.TemporaryDirectory(prefix=".base-", dir=folder) as name:
        write_base(run, base, Path(name))
        rows = rows_of(converter, Path(name))
        base_file = folder / f"{run.name}-base-bf16.gguf"
        print(f"Converting {run.base_model} to bf16 ...", flush=True)
        convert(converter, Path(name), base_file, "bf16")
    target = folder / f"{run.name}-lora-{outtype}.gguf"
    write_adapter(target, pairs, rows, _architecture(base_file), outtype)
    base.model.float()
    without = likelihoods_of(base.model, odd_prompt_ids(base.tokenizer))
    tuned = attach_adapter(run, base)
    turns = turns_of(base.tokenizer)
    proof: dict[str, Any] = {
        "type": f"lora-{outtype}",
        "bytes": target.stat().st_size,
        "adapter_digest": adapter_digest(run),
    }
    proof |= in_llama_cpp(
        base_file, tuned, base.tokenizer, turns, outtype, Adapter(target, without)
    )
    write_json(target.with_suffix(".json"), proof)
    if turns is not None:
        stops = base.tokenizer.convert_ids_to_tokens(ends_of(tuned))
        text = modelfile(base_file.name, turns, list(stops), run.name, adapter=target.name)
        (folder / MODELFILE).write_text(text, encoding="utf-8")
    return target


def read_pairs(run: Run) -> dict[str, tuple[Any, Any]]:
    """A and B of every adapted layer, by the name of its weight; B holds LoRA's own factor.

    Returns:
        float32, A of (rank, in) and B of (out, rank).

    Raises:
        UserError: the adapter trains something that llama.cpp's adapters can't hold.
    """
    from peft import LoraConfig
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = json.loads((run.path / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    kept = {key: value for key, value in config.items() if key in LoraConfig.__dataclass_fields__}
    try:
        lora = LoraConfig(**kept)
        weights = load_file(run.path / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        said = (str(error).splitlines() or [repr(error)])[0][:200]
        raise UserError(f"the adapter can't be read: {said}", display_path(run.path)) from None
    found = [key for key in _NO_PLACE if config.get(key)]
    found += ["bias"] if config.get("bias") not in (None, "none") else []
    found += ["an adapter of embeddings"] if any("embedding" in key for key in weights) else []
    if found:
        raise UserError(
            f"llama.cpp's --lora has no place for {', '.join(found)}",
            display_path(run.path / ADAPTER_CONFIG),
            "FORMAT=gguf merges it into one file",
        )
    pairs = {}
    for key, a in weights.items():
        if not key.endswith(".lora_A.weight"):
            continue
        layer = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        b = weights[key.replace(".lora_A.", ".lora_B.")]
        rank, alpha = len(a), _of_layer(lora.alpha_pattern, layer, lora.lora_alpha)
        factor = alpha / (rank**0.5 if lora.use_rslora else rank)
        pairs[f"{layer}.weight"] = (a.float(), b.float() * factor)
    return pairs


def _of_layer(patterns: dict[str, Any] | None, layer: str, default: float) -> float:
    from peft.utils.other import get_pattern_key

    key = get_pattern_key(list(patterns or {}), layer)
    return float((patterns or {}).get(key, default))


def write_adapter(
    target: Path,
    pairs: dict[str, tuple[Any, Any]],
    rows: dict[str, Rows],
    architecture: str,
    outtype: str,
) -> None:
    """The adapter as llama.cpp reads it (`llama_adapter_lora_init`).

    Args:
        target: the file to write.
        pairs: of `read_pairs`.
        rows: what the converter does to each weight: B's rows go the same way.
        architecture: llama.cpp's name of the base's.
        outtype: ``f16``, ``bf16`` or ``f32``.

    Raises:
        UserError: a layer that the converter does not know.
    """
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize

    kind = GGMLQuantizationType[outtype.upper()]
    writer = GGUFWriter(target, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 0.0)  # B holds the factor; 0: no other
    for name, (a, b) in sorted(pairs.items()):
        if name not in rows:
            raise UserError(f"{name} has an adapter, and llama.cpp has no such layer")
        moved = rows[name]
        turned = b.numpy()[moved.rows] * moved.factors.astype("float32")[:, None]
        for letter, values in (("a", a.numpy()), ("b", turned)):
            packed = quantize(values, kind)
            writer.add_tensor(f"{moved.to}.lora_{letter}", packed, raw_dtype=kind)
    with contextlib.redirect_stderr(io.StringIO()):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _architecture(file: Path) -> str:
    from gguf import GGUFReader

    return str(GGUFReader(file).fields["general.architecture"].contents())
