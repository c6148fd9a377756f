"""The card: its counts are those of the ledger, and nothing in the data can become markup."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from prep_data import all_rows, definition, jsonl, questions, read

import datasets_prep
from datasets_prep.tally import Tally, general
from datasets_prep.token_lengths import Tokens

_EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> & | `x` [a](http://evil.io)"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    rows = questions(40)
    for row in rows:
        row["q"] += " " + _EVIL
        row["topic"] = f"{row['topic']} <b>|</b>"
    rows[3]["a"] = rows[2]["a"]
    rows[5]["a"] += " My name is Maria Lopez, a@b.org."
    jsonl(folder / "rows.jsonl", rows)
    about = definition(
        folder,
        columns={"prompt": "q", "response": "a", "topic": "topic"},
        steps={"clean": False},
        title="<i>Title</i>",
        licence="CC-BY-4.0",
        notice="Mind <u>this</u>",
        description="First.\n\nSecond.",
    )
    return datasets_prep.prepare(about, out=folder / "out", workers=1)


def test_no_text_of_the_data_becomes_markup(made: Path) -> None:
    page = (made / "card.html").read_text()
    parsed = _Tags()
    parsed.feed(page)
    assert not parsed.tags & {"script", "img", "u", "a", "iframe", "link"}
    assert not any(name.startswith("on") for name in parsed.attributes)
    assert "alert(1)" in parsed.text and "<i>Title</i>" in parsed.text
    assert "default-src 'none'" in page and not parsed.attributes & {"src", "href"}
    markdown = (made / "card.md").read_text()
    assert "<script" not in markdown and "<img" not in markdown and "](http" not in markdown


def test_the_counts_are_those_of_the_files(made: Path) -> None:
    markdown = (made / "card.md").read_text()
    ledger = read(made / "ledger.jsonl")
    dropped = [line for line in ledger if line["action"] == "dropped"]
    assert len(dropped) == 1 and len(all_rows(made)) == 39
    assert "| Rows read | 40 |" in markdown and "| Rows kept | 39 |" in markdown
    assert "| dedupe | 40 | 1 | 0 | 39 |" in markdown
    masked = [s for line in ledger if line["step"] == "anonymise" for s in line["spans"]]
    for kind in ("name", "email"):
        count = sum(s["after"].lower().startswith(f"[{kind}") for s in masked)
        assert count and f"| {kind} | {count} |" in markdown


def test_it_says_licence_notice_and_that_rows_are_not_proven(made: Path) -> None:
    for name in ("card.md", "card.html"):
        text = (made / name).read_text()
        assert "CC-BY-4.0" in text and "Mind &lt;u&gt;this" in text
        assert "not proven trainable: no recipe was given" in text


def test_the_histogram_has_every_row() -> None:
    tokens = Tokens([5, 17, 17, 300, 299, 41], "r", "t", 512)
    bins = tokens.histogram()
    assert sum(b["rows"] for b in bins) == 6 and len(bins) <= 24
    for length in tokens.lengths:
        assert sum(b["low"] <= length <= b["high"] for b in bins) == 1
    assert tokens.summary() == {
        "least": 5,
        "median": 29,
        "p95": 299,
        "greatest": 300,
        "total": 679,
    }


def test_like_reasons_are_counted_together() -> None:
    tally = Tally()
    for number in (3, 4):
        tally.ledger(
            {
                "id": f"r-{number}",
                "step": "filter",
                "action": "dropped",
                "reason": f"assistant turn of {number} words",
                "spans": [],
            }
        )
    assert tally.reasons == {("filter", "dropped", "assistant turn of ... words"): 2}
    assert general("answer nearly that of cc-000012 (Jaccard 0.91)") == (
        "answer nearly that ... (Jaccard ...)"
    )
