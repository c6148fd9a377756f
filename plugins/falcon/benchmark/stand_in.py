"""Models of the right shape with random weights, and a tokenizer for them, without the Hub.

Speed and memory depend on shapes, not on what the weights say; so the benchmark runs where nobody
has fetched 14 GB. Run as a module it makes one checkpoint and exits, to leave no memory behind.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from recipes.runner.core.recipe import RECIPES

VOCABULARY = 16_384  # of the stand-in tokenizer; fits the 32,000 of Llama and Falcon's 65,024
TINY = {
    "vocab_size": 65024, "hidden_size": 320, "num_hidden_layers": 2, "num_attention_heads": 5,
    "num_kv_heads": 5, "multi_query": True, "parallel_attn": True, "bias": False,
    "new_decoder_architecture": False, "alibi": False, "bos_token_id": 11, "eos_token_id": 11,
}  # fmt: skip


def falcon_config(base_model: str, tiny: bool) -> dict[str, Any]:
    """The configuration of the recipe's Falcon, or of a tiny one for a machine without a GPU."""
    if tiny:
        return {"model_type": "falcon", **TINY}
    kept = RECIPES / "architectures" / f"{base_model.replace('/', '--')}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))["config"]
    return {"model_type": "falcon"}  # transformers' defaults are Falcon-7B's


def llama_config() -> dict[str, Any]:
    """The shape of Llama-2-7B, which transformers has as its default."""
    return {"model_type": "llama", "max_position_embeddings": 4096}


def has_real_weights(base_model: str) -> bool:
    """Whether the model can be loaded without fetching anything."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    if Path(base_model).is_dir():
        return any(Path(base_model).glob("*.safetensors"))
    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return False
    return any(
        file.file_name.endswith(".safetensors")
        for repo in repos if repo.repo_id == base_model
        for revision in repo.revisions for file in revision.files
    )  # fmt: skip


def make_tokenizer(folder: Path, texts: list[str]) -> None:
    """Train a byte-level BPE on ``texts``; ids 0 to 11 are Falcon's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    names = (
        "TITLE ABSTRACT INTRODUCTION SUMMARY COMMENT ANSWER QUESTION DOMAIN PREFIX SUFFIX MIDDLE"
    )
    special = [f">>{name}<<" for name in names.split()] + ["<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", extra_special_tokens=special[:-1]
    ).save_pretrained(folder)


def make_weights(folder: Path, config: dict[str, Any]) -> None:
    """Write random bf16 weights (float32 without a GPU) of ``config``'s shape as safetensors."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu else torch.float32
    torch.manual_seed(0)
    built = AutoConfig.for_model(**{**config, "dtype": dtype})
    with torch.device("cuda" if gpu else "cpu"):
        model = AutoModelForCausalLM.from_config(built, dtype=dtype)
    model.save_pretrained(folder)


def make(folder: Path, config: dict[str, Any], texts: list[str]) -> None:
    """Make a checkpoint at ``folder``, which then appears whole or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    make_tokenizer(partial, texts)
    make_weights(partial, config)
    partial.rename(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("config", type=json.loads)
    parser.add_argument("data", type=Path)
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.data.read_text(encoding="utf-8").splitlines()]
    make(given.folder, given.config, [m["content"] for row in rows for m in row["messages"]])
