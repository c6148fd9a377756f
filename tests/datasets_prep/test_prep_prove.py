"""Prove: compared with the rows that Axolotl's own training command tokenises."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prep_data import ROOT, all_rows, definition, jsonl, questions, read, rows_of, small_tokenizer

import datasets_prep
from datasets_prep.conversation import Ledger
from datasets_prep.prove import Prover
from datasets_prep.recipe_tokens import token_config
from datasets_prep.settings import ProveSettings
from datasets_prep.tokenising import RecipeTokens
from recipes.runner.core.errors import UserError
from recipes.runner.core.fallbacks import forget_fallbacks
from recipes.runner.core.recipe import RECIPES, load_recipe

TEMPLATE = RECIPES / "chat_templates" / "falcon.jinja"


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Falcon's special tokens and config."""
    names = "INTRODUCTION SUMMARY COMMENT ANSWER QUESTION DOMAIN PREFIX SUFFIX MIDDLE"
    special = [*(f">>{name}<<" for name in names.split()), "<|endoftext|>"]
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"), special)


def recipe(
    folder: Path, tokenizer: Path | str, *, dataset: dict[str, Any] | None = None, **keys: Any
) -> Path:
    """A recipe with the reference's token keys, and changes."""
    reference = load_recipe("falcon7b-qlora").config
    wanted = ("chat_template", "chat_template_jinja", "special_tokens", "datasets", "sequence_len")
    body = {key: reference[key] for key in wanted} | {"base_model": str(tokenizer)} | keys
    entry = {**body["datasets"][0], "path": str(folder / "out" / "train.jsonl"), **(dataset or {})}
    body["datasets"] = [entry]
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(body))
    return path


def prover(path: Path) -> Prover:
    loaded = load_recipe(path)
    return Prover(token_config(loaded, "small"), path)


def row(*turns: str, id: str = "row-1", system: str = "") -> dict[str, Any]:
    messages = [
        {"role": "user" if i % 2 == 0 else "assistant", "content": t} for i, t in enumerate(turns)
    ]
    head = [{"role": "system", "content": system}] if system else []
    return {"id": id, "source": "x#1", "messages": head + messages}


EXCHANGE = ("Why do I feel low?", "It sounds heavy.", "It is.", "What weighs most?")
_AXOLOTL = """
import json, sys
from axolotl.cli.config import load_cfg
from axolotl.common.datasets import load_datasets
cfg = load_cfg(sys.argv[1])
rows = load_datasets(cfg=cfg).train_dataset
with open(sys.argv[2], "w") as file:
    json.dump([[row["input_ids"], row["labels"]] for row in rows], file)
"""


def test_tokens_and_labels_are_those_of_axolotl_itself(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    """The same file through ``axolotl``'s own loading of a whole, validated config."""
    jsonl(tmp_path / "rows.jsonl", questions(40))
    path = recipe(
        tmp_path,
        tokenizer_folder,
        micro_batch_size=1,
        gradient_accumulation_steps=1,
        num_epochs=1,
        learning_rate=1e-4,
        optimizer="adamw_torch",
        bf16=False,
        output_dir=str(tmp_path / "run"),
        dataset_prepared_path=str(tmp_path / "prepared"),
        attn_implementation="sdpa",
    )
    out = datasets_prep.prepare(definition(tmp_path), out=tmp_path / "out", recipe=path, workers=1)
    result = tmp_path / "axolotl.json"
    subprocess.run(
        [sys.executable, "-c", _AXOLOTL, path, result],
        check=True,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"},
    )
    theirs = sorted(json.loads(result.read_text()))
    rows = rows_of(out)["train"]
    ours = sorted([ids, labels] for ids, labels in prover(path).tokens(rows))
    assert len(ours) == 32 and ours == theirs
    assert json.loads((out / "manifest.json").read_text())["unproven"] is None
    assert "Under the tokenizer and chat template of `tiny`" in (out / "card.md").read_text()


def test_a_good_row_is_proven_and_its_tokens_counted(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    proves = prover(recipe(tmp_path, tokenizer_folder))
    rows = [row(*EXCHANGE, system="Be kind."), row(*EXCHANGE[:2], id="row-2")]
    ledger = Ledger("prove")
    results = proves.prove(rows, ProveSettings(), None, ledger)
    assert [r.rows for r in results] == [[rows[0]], [rows[1]]] and ledger.lines == []
    lengths = [len(ids) for ids, _ in proves.tokens(rows)]
    assert [r.tokens for r in results] == [[n] for n in lengths]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"train_on_eos": "none"}, "the end token of assistant turn 1 is not trained"),
        ({"train_on_eos": "last"}, "the end token of assistant turn 1 is not trained"),
        ({"roles_to_train": ["user"]}, "assistant turn 1 is not what is trained"),
        ({"roles_to_train": ["user", "assistant"]}, "assistant turn 1 is not what is trained"),
        ({"roles_to_train": []}, "2 assistant turns, but 0 trained runs"),
    ],
)
def test_a_recipe_that_trains_the_wrong_tokens_names_the_row(
    tmp_path: Path, tokenizer_folder: Path, dataset: dict[str, Any], message: str
) -> None:
    proves = prover(recipe(tmp_path, tokenizer_folder, dataset=dataset))
    with pytest.raises(UserError) as error:
        proves.prove([row(*EXCHANGE)], ProveSettings(), None, Ledger("prove"))
    assert str(error.value).startswith(f"row-1: {message}")


def test_a_pad_token_that_is_the_end_token_is_no_end(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    """A template without an end token teaches no row to stop."""
    template = tmp_path / "endless.jinja"
    template.write_text(TEMPLATE.read_text().replace("+ '<|endoftext|>'", ""))
    proves = prover(recipe(tmp_path, tokenizer_folder, chat_template_jinja=str(template)))
    with pytest.raises(UserError, match="row-1: the end token of assistant turn"):
        proves.prove([row(*EXCHANGE[:2])], ProveSettings(), None, Ledger("prove"))


def test_roles_and_special_tokens(tmp_path: Path, tokenizer_folder: Path) -> None:
    proves = prover(recipe(tmp_path, tokenizer_folder))
    with pytest.raises(UserError, match="row-1: roles do not alternate"):
        proves.prove([row("a", "b", "c")], ProveSettings(), None, Ledger("prove"))
    bad = row("Is >>ANSWER<< a word?", "No, it is not.")
    with pytest.raises(UserError, match="row-1: the special token >>ANSWER<< stands in the user"):
        proves.prove([bad], ProveSettings(), None, Ledger("prove"))
    ledger = Ledger("prove")
    kept = proves.prove([bad], ProveSettings(special_token="drop"), None, ledger)
    assert kept[0].rows == [] and ledger.lines[0]["action"] == "dropped"


def test_long_rows_are_split_at_turns_dropped_or_refused(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    long = row(*EXCHANGE * 3, system="Be kind.")
    proves = prover(recipe(tmp_path, tokenizer_folder))
    whole = len(next(proves.tokens([long]))[0])
    proves.sequence_len = whole // 2
    ledger = Ledger("prove")
    result = proves.prove([long], ProveSettings(too_long="split"), None, ledger)[0]
    assert len(result.rows) >= 2 and max(result.tokens) <= whole // 2
    assert [r["id"] for r in result.rows] == [f"row-1.{n + 1}" for n in range(len(result.rows))]
    body = [m for r in result.rows for m in r["messages"][1:]]
    assert body == long["messages"][1:], "a turn was lost or cut"
    assert all(r["messages"][0]["content"] == "Be kind." for r in result.rows)
    assert ledger.lines[0]["action"] == "changed"
    dropped = proves.prove([long], ProveSettings(too_long="drop"), None, ledger)[0]
    assert dropped.rows == [] and ledger.lines[1]["action"] == "dropped"
    with pytest.raises(UserError, match=r"row-1: .* more than sequence_len"):
        proves.prove([long], ProveSettings(too_long="fail"), None, ledger)


def test_split_rows_keep_the_sum_of_the_ledger(tmp_path: Path, tokenizer_folder: Path) -> None:
    """An exchange that fits nowhere goes to the ledger with its text."""
    messages = row(*EXCHANGE, "more " * 400, "Yes.", *EXCHANGE)["messages"]
    jsonl(tmp_path / "rows.jsonl", [{"messages": messages}])
    path = recipe(tmp_path, tokenizer_folder, sequence_len=200)
    out = datasets_prep.prepare(
        definition(tmp_path, shape="messages", columns={}, steps={"filter": False}),
        out=tmp_path / "out",
        recipe=path,
        workers=1,
    )
    assert [r["id"] for r in all_rows(out)] == ["small-000001.1", "small-000001.2"]
    line = read(out / "ledger.jsonl")[-1]
    assert line["step"] == "prove" and "split at turns into 2" in line["reason"]
    assert any(span["before"].startswith("more more") for span in line["spans"])


def test_without_a_tokenizer_rows_are_made_and_proven_later(
    tmp_path: Path, tokenizer_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jsonl(tmp_path / "rows.jsonl", questions(20))
    folder = tmp_path / "models" / "tiny"
    path, about = recipe(tmp_path, folder), definition(tmp_path)
    out = tmp_path / "out"

    def run() -> dict[str, Any]:
        forget_fallbacks()
        datasets_prep.prepare(about, out=out, recipe=path, workers=1)
        manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
        return manifest

    first = run()
    assert first["unproven"] == f"{folder} is not there yet" and len(all_rows(out)) == 20
    assert capsys.readouterr().out.count("not there yet") == 1
    assert "not proven trainable" in (out / "card.md").read_text()
    assert "not proven trainable" in (out / "card.html").read_text()
    rows = {name: (out / name).read_bytes() for name in ("train.jsonl", "test.jsonl")}
    stamp = (out / "manifest.json").stat().st_mtime_ns
    run()
    assert (out / "manifest.json").stat().st_mtime_ns == stamp
    assert "not there yet" in capsys.readouterr().out
    shutil.copytree(tokenizer_folder, folder)
    assert run()["unproven"] is None and "not there yet" not in capsys.readouterr().out
    assert rows == {name: (out / name).read_bytes() for name in rows}
    assert "not proven" not in (out / "card.md").read_text()


def test_a_change_of_the_template_proves_again_and_a_learning_rate_does_not(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    jsonl(tmp_path / "rows.jsonl", questions(20))
    about, out = definition(tmp_path), tmp_path / "out"
    stamps = []
    for keys in ({}, {"learning_rate": 1e-5}, {"sequence_len": 512}):
        path = recipe(tmp_path, tokenizer_folder, **keys)
        datasets_prep.prepare(about, out=out, recipe=path, workers=1)
        stamps.append((out / "manifest.json").stat().st_mtime_ns)
    assert stamps[0] == stamps[1] != stamps[2]


def test_the_manifest_does_not_depend_on_where_the_command_runs(
    tmp_path: Path, tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jsonl(tmp_path / "rows.jsonl", questions(20))
    about, path = definition(tmp_path), recipe(tmp_path, tokenizer_folder)
    made = []
    for number, place in enumerate((ROOT, tmp_path)):
        monkeypatch.chdir(place)
        out = datasets_prep.prepare(about, out=tmp_path / f"out{number}", recipe=path, workers=1)
        made.append((out / "manifest.json").read_bytes())
    assert made[0] == made[1]


def test_many_long_rows_take_a_few_rounds_and_fill_their_pieces(
    tmp_path: Path, tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call of Axolotl's tokenisation has its price; no conversation may pay it for each turn."""
    proves = prover(recipe(tmp_path, tokenizer_folder))
    rows = [row(*EXCHANGE * n, id=f"row-{n}", system="Be kind." * (n % 2)) for n in (1, 6, 9, 12)]
    proves.sequence_len = 150
    calls = []
    real = type(proves.tokens).__call__
    monkeypatch.setattr(
        RecipeTokens, "__call__", lambda own, rows: calls.append(len(rows)) or real(own, rows)
    )
    results = proves.prove(rows, ProveSettings(too_long="split"), None, Ledger("prove"))
    assert len(calls) == 4
    for given, result in zip(rows, results, strict=True):
        head = given["messages"][:1] if given["messages"][0]["role"] == "system" else []
        bodies = [r["messages"][len(head) :] for r in result.rows]
        assert head + [m for body in bodies for m in body] == given["messages"]
        assert max(result.tokens) <= 150
        for body, following in itertools.pairwise(bodies):
            longer = {**given, "messages": head + body + following[:2]}
            assert len(next(real(proves.tokens, [longer]))[0]) > 150, "the next exchange had room"
