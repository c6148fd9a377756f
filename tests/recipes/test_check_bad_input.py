"""Any file whatever ends in lines: no traceback, nothing over a line, and an error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from recipes.runner.check.check import _lines, check_recipes

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
