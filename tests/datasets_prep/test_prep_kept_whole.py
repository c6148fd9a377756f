"""What real sets hold and must keep: German nouns, bare programs, codes, lists of brands."""

from __future__ import annotations

import pytest
from prep_data import prepared, talk

from datasets_prep.anonymise import Anonymiser
from datasets_prep.code import code_spans
from datasets_prep.conversation import Ledger
from datasets_prep.language import LanguageFinder
from datasets_prep.sentences import sentences
from datasets_prep.settings import AnonymiseSettings


def masked(question: str, answer: str) -> tuple[str, str]:
    row = talk(question, answer)
    settings = AnonymiseSettings(phone_regions=["US", "GB", "DE"])
    Anonymiser(settings)(row, Ledger("anonymise"))
    return row.messages[0].content, row.messages[1].content


@pytest.mark.parametrize(
    "answer",
    [
        "Versuchen Sie, jeden Abend um 22:30 Uhr ins Bett zu gehen, und nehmen Sie 2 mg Melatonin.",
        "Nach ICD-10 mind. 2 Hauptsymptome über ≥ 14 Tage:\n- gedrückte Stimmung\n- Antriebsmangel",
        "Por favor tome 500 mg de Paracetamol cada 8 horas. En Mayo y Abril, con Sol y Luz.",
        "Il faut prendre Doliprane 1000 mg toutes les 6 heures, maximum 4 g par jour.",
    ],
)
def test_nouns_of_other_languages_are_no_names(answer: str) -> None:
    assert masked("", answer)[1] == answer


def test_names_of_other_languages_are_found_by_what_introduces_them() -> None:
    question = "Ich heiße Petra Schmidt, und meine Tochter Lena schläft nicht. Frau Weber rät ab."
    found = masked(question, "Das klingt schwer, und Lena braucht nun vor allem Ruhe und Zeit.")
    assert found[0] == (
        "Ich heiße [NAME_1], und meine Tochter [NAME_2] schläft nicht. Frau [NAME_3] rät ab."
    )
    assert found[1].startswith("Das klingt schwer, und [NAME_2] braucht")
    assert masked("Me llamo Lucía y mi novio Carlos me dejó hace dos semanas, sin más.", "")[0] == (
        "Me llamo [NAME_1] y mi novio [NAME_2] me dejó hace dos semanas, sin más."
    )


@pytest.mark.parametrize(
    "program",
    [
        "from flask import Flask\n\napp = Flask(__name__)\n\n@app.route('/', methods=['GET'])\n"
        "def hello():\n    return 'Hello, World!'",
        "sub reverse_string {\n   my ($str) = @_;\n   my @characters = split(//, $str);\n   "
        'return join("", reverse @characters);\n}',
        ".container {\n display: flex;\n}\n@media only screen and (min-width: 960px) { \n"
        "  .container {\n   flex-direction: row;  \n  }\n}",
        "<html>\n<head>\n <title>My Page</title>\n</head>\n<body>\n <h1>My Page</h1>\n</body>\n"
        "</html>",
        '<div class="container"></div>',
        "<h2><strong>This is a heading</strong></h2>",
        'package main\n\nimport (\n    "fmt"\n    "github.com/gorilla/mux" // go get it\n)\n\n'
        "type User struct {\n    ID   string\n    Name string}\n\nvar users = []User{\n"
        '    {ID: "1", Name: "John Doe"},}',
        "factorial :: Integer -> Integer\nfactorial 0 = 1\nfactorial n = n * factorial (n - 1)\n\n"
        "main :: IO ()\nmain = print (factorial 5)",
    ],
)
def test_a_program_without_fences_is_kept_byte_for_byte(program: str) -> None:
    assert code_spans(program) == [(0, len(program))]
    assert prepared("How is this written, please, and in which way?", program) == program


@pytest.mark.parametrize(
    "prose",
    [
        "Take 10 mg in week 1, then 20 mg.\nCall me if it does not help you in the end.",
        "PHQ-9: 14\nGAD-7: 8\nBMI: 23",
        "Dear Ann,\nthank you for the letter that you wrote.\nYours,\nBen",
        "| drug | dose |\n|---|---|\n| Anna Smith | 5 mg |",
    ],
)
def test_prose_and_tables_are_no_program(prose: str) -> None:
    assert code_spans(prose) == []


def test_a_name_of_a_programs_data_stays_where_it_is_talked_about() -> None:
    code = 'csv_data = """Name,Age\nAlice,30"""\nprint(csv_data.splitlines())'
    assert masked("Read this: Alice, who is 30, and Bob Miller, my friend.", code) == (
        "Read this: Alice, who is 30, and [NAME_1], my friend.",
        code,
    )


@pytest.mark.parametrize(
    "text",
    [
        "It comes in 2 mL vials (NDC 23155-240-31) in cartons of 25, and (23155-240-41) of 10.",
        "Call the Alcohol and Drug Referral Service at 1-800-663-1441 or 604-660-9382 in Canada.",
        "A report to the FDA program is made at http://www.fda.gov/MedWatch or 1-800-332-1088.",
        "More is at www.nlm.nih.gov/medlineplus, www.gov.bc.ca and https://www.nhs.uk/conditions/.",
        "The District of Columbia and British Columbia have such laws, and Los Angeles has not.",
        "It looked like Mallory bodies, Fournier's gangrene, and an Arnold-Chiari malformation.",
        "Soft Tissue Sarcoma, Candida albicans and Lorenzo's Oil were named there.",
        "Merry Christmas to all, and write a recursive function in Haskell or Ruby.",
    ],
)
def test_codes_services_and_eponyms_stay(text: str) -> None:
    assert masked("", text)[1] == text


def test_a_free_number_that_somebody_calls_theirs_is_masked() -> None:
    assert masked("", "Call me at 1-800-555-1234.")[1] == "Call me at [PHONE]."


def test_a_list_of_brands_is_no_signature() -> None:
    brands = ["Halenol®", "Mapap®", "Meda Cap®", "Pain-Eze®", "Panadol®", "Redutemp®", "Tylenol®"]
    answer = "Paracetamol is sold under these names in the shops:\n" + "\n".join(brands)
    assert prepared("Which names is paracetamol sold under?", answer) == answer


@pytest.mark.parametrize(
    "text",
    ["… 10 mg … 20 mg … 40 mg … 80 mg ...", "5 mL / 10 mL / 20 mL", "I AM VERY SAD TODAY SIR"],
)
def test_doses_and_capitals_are_not_foreign(text: str) -> None:
    assert LanguageFinder("en").verdict(text) is not False


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Mail me at home, ext. 4412, or write, order no. 20230911. Then wait.", 2),
        ("Bei Fieber zum Kinderarzt, z. B. morgen. Dann ruhen.", 2),
        ("Take approx. 5 mg, max. 3 times. It helps, i.e. most people sleep.", 2),
        ("No. That is wrong. Say no. Go on.", 4),
    ],
)
def test_an_abbreviation_ends_no_sentence(text: str, count: int) -> None:
    assert len(sentences(text)) == count


def test_a_sentence_of_han_alone_is_chinese() -> None:
    assert LanguageFinder("zh").verdict("互相不认同沟通之困难让我头疼怎么办") is True
    assert LanguageFinder("zh").verdict("昨日はとても疲れていて、何もできませんでした。") is False


@pytest.mark.parametrize(
    ("sentence", "verdict"),
    [
        ("An open window or a fan helps too.", True),
        ("Is your door open?", True),
        ("no phone numbers ok.", True),
        ("Mi hermana vive en Madrid.", False),
        ("Ik wil graag met je praten over mijn werk.", False),
        ("Hvorfor er du her i dag, min ven?", False),
        ("Mein Sohn trinkt jeden Tag drugs.", False),
    ],
)
def test_short_sentences_are_told_by_their_words(sentence: str, verdict: bool) -> None:
    assert LanguageFinder("en").verdict(sentence) is verdict


def test_what_everybody_knows_is_no_personal_data() -> None:
    text = "Ping 8.8.8.8, ask Wolfram Alpha, or read https://en.wikipedia.org/wiki/Sleep tonight."
    assert masked("", text)[1] == text


@pytest.mark.parametrize(
    "text",
    [
        "Providers should first call 1-800-CDC-INFO (1-800-232-4636) for questions about ticks.",
        "For the workbook call toll-free 1-866-902-3767 in the mornings.",
        'Select it by //*[@id="main-content"] in the page.',
        "Kale and Spinach hold vitamin K, and so does parsley.",
    ],
)
def test_public_lines_attributes_and_plants_stay(text: str) -> None:
    assert masked("", text)[1] == text


def test_a_heading_is_not_foreign() -> None:
    assert LanguageFinder("en").verdict("Non U.S. Healthcare Providers:") is None
