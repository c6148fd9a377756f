"""Any file whatever ends in lines: no traceback, nothing over a line, and an error."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipes.__main__ import main
from recipes.runner.check.check import _lines, check_recipes
from recipes.runner.core.recipe import recipe_paths

FILES = {
    "text": b"this is just a sentence\nand another one\n",
    "binary": random.Random(1).randbytes(5_000),
    "10 MB": b"a: [" + b"1, " * 3_500_000 + b"1]\n",
    "a deep list": b"a: " + b"[" * 20_000 + b"]" * 20_000 + b"\n",
    "a deep mapping": b"".join(b" " * depth + b"k:\n" for depth in range(400)),
    "aliases upon aliases": b"a: &a [x, x, x, x, x, x, x, x, x]\n"
    + b"".join(
        b"%c: &%c [%s]\n" % (98 + n, 98 + n, b", ".join([b"*%c" % (97 + n)] * 9)) for n in range(8)
    ),
    "data sets: 3": b"base_model: x\ndatasets: 3\n",
    "no plugins": b"base_model: x\nplugins: [os.path, json.JSONDecoder, 3, '', os.system]\n",
    "plugins: 3": b"base_model: x\nplugins: 3\n",
    "utf-16": "base_model: x\n".encode("utf-16"),
    "a key of two lines": b"? |\n  a\n  b\n: 3\nbase_model: x\n",
    "a long value": b"base_model: " + b"x" * 100_000 + b"\n",
    "epochs past all counting": b"base_model: x\nnum_epochs: 1.0e+308\n"
    b"datasets: [{path: eval/labelled/hand_f.jsonl, type: alpaca}]\n",
    "itself": b"a: &a\n  b: *a\n",
    "a tag": b'a: !!python/object/apply:os.system ["ls"]\n',
    "wrong types": b"base_model: [1]\nlora_r: {}\nplugins: {a: 1}\nspecial_tokens: [1]\n"
    b"deepspeed: [1]\nfsdp_config: 3\nbnb_config_kwargs: x\ntest_datasets: [[1]]\n",
    "json": b'{"base_model": "x", "datasets": [{"path": 3, "type": {"a": []}}], "rl": "dpo"}',
    "nothing": b"",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_recipe_ends_in_lines(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(FILES[name])
    errors, rest = _lines(path)
    assert errors
    assert not [line for line in (*errors, *rest) if "\n" in line or len(line) > 700]
    assert check_recipes([path]) == 1


RECIPE: dict[str, Any] = {
    "base_model": "mistralai/Mistral-7B-Instruct-v0.3",
    "adapter": "lora",
    "lora_r": 8,
    "lora_alpha": 8,
    "lora_target_modules": ["q_proj"],
    "datasets": [{"path": "rows.jsonl", "type": "chat_template"}],
    "learning_rate": 0.0002,
    "micro_batch_size": 1,
    "output_dir": "out",
}
ROW = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
BINARY = random.Random(2).randbytes(2_000)
JSON_LAYERS = b'{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 900000}'


def _rows(path: str) -> dict[str, Any]:
    return {"datasets": [{"path": path, "type": "chat_template"}]}


# What a recipe names, and the key that is told of; the files stand in `files`.
NAMED: dict[str, tuple[dict[str, Any], str]] = {
    "rows that are no text": (_rows("binary.jsonl"), "datasets[0].path"),
    "rows that are no JSON": (_rows("prose.jsonl"), "datasets[0].path"),
    "rows without columns": (_rows("numbers.jsonl"), "datasets[0].path"),
    "rows of a device": (_rows("/dev/zero"), "datasets[0].path"),
    "rows of a pipe": (_rows("pipe.jsonl"), "datasets[0].path"),
    "a path longer than any": (_rows(f"./{'a' * 5_000}.jsonl"), "datasets[0].path"),
    "a path with a zero": (_rows("./a\0b.jsonl"), "datasets[0].path"),
    "a model without JSON": ({"base_model": "./broken"}, "base_model"),
    "a model with other values": ({"base_model": "./odd"}, "base_model"),
    "a model of too many layers": ({"base_model": "./endless"}, "base_model"),
    "a model's name longer than any": ({"base_model": f"./{'b' * 5_000}"}, "base_model"),
    "a template that is no text": (
        {"chat_template": "jinja", "chat_template_jinja": "binary.jinja"},
        "chat_template_jinja",
    ),
    "a template nested too deep": (
        {
            "chat_template": "jinja",
            "chat_template_jinja": "{{ " + "(" * 9_000 + ")" * 9_000 + " }}",
        },
        "chat_template_jinja",
    ),
    "a template that is a folder": (
        {"chat_template": "jinja", "chat_template_jinja": "./odd"},
        "chat_template_jinja",
    ),
    "deepspeed's of no text": ({"deepspeed": "binary.jsonl"}, "deepspeed"),
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, content in (
        ("rows.jsonl", 50 * ROW),
        ("binary.jsonl", BINARY),
        ("binary.jinja", BINARY),
        ("prose.jsonl", b"Dear sir,\nplease train.\n"),
        ("numbers.jsonl", b"1\n2\n"),
        ("broken/config.json", BINARY),
        ("odd/config.json", b'{"model_type": "llama", "hidden_size": -5, "vocab_size": "x"}'),
        ("endless/config.json", JSON_LAYERS),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    for model in ("broken", "odd", "endless"):
        # `base_model` is looked for from the repository's root.
        monkeypatch.setitem(NAMED_FOLDERS, model, str(tmp_path / model))
    os.mkfifo(tmp_path / "pipe.jsonl")
    return tmp_path


NAMED_FOLDERS: dict[str, str] = {}


@pytest.mark.parametrize("name", NAMED)
def test_what_a_recipe_names_may_be_anything(
    name: str, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named, key = NAMED[name]
    config = {**RECIPE, **named}
    base = str(config["base_model"]).removeprefix("./")
    config["base_model"] = NAMED_FOLDERS.get(base, config["base_model"])
    path = files / "recipe.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    errors, rest = _lines(path)
    assert [line for line in (*errors, *rest) if key in line and "note: " not in line], errors
    assert not [line for line in (*errors, *rest) if "was left out" in line]
    monkeypatch.setattr("sys.argv", ["recipes", "plan", str(path)])
    try:
        main()
    except SystemExit as stopped:
        assert stopped.code == 1
        assert capsys.readouterr().err.startswith("error: ")


def test_no_check_of_our_own_recipes_is_left_out() -> None:
    for path in recipe_paths():
        errors, rest = _lines(path)
        assert not [line for line in (*errors, *rest) if "was left out" in line]
