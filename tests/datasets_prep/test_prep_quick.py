"""What is quick gives what the plain way gives."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xxhash
import yaml
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st
from prep_data import ROOT
from tokenizers import Tokenizer, models, pre_tokenizers

from datasets_prep import filters, phones, signatures
from datasets_prep.contamination import Prompts, _runs
from datasets_prep.definition import DEFINITIONS
from datasets_prep.suites import Prompt
from datasets_prep.tokenising import _Remembering

WORDS = st.sampled_from(["call", "me", "my", "site", "at", "for", "you", "up", "and", "or", "a"])
DIGITS = st.sampled_from(
    ["call me at ", "+44 ", "(415) ", "555", "-", "0132", " ", ".", "x", "\n", "1", "mg", "800-"]
)


@given(st.lists(DIGITS, max_size=12).map("".join))
@settings(max_examples=300, deadline=None)
def test_no_phone_is_without_seven_digits_near_each_other(text: str) -> None:
    patterns = (phones._SAID, phones._LOCAL, phones._NANP, phones._INTERNATIONAL)
    assert phones._CLOSE.search(text) or not any(p.search(text) for p in patterns)


def plain(file: str) -> re.Pattern[str]:
    phrases = yaml.safe_load((Path(filters.__file__).parent / "lexicons" / file).read_text("utf-8"))
    return re.compile("|".join(f"(?:{p})" for p in phrases), re.IGNORECASE)


def test_phrases_said_once_to_start_at_a_word_find_the_same() -> None:
    for file in ("promotion.yaml", "toxic.yaml"):
        quick, slow = filters._lexicon(file, [], "key"), plain(file)
        lines = (DEFINITIONS / "mental_health_support.jsonl").read_text("utf-8").splitlines()[:300]
        said = [turn["content"] for line in lines for turn in json.loads(line)["messages"]]
        said += ["Please call me. Visit my website.", "kys", "You should shut the fuck up. "]
        for text in said:
            found, wanted = quick.search(text), slow.search(text)
            assert (found and found.span()) == (wanted and wanted.span()), text


@given(st.lists(WORDS, max_size=30), st.lists(WORDS, min_size=3, max_size=12))
@settings(max_examples=200, deadline=None)
def test_a_run_of_a_prompt_is_found_by_its_first_words(words: list[str], asked: list[str]) -> None:
    prompts = Prompts([Prompt("suite/one", " ".join(asked))], 3, 0.5)
    text = " ".join(words)
    assert prompts._run_of_a_prompt(words) == next(
        (run for run in _runs(text, 3) if run in prompts._runs), ""
    )


def test_bands_are_those_of_a_new_minhash_each_time() -> None:
    for features in ({"a b", "b c"}, {"x"}, {"a b", "b c"}):
        new = MinHash(12, hashfunc=xxhash.xxh32_intdigest, scheme="affine32")
        new.update_batch([f.encode() for f in features])
        values = new.hashvalues.astype(np.uint64).reshape(3, 4) @ signatures._multipliers(4)
        assert signatures.bands(features, 3, 4) == values.astype("<u8").tobytes()


def test_a_tokenizer_that_remembers_makes_the_same() -> None:
    inner = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    quick = _Remembering(inner)

    def ids(text: str) -> list[int]:
        return list(quick.encode_batch([text], add_special_tokens=False)[0].ids)

    assert [ids("a b"), ids("a b"), ids("b c")] == [[0, 1], [0, 1], [1, 2]]
    quick.enable_truncation(1)
    assert ids("b c") == [1] and quick.get_vocab_size() == 3


@pytest.mark.parametrize("what", ["RECIPE=smollm2-135m-qlora", "DATASET=my_data.yaml"])
def test_make_data_hands_on_what_is_asked(what: str) -> None:
    command = ["make", "--no-print-directory", "-n", "data", what, "ARGS=--limit 50"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.rstrip().endswith("--limit 50"), done.stdout
