"""Filter: language by sentence, lengths, promotion, toxicity, and what masking left behind."""

from __future__ import annotations

from typing import Any

import pytest
from prep_data import reasons, talk

from datasets_prep.conversation import Conversation, Ledger
from datasets_prep.filters import PROMOTION_WORDS, TOXIC_WORDS, Filter
from datasets_prep.language import LanguageFinder
from datasets_prep.sentences import sentences
from datasets_prep.settings import FilterSettings
from recipes.runner.core.errors import UserError

ENGLISH = "You are not alone with this, and it can get better with time."
SPANISH = "No estás solo en esto, y puede mejorar con el tiempo y con ayuda."


def run(row: Conversation, **keys: Any) -> tuple[bool, Ledger]:
    ledger = Ledger("filter")
    return Filter(FilterSettings.model_validate(keys))(row, ledger), ledger


def test_a_half_spanish_row_keeps_its_english_half() -> None:
    row = talk("How do I get through this week?", f"{ENGLISH} {SPANISH}")
    kept, ledger = run(row)
    assert kept and row.messages[1].content == ENGLISH
    assert ledger.lines[0]["spans"][0]["before"] == SPANISH


def test_a_short_spanish_question_goes_by_its_mark() -> None:
    row = talk("How do I get through this week?", f"{ENGLISH} ¿Lo deberé?")
    assert run(row)[0] and row.messages[1].content == ENGLISH


def test_or_is_dropped_as_the_definition_says() -> None:
    row = talk("How do I get through this week?", f"{ENGLISH} {SPANISH}")
    kept, ledger = run(row, language={"mixed": "drop"})
    assert not kept and reasons(ledger) == ["assistant turn is partly not in 'en'"]


def test_a_spanish_row_is_dropped_and_can_be_kept() -> None:
    rows = [talk("¿Cómo puedo pasar esta semana tan difícil?", SPANISH) for _ in range(3)]
    assert not run(rows[0])[0]
    assert run(rows[1], language=False)[0]
    assert run(rows[2], language={"keep": "es", "others": ["en"]})[0]


@pytest.mark.parametrize(
    "text",
    [
        "I feel numb.",
        "ok",
        "no idea tbh",
        "omg im so done w everything rn",
        "Help me please?",
        "idk... cant sleep, cant eat",
        "Yes. No. Maybe.",
    ],
)
def test_short_and_sloppy_english_stays(text: str) -> None:
    assert all(part.kept for part in LanguageFinder("en").segments(text))


def test_an_unknown_language_is_an_error() -> None:
    with pytest.raises(UserError, match="xx"):
        run(talk("How are you doing now?", ENGLISH), language={"keep": "xx"})


@pytest.mark.parametrize(
    "text", ["", "a", "One. Two! Three?\n\nFour (3.5 of e.g. five).", "...", "\n"]
)
def test_sentences_cover_the_text(text: str) -> None:
    spans = sentences(text)
    assert "".join(text[a:b] for a, b in spans) == text


@pytest.mark.parametrize(
    ("answer", "keys", "reason"),
    [
        ("Certainly.", {"min_answer_words": 2}, "assistant turn of 1 words"),
        ("", {}, "assistant turn of 0 words"),
        ("No no no no no no", {"max_words": 5, "language": False}, "12 words, more than 5"),
        ("Too short", {"min_answer_words": 3}, "assistant turn of 2 words"),
    ],
)
def test_lengths(answer: str, keys: dict[str, Any], reason: str) -> None:
    kept, ledger = run(talk("I cannot sleep these days, why", answer), **keys)
    assert not kept and reasons(ledger) == [reason]


@pytest.mark.parametrize(
    "sales",
    [
        "Please call my office to set up a time.",
        "You can reach me at my practice website.",
        "Feel free to contact me for a session.",
        "Check out my book on anxiety.",
        "Schedule an appointment with me today.",
        "I offer online counseling in Texas.",
        "Check out my latest blog on: Four-ways-to-rest",
        "I am a counselor in Texas, currently providing couples services in Houston.",
        "In my practice I offer a phone consult.",
    ],
)
def test_promotion_is_cut_or_drops_the_row(sales: str) -> None:
    row = talk("How do I get through this week?", f"{ENGLISH} {sales}")
    assert run(row)[0] and row.messages[1].content == ENGLISH
    assert not run(talk("How?", f"{ENGLISH} {sales}"), promotion="drop")[0]
    row = talk("How?", f"{ENGLISH} {sales}")
    assert run(row, promotion="off")[0] and sales in row.messages[1].content


@pytest.mark.parametrize(
    "fine",
    [
        "Call me old-fashioned, but rest matters most of all.",
        "You could call your doctor's office in the morning.",
        "It helped me to contact my own therapist back then.",
        "If you are in danger now, please call me or 988 at once.",
    ],
)
def test_what_is_no_promotion_stays(fine: str) -> None:
    row = talk("How do I get through this week?", fine)
    assert run(row)[0] and row.messages[1].content == fine


RAW = "I hate myself, fuck everything, you should just kill yourself he said, shut up"


def test_user_turns_are_never_dropped_for_being_raw() -> None:
    assert run(talk(RAW, ENGLISH))[0]


@pytest.mark.parametrize("cruel", ["You should just kill yourself.", "You're pathetic, shut up."])
def test_toxic_answers_are(cruel: str) -> None:
    kept, ledger = run(talk("I feel low today, what now?", cruel))
    assert not kept and reasons(ledger)[0].startswith("toxic assistant turn")
    assert run(talk("I feel low today, what now?", cruel), toxicity=False)[0]


def test_talk_about_suicide_is_not_toxic() -> None:
    answer = "Are you thinking about killing yourself? You can call or text 988 right now."
    row = talk("I want to die.", answer)
    assert run(row)[0] and row.messages[1].content == answer


@pytest.mark.parametrize(
    ("question", "answer", "kept"),
    [
        ("I keep thinking about suicide", "Try to get more sleep and to eat well.", False),
        ("I keep thinking about suicide", "Please call 988 now, they answer day and night.", True),
        ("I keep thinking about suicide", "Please talk to a therapist about it this week.", True),
        ("This homework is killing me", "Try to get more sleep and to eat well.", True),
    ],
)
def test_an_answer_to_a_crisis_names_human_help(question: str, answer: str, kept: bool) -> None:
    assert run(talk(question, answer))[0], "the definition asks for it"
    left, ledger = run(talk(question, answer), crisis_without_help="drop")
    assert left == kept
    assert kept or reasons(ledger) == ["crisis ('suicide'), and the answer names no human help"]


def test_the_reason_holds_no_apostrophe_that_would_end_its_quotation() -> None:
    _, ledger = run(talk("I don't want to be alive.", "Sleep more."), crisis_without_help="drop")
    assert reasons(ledger)[0].count("'") == 2


def test_a_later_answer_may_name_the_help() -> None:
    row = talk("I want to die.", "I'm here. What happened?", "She left.", "Call 988, please, now.")
    assert run(row, crisis_without_help="drop")[0]


def test_a_definition_adds_phrases_and_a_broken_one_is_named() -> None:
    assert not run(talk("Hi there you", "Buy gold now, my friend"), toxic_phrases=["buy gold"])[0]
    with pytest.raises(UserError, match="promotion_phrases"):
        run(talk("a", "b"), promotion_phrases=["("])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Hi [NAME_1], you are right to ask.", "You are right to ask."),
        ("Hello, [NAME_1]. It takes time.", "It takes time."),
        ("It takes time. Be well. [NAME_1], DBH, LPCC", "It takes time. Be well."),
        ("It takes time. Warm regards,[NAME_1], M.S.", "It takes time."),
        ("It takes time! ~[NAME_1] ([URL] and [URL])", "It takes time!"),
        ("It takes time. Dr. [NAME_1]", "It takes time."),
        ("It takes time. [NAME_1] needs to hear it.", "It takes time. [NAME_1] needs to hear it."),
        ("It takes time. Read more here: [URL]", "It takes time."),
        ("It takes time. Here is a link to a quiz on sleep. [URL]", "It takes time."),
        ("Some links hold. It takes time. See [URL]", "Some links hold. It takes time."),
        ("It helps (see [URL]). It takes time.", "It helps. It takes time."),
        ("It takes time. See [URL] Then rest a little.", "It takes time. Then rest a little."),
    ],
)
def test_answers_keep_nothing_that_masking_emptied(before: str, after: str) -> None:
    row = talk("How do I get through this week?", before)
    kept, ledger = run(row)
    assert kept and row.messages[1].content == after
    assert (before != after) == bool(ledger.lines)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "Breathe slowly for four counts, and read more at [URL]. It helps.",
            "Breathe slowly for four counts. It helps.",
        ),
        (
            "I recommend the book Mind Over Mood, which you can find at [URL].",
            "I recommend the book Mind Over Mood.",
        ),
        (
            "Call your doctor before you stop the tablets or reach me at [PHONE].",
            "Call your doctor before you stop the tablets.",
        ),
        (
            "Eat regularly, sleep eight hours and look at [URL] for recipes.",
            "Eat regularly, sleep eight hours.",
        ),
        (
            "There is a great worksheet on [URL] that helps you to challenge thoughts.",
            "There is a great worksheet that helps you to challenge thoughts.",
        ),
        ("According to [URL], sleep matters more than diet.", "Sleep matters more than diet."),
        (
            "There's a good article on sleep at [URL]: keep the room dark and cool.",
            "Keep the room dark and cool.",
        ),
        (
            "Take 50 mg twice a day with food ([URL]), never more than 200 mg.",
            "Take 50 mg twice a day with food, never more than 200 mg.",
        ),
        (
            "This kind of therapy may be more effective for OCD than medication, [URL]",
            "This kind of therapy may be more effective for OCD than medication.",
        ),
        (
            "Spend a week on small daily moments together, you can find my post here: [URL]",
            "Spend a week on small daily moments together.",
        ),
        (
            'Ask for the book "Sleep: a plan and what to do" at [URL].',
            'Ask for the book "Sleep: a plan and what to do".',
        ),
        # Nothing but the way to the link.
        ("It takes time. I usually have them start with [URL].", "It takes time."),
        ("It takes time. You can read about it here: [URL]", "It takes time."),
        ("It takes time. [URL] has listings of therapists.", "It takes time."),
        ("It takes time. Visit [URL] for more information.", "It takes time."),
        ("It takes time. If you want to talk, call me at [PHONE].", "It takes time."),
        ("It takes time. Try this: [URL]", "It takes time."),
        ("It takes time. You can schedule a session with me at [URL].", "It takes time."),
        ("It takes time. To learn more, go to [URL] and click on Blog.", "It takes time."),
    ],
)
def test_the_link_goes_and_the_advice_stays(before: str, after: str) -> None:
    row = talk("How do I get through this week?", before)
    kept, ledger = run(row)
    assert kept and row.messages[1].content == after, reasons(ledger)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "You can call the suicide crisis line at [URL] - day and night.",
            "You can call the suicide crisis line - day and night.",
        ),
        ("Call 988 or see [URL]. It takes time.", "Call 988. It takes time."),
    ],
)
def test_crisis_help_is_never_cut(before: str, after: str) -> None:
    row = talk("I want to die.", before)
    assert run(row)[0] and row.messages[1].content == after


def test_residue_is_switchable_and_user_turns_keep_theirs() -> None:
    answer = "Hi [NAME_1], it takes time. More: [URL]"
    row = talk("See [URL], [NAME_1] said.", answer)
    assert run(row, signatures=False, dead_links=False)[0]
    assert row.messages[1].content == answer
    run(row)
    assert row.messages[0].content == "See [URL], [NAME_1] said."


ASKED = "How do I get through this week?"


def test_a_spoiled_exchange_costs_the_rest_its_place_not_the_conversation() -> None:
    row = talk("hi", "Hey", ASKED, ENGLISH, ":)", "Glad of it.", "ok", "kys", "a", "Well, b it is.")
    kept, ledger = run(row)
    assert kept
    # A short turn ("Hey") within a conversation is ordinary.
    assert [m.content for m in row.messages] == ["hi", "Hey", ASKED, ENGLISH, ":)", "Glad of it."]
    assert reasons(ledger) == ["cut to its longest good stretch: toxic assistant turn: 'kys'"]
    spans = ledger.lines[0]["spans"]
    assert [(s["turn"], s["before"]) for s in spans] == [
        (6, "ok"),
        (7, "kys"),
        (8, "a"),
        (9, "Well, b it is."),
    ]


@pytest.mark.parametrize(
    "bad", ["You should just kill yourself.", SPANISH, "Please call my office today."]
)
def test_what_spoils_an_exchange_is_cut_or_drops_the_row(bad: str) -> None:
    turns = (ASKED, ENGLISH, "And after that, what do I do?", bad)
    row = talk(*turns)
    kept, ledger = run(row)
    assert kept and [m.content for m in row.messages] == [ASKED, ENGLISH]
    assert any(reason.startswith("cut to its longest") for reason in reasons(ledger))
    kept, ledger = run(talk(*turns), spoiled_exchange="drop_row")
    assert not kept and ledger.lines[-1]["action"] == "dropped"


def test_an_empty_question_opens_nothing() -> None:
    row = talk("??", ENGLISH, ASKED, ENGLISH)
    assert run(row)[0] and row.messages[0].content == ASKED
    assert not run(talk("??", ENGLISH))[0]


def test_mixed_drop_means_the_whole_conversation() -> None:
    row = talk(ASKED, ENGLISH, ASKED, SPANISH)
    kept, ledger = run(row, language={"mixed": "drop"})
    assert not kept and reasons(ledger) == ["assistant turn is not in 'en'"]


@pytest.mark.parametrize(
    ("text", "cruel"),
    [
        ("Are you going to kill yourself tonight, or are you safe?", False),
        ("You mean to kill yourself, I believe you.", False),
        ("The voices have decided you should die, and you need not obey.", False),
        ("You should just kill yourself.", True),
        ("Nobody cares. Kill yourself", True),
        ("You should die.", True),
        ("In my book, that is unfair to you.", False),
        ("Best way to die is in sleep, some say.", True),
        ("SHUT UP", True),
    ],
)
def test_toxic_is_what_is_told_not_what_is_asked(text: str, cruel: bool) -> None:
    answer = f"{text} {ENGLISH}"
    kept, ledger = run(talk("I feel low, what now?", answer), language=False)
    assert kept is not cruel, reasons(ledger)
    assert not cruel or any(word in answer.lower() for word in TOXIC_WORDS)


def test_an_idiom_with_a_book_sells_nothing() -> None:
    row = talk("I feel low, what now?", f"In my book, that is unfair. {ENGLISH}")
    assert run(row)[0] and row.messages[1].content.startswith("In my book")
    row = talk("I feel low, what now?", f"Read my book Living Yes. {ENGLISH}")
    assert run(row)[0] and row.messages[1].content == ENGLISH


def test_a_title_ends_no_sentence_and_plain_english_needs_no_detector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "Personally, I am big fan of Dr. Chow. She is kind, and J. Roe is not."
    assert all(part.kept for part in LanguageFinder("en").segments(text))
    finder = LanguageFinder("en")
    monkeypatch.setattr("datasets_prep.language._fasttext", lambda: pytest.fail("asked"))
    assert finder.verdict("What would you say to them if they came back?") is True


@pytest.mark.parametrize(
    "text",
    [
        "Wat is er aan de hand met je, en was het al lang zo?",
        "Ich will das nicht mehr so machen, also was soll ich tun?",
        "No sé si me van a dar la mano o no, pero es mi casa.",
        "Jeg har det ikke godt, og det er for mye for meg her i dag.",
        "Je ne sais pas comment on fait pour vivre avec \u00e7a.",
    ],
)
def test_sentences_with_words_that_english_shares_are_foreign(text: str) -> None:
    assert LanguageFinder("en").verdict(text) is False


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Please call me.",
            "Feel free to e-mail me.",
            "You can reach out to me.",
            "Visit my site.",
        ),
        *("Favor de llamar pronto.", "Drop us a line.", "Book a session with me.", "Call us on 5."),
        *("Schedule a call online at X.", "Make an appointment at my place, or by calling."),
        *("You may reach us through him.", "See my own blog.", "Much more in my free course."),
        *(
            'It stands in my latest book, "On".',
            "I offer free consultations.",
            "A free 15-minute consult.",
        ),
        *("A free consultation with us.", "For more information go to [URL].", "Call [PHONE]."),
        *(
            "I am currently providing online therapy.",
            "Connect with me directly.",
            "My most recent post.",
        ),
        *(
            "I can offer you sessions via Zoom.",
            "My private practice offers it.",
            "In my practice I offer it.",
        ),
        *(
            "I would be glad to work with you.",
            "It is an honor to work with you.",
        ),
    ],
)
def test_what_sells_is_looked_for(text: str) -> None:
    answer = f"{text} {ENGLISH}"
    assert any(word in answer.lower() for word in PROMOTION_WORDS)
    row = talk("I feel low, what now?", answer)
    run(row)
    assert text not in row.messages[1].content
