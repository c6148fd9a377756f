"""GGUF: made by llama.cpp's converter, kept only when it says what the merged model says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from eval.release import converter, export
from eval.release.__main__ import NOT_HERE, main
from recipes.runner.core.errors import UserError
from recipes.runner.models.smollm2 import make_small_model
from recipes.runner.run.finished import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A random model of two layers with SmolLM2's tokenizer, which the converter knows."""
    folder = tmp_path_factory.mktemp("export")
    tokenizer = AutoTokenizer.from_pretrained(make_small_model())
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
            initializer_range=0.2, bos_token_id=1, eos_token_id=2, pad_token_id=0,
            max_position_embeddings=512,
        )
    )  # fmt: skip
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    lora = LoraConfig(
        r=8, init_lora_weights=False, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    torch.manual_seed(1)
    get_peft_model(model, lora).save_pretrained(folder / "tiny")
    config = {
        "base_model": str(folder / "base"),
        "chat_template": "tokenizer_default",
        "special_tokens": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    }
    return Run(folder / "tiny", {"status": "finished", "config": config})


@pytest.fixture(scope="module")
def fetched() -> Path:
    try:
        return converter.install_converter()
    except UserError as error:
        pytest.skip(str(error))


def test_the_file_is_read_back_and_kept(
    run: Run, fetched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gguf import GGUFReader

    path = export.export(run, "gguf")
    assert path.name == "tiny-bf16.gguf"
    output = capsys.readouterr()
    assert "from the merged model's" in output.out and "it/s" not in output.err
    fields = GGUFReader(path).fields
    assert "im_start" in str(fields["tokenizer.chat_template"].contents())
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 2
    assert not list(run.path.glob(".export-*"))


def test_a_damaged_file_is_not_kept(
    run: Run, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray((run.path / "tiny-bf16.gguf").read_bytes())
    content[-150_000:] = bytes(150_000)  # weights of the last layer

    def write_damaged(folder: Path, model: Path, target: Path, outtype: str) -> None:
        target.write_bytes(content)

    monkeypatch.setattr(export, "convert", write_damaged)
    with pytest.raises(UserError, match="does not say what the merged model says"):
        export.export(run, "gguf", "f16")
    assert not (run.path / "tiny-f16.gguf").exists()


def test_where_the_converter_cannot_be_had_the_commands_are_shown(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(converter, "default_folder", lambda: tmp_path / "converter")
    monkeypatch.setattr("eval.release.__main__.find_run", lambda *_: run)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert main(["export", "--run", "tiny"]) == NOT_HERE
    error = capsys.readouterr().err
    assert "can't be had: ERROR: Could not find a version" in error
    assert "python llama.cpp/convert_hf_to_gguf.py" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file_format", "outtype", "words"),
    [("ggf", "", "FORMAT: 'ggf' is no format. Did you mean gguf?"),
     ("gguf", "q8", "TYPE: 'q8' is no type. Did you mean q8_0?")],
)  # fmt: skip
def test_mistakes(run: Run, file_format: str, outtype: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        export.export(run, file_format, outtype)
    assert words in str(caught.value)
