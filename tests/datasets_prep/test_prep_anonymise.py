"""Anonymise: measured on a hand-labelled file, and consistent within a conversation."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from prep_data import reasons, talk

import datasets_prep
from datasets_prep import given_names, name_rules, sign_offs
from datasets_prep.anonymise import Anonymiser
from datasets_prep.conversation import Ledger
from datasets_prep.known_names import AuthorNames, author_name
from datasets_prep.ner import MODELS
from datasets_prep.patterns import EMAIL, URL, may_hold_email, may_hold_url
from datasets_prep.settings import AnonymiseSettings

KINDS = ("PHONE", "EMAIL", "URL", "HANDLE", "ADDRESS", "CARD", "SSN", "IBAN", "IP")
LABELLED = Path(__file__).with_name("pii_labelled.txt")
_MARK = re.compile(r"\[\[([A-Z]+)\|([^|\]]+)(?:\|([^|\]]+))?\]\]")
Label = tuple[str, int, int]
HAS_SPACY = importlib.util.find_spec("spacy") and any(map(importlib.util.find_spec, MODELS))


def labelled(file: Path = LABELLED) -> list[tuple[str, list[Label]]]:
    """Texts with the kind, start and end of each piece of personal data."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        text, end = "", 0
        labels: list[Label] = []
        for match in _MARK.finditer(line):
            text += line[end : match.start()]
            core = match[3] or match[2]
            start = len(text) + match[2].index(core)
            labels.append((match[1], start, start + len(core)))
            text += match[2]
            end = match.end()
        rows.append((text + line[end:], labels))
    return rows


def measure(anonymiser: Anonymiser, file: Path = LABELLED) -> dict[str, tuple[float, float]]:
    """Recall and precision of each kind; a piece counts as found when it is masked whole."""
    hits: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    false: Counter[str] = Counter()
    for text, labels in labelled(file):
        found = anonymiser.find(text)
        for kind, start, end in labels:
            wanted[kind] += 1
            hits[kind] += any(f.kind == kind and f.start <= start and end <= f.end for f in found)
        for f in found:
            true = any(k == f.kind and f.start < e and s < f.end for k, s, e in labels)
            false[f.kind] += not true
    kinds = {*wanted, *(k for k, n in false.items() if n)}
    return {
        kind: (hits[kind] / max(1, wanted[kind]), hits[kind] / max(1, hits[kind] + false[kind]))
        for kind in sorted(kinds)
    }


def test_the_labelled_file_is_large_and_has_every_kind() -> None:
    rows = labelled()
    kinds = Counter(kind for _, labels in rows for kind, _, _ in labels)
    assert len(rows) >= 300 and sum(bool(labels) for _, labels in rows) >= 200
    assert {*kinds} == {*KINDS, "NAME"}
    assert sum(not labels for _, labels in rows) >= 60, "no temptations"
    styles = [line for line in LABELLED.read_text().splitlines() if line.startswith("# style:")]
    assert len(styles) == 6


def report(figures: dict[str, tuple[float, float]], names: str) -> None:
    for kind, (recall, precision) in figures.items():
        print(f"names: {names:6} {kind:8} recall {recall:.2f} precision {precision:.2f}")


def test_recall_by_rules() -> None:
    figures = measure(Anonymiser(AnonymiseSettings(names="rules")))
    report(figures, "rules")
    for kind in KINDS:
        assert figures[kind] == (1.0, 1.0), kind
    recall, precision = figures["NAME"]
    assert recall >= 0.92 and precision >= 0.92


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("pii_unseen", 0.92),
        ("pii_unseen_second", 0.92),
        ("pii_unseen_third", 0.92),
        ("pii_unseen_fourth", 0.92),
        # What costs precision here can't be known from the text: footballers, singers, a parrot.
        ("pii_unseen_fifth", 0.9),
        ("pii_unseen_sixth", 0.85),
        ("pii_unseen_seventh", 0.92),
        ("pii_unseen_eighth", 0.92),
        ("pii_unseen_ninth", 0.92),
        ("pii_unseen_tenth", 0.92),
        ("pii_unseen_eleventh", 0.92),
        ("pii_unseen_twelfth", 0.92),
        ("pii_unseen_thirteenth", 0.92),
    ],
)
def test_texts_of_other_styles(name: str, least: float) -> None:
    """Each was read before a rule was changed for it: the README has the figures of then."""
    figures = measure(Anonymiser(AnonymiseSettings()), LABELLED.with_name(f"{name}.txt"))
    report(figures, name)
    recall, precision = figures.pop("NAME")
    assert recall >= 0.92 and precision >= least
    assert set(figures.values()) <= {(1.0, 1.0)}


@pytest.mark.parametrize(
    "text",
    [
        "George Orwell wrote 1984.",
        "Which planet did William Herschel discover?",
        "In Hamlet, Ophelia drowns and Laertes swears revenge.",
        "The Maxwell report has no owner, and neither has an old Harley.",
        "Write a story about a dragon named Ember.",
        "Lamictal was stopped, Keppra and Seroquel go on.",
        "We drove from Savannah to Charleston.",
        "From 10 to 12 I take Diazepam 10 mg and Lithium 30 mg.",
        "Walk 25 m to Room 12.",
        "The gasket for the Clio and the best Margherita won't come before Tuesday.",
    ],
)
def test_public_facts_stories_medicines_and_places_stay(text: str) -> None:
    assert masked(text) == [text]


def test_a_story_keeps_its_people_and_masks_who_is_real() -> None:
    asked = "Write a short story for my daughter Elise about a fox."
    told = "Elise woke early. Beside her sat Oliver, a fox, and his sister Martha."
    assert masked(asked, told) == [
        "Write a short story for my daughter [NAME_1] about a fox.",
        "[NAME_1] woke early. Beside her sat Oliver, a fox, and his sister Martha.",
    ]


def test_homework_is_no_story() -> None:
    asked = "My therapist wants me to write a story about what Daniel did to me."
    assert masked(asked, "Then write a poem to Daniel.") == [
        asked.replace("Daniel", "[NAME_1]"),
        "Then write a poem to [NAME_1].",
    ]


def test_a_private_life_is_masked_beside_public_names() -> None:
    assert masked("Like Marie Curie, my sister Anna works too much.") == [
        "Like Marie Curie, my sister [NAME_1] works too much."
    ]
    assert masked("The Michael I knew would call. Anna wrote to the school in March.") == [
        "The [NAME_1] I knew would call. [NAME_2] wrote to the school in March."
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Harriet", "[NAME_1] and I rewatched Harry Potter until four in the morning."),
        ("Taylor", "[NAME_1] plays Taylor Swift all day and slams the door."),
        ("Chris Evans", "[NAME_1] from number 12 parks across my drive."),
        ("Bilal", "My cousin [NAME_1] knows the Gruffalo by heart."),
        ("Elsie", "I watched Mary Poppins with [NAME_1] again."),
        ("Emma Armstrong", "My friend [NAME_1] moved away."),
        ("Tom", "My husband [NAME_1] signed it."),
        ("Sarah", "My sister [NAME_1] tested positive."),
        ("Ophelia", "My daughter [NAME_1] won't eat."),
        ("Kevin", "I hit [NAME_1] once. Depression vs. burnout is what we argued about."),
        ("Ellie", "My sister [NAME_1] moved out."),
        ("Zorblax", "He left me and [NAME_1] for good."),
    ],
)
def test_who_stands_beside_a_story_is_masked(name: str, text: str) -> None:
    assert masked(text.replace("[NAME_1]", name)) == [text]


@pytest.mark.skipif(not HAS_SPACY, reason="needs the extra pii (spaCy and its English model)")
def test_recall_with_the_extra() -> None:
    figures = measure(Anonymiser(AnonymiseSettings(names="spacy")))
    report(figures, "spacy")
    for kind in ("PHONE", "EMAIL", "URL"):
        assert figures[kind] == (1.0, 1.0), kind
    recall, precision = figures["NAME"]
    assert recall >= 0.9 and precision >= 0.85


def masked(*turns: str, authors: tuple[str, ...] = (), **keys: object) -> list[str]:
    row = talk(*turns, authors=authors)
    Anonymiser(AnonymiseSettings.model_validate(keys))(row, Ledger("anonymise"))
    return [m.content for m in row.messages]


def test_one_person_has_one_placeholder_in_a_conversation() -> None:
    assert masked(
        "My name is Maria Lopez and my friend Daniel left.",
        "Thank you, Maria. Daniel may need time. - Karen",
    ) == [
        "My name is [NAME_1] and my friend [NAME_2] left.",
        "Thank you, [NAME_1]. [NAME_2] may need time. - [NAME_3]",
    ]


def test_numbering_starts_again_with_each_conversation() -> None:
    anonymiser = Anonymiser(AnonymiseSettings())
    rows = [talk("My name is Maria.", "Hello."), talk("My name is Ahmed.", "Hello.")]
    for row in rows:
        anonymiser(row, Ledger("anonymise"))
    assert [row.messages[0].content for row in rows] == ["My name is [NAME_1]."] * 2


def crisis_lines() -> list[str]:
    folder = Path(datasets_prep.__file__).parent / "lexicons"
    lines = yaml.safe_load((folder / "crisis_lines.yaml").read_text(encoding="utf-8"))
    assert all(line.get("sites") or line.get("source") for line in lines), "each has its source"
    return sorted({number for line in lines for number in line.get("numbers", [])})


def test_every_crisis_line_has_its_source_and_was_seen_elsewhere() -> None:
    folder = Path(name_rules.__file__).parent / "lexicons"
    lines = yaml.safe_load((folder / "crisis_lines.yaml").read_text(encoding="utf-8"))
    places = {"findahelpline", "aidlines", "lists"}
    for line in lines:
        assert "." in line["source"] and line["seen"] and {*line["seen"]} <= places, line


@pytest.mark.parametrize("number", crisis_lines())
def test_every_crisis_line_stays(number: str) -> None:
    text = f"Please call {number} now, or text {number}."
    assert masked("Help", text)[1] == text


@pytest.mark.parametrize(
    "text",
    [
        "Call 1-800-273-8255.",
        "Call +1 800 273 8255.",
        "Call (800) 273-TALK.",
        "Ring 116 123 now.",
        "Dial 0044 116 123.",
        "Call 1 (800) 273-8255 or 911.",
    ],
)
def test_crisis_lines_stay_in_any_spelling(text: str) -> None:
    assert masked("Help", text)[1] == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ring 1-800-for-help today", "ring [PHONE] today"),
        ("ring 1-800-get-rest2 today", "ring [PHONE] today"),
        ("ring 1-800-FOR-HELP today", "ring [PHONE] today"),
        ("ring 1-800-273-talk today", "ring 1-800-273-talk today"),
        ("an 800-calorie lunch, 1-800 words", "an 800-calorie lunch, 1-800 words"),
    ],
)
def test_numbers_spelt_in_letters(text: str, expected: str) -> None:
    assert masked(text, "ok")[0] == expected


def test_a_decorator_is_no_handle() -> None:
    text = "Ask @jane_doe.\n```\n@property\ndef mail(): return 'a@b.org'\n```"
    assert masked(text, "ok")[0] == (
        "Ask [HANDLE].\n```\n@property\ndef mail(): return 'a@b.org'\n```"
    )


def test_a_colleague_is_masked_and_the_writer_of_a_book_is_not() -> None:
    assert masked("As Cory mentioned, rest helps", "ok")[0] == "As [NAME_1] mentioned, rest helps"
    for known in ("the book by Esther Perel", "the work of Rick Hanson, a psychologist"):
        assert masked(known, "ok")[0] == known


def test_a_definition_adds_its_own_lines() -> None:
    assert masked("Hi", "Call 888-724-7240.")[1] == "Call [PHONE]."
    kept = masked("Hi", "Call 888-724-7240.", keep_phones=["(888) 724 7240"])
    assert kept[1] == "Call 888-724-7240."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it is at http://x.org/a.pdfBased on that", "it is at [URL]Based on that"),
        ("see www.a-b.com.Be well", "see [URL].Be well"),
        ("try it out.www.life.com now", "try it out.[URL] now"),
        ("yours, Dr. Ann Chowwww.ann-chow.ca", "yours, Dr. [NAME_1][URL]"),
        ("read (https://a.org/b_(c)) first", "read ([URL]) first"),
        ("mail jane [at] host [dot] org", "mail [EMAIL]"),
        ("mail [email\u00a0protected] now", "mail [EMAIL] now"),
        ("born 1931-1932, ISBN 978-0-306-40615-7? no: 3.5 of 10", None),
        ("from 9/10/2015 at 10:30, $1,000,000.00", None),
        ("node.js and e.g.this are no hosts", None),
    ],
)
def test_urls_emails_and_numbers(text: str, expected: str | None) -> None:
    result = masked(text, "ok")[0]
    assert "[PHONE]" not in result or "ISBN" in text
    if expected:
        assert result == expected
    else:
        assert "[URL]" not in result


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("https://host.com/therapists/jane-roe-lcsw", ["jane", "roe"]),
        ("https://host.com/therapists/lisa-shoe-toronto", ["lisa", "shoe"]),
        ("Jane Roe, LCSWHelping families", ["Jane", "Roe"]),
        ("Frank TheusMA, LPC", ["Frank", "Theus"]),
        ("Robin J. LandwehrDBH, LPCC", ["Robin", "Landwehr"]),
        ("", []),
    ],
)
def test_names_out_of_author_cells(cell: str, name: list[str]) -> None:
    assert author_name(cell) == name


def test_an_author_is_masked_whole_and_in_parts() -> None:
    text = "I'm with Jane here. JANE ROE wrote it. Kindly- jane roe"
    found = [text[s.start : s.end] for s in AuthorNames(("Jane Roe, LCSW",)).find(text)]
    assert found == ["Jane", "JANE ROE", "jane roe"]


def test_an_author_whose_name_is_a_word_is_masked_where_she_signs() -> None:
    assert masked("Hi", "I have hope for you. Hope", authors=("Hope Lang",))[1] == (
        "I have hope for you. [NAME_1]"
    )


def test_writers_of_books_and_theories_stay() -> None:
    text = 'Read "Feeling Good" by David Burns; Freud and the Gottmans agree.'
    assert masked("Hi", text)[1] == text


def test_kinds_are_switchable_and_the_ledger_has_the_spans() -> None:
    off = dict.fromkeys(("emails", "urls", "phones", "handles", "addresses"), False)
    text = "My name is Maria, a@b.org, www.b.org, 415-555-0132, @some_one, 1428 Elm Street"
    assert masked(text, "ok", names="off", **off)[0] == text
    row, ledger = talk(text, "ok"), Ledger("anonymise")
    Anonymiser(AnonymiseSettings())(row, ledger)
    assert sorted(reasons(ledger)) == [
        f"{kind} masked" for kind in ("address", "email", "handle", "name", "phone", "url")
    ]
    spans = [s for line in ledger.lines for s in line["spans"]]
    assert all(text[s["start"] :].startswith(s["before"]) for s in spans)


def test_masked_text_is_masked_once() -> None:
    once = masked("My name is Maria, write to a@b.org or www.b.org.", "ok")[0]
    assert masked(once, "ok")[0] == once


def plain_spans(text: str) -> list[tuple[int, int]]:
    """What the rules find when every one is tried on every text."""
    found = [match.span(1) for rule in name_rules.RULES for match in rule.pattern.finditer(text)]
    signed = sign_offs.SIGN_OFF.search(text, max(0, len(text) - 200))
    found += [signed.span(1)] if signed else []
    return sorted(found)


_FRAGMENTS = st.sampled_from(
    [
        "My name is ",
        "Maria",
        " Lopez",
        "Dr. ",
        "I'm ",
        "Hi ",
        "hey, ",
        "Thank you, ",
        "- ",
        "\n",
        ", LCSW",
        ", Ph.D.",
        "my friend ",
        "Best wishes, ",
        ". ",
        "!",
        "(x)",
        " said it",
        "named ",
        "it\u2019s ",
        " and ",
        "Dear ",
        "Their name's ",
        "O'Brien",
        "welcome ",
        "'s mum",
        " and I",
        "me and ",
        " uncle",
        "fell out with ",
        " are twins",
        " (34M)",
        "ok ",
        " if you",
        " from work",
        "put ",
        " down",
    ]
)


@given(st.lists(_FRAGMENTS, max_size=9).map("".join))
@settings(max_examples=300, deadline=None)
def test_the_quick_look_before_a_rule_misses_nothing(text: str) -> None:
    tail = max(0, len(text) - 200)
    quick = [
        match.span(1)
        for rule in name_rules.rules_for(text)
        for match in rule.pattern.finditer(text)
    ]
    signed = sign_offs.SIGN_OFF.search(text, tail)
    if signed and sign_offs.MAY_BE_SIGNED.search(text, tail):
        quick.append(signed.span(1))
    assert sorted(quick) == plain_spans(text)


_ADDRESSES = st.sampled_from(
    [
        "http",
        "://",
        "www",
        ".",
        "a",
        "Org",
        "com",
        "/x",
        "@",
        " ",
        "(at)",
        "[ AT ]",
        "[dot]",
        "co.uk",
        "[email\u00a0protected]",
        "FTP:",
        "Host",
        "-",
        "?q=1",
        "io",
        "health",
        ")",
    ]
)


@given(st.lists(_ADDRESSES, max_size=9).map("".join))
@settings(max_examples=500, deadline=None)
def test_the_quick_look_before_urls_and_emails_misses_nothing(text: str) -> None:
    lower = text.lower()
    assert may_hold_url(lower) or not URL.search(text)
    assert may_hold_email(lower) or not EMAIL.search(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        # With its marks or without them, a name is the same.
        ("Can you pick up Ay\u015fe at 3?", ["Ay\u015fe"]),
        ("I can't come, it's Th\u1ea3o's leaving do.", ["Th\u1ea3o"]),
        ("I envy my cousin Eun-ji, who got in.", ["Eun-ji"]),
        ("K. Johansson was discharged on 4 Sept.", ["K. Johansson"]),
        ("Yours faithfully, A. M. Castellanos", ["A. M. Castellanos"]),
        ("I met Mr. de la Cruz on 5 May.", ["de la Cruz"]),
        ("Next of kin: Andrzej Nowak (brother).", ["Andrzej Nowak"]),
        ("Father is Hemi Ngata, fisherman.", ["Hemi Ngata"]),
        ("Foster carer Shanelle reports nightmares.", ["Shanelle"]),
        ("The patient would like to be called Sunny.", ["Sunny"]),
        ("Teacher: Blessing, could you read?", ["Blessing"]),
        ("Zubiri apologised and left.", ["Zubiri"]),
        ("My wife can see how Desmond talks to me.", ["Desmond"]),
        ("Muhammad hit me once.", ["Muhammad"]),
        # Medicines by what stands around them, whoever is called so.
        ("He has high blood pressure and takes Amlopress, Telma and Ecosprin.", []),
        ("I took Allegra and Avil tablet. Avil makes me sleepy.", []),
        ("Capsule Nano Leo for one month; then Estelle 2 mg.", []),
        ("I took Maria to school and hugged Telma.", ["Maria", "Telma"]),
        ("After the D and C. I bled, and paid 1000 Yuan.", []),
        ("The James Webb Space Telescope sees far.", []),
        # Words of English, whatever stands around them.
        ("Patient's husband waited outside.", []),
        ("I'm Deaf and nobody signs.", []),
        ("The guy at the Apple Store told me to buy one.", []),
        ("My Manager laughed.", []),
        ("He called me Karen in front of the shop.", []),
        ("Swabs grew E. Coli and H. Pylori.", []),
        ("Everyone cried, and Nobody apologised.", []),
        ("Patient: Doctor, could you explain it?", []),
        ("The Prophet Muhammad taught mercy.", []),
        ("Our London and Charlotte offices close early.", []),
        ("I saw Desmond Tutu's TED Talk.", []),
    ],
)
def test_kinds_of_names_and_words_that_look_like_some(text: str, names: list[str]) -> None:
    found = [f for f in Anonymiser(AnonymiseSettings()).find(text) if f.kind == "NAME"]
    assert [text[f.start : f.end] for f in found] == names


def test_common_words_and_given_names_are_apart() -> None:
    assert not given_names.COMMON & (given_names.EVERYWHERE | given_names.INSIDE)
    assert given_names.is_common("Apple Store") and not given_names.is_common("Apple Zubiri")
    assert given_names.without_marks("ay\u015feg\u00fcl \u0142ukasz") == "aysegul lukasz"


def test_a_medicine_that_is_dosed_in_one_turn_is_one_in_all() -> None:
    row = talk(
        "My dad takes Telma 40 mg.", "Telma is fine.", "Is Telma safe?", "Yes, ask Telma's maker."
    )
    before = [m.content for m in row.messages]
    Anonymiser(AnonymiseSettings())(row, Ledger("anonymise"))
    assert [m.content for m in row.messages] == before


@pytest.mark.parametrize("pressure", ["130-135/90-100 mmHg", "120/80", "118 / 76", "140-150/90"])
def test_a_blood_pressure_is_no_phone(pressure: str) -> None:
    text = f"My blood pressure is {pressure} since 2 weeks, my number is 415-555-0132."
    found = [text[f.start : f.end] for f in Anonymiser(AnonymiseSettings()).find(text)]
    assert found == ["415-555-0132"]


def test_a_part_to_play_names_nobody_and_my_own_people_stay_masked() -> None:
    asked = "Imagine you are Isaac Newton. How did you meet Edmond?"
    row = talk(asked, "Edmond came to Cambridge, and Catherine cooked for us.")
    Anonymiser(AnonymiseSettings())(row, Ledger("anonymise"))
    assert row.messages[0].content == asked and "[NAME" not in row.messages[1].content
    row = talk("Imagine you are tired and my wife Catherine laughs.", "Catherine may be tired too.")
    Anonymiser(AnonymiseSettings())(row, Ledger("anonymise"))
    assert all("[NAME_1]" in m.content for m in row.messages)
