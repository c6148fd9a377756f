"""Rows dealt into folds: every row held out once, and nothing that belongs together apart."""

import json
from collections import defaultdict

import pytest

from datasets_prep.folds import deal, main, read_files
from recipes.runner.core.errors import UserError

SUBJECTS = ["the bus", "my cat", "a letter", "old bread", "the garden", "two chairs", "cold rain",
            "a violin", "grey paint", "the moon", "some tea", "a ladder"]  # fmt: skip


def row(number, text=None, **more):
    text = text or f"How do I look after {SUBJECTS[number % 12]} when week {number * 37} comes?"
    answer = {"role": "assistant", "content": f"Answer {number}."}
    return {"id": f"r{number}", "messages": [{"role": "user", "content": text}, answer], **more}


def test_every_row_is_in_one_fold_and_folds_are_even():
    rows = [row(n) for n in range(103)]
    folds = deal(rows, 5, 42)
    sizes = [folds.count(n) for n in range(5)]
    assert sum(sizes) == 103 and max(sizes) - min(sizes) <= 12
    assert folds == deal(rows, 5, 42) and folds != deal(rows, 5, 43)


@pytest.mark.parametrize("tie", ["group", "source", "question", "near"])
def test_what_belongs_together_stays_together(tie):
    rows = []
    for n in range(60):
        own = n // 3
        if tie == "group":
            rows.append(row(n, group=[f"person-{own}"]))
        elif tie == "source":
            rows.append(row(n, source=f"file.jsonl#{own}"))
        else:
            more = "?!."[n % 3] if tie == "question" else ["", " Please.", " Thanks."][n % 3]
            text = " ".join(f"word{own}n{place}" for place in range(10))
            rows.append(row(n, text + more))
    folds = deal(rows, 4, 42)
    by_tie = defaultdict(set)
    for n, fold in enumerate(folds):
        by_tie[n // 3].add(fold)
    assert all(len(own) == 1 for own in by_tie.values())
    assert len(set(folds)) == 4


def test_too_few_groups_are_refused():
    rows = [row(n, "The very same question for all of them.") for n in range(20)]
    with pytest.raises(UserError, match="20 rows are 1 groups of unlike questions, too few for 5"):
        deal(rows, 5, 42)


def test_the_command_writes_each_fold(tmp_path, capsys):
    files = [tmp_path / "train.jsonl", tmp_path / "validation.jsonl"]
    rows = [row(n) for n in range(40)]
    for file, part in zip(files, (rows[:30], rows[30:]), strict=True):
        file.write_text("".join(json.dumps(one) + "\n" for one in part))
    out = tmp_path / "folds"
    assert main([*map(str, files), "--folds", "4", "--output", str(out)]) == 0
    held = []
    for fold in range(1, 5):
        train = read_files([out / str(fold) / "train.jsonl"])
        validation = read_files([out / str(fold) / "validation.jsonl"])
        assert not {r["id"] for r in train} & {r["id"] for r in validation}
        assert len(train) + len(validation) == 40
        held += [r["id"] for r in validation]
    assert sorted(held) == sorted(r["id"] for r in rows)


def test_a_line_that_is_no_row_is_named(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps(row(1)) + "\n" + '{"text": "x"}\n')
    with pytest.raises(UserError, match=r"train.jsonl:2: is no row of messages"):
        read_files([file])
