"""`make merge`: base and adapter in one safetensors model, kept only when proven the same."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from eval.release.half_made import failed
from recipes.runner.core.errors import UserError
from recipes.runner.core.files import write_json
from recipes.runner.core.recipe import display_path
from recipes.runner.run.fingerprint import folder_digest
from recipes.runner.run.finished import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Run, base_bits

FOLDER = "merged"
PROOF = "merge.json"
DTYPES = ("bf16", "fp16", "fp32")
BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
SAMPLING = {"temperature": 0.7, "top_p": 0.95, "top_k": 0, "repetition_penalty": 1.0}
"""How an answer is drawn where a request says nothing, by transformers' names."""


def merged_folder(run: Run) -> Path | None:
    """The run's merged model when it is there and made from the adapter as it is now."""
    folder = run.path / FOLDER
    try:
        proof = json.loads((folder / PROOF).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return folder if proof.get("adapter_digest") == adapter_digest(run) else None


def ensure_merged(run: Run) -> Path:
    """The run's merged model, made now where it is not there.

    Raises:
        UserError: as `merge`.
    """
    folder = merged_folder(run)
    if folder is None:
        print(f"{run.name} is not merged yet; that is done once.", flush=True)
        folder = merge(run)
    return folder


def merge(run: Run, dtype: str = "") -> Path:
    """Merge, prove, and keep the model in ``runs/<run>/merged``.

    The adapter is merged into the base with the values that it was trained over: a quantised base
    is unpacked, and its values are kept in 16 bits. (Axolotl's own simulation of nf4 rounds every
    matrix, also the embeddings and the head, which bitsandbytes leaves alone.)

    Args:
        run: with an adapter.
        dtype: of the merged weights: ``bf16``, ``fp16`` or ``fp32``; empty: fp16 for a run that
            was trained in fp16, else bf16.

    Raises:
        UserError: no adapter, no room, another merge at work, or the merged model is not the same
            as base and adapter; then nothing is kept.
    """
    if dtype and dtype not in DTYPES:
        raise UserError(f"{dtype!r} is no dtype of weights", "DTYPE", f"Give {', '.join(DTYPES)}")
    run.check_adapter()
    dtype = dtype or ("fp16" if run.config.get("fp16") else "bf16")
    lock = FileLock(run.path / ".merge.lock")
    try:
        with lock.acquire(timeout=0):
            return _merge(run, dtype)
    except Timeout:
        raise UserError("is being merged by another process", display_path(run.path)) from None


def _merge(run: Run, dtype: str) -> Path:
    partial = run.path / f".{FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _merge_and_prove(run, dtype, partial)
        target = run.path / FOLDER
        shutil.rmtree(target, ignore_errors=True)
        (partial / FOLDER).rename(target)
        return target
    except (OSError, SafetensorError) as error:  # safetensors has errors of its own for a full disk
        raise failed("merged", error, run.path) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _merge_and_prove(run: Run, dtype: str, partial: Path) -> None:
    from eval.generation.arms import attach_adapter
    from eval.generation.base_model import load_base
    from eval.release.proof import distance, logits_of, problems, tolerance

    print(f"Loading {run.base_model} ...", flush=True)
    base = load_base(run.config, dtype, device="cpu")
    rows, source = held_out_rows(run, base.tokenizer)
    refuse_added_tokens(run, base.tokenizer, base.model.config.vocab_size, run.base_model)
    layers = int(base.model.config.num_hidden_layers)
    check_room("merging", int(2.1 * base.model.num_parameters() * BYTES[dtype]), run.path)
    write_base(run, base, partial / "base")
    computed = _computed_in(base.model.num_parameters(), dtype)
    print(f"Reading logits of base and adapter, computed in {computed} ...", flush=True)
    base.model.to(_torch_dtype(computed))
    plain = logits_of(base.model, rows)
    reference = logits_of(attach_adapter(run, base), rows)
    effect = distance(plain, reference)
    del base
    gc.collect()

    print(f"Merging with Axolotl into {dtype} weights ...", flush=True)
    _axolotl_merge(run, partial)
    shutil.rmtree(partial / "base")

    print("Proving the merged model ...", flush=True)
    merged = logits_of(load_merged(partial / FOLDER, computed), rows)
    gc.collect()
    found = distance(merged, reference)
    proof: dict[str, Any] = {
        "run": run.name,
        "base_model": run.base_model,
        "adapter_digest": adapter_digest(run),
        "dtype": dtype,
        "computed_in": computed,
        "prompts": source,
        "tolerance": tolerance(dtype, layers),
        "tolerance_is": f"4 x unit roundoff of {dtype} x sqrt({layers} layers) + 1e-4",
        "from_adapter_over_same_base": found.to_json(),
        "adapter_effect": effect.to_json(),
    }
    print(f"Logits of {found.positions} positions ({source}), relative distance:")
    print(f"  merged from base + adapter      {_words(found)}, allowed {proof['tolerance']:.2g}")
    print(f"  base alone from base + adapter  {_words(effect)}", flush=True)
    why = problems(found, effect, dtype, layers)
    if why:
        todo = "" if dtype == "fp32" else "Merge with DTYPE=fp32, or serve the adapter unmerged"
        raise UserError(
            f"the merged model is not base + adapter, and was not kept: {'; '.join(why)}",
            display_path(run.path),
            todo,
        )
    if base_bits(run.config) < 16:
        trained = load_base(run.config, unpack=False)
        proof["trained_base_held"] = trained.held
        logits = logits_of(attach_adapter(run, trained), rows)
        proof["from_trained_quantised_base"] = distance(merged, logits).to_json()
        print(f"  merged from adapter over the {trained.held}")
        print(f"                                  {_words(distance(merged, logits))}")
    write_json(partial / FOLDER / PROOF, proof)


def refuse_added_tokens(run: Run, tokenizer: Any, rows: int, where: str) -> None:
    """Stop where a tokenizer has tokens that the model never learnt.

    Many bases have spare rows of embeddings (Qwen2.5 some 400), so a token without one is not all
    there is to find: the run's folder holds the tokenizer of training.

    Args:
        run: that was trained.
        tokenizer: the one that is to leave.
        rows: of the model's embeddings.
        where: it is from, for the error.

    Raises:
        UserError: tokens were added after training, or by a recipe that trains no embeddings.
    """
    from transformers import AutoTokenizer

    known, whose = rows, "the model"
    if (run.path / "tokenizer.json").is_file():
        trained = len(AutoTokenizer.from_pretrained(run.path))
        known, whose = min((rows, whose), (trained, "that of training"))
    if len(tokenizer) > known:
        raise UserError(
            f"the tokenizer has {len(tokenizer):,} tokens, and {whose} {known:,}: tokens were added"
            " that it never learnt",
            where,
            "Take them out of the tokenizer, or of the recipe's tokens",
        )


def held_out_rows(run: Run, tokenizer: Any) -> tuple[list[list[int]], str]:
    """Token ids of conversations that the run never saw, and where they are from.

    Returns:
        Rows of the data set's ``test.jsonl``, or prompts of the suites where there is none.
    """
    from eval.generation.generate import prompt_ids
    from eval.generation.heldout import read_held_out
    from eval.release.proof import CONVERSATIONS
    from eval.suite import load_suites

    try:
        path = run.held_out_file()
    except UserError:
        prompts = [prompt for suite in load_suites(None, limit=2) for prompt in suite.prompts]
        asked = [[{"role": "user", "content": prompt.turns[0]}] for prompt in prompts]
        rows = [prompt_ids(tokenizer, messages) for messages in asked[:CONVERSATIONS]]
        return rows, f"{len(rows)} prompts of the suites"
    held_out = read_held_out(path, run.config, tokenizer, CONVERSATIONS)
    return [list(row.ids) for row in held_out], f"{len(held_out)} held-out conversations"


def write_base(run: Run, base: Any, folder: Path) -> None:
    """The unpacked base with the run's tokenizer and ends: what the merge starts from."""
    from eval.generation.generate import end_tokens

    settings = base.model.generation_config
    ends = end_tokens(base.model, base.tokenizer, list(run.config.get("eot_tokens") or []))
    settings.eos_token_id = ends
    settings.pad_token_id = base.tokenizer.pad_token_id
    settings.update(do_sample=True, **SAMPLING)  # a request's temperature 0 is greedy
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)


def _axolotl_merge(run: Run, partial: Path) -> None:
    from axolotl.cli.merge_lora import do_merge_lora
    from axolotl.utils.dict import DictDefault

    settings = {
        "base_model": str(partial / "base"),
        "lora_model_dir": str(run.path),
        "output_dir": str(partial),
        "adapter": "lora",
        "load_in_4bit": False,  # the base is unpacked already
        "save_safetensors": True,
        "trust_remote_code": False,
    }
    with _silence():
        do_merge_lora(cfg=DictDefault(settings))


def load_merged(folder: Path, computed: str) -> Any:
    """The model in a folder, on the CPU, computed in ``bf16``, ``fp16`` or ``fp32``."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=_torch_dtype(computed), use_safetensors=True, attn_implementation="eager"
    )
    return model.eval()


def _computed_in(parameters: int, dtype: str) -> str:
    """float32 where this machine's memory holds the model so, else the weights' own dtype."""
    return "fp32" if psutil.virtual_memory().available > 5 * parameters else dtype


def check_room(what: str, needed: int, folder: Path) -> None:
    """Say before any work that the disk is too small.

    Args:
        what: is done; for the error.
        needed: bytes, for a while.
        folder: where they are written.

    Raises:
        UserError: it is.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{what} needs {needed / 2**30:.2f} GiB of disk for a while, {free / 2**30:.2f} are"
            " free",
            display_path(folder),
            "Free some",
        )


def check_memory(what: str, needed: int) -> None:
    """Say before any work that the memory is too small, where the system would kill the process.

    Args:
        what: is done; for the error.
        needed: bytes at once.

    Raises:
        UserError: it is.
    """
    free = psutil.virtual_memory().available
    if free < needed:
        raise UserError(
            f"{what} needs {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} are free",
            todo="End what else takes some, or do it on a larger machine",
        )


def adapter_digest(run: Run) -> str:
    """Hash of the run's adapter as it is now."""
    return folder_digest(run.path, (ADAPTER_WEIGHTS, ADAPTER_CONFIG))


def _torch_dtype(short: str) -> Any:
    from eval.generation.base_model import DTYPES as TORCH_DTYPES

    return TORCH_DTYPES[short]


def _words(found: Any) -> str:
    return f"{found.relative:.2g} (same likeliest token at {100 * found.same_choice:.1f}%)"


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep a library's own progress off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
