"""Talks line by line, exports of messengers and of ChatGPT, cells of several turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prep_data import definition, read

from datasets_prep.pipeline import prepare
from recipes.runner.core.errors import UserError

ROLES = {"user": ["Thandi M", "patient"], "assistant": ["Jo Peters", "doctor"]}
ANDROID = """\
12/03/2021, 18:05 - Messages and calls are end-to-end encrypted.
12/03/2021, 18:05 - Thandi M: Hi Jo, I can't sleep again
12/03/2021, 18:06 - Thandi M: my head goes round, at 3:15 the worst
12/03/2021, 18:07 - Jo Peters: I'm so sorry, Thandi. Three nights is a lot.
Note: what goes round at that hour?
12/03/2021, 18:09 - Thandi M: <Media omitted>
12/03/2021, 18:09 - Thandi M: work, and mum's 2\u00bd tablets
12/03/2021, 18:12 - Jo Peters: Write it down, one line each. <This message was edited>
12/03/2021, 18:16 - Jo Peters: This message was deleted
"""
IPHONE = """\
[3/12/21, 6:05:12 PM] Group: \u200eMessages and calls are end-to-end encrypted.
[3/12/21, 6:06:12 PM] Thandi M: Is anybody up? I feel awful tonight
\u200e[3/12/21, 6:06:40 PM] Thandi M: \u200eimage omitted
[3/12/21, 6:07:01 PM] Jo Peters: I'm here. What happened today?
"""
CLINIC = """\
id=1
https://host.org/1

Dialogue
Patient:
Hello doctor, I keep a diary.
6:30 moving makes me breathe harder, 7:10 better.
Doctor:
How long has it been?

Take 5 ml twice a day.
id=2

Dialogue
Patient:
Is a cough of 4 days a sign?
Doctor:
Not by itself, no. Rest.
"""


def made(folder: Path, file: str, content: str, **keys: Any) -> list[list[tuple[str, str]]]:
    """The talks that come out of a file, as roles and texts; nothing is held out."""
    (folder / file).write_text(content, encoding="utf-8")
    source = {"file": file, **keys.pop("source", {})}
    path = definition(folder, source=source, split={"validation": 0, "test": 0}, **keys)
    out = prepare(path, out=folder / "out", workers=1)
    return [
        [(m["role"], m["content"]) for m in row["messages"]] for row in read(out / "train.jsonl")
    ]


def test_whatsapp_of_android_and_its_names_are_masked(tmp_path: Path) -> None:
    talks = made(tmp_path, "chat.txt", ANDROID, shape="transcript", columns={}, roles=ROLES)
    assert talks == [
        [
            (
                "user",
                "Hi [NAME_1], I can't sleep again\n\nmy head goes round, at 3:15 the worst",
            ),
            (
                "assistant",
                "I'm so sorry, [NAME_2]. Three nights is a lot.\n"
                "Note: what goes round at that hour?",
            ),
            ("user", "work, and mum's 2\u00bd tablets"),
            ("assistant", "Write it down, one line each."),
        ]
    ]
    ledger = (tmp_path / "out" / "ledger.jsonl").read_text(encoding="utf-8")
    assert all(note in ledger for note in ("encrypted", "<Media omitted>", "was deleted"))


def test_whatsapp_of_apple(tmp_path: Path) -> None:
    talks = made(tmp_path, "chat.txt", IPHONE, shape="transcript", columns={}, roles=ROLES)
    assert talks == [
        [
            ("user", "Is anybody up? I feel awful tonight"),
            ("assistant", "I'm here. What happened today?"),
        ]
    ]


def test_a_file_of_talks_by_their_separator_keeps_times_that_are_said(tmp_path: Path) -> None:
    talks = made(
        tmp_path,
        "talks.txt",
        CLINIC,
        source={"separator": "^id="},
        shape="transcript",
        columns={},
        roles=ROLES,
    )
    assert talks == [
        [
            (
                "user",
                "Hello doctor, I keep a diary.\n6:30 moving makes me breathe harder, 7:10 better.",
            ),
            ("assistant", "How long has it been?\n\nTake 5 ml twice a day."),
        ],
        [("user", "Is a cough of 4 days a sign?"), ("assistant", "Not by itself, no. Rest.")],
    ]


def test_a_line_of_ones_own_form_and_faults_are_one_line(tmp_path: Path) -> None:
    content = "<<Thandi M>> May I ask something?\n<<Jo Peters>> Of course you may.\n"
    line = r"^<<(?P<speaker>[^>]+)>> (?P<text>.*)"
    keys: dict[str, Any] = {"shape": "transcript", "columns": {}, "roles": ROLES}
    assert made(tmp_path, "a.txt", content, turns={"line": line}, **keys) == [
        [("user", "May I ask something?"), ("assistant", "Of course you may.")]
    ]
    with pytest.raises(UserError, match=r"needs the groups \(\?P<speaker>"):
        made(tmp_path, "a.txt", content, turns={"line": "^x"}, **keys)
    with pytest.raises(UserError, match=r"turns\.line"):
        made(tmp_path, "a.txt", content, **keys)
    stranger = ANDROID.replace("Jo Peters", "Sam Roe")
    with pytest.raises(UserError, match="unknown role 'Sam Roe'"):
        made(tmp_path, "a.txt", stranger, **keys)


def test_messenger_is_one_talk_a_file_in_the_order_of_its_times(tmp_path: Path) -> None:
    said = [
        {"sender_name": "Jo", "timestamp_ms": 3, "content": "Then begin with the smallest thing."},
        {"sender_name": "Ana", "timestamp_ms": 2, "content": "I have 12 letters open."},
    ]
    talks = made(
        tmp_path,
        "messages.json",
        json.dumps({"messages": said}),
        source={"records": "messages.item"},
        shape="turn_rows",
        columns={
            "conversation": "file",
            "text": "content",
            "speaker": "sender_name",
            "order": "timestamp_ms",
        },
        roles={"user": ["Ana"], "assistant": ["Jo"]},
    )
    assert talks == [
        [
            ("user", "I have 12 letters open."),
            ("assistant", "Then begin with the smallest thing."),
        ]
    ]


def test_telegrams_pieces_of_a_line_are_one_line(tmp_path: Path) -> None:
    styled = ["Three days are enough for ", {"type": "bold", "text": "one chapter"}, " a day."]
    said = [
        {"id": 1, "type": "message", "from": "Ana", "text": "The exam is in 3 days."},
        {"id": 2, "type": "service", "from": "Ana", "text": ""},
        {"id": 3, "type": "message", "from": "Jo", "text": styled},
    ]
    talks = made(
        tmp_path,
        "result.json",
        json.dumps({"messages": said}),
        source={"records": "messages.item"},
        shape="turn_rows",
        where="type == message",
        columns={"conversation": "file", "text": "text", "speaker": "from", "order": "id"},
        roles={"user": ["Ana"], "assistant": ["Jo"]},
    )
    assert talks[0][1] == ("assistant", "Three days are enough for one chapter a day.")


def test_chatgpts_export_is_the_talk_that_was_last_on_the_screen(tmp_path: Path) -> None:
    def node(name: str, parent: str | None, children: list[str], *said: str) -> dict[str, Any]:
        content = {"content_type": "text", "parts": list(said[1:])}
        message = {"author": {"role": said[0]}, "content": content} if said else None
        return {"id": name, "message": message, "parent": parent, "children": children}

    nodes = [
        node("root", None, ["s"]),
        node("s", "root", ["q"], "system", ""),
        node("q", "s", ["old", "new"], "user", "How long does a 30-year-old sleep?"),
        node("old", "q", [], "assistant", "An answer that was asked for anew."),
        node("new", "q", [], "assistant", "Most adults need 7 to 9 hours."),
    ]
    row = {"title": "Sleep", "mapping": {n["id"]: n for n in nodes}, "current_node": "new"}
    talks = made(tmp_path, "conversations.json", json.dumps([row]), shape="tree", columns={})
    assert talks == [
        [
            ("user", "How long does a 30-year-old sleep?"),
            ("assistant", "Most adults need 7 to 9 hours."),
        ]
    ]


def test_exchanges_separators_and_text_before_the_first_turn(tmp_path: Path) -> None:
    talk = [
        {"system": "Be brief.", "input": "May I ask something?", "output": "Please do."},
        {"input": "How long is a marathon?", "output": "42.195 km."},
    ]
    turns = {"shape": "turns", "columns": {"turns": "talk"}}
    assert made(tmp_path, "a.jsonl", json.dumps({"talk": talk}), **turns) == [
        [
            ("system", "Be brief."),
            ("user", "May I ask something?"),
            ("assistant", "Please do."),
            ("user", "How long is a marathon?"),
            ("assistant", "42.195 km."),
        ]
    ]
    cell = json.dumps({"talk": "May I ask something? __eou__ Please do, 5 minutes. __eou__"})
    assert made(tmp_path, "a.jsonl", cell, turns={"separator": "__eou__"}, **turns) == [
        [("user", "May I ask something?"), ("assistant", "Please do, 5 minutes.")]
    ]
    text = json.dumps({"text": "A curious human asks. Human: How far is it? Bot: 12 km."})
    keys: dict[str, Any] = {
        "shape": "text",
        "columns": {},
        "markers": {"Human:": "user", "Bot:": "assistant"},
    }
    talks = made(tmp_path, "a.jsonl", text, turns={"before": "system"}, **keys)
    assert talks[0][0] == ("system", "A curious human asks.") and len(talks[0]) == 3
    assert len(made(tmp_path, "a.jsonl", text, turns={"before": "leave_out"}, **keys)[0]) == 2
    with pytest.raises(UserError, match=r"Set turns\.before: system or leave_out"):
        made(tmp_path, "a.jsonl", text, **keys)
