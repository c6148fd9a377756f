"""GGUF in fewer bits: plain types by the `gguf` package, K types by llama.cpp's own quantiser."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError

PLAIN = ("q8_0", "q5_1", "q4_0")
"""Made here, row by row, with the package `gguf`, which llama.cpp's project publishes."""
K_TYPES = ("q5_k_m", "q4_k_m")
"""Mixtures of types by tensor: made by `llama-quantize`, or through `llama-cpp-python`."""
_PROGRAM = "llama-quantize"
# Embeddings and head of a small model carry much of it: they are held no lower than this, as
# llama.cpp's own quantiser holds them above the rest (there in q6_k, which gguf can't write).
_ENDS = ("token_embd.weight", "output.weight")
_ENDS_TYPE = "Q8_0"


def quantise(source: Path, target: Path, outtype: str) -> None:
    """Write ``target`` (GGUF, ``outtype``) from ``source``, a GGUF in 16 or 32 bits.

    Args:
        source: what the converter wrote.
        target: the file to write.
        outtype: one of `PLAIN` or `K_TYPES`.

    Raises:
        UserError: a K type, and llama.cpp's quantiser is not here; or it fails.
    """
    if outtype in PLAIN:
        _plain(source, target, outtype)
    else:
        _by_llama_cpp(source, target, outtype)


def refuse_without_quantiser(outtype: str) -> None:
    """Say before any work that a K type can't be made here.

    Raises:
        UserError: neither `llama-quantize` nor `llama-cpp-python` is there.
    """
    if outtype in K_TYPES and not shutil.which(_PROGRAM) and _library() is None:
        raise UserError(
            f"{outtype} is made by llama.cpp's own quantiser, and neither {_PROGRAM} nor the"
            " package llama-cpp-python is here",
            "TYPE",
            f"Put llama.cpp's {_PROGRAM} on PATH, or make setup EXTRAS=quantise (compiles for ten"
            f" minutes), or take TYPE={' or '.join(PLAIN)}",
        )


def _plain(source: Path, target: Path, outtype: str) -> None:
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType
    from gguf.quants import dequantize, quantize

    reader = GGUFReader(source)
    architecture = str(reader.fields["general.architecture"].contents())
    writer = GGUFWriter(target, architecture)
    wanted = GGMLQuantizationType[outtype.upper()]
    for field in reader.fields.values():
        if field.name in ("general.architecture", "general.file_type") or field.name.startswith(
            "GGUF."
        ):
            continue
        _copy(writer, field)
    writer.add_file_type(LlamaFileType[f"MOSTLY_{outtype.upper()}"])
    writer.add_quantization_version(2)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        kind = _type_of(tensor.name, values.shape, wanted)
        packed = values if kind == GGMLQuantizationType.F32 else quantize(values, kind)
        writer.add_tensor(tensor.name, packed, raw_dtype=kind)
    with contextlib.redirect_stderr(io.StringIO()):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _type_of(name: str, shape: tuple[int, ...], wanted: Any) -> Any:
    """Norms and biases stay in 32 bits, as does a row that is no whole number of blocks."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    kind = GGMLQuantizationType[_ENDS_TYPE] if name in _ENDS else wanted
    block, _ = GGML_QUANT_SIZES[kind]
    return kind if len(shape) > 1 and shape[-1] % block == 0 else GGMLQuantizationType.F32


def _copy(writer: Any, field: Any) -> None:
    from gguf import GGUFValueType

    kind = field.types[0]
    items = field.types[-1] if kind == GGUFValueType.ARRAY else None
    if field.name != "general.quantization_version":
        writer.add_key_value(field.name, field.contents(), kind, items)


def _library() -> Any | None:
    try:
        import llama_cpp
    except ImportError:
        return None
    return llama_cpp


def _by_llama_cpp(source: Path, target: Path, outtype: str) -> None:
    refuse_without_quantiser(outtype)
    program = shutil.which(_PROGRAM)
    if program:
        command = [program, str(source), str(target), outtype.upper()]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not target.is_file():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise UserError(f"{_PROGRAM} failed: {(lines or ['no output'])[-1][:200]}")
        return
    library: Any = _library()
    settings = library.llama_model_quantize_default_params()
    settings.ftype = getattr(library, f"LLAMA_FTYPE_MOSTLY_{outtype.upper()}")
    code = library.llama_model_quantize(str(source).encode(), str(target).encode(), settings)
    if code or not target.is_file():
        raise UserError(f"llama-cpp-python's quantiser failed with code {code}")
