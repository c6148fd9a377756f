"""The inputs of public complaints, end to end: what each came out as, against what is right."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prep_data import all_rows, read, talk

import datasets_prep
from datasets_prep.anonymise import Anonymiser
from datasets_prep.clean import Cleaner
from datasets_prep.conversation import Ledger
from datasets_prep.definition import Definition
from datasets_prep.filters import Filter
from datasets_prep.language import LanguageFinder
from datasets_prep.settings import AnonymiseSettings, CleanSettings, FilterSettings
from datasets_prep.shapes import Shaper
from recipes.runner.core.errors import UserError

CASES = Path(__file__).parent / "cases"


@dataclass
class Made:
    """What a case became."""

    rows: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    card: str
    said: str

    def texts(self, role: str | None = None) -> list[str]:
        turns = (m for row in self.rows for m in row["messages"])
        return [m["content"] for m in turns if role in (None, m["role"])]

    def drops(self) -> list[str]:
        return [line["reason"] for line in self.ledger if line["action"] == "dropped"]


class Case:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def __call__(self, name: str, definition: str = "def.yaml", **keys: Any) -> Made:
        """Prepare a case without a recipe, as no tokenizer is at hand."""
        here = self.folder / name
        if not here.exists():
            shutil.copytree(CASES / name, here)
        text = (here / definition).read_text(encoding="utf-8").splitlines()
        text = [line for line in text if not line.startswith("recipe:")]
        (here / "case.yaml").write_text("\n".join(text) + "\n", encoding="utf-8")
        datasets_prep.prepare(here / "case.yaml", out=here / "out", workers=1, **keys)
        out, err = self.capsys.readouterr()
        card = (here / "out" / "card.md").read_text(encoding="utf-8")
        rows = sorted(all_rows(here / "out"), key=lambda row: row["id"])
        return Made(rows, read(here / "out" / "ledger.jsonl"), card, out + err)


@pytest.fixture
def case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Case:
    return Case(tmp_path, capsys)


def source(name: str, file: str = "data.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / name / file).read_text().splitlines()]


def refused(case: Case, name: str, definition: str = "def.yaml") -> str:
    with pytest.raises(UserError) as error:
        case(name, definition)
    assert "\n" not in str(error.value)
    return str(error.value)


def kept_whole(
    case: Case, name: str, definition: str = "def.yaml", file: str = "data.jsonl"
) -> None:
    """Every answer comes out as it went in."""
    made = case(name, definition)
    wanted = [list(row.values())[1] for row in source(name, file)]
    assert sorted(made.texts("assistant")) == sorted(wanted)


def test_digits_keep_their_value(case: Case) -> None:
    kept_whole(case, "p01")
    kept_whole(case, "05-nfkc", "d.yaml", "rows.jsonl")


def test_code_and_layout_stay(case: Case) -> None:
    kept_whole(case, "p08")
    kept_whole(case, "04-html-in-code", "d.yaml", "rows.jsonl")
    kept_whole(case, "p21")
    kept_whole(case, "p22")


def test_joiners_of_persian_stay(case: Case) -> None:
    kept_whole(case, "06-zwnj", "d.yaml", "rows.jsonl")


# A turn, and what `clean` makes of it; None: nothing.
_SAME = None


@pytest.mark.parametrize(
    ("text", "right"),
    [
        # Compatibility characters that are values.
        (
            "Take \u00be, then \u2153; 5 \u00d7 10\u207b\u00b3 mol/l, 40 \u00b5g, 2 \u2126.",
            "Take \u00be, then \u2153; 5 \u00d7 10\u207b\u00b3 mol/l, 40 \u00b5g, 2 \u03a9.",
        ),
        ("CO\u2082 and Ca\u00b2\u207a at 37 \u2103, step \u2460, room \u2163, Acme\u2122", _SAME),
        (
            "\u201c\u4f60\u597d\uff0c\u4e16\u754c\uff01\u201d\uff08\u6d4b\u8bd5\uff09\uff1a\uff11\uff12",
            _SAME,
        ),
        ("cafe\u0301 and \ufb01ve \ufb02ights", "caf\u00e9 and five flights"),
        # Raised and lowered figures, struck text and cells in HTML.
        (
            "10<sup>6</sup> copies of H<sub>2</sub>O, 2<sup>n</sup>, x<sup>y</sup>",
            "10\u2076 copies of H\u2082O, 2\u207f, x^y",
        ),
        ("<p>Take <del>5</del>10 mg.</p>", "Take ~~5~~10 mg."),
        (
            "<table><tr><td>5</td><td>10</td></tr><tr><td>6</td><td>12</td></tr></table>",
            "5 | 10\n6 | 12",
        ),
        ("<p>Steps:</p><ol><li>Rest</li><li>Drink</li></ol>", "Steps:\n\n1. Rest\n\n2. Drink"),
        ("<p>Write <code>&lt;br&gt;</code> there</p>", "Write `<br>` there"),
        ("<p>Half is 1&frac12; &times; 3&sup2;</p>", "Half is 1\u00bd \u00d7 3\u00b2"),
        # Code, in fences, in line and bare.
        ("See:\n~~~js\nif (a<b && b>c) { x.Y.z() }   \n\n\n\n\tend\n~~~", _SAME),
        ("Use ``a ` b`` or `x<sup>2</sup>` or `www.a.org`, then `me@a.org`.", _SAME),
        ("A `Map<String,  List<B>>` holds  it", "A `Map<String,  List<B>>` holds it"),
        ("Declare List<S> xs = new ArrayList<S>(); in Java", _SAME),
        ("The <p> element wraps text, and <li> an item", _SAME),
        ("In HTML write <b>bold</b> and &amp; for it", _SAME),
        ("Call System.Out, np.Array or os.Path here", _SAME),
        ("It works with Node.Js and Vue.Js alike", _SAME),
        ("for x in xs:\n    if x > 2:\n        print(x)\nThat is all", _SAME),
        ("SELECT a,  b FROM t WHERE c = 'x.Y';", _SAME),
        ("- one\n    - deeper\n        - deepest\n- two", _SAME),
        ("1. a\n   1. b\n   2. c\n2. d", _SAME),
        ("Name      Dose\nLithium   300 mg\nZoloft    50 mg", _SAME),
        ("a\tb\tc\n1\t2\t3", _SAME),
        ("| a   | b  |\n|-----|----|\n| 1   | 2  |", _SAME),
        ("  indented poem line\n    deeper line", "indented poem line\n    deeper line"),
        ('{"name": "f",  "arguments": {"a": "<b>x</b>"}}', _SAME),
        # Joiners that spell.
        ("\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", _SAME),
        ("\u0915\u094d\u200d\u0937 \u0d28\u0d4d\u200d", _SAME),
        ("plain\u200cword and\u200d this", "plainword and this"),
    ],
)
def test_what_clean_makes_of_a_text(text: str, right: str | None) -> None:
    row = talk("How is it done?", text)
    Cleaner(CleanSettings())(row, Ledger("clean"))
    assert row.messages[1].content == (text if right is None else right)


@pytest.mark.parametrize(
    ("keep", "text", "kept"),
    [
        ("en", "\u1230\u120b\u121d \u12a5\u1295\u12f4\u1275 \u1290\u1205?", False),
        ("en", "\u13a3\u13cf\u13f2 \u13a3\u13cf\u13f2", False),
        ("en", "\uc694\uc998 \uc7a0\uc744 \ubabb \uc790\uc694.", False),
        ("en", "Ch\u00fang t\u00f4i c\u1ea3m th\u1ea5y r\u1ea5t bu\u1ed3n h\u00f4m nay.", False),
        ("en", "omg im so done w everything rn", True),
        ("en", "Quetiapine, olanzapine, aripiprazole, risperidone, clozapine, ziprasidone.", True),
        ("en", "Pasta carbonara, spaghetti bolognese and lasagne al forno are popular.", True),
        ("en", "My abuela always said 'poco a poco' when I was small.", True),
        ("de", "You are not alone with this, and it can get better with time.", False),
        ("de", "Ich kann seit Wochen nicht schlafen und habe Angst.", True),
        (
            "no",
            "Jeg har det ikke s\u00e5 bra, og jeg vet ikke hva jeg skal gj\u00f8re n\u00e5.",
            True,
        ),
        ("ru", "Take a slow breath and count to ten before you answer.", False),
        (
            "zh",
            "\u5f88\u62b1\u6b49\u542c\u5230\u4f60\u6709\u8fd9\u6837\u7684\u611f\u53d7\u3002",
            True,
        ),
        (
            "zh",
            "\u6700\u8fd1\u7720\u308c\u307e\u305b\u3093\u3002\u3069\u3046\u3057\u305f\u3089",
            False,
        ),
        (
            "fa",
            "\u0686\u0631\u0627 \u0646\u0645\u06cc\u200c\u0634\u0648\u062f\u061f",
            True,
        ),
    ],
)
def test_a_language_is_told_in_every_script(keep: str, text: str, kept: bool) -> None:
    finder = LanguageFinder(keep)
    assert all(part.kept for part in finder.segments(text)) is kept


def test_rows_of_other_scripts_go_and_lists_of_medicines_stay(case: Case) -> None:
    made = case("p06")
    assert len(made.rows) == 3 and len(made.drops()) == 3
    assert all("not in 'en'" in reason for reason in made.drops())
    kept_whole(case, "p07")
    chinese = case("07-cjk", "zh.yaml")
    assert len(chinese.rows) == 8
    mixed = case("07-cjk", "mix.yaml")
    assert mixed.texts() and all(text.isascii() for text in mixed.texts())


def test_a_short_turn_within_a_conversation_cuts_nothing(case: Case) -> None:
    made = case("p02")
    assert len(made.rows) == 4 and made.drops() == []
    assert len(made.texts()) == sum(len(row["messages"]) for row in source("p02"))


def test_crisis_help_stays(case: Case) -> None:
    kept_whole(case, "p03")


def test_numbers_that_are_no_phone_stay(case: Case) -> None:
    kept_whole(case, "p04")


def test_medicines_are_no_names(case: Case) -> None:
    kept_whole(case, "p17")


def test_a_name_is_masked_in_every_turn(case: Case) -> None:
    made = case("p09")
    first = next(row for row in made.rows if row["id"].endswith("000001"))
    texts = [message["content"] for message in first["messages"]]
    assert "Zephyra" not in " ".join(texts) and sum("[NAME_1]" in text for text in texts) == 3


def test_numbers_of_a_person_are_masked_whole(case: Case) -> None:
    answer = next(text for text in case("p19").texts() if "SSN" in text)
    assert answer == "You wrote: my SSN is [SSN], card [CARD], IBAN [IBAN], IP [IP]."
    asked = " ".join(case("19-pii", "d.yaml").texts("user"))
    for stays in ("4000123456", "1748503543", "0306406152", "800-555-0199", "212-555-0187"):
        assert stays in asked
    for goes in ("4111 1111", "123-45-6789", "192.168.10.44", "DE89", "0130 00", "1234567"):
        assert goes not in asked


@pytest.mark.parametrize(
    "text",
    [
        "Call 13 11 14 or see https://www.lifeline.org.au/gethelp in Australia.",
        "En France, le 3114 (3114.fr) r\u00e9pond jour et nuit.",
        "Ruf die Telefonseelsorge an: 0800 111 0 222, oder www.telefonseelsorge.de.",
        "The hotline of your county may be 555-010-1234, at www.some-county.org/crisis.",
        "Our county's crisis line is 415-555-0132, day and night.",
        "Poison Control answers on 1-800-222-1222 and at www.poison.org.",
        "Here are some numbers to call: https://some-site.com/lib/common-hotline-phone-numbers/",
        "There is Teen Line (https://teenlineonline.org/), which helped me.",
        "\u8bf7\u62e8\u6253\u5fc3\u7406\u63f4\u52a9\u70ed\u7ebf 400-161-9995",
    ],
)
def test_a_line_or_site_of_help_stays(text: str) -> None:
    row = talk("Where is help?", text)
    Anonymiser(AnonymiseSettings())(row, Ledger("anonymise"))
    Filter(FilterSettings(language=False))(row, Ledger("filter"))
    assert row.messages[1].content == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("I called the hotline, my number is 415-555-0132.", "[PHONE]"),
        ("Crisis counselling: call my office at 415-555-0132.", "[PHONE]"),
        ("See www.jane-roe.com for my crisis line training on my website.", "[URL]"),
        ("Text 3036165596 when you are there.", "[PHONE]"),
        ("Reach me at 020 7946 0958 or 07911 123456.", "[PHONE] or [PHONE]"),
        ("WhatsApp: +49 170 1234567", "[PHONE]"),
        ("Card 5500 0000 0000 0004, please.", "[CARD]"),
        ("GB29 NWBK 6016 1331 9268 19 is my account.", "[IBAN]"),
        ("From 2001:db8:85a3::8a2e:370:7334 at noon.", "[IP]"),
    ],
)
def test_what_is_private_is_masked(text: str, masked: str) -> None:
    row = talk("Hm?", text)
    Anonymiser(AnonymiseSettings())(row, Ledger("anonymise"))
    assert masked in row.messages[1].content


@pytest.mark.parametrize(
    "text",
    [
        "ISBN 978-0-306-40615-7, or 0-306-40615-2, on page 212-213.",
        "Version 10.0.19041.1 runs on 127.0.0.1, with the netmask 255.255.255.0.",
        "The sum of 415 555 and 132 is 415687; 10-15 minutes, 2000-4000 steps.",
        "At 1748503543.123 the log says 12:30:45.",
        "Invoice 800-555-0199 of 2019-03-04, case 2023-0417.",
        "1234567890123456 rows and 4000 1234 5678 9012 bytes.",
        "Take 2.5 mg of Risperdal, then Seroquel; Latuda made me restless.",
        "I love Elizabeth Bennet and hated Heathcliff.",
        "The Davis Cup and the Ryder Cup are in Lincoln Park this year.",
        "She moved to Charlotte, and then from Madison to Florence.",
        "Vitamin B12 5 MG and D3 2000 IU.",
        "I have 3 Ways To Court Luck and 10 Minutes To Walk.",
        "St John's wort and Parkinson's disease do not mix with Hamilton Rating Scale.",
    ],
)
def test_what_is_nobodys_stays(text: str) -> None:
    row = talk("Hm?", text)
    Anonymiser(AnonymiseSettings())(row, Ledger("anonymise"))
    assert row.messages[1].content == text


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Call [NAME_1] and [NAME_2].", None),
        ("They are, in order, [NAME_1], [NAME_2] and [NAME_3].", None),
        ("Who sang it? [NAME_1].", None),
        ("Be kind to yourself. - [NAME_1]", "Be kind to yourself."),
        ("Be kind to yourself.\n[NAME_1], LCSW", "Be kind to yourself."),
    ],
)
def test_an_answer_that_is_a_name_is_no_signature(text: str, right: str | None) -> None:
    row = talk("Who was it?", text)
    Filter(FilterSettings(language=False))(row, Ledger("filter"))
    assert row.messages[1].content == (text if right is None else right)


def test_a_tools_call_in_the_text_keeps_all_but_the_address(case: Case) -> None:
    """Rows of tool calls are shapes of their own; JSON in a text is no prose to cut."""
    row = talk("Mail my boss.", '{"to": "boss@firm-mail.com", "subject": "Report"}')
    Anonymiser(AnonymiseSettings())(row, Ledger("anonymise"))
    Filter(FilterSettings())(row, Ledger("filter"))
    assert row.messages[1].content == '{"to": "[EMAIL]", "subject": "Report"}'


def test_a_turn_that_is_not_to_be_trained_is_marked(case: Case) -> None:
    made = case("p16")
    turns = next(r for r in made.rows if r["id"].endswith("000001"))["messages"]
    assert [turn["training"] for turn in turns] == [False, False, False, True]
    assert "message_field_training: training" in made.said
    marked = case("01-turn-weight", "d.yaml")
    assert all(row["messages"][1]["training"] is False for row in marked.rows)


def test_tool_calls_need_a_template_that_takes_them(case: Case) -> None:
    made = case("p15")
    assert any("tool_calls" in reason for reason in made.drops())
    kept = next(text for text in made.texts() if "send_mail" in text)
    assert '"to": "[EMAIL]"' in kept and "boss@" not in kept
    for name in ("d.yaml", "mapped.yaml", "calls.yaml"):
        assert "tool_calls" in refused(case, "02-tool-calls", name)


def test_content_parts_are_joined_or_named(case: Case) -> None:
    made = case("p11")
    assert "How do I calm down before an exam tomorrow?" in made.texts("user")
    assert made.drops() == ["turn 1 holds a part of type 'image_url', which is no text"] or any(
        "'image_url'" in reason for reason in made.drops()
    )
    parts = case("03-content-parts", "d.yaml")
    assert not [text for text in parts.texts() if "{" in text or "[" in text]
    assert "Which screws hold a shelf in plasterboard?" in parts.texts("user")


def test_lists_in_cells_are_named_or_made_rows(case: Case) -> None:
    said = refused(case, "p10")
    assert "column 'patterns' is a list of 2" in said and "shape: intents" in said
    definition = case.folder / "p10" / "def.yaml"
    text = definition.read_text()
    definition.write_text(text.replace("prompt_response", "intents").split("columns:")[0])
    made = case("p10")
    assert len(made.rows) == 6 and "Say more, I am listening to you." in made.texts("assistant")


def test_preferences_are_never_left_out_in_silence(case: Case) -> None:
    said = refused(case, "p14")
    assert "chosen, rejected" in said and "shape: preference" in said


def test_cells_that_say_nothing_are_empty_and_counted(case: Case) -> None:
    made = case("08-none-cells", "d.yaml")
    asked = " ".join(made.texts("user")).lower()
    assert not any(word in asked for word in ("nan", "none", "null", "<noinput>"))
    counted = [x for x in made.ledger if x["reason"] == "cell that says nothing read as empty"]
    assert len(counted) >= 8


def test_labels_as_answers_are_kept_and_said(case: Case) -> None:
    for name in ("d.yaml", "oneword.yaml"):
        made = case("20-labels", name)
        assert len(made.rows) == 36 and "dedupe.by: answer" in made.said


def test_a_repeated_place_in_an_order_is_named() -> None:
    body = {"name": "s", "source": {"file": "x"}, "shape": "turn_rows",
           "columns": {"conversation": "c", "text": "t", "speaker": "s",
                        "order": "n"}}  # fmt: skip
    kind = Shaper(Definition.model_validate(body), "x")
    rows = [{"c": 1, "t": "a", "s": "user", "n": 1}, {"c": 1, "t": "b", "s": "gpt", "n": "1.0"}]
    ledger = Ledger("shape")
    assert not kind.fill(kind.open(1, rows), ledger)
    assert ledger.lines[0]["reason"] == "column 'n' has the value '1' twice in a conversation"


@pytest.mark.parametrize("name", ["d", "list", "pretty", "big", "bigint"])
def test_json_of_every_layout_is_read(case: Case, name: str) -> None:
    made = case("09-json-lines", f"{name}.yaml")
    assert len(made.rows) >= 7 and "How do I keep a basil plant alive" in " ".join(made.texts())


@pytest.mark.parametrize(
    "name",
    ["gz", "gzf", "oldmac", "semi", "sep", "sepcomma", "spacehead", "emptycol", "u16", "u16tab"],
)
def test_files_of_every_making_are_read(case: Case, name: str) -> None:
    made = case("10-compressed-excel", f"{name}.yaml")
    assert len(made.rows) >= 7 and "How do I keep a basil plant alive" in " ".join(made.texts())


def test_a_broken_spreadsheet_is_one_line(case: Case) -> None:
    assert "spreadsheet" in refused(case, "10-compressed-excel", "xlsx.yaml")


def test_the_format_is_obeyed(case: Case) -> None:
    shutil.copytree(CASES / "p12", case.folder / "p12")
    (case.folder / "p12" / "sub").mkdir()
    shutil.copy(CASES / "p09" / "data.jsonl", case.folder / "p12" / "sub" / "data.json")
    rows = [{"question": f"What is question {n} about, please?", "answer": f"About {n} apples."}
            for n in range(4)]  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (case.folder / "p12" / "sub" / "data.json").write_text(text)
    assert len(case("p12").rows) == 4


def test_a_word_that_yaml_takes_for_no_is_named(case: Case) -> None:
    assert "no" in refused(case, "27-yaml-norway", "d.yaml").lower()
    assert "no" in refused(case, "27-yaml-norway", "d3.yaml").lower()
    assert "not in 'no'" in refused(case, "27-yaml-norway", "d2.yaml")


def test_a_source_that_cant_be_read_is_one_line(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Path.open

    def closed(path: Path, *args: Any, **keys: Any) -> Any:
        if path.name == "data.jsonl":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *args, **keys)

    monkeypatch.setattr(Path, "open", closed)
    assert "can't be read (permission denied)" in refused(case, "p18")
