"""De-duplicate and split: the fast paths equal plain ones, and nothing leaks."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prep_data import reasons, talk

from datasets_prep import pairs, signatures
from datasets_prep import split as splitting
from datasets_prep.conversation import Conversation, Ledger
from datasets_prep.dedupe import dedupe
from datasets_prep.pairs import candidate_pairs
from datasets_prep.settings import DedupeSettings, SplitSettings
from datasets_prep.signatures import jaccard, normalise, shingles
from datasets_prep.store import RowBlock, Store, answers, opening

WORDS = [f"word{n}" for n in range(400)]


def store_of(folder: Path, rows: list[Conversation]) -> Store:
    store, block = Store(folder), RowBlock()
    for row in rows:
        block.add(row, DedupeSettings())
    store.add(block)
    return store


def sentence(generator: random.Random, length: int) -> list[str]:
    return generator.choices(WORDS, k=length)


def variants(count: int, seed: int = 1) -> list[Conversation]:
    """Rows in families of near copies: each has one to four words of its original replaced."""
    generator = random.Random(seed)
    rows: list[Conversation] = []
    for family in range(count // 4):
        question, answer = sentence(generator, 20), sentence(generator, 40)
        for member in range(4):
            q, a = list(question), list(answer)
            for _ in range(member):
                q[generator.randrange(20)] = generator.choice(WORDS)
                a[generator.randrange(40)] = generator.choice(WORDS)
            rows.append(talk(" ".join(q), " ".join(a), id=f"row-{family}-{member}"))
    return rows


def test_normalised_text_ignores_case_and_punctuation() -> None:
    assert normalise("Hello, World! It's 3.5") == normalise("hello world it s 3 5")


def test_exact_duplicates_go_also_under_another_question(tmp_path: Path) -> None:
    rows = [
        talk("one question", "The same answer."),
        talk("two questions", "the SAME answer", id="b"),
        talk("three questions", "Another answer.", id="c"),
    ]
    store, ledger = store_of(tmp_path, rows), Ledger("dedupe")
    keep = np.ones(3, bool)
    dedupe(store, keep, DedupeSettings(near=False, by="answer"), ledger)
    assert keep.tolist() == [True, False, True]
    assert reasons(ledger) == ["same answer as row-1"] and ledger.lines[0]["id"] == "b"


def test_near_duplicates_are_those_of_the_plain_comparison(tmp_path: Path) -> None:
    rows = variants(400)
    store = store_of(tmp_path, rows)
    keep = np.ones(len(rows), bool)
    dedupe(store, keep, DedupeSettings(threshold=0.8), Ledger("dedupe"))
    plain = np.ones(len(rows), bool)
    sets = [shingles(answers(row.row()), signatures.ANSWER_SHINGLE) for row in rows]
    for right in range(len(rows)):
        plain[right] = not any(
            plain[left] and jaccard(sets[left], sets[right]) >= 0.8 for left in range(right)
        )
    assert 100 <= plain.sum() < 350, "the case is trivial"
    missed = int((keep & ~plain).sum())
    assert not (plain & ~keep).any() and missed <= 2, "MinHash finds a pair with p >= 0.998"


def test_dedupe_is_switchable_and_short_answers_are_never_near(tmp_path: Path) -> None:
    rows = [talk("a", "I hear you, friend"), talk("b", "I hear you, friend!", id="b")]
    for number, (off, kept) in enumerate(
        [({"exact": False}, 2), ({"near": False}, 1), ({"exact": False, "min_words": 1}, 1)]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        store, keep = store_of(folder, rows), np.ones(2, bool)
        chosen = DedupeSettings.model_validate({"by": "answer", **off})
        dedupe(store, keep, chosen, Ledger("dedupe"))
        assert keep.sum() == kept


def test_labels_that_are_whole_sentences_stay(tmp_path: Path) -> None:
    kinds = ("negative, as the writer is angry", "positive, as the writer is glad", "neutral")
    same = [
        talk(
            f"Classify this review of the shop in our street: the kettle number{n} came late.",
            f"This review of the shop in our street is {kinds[n % 3]}.",
            id=f"row-{n}",
        )
        for n in range(36)
    ]
    formed = [
        talk(
            f"Classify: thing{n} alpha{n} bravo{n} delta{n} is what they wrote.",
            f"This review of the product called thing{n}, which was bought in our shop last year, "
            f"is by all that it says {kinds[n % 3]}.",
            id=f"form-{n}",
        )
        for n in range(36)
    ]
    for name, rows in (("same", same), ("formed", formed)):
        (tmp_path / name).mkdir()
        for by, kept in (("auto", 36), ("answer", 3)):
            folder = tmp_path / name / by
            folder.mkdir()
            store, keep = store_of(folder, rows), np.ones(36, bool)
            ledger = Ledger("dedupe")
            notes = dedupe(store, keep, DedupeSettings(by=by, threshold=0.5), ledger)
            assert keep.sum() == kept and len(ledger.lines) == 36 - kept, name
            assert [("steps.dedupe.by: answer" in note) for note in notes] == [True] * (
                by == "auto"
            )


def test_a_form_of_answers_still_loses_its_copies(tmp_path: Path) -> None:
    rows = [
        talk(
            f"Classify: thing{n} alpha{n} bravo{n} delta{n} echo{n} golf{n} hotel{n} {end}",
            f"This review of the product called thing{n}, which was bought in our shop last year, "
            f"is by all that it says negative {end}.",
            id=f"{end}-{n}",
        )
        for end in ("now", "then")
        for n in range(20)
    ]
    store, keep = store_of(tmp_path, rows), np.ones(40, bool)
    dedupe(store, keep, DedupeSettings(threshold=0.5), Ledger("dedupe"))
    assert keep.tolist() == [True] * 20 + [False] * 20


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_candidate_pairs_connect_what_shares_a_band(values: list[int], bands: int) -> None:
    table = np.array([[v * 7 % (b + 2) for b in range(bands)] for v in values], np.uint64)
    found = {tuple(p) for p in candidate_pairs(table, np.arange(len(values))).tolist()}
    assert all(left < right for left, right in found)
    assert all((table[left] == table[right]).any() for left, right in found)
    largest = max(np.unique(table[:, b], return_counts=True)[1].max() for b in range(bands))
    if largest <= pairs._FULL_BUCKET:
        everything = {
            (i, j) for i, j in combinations(range(len(values)), 2) if (table[i] == table[j]).any()
        }
        assert found == everything


def leaks(rows: list[Conversation], labels: np.ndarray, threshold: float) -> int:
    """Pairs of like questions in two splits, by comparing every two."""
    sets = [set(opening(row.row()).split()) for row in rows]
    return sum(
        labels[i] != labels[j] and jaccard(sets[i], sets[j]) >= threshold
        for i, j in combinations(range(len(rows)), 2)
    )


@pytest.mark.parametrize("all_pairs", [10_000, 0], ids=["every pair", "minhash"])
def test_no_like_question_is_in_two_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, all_pairs: int
) -> None:
    monkeypatch.setattr(splitting, "ALL_PAIRS", all_pairs)
    rows = variants(400, seed=2)
    store, keep = store_of(tmp_path, rows), np.ones(len(rows), bool)
    labels = splitting.split(store, keep, SplitSettings(validation=0.2, test=0.2))
    counts = np.bincount(labels, minlength=3)
    assert counts.sum() == len(rows) and abs(counts[1] - 80) <= 4 and abs(counts[2] - 80) <= 4
    assert leaks(rows, labels, 0.7) <= (0 if all_pairs else 1)


@pytest.mark.parametrize("all_pairs", [10_000, 0], ids=["every pair", "minhash"])
def test_a_question_that_another_holds_whole_is_near_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, all_pairs: int
) -> None:
    monkeypatch.setattr(splitting, "ALL_PAIRS", all_pairs)
    asked = " ".join(WORDS[:12])
    rows = [
        talk(asked, "a"),
        # Eight words of twenty more: a Jaccard of 0.6, and all of the shorter one in it.
        talk(f"{asked} {' '.join(WORDS[20:28])}", "b", id="b"),
        # More is added than was asked: another question.
        talk(f"{asked} {' '.join(WORDS[30:50])}", "c", id="c"),
        talk(" ".join(WORDS[60:66]), "d", id="d"),
        # Six words are too few to tell.
        talk(" ".join(WORDS[60:70]), "e", id="e"),
    ]
    # MinHash finds a pair of this likeness with p = 0.85 alone: these are found.
    store = store_of(tmp_path, rows)
    found = splitting.near_questions(store, np.arange(len(rows)), 0.7).tolist()
    assert found == [[0, 1]]


def test_rows_tied_through_others_stay_together(tmp_path: Path) -> None:
    """A chain of group values and questions is one group (union-find)."""
    generator = random.Random(3)
    rows = [
        talk(" ".join(sentence(generator, 12)), "x", id=f"r{n}", groups=(f"g={n // 2}",))
        for n in range(60)
    ]
    for n in range(1, 20, 2):
        rows[n].messages[0].content = rows[n + 1].messages[0].content
    store = store_of(tmp_path, rows)
    labels = splitting.split(store, np.ones(60, bool), SplitSettings(validation=0.3, test=0.3))
    assert len(set(labels[:21].tolist())) == 1 and len(set(labels.tolist())) == 3


def test_a_greeting_does_not_tie_conversations(tmp_path: Path) -> None:
    generator = random.Random(4)
    rows = [
        talk("hi", "Hello, how are you?", " ".join(sentence(generator, 12)), f"a{n}", id=f"r{n}")
        for n in range(40)
    ]
    components = splitting.group(store_of(tmp_path, rows), np.ones(40, bool), 0.7)
    assert len(set(components.tolist())) == 40


def test_stratified_by_topic(tmp_path: Path) -> None:
    generator = random.Random(5)
    rows = [
        talk(" ".join(sentence(generator, 12)), "x", id=f"r{n}", topic=f"t{n % 4}")
        for n in range(200)
    ]
    store = store_of(tmp_path, rows)
    labels = splitting.split(store, np.ones(200, bool), SplitSettings(validation=0.2, test=0.1))
    for topic in range(4):
        assert np.bincount(labels[topic::4], minlength=3).tolist() == pytest.approx(
            [35, 10, 5], abs=1
        )


def test_counts_in_place_of_fractions_and_the_seed(tmp_path: Path) -> None:
    rows = variants(400, seed=6)[::4]
    store, keep = store_of(tmp_path, rows), np.ones(100, bool)
    by_seed = [
        splitting.split(store, keep, SplitSettings(validation=15, test=5, seed=seed))
        for seed in (1, 1, 2)
    ]
    assert np.bincount(by_seed[0]).tolist() == [80, 15, 5]
    assert (by_seed[0] == by_seed[1]).all() and (by_seed[0] != by_seed[2]).any()


def test_the_split_of_a_row_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = variants(200, seed=7)[::4]
    labels = []
    for number, order in enumerate([list(range(50)), list(reversed(range(50)))]):
        folder = tmp_path / str(number)
        folder.mkdir()
        store = store_of(folder, [rows[i] for i in order])
        found = splitting.split(store, np.ones(50, bool), SplitSettings(validation=0.2, test=0.2))
        labels.append({rows[i].id: int(found[at]) for at, i in enumerate(order)})
    assert labels[0] == labels[1]
