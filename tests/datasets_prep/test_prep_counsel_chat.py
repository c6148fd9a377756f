"""Measured on counsel-chat, with patterns of the test's own."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import phonenumbers
import pytest
from prep_data import SHARED, all_rows, read, rows_of

import datasets_prep
from datasets_prep.crisis_lines import is_crisis_site, stands_beside_help
from datasets_prep.patterns import URL as PREP_URL

SOURCE = SHARED / "data" / "counsel-chat" / "counsel_chat.csv"
pytestmark = pytest.mark.skipif(not SOURCE.is_file(), reason="needs ../shared/data/counsel-chat")
_URL = re.compile(
    r"https?:|www\.|://|\b[\w-]+\.(?:com|org|net|edu|gov|info|ca|uk|io|us|co)\b", re.IGNORECASE
)
CRISIS = {
    "8002738255",
    "8004224453",
    "8775658860",
    "8773306366",
    "8664887386",
    "741741",
    "8887247240",
    "8009896884",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counsel") / "out"
    return datasets_prep.prepare("counsel_chat", source=SOURCE, out=folder)


def beside_help(text: str, link: str) -> bool:
    start = text.index(link)
    return stands_beside_help(text, start, start + len(link))


def texts(made: Path) -> list[str]:
    return [message["content"] for row in all_rows(made) for message in row["messages"]]


def digits(number: str) -> str:
    return re.sub(r"\D", "", number).removeprefix("1")


def test_no_url_no_email_and_no_phone_but_crisis_lines(made: Path) -> None:
    phones = set()
    for text in texts(made):
        # Sites of crisis help stay.
        links = [m.group() for m in PREP_URL.finditer(text)]
        assert all(is_crisis_site(link) or beside_help(text, link) for link in links), links
        for link in links:
            text = text.replace(link, "")
        assert not _URL.search(text) and "@" not in text, text
        phones |= {digits(m.group()) for m in re.finditer(r"(?:\d[-.\s()]{0,2}){10,11}", text)}
        for country in ("US", "GB"):
            found = phonenumbers.PhoneNumberMatcher(text, country)
            phones |= {digits(match.raw_string) for match in found}
    assert phones <= CRISIS
    assert {"8002738255", "8775658860"} <= phones, "crisis lines must stay"


def test_spacing_and_glue_are_mended(made: Path) -> None:
    joined = "\n".join(texts(made))
    assert "\u00a0" not in joined
    assert re.findall(r"[a-z)]{2}[.!?][A-Z][a-z]+ ", joined) == []


def test_every_row_is_kept_or_in_the_ledger(made: Path) -> None:
    kept = [row["id"] for row in all_rows(made)]
    dropped = [x["id"] for x in read(made / "ledger.jsonl") if x["action"] == "dropped"]
    assert len(set(kept) | set(dropped)) == len(kept) + len(dropped) == 2129
    assert 1950 <= len(kept) <= 2020


def test_no_answer_occurs_twice(made: Path) -> None:
    answers = [
        re.sub(r"\W+", " ", row["messages"][-1]["content"].lower()) for row in all_rows(made)
    ]
    assert len(set(answers)) == len(answers)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _three_words(text: str) -> frozenset[str]:
    words = text.split()
    return frozenset(" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2)))


def _five_letters(text: str) -> frozenset[str]:
    return frozenset(text[i : i + 5] for i in range(max(1, len(text) - 4)))


@pytest.mark.parametrize("shingles", [_words, _three_words, _five_letters])
def test_no_question_is_in_two_splits(
    made: Path, shingles: Callable[[str], frozenset[str]]
) -> None:
    by_split = {
        split: {" ".join(re.findall(r"\w+", r["messages"][0]["content"].lower())) for r in rows}
        for split, rows in rows_of(made).items()
    }
    assert sum(map(len, by_split.values())) > 800
    for left, right in combinations(by_split.values(), 2):
        assert not left & right
        sets = [shingles(text) for text in right]
        for one in map(shingles, left):
            for other in sets:
                shared = len(one & other)
                assert shared < 0.7 * (len(one) + len(other) - shared)


def test_no_question_id_or_title_is_in_two_splits(made: Path) -> None:
    with SOURCE.open(encoding="utf-8", newline="") as file:
        source = list(csv.DictReader(file))
    for column in ("questionID", "questionTitle"):
        splits = defaultdict(set)
        for split, rows in rows_of(made).items():
            for row in rows:
                splits[source[int(row["id"].split("-")[1]) - 1][column]].add(split)
        assert all(len(found) == 1 for found in splits.values())


def test_rows_half_in_spanish_keep_their_english_half(made: Path) -> None:
    cut = [x for x in read(made / "ledger.jsonl") if x["reason"] == "sentence not in 'en' removed"]
    assert len(cut) >= 20
    spanish = re.compile(r"\b(?:usted|porque|también|puede|cuando|está|para que)\b", re.IGNORECASE)
    left = [text for text in texts(made) if len(spanish.findall(text)) >= 3]
    assert left == []


def test_the_manifest_has_the_counts(made: Path) -> None:
    counts = json.loads((made / "manifest.json").read_text())["counts"]
    assert counts["read"] == 2129
    assert counts["kept"] + sum(counts["dropped"].values()) == 2129
    assert counts["kept"] == sum(counts["written"].values())
