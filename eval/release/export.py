"""`make export FORMAT=gguf`: the merged model as a file for llama.cpp, proven by reading it."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path

from eval.release.converter import convert, install_converter
from eval.release.merge import PROOF, ensure_merged, held_out_rows, load_merged
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import did_you_mean, display_path
from recipes.runner.run.finished import Run

FORMATS = ("gguf",)
OUTTYPES = ("bf16", "f16", "f32", "q8_0")


class NoConverter(UserError):
    """The converter can't be had here; the message holds the commands that do it elsewhere."""


def export(run: Run, file_format: str, outtype: str = "") -> Path:
    """Write ``runs/<run>/<run>-<type>.gguf`` and read it back; merge first where needed.

    Args:
        run: with an adapter.
        file_format: ``gguf``.
        outtype: ``bf16`` (default), ``f16``, ``f32`` or ``q8_0``.

    Raises:
        NoConverter: the converter can't be had.
        UserError: an unknown format or type, the converter fails, or the file does not say what
            the merged model says; then it is not kept.
    """
    outtype = outtype or "bf16"
    if file_format not in FORMATS:
        raise UserError(
            f"{file_format!r} is no format", "FORMAT", did_you_mean(file_format, FORMATS)
        )
    if outtype not in OUTTYPES:
        raise UserError(f"{outtype!r} is no type", "TYPE", did_you_mean(outtype, OUTTYPES))
    merged = ensure_merged(run)
    target = run.path / f"{run.name}-{outtype}.gguf"
    try:
        converter = install_converter()
    except UserError as error:
        raise NoConverter(f"{error}\n{_elsewhere(merged, target, outtype)}") from None
    # Apart from the adapter: transformers would read the file's folder as an adapter's.
    with tempfile.TemporaryDirectory(prefix=".export-", dir=run.path) as folder:
        file = Path(folder) / target.name
        print(f"Converting {display_path(merged)} to {outtype} ...", flush=True)
        convert(converter, merged, file, outtype)
        print("Reading it back ...", flush=True)
        _prove(run, merged, file)
        file.replace(target)
    return target


def _prove(run: Run, merged: Path, file: Path) -> None:
    """Logits of the file, as transformers reads it, against the merged model's."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    from eval.release.proof import LARGEST_SHARE, distance, logits_of

    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(merged)
    rows, source = held_out_rows(run, tokenizer)
    wanted = logits_of(load_merged(merged, "fp32"), rows)
    # Its reader of GGUF draws a bar of its own, whatever transformers' own switch says.
    with contextlib.redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
        )
    found = distance(logits_of(model.eval(), rows), wanted)
    effect = json.loads((merged / PROOF).read_text("utf-8"))["adapter_effect"]["relative"]
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


def _elsewhere(merged: Path, target: Path, outtype: str) -> str:
    """The commands that convert it where llama.cpp can be had."""
    return (
        "where it can: git clone https://github.com/ggml-org/llama.cpp && "
        "pip install -r llama.cpp/requirements/requirements-convert_hf_to_gguf.txt && "
        f"python llama.cpp/convert_hf_to_gguf.py {display_path(merged)} "
        f"--outfile {display_path(target)} --outtype {outtype}"
    )
