"""A GGUF as a model of transformers again: by its own reader, or by the converter's rows undone."""

from __future__ import annotations

import contextlib
import functools
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eval.release.converter import Rows, rows_of
from eval.release.merge import load_merged


def read_back(file: Path, merged: Path, converter: Path) -> Any:
    """The model that a file holds, in float32 on the CPU.

    transformers' own reader knows nothing of the converter, so it is asked where it knows the
    architecture. Elsewhere (Falcon-H1, Falcon's new decoder) the matrices are put back into the
    merged model in the model's order; its norms and small vectors, which no type rounds, stay as
    they are, and llama.cpp's own answers stand for them.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = json.loads((merged / "config.json").read_text(encoding="utf-8"))
    if not transformers_reads(config):
        return _put_back(file, load_merged(merged, "fp32"), rows_of(converter, merged))
    # Its reader draws a bar of its own, whatever transformers' own switch says.
    with contextlib.redirect_stderr(io.StringIO()), _read_once():
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
        )
    return model.eval()


@contextlib.contextmanager
def _read_once() -> Iterator[None]:
    """While the block runs, gguf parses a file once, and from a plain array.

    transformers has it parsed three times, and gguf cuts its memory map at each of 150,000 tokens,
    merges and types: ten seconds, most of them to make every piece a memory map of its own.
    """
    import gguf
    import numpy as np

    class FromArray(gguf.GGUFReader):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value.view(np.ndarray) if name == "data" else value)

    own = gguf.GGUFReader
    gguf.GGUFReader = functools.cache(FromArray)  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        gguf.GGUFReader = own  # type: ignore[misc]


def transformers_reads(config: dict[str, Any]) -> bool:
    """Whether transformers' own reader of GGUF knows a model, as its config.json tells it."""
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    return config["model_type"] in GGUF_CONFIG_MAPPING and not config.get(
        "new_decoder_architecture"
    )


def _put_back(file: Path, model: Any, rows: dict[str, Rows]) -> Any:
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize

    tensors = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, moved in rows.items():
            tensor = tensors.get(moved.to)
            if name not in own or tensor is None:
                continue
            values = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
            order = torch.tensor(moved.rows)
            own[name][order] = values / torch.tensor(moved.factors, dtype=torch.float32)[:, None]
    return model
