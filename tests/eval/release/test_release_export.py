"""GGUF: made by llama.cpp's converter, kept only when it says what the merged model says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from eval.release import converter, export, quantise
from eval.release.__main__ import NOT_HERE, main
from eval.release.merge import PROOF
from recipes.runner.core.errors import UserError
from recipes.runner.core.files import write_json
from recipes.runner.core.recipe import ROOT
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
    assert "Tokens of 50 prompts: the same in training and in llama.cpp" in output.out
    fields = GGUFReader(path).fields
    assert "im_start" in str(fields["tokenizer.chat_template"].contents())
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 2
    assert fields["tokenizer.ggml.model"].contents() == "gpt2"
    assert not list(run.path.glob(".export-*"))
    proof = json.loads((run.path / "tiny-bf16.json").read_text())
    assert proof["prompts_equal"] == 50
    # A random model's greedy answers are ties that 16 bits break; what counts is that they came.
    assert proof["answers"]["asked"] == 9


@pytest.mark.parametrize("outtype", ["q8_0", "q5_1", "q4_0"])
def test_fewer_bits(run: Run, fetched: Path, outtype: str) -> None:
    from gguf import GGMLQuantizationType, GGUFReader

    path = export.export(run, "gguf", outtype)
    reader = GGUFReader(path)
    kinds = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
    assert kinds["blk.0.ffn_up.weight"] == GGMLQuantizationType[outtype.upper()]
    assert kinds["blk.0.attn_norm.weight"] == GGMLQuantizationType.F32
    assert kinds["token_embd.weight"] == GGMLQuantizationType.Q8_0
    assert json.loads((run.path / f"tiny-{outtype}.json").read_text())["prompts_equal"] == 50
    assert f"FROM ./tiny-{outtype}.gguf" in (run.path / "Modelfile").read_text()
    whole = sum(tensor.n_bytes for tensor in GGUFReader(run.path / "tiny-bf16.gguf").tensors)
    assert sum(tensor.n_bytes for tensor in reader.tensors) < 0.6 * whole


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


def test_another_end_token_is_not_kept(
    run: Run, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokens of a prompt give a template away that is not the one of training."""
    real = export.convert

    def convert(folder: Path, model: Path, target: Path, outtype: str) -> None:
        (model / "chat_template.jinja").rename(model / "kept.jinja")
        (model / "chat_template.jinja").write_text(
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
            "{% endfor %}{{ '<|im_start|>assistant' }}"
        )
        try:
            real(folder, model, target, outtype)
        finally:
            (model / "kept.jinja").replace(model / "chat_template.jinja")

    monkeypatch.setattr(export, "convert", convert)
    with pytest.raises(UserError, match=r"has other tokens by the file's template in llama\.cpp"):
        export.export(run, "gguf", "f16")
    assert not (run.path / "tiny-f16.gguf").exists()


def test_a_full_disk_leaves_nothing_half_written(
    run: Run, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(folder: Path, model: Path, target: Path, outtype: str) -> None:
        target.write_bytes(b"GGUF")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "convert", no_room)
    with pytest.raises(UserError, match="No space left on device"):
        export.export(run, "gguf", "f16")
    assert not (run.path / "tiny-f16.gguf").exists()
    assert not list(run.path.glob(".export-*"))


def test_a_k_type_needs_llama_cpps_quantiser(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantise.shutil, "which", lambda name: None)
    monkeypatch.setattr(quantise, "_library", lambda: None)
    with pytest.raises(UserError, match=r"q4_k_m is made by llama.cpp's own .* TYPE=q8_0 or"):
        export.export(run, "gguf", "q4_k_m")


def test_the_quantiser_on_path_is_called(
    run: Run, fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that stands in for llama-quantize: what it is called with, and its failing."""
    program = tmp_path / "llama-quantize"
    program.write_text('#!/bin/sh\necho "error: no $3 today" >&2\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UserError, match="llama-quantize failed: error: no Q5_K_M today"):
        export.export(run, "gguf", "q5_k_m")
    assert not (run.path / "tiny-q5_k_m.gguf").exists()


def test_falcon_in_llama_cpp(fetched: Path, tmp_path: Path) -> None:
    """A small random Falcon with Falcon-7B's own tokenizer and the recipes' chat format."""
    from transformers import FalconConfig, FalconForCausalLM

    shared = Path(os.environ.get("FALCON_TOKENIZER", ROOT.parent / "shared/falcon-7b-tokenizer"))
    if not shared.is_dir():
        pytest.skip("Falcon-7B's tokenizer is not here")
    tokenizer = AutoTokenizer.from_pretrained(shared)
    tokenizer.chat_template = (ROOT / "recipes/chat_templates/falcon.jinja").read_text()
    tokenizer.pad_token = ">>TITLE<<"
    torch.manual_seed(0)
    model = FalconForCausalLM(
        FalconConfig(
            vocab_size=65024, hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
            multi_query=True, parallel_attn=True, bias=False, alibi=False, bos_token_id=11,
            eos_token_id=11, initializer_range=0.2,
        )
    )  # fmt: skip
    folder = tmp_path / "merged"
    model.generation_config.eos_token_id = 11
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    run = Run(tmp_path / "run", {"status": "finished", "config": {"base_model": str(folder)}})
    (tmp_path / "run").mkdir()
    work = tmp_path / "made"
    work.mkdir()
    write_json(folder / PROOF, {"adapter_effect": {"relative": 1.0}})
    export._make(run, folder, fetched, work, "q8_0")
    proof = json.loads((work / "run-q8_0.json").read_text())
    assert proof["prompts_equal"] == 50
    text = (work / "Modelfile").read_text()
    assert 'eq .Role "user" }}>>QUESTION<<{{ .Content }}{{ else if' in text
    assert "drops white space at the ends" in text


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
