"""What was found by reading rows whole, before and after, at default settings: a case a kind."""

from __future__ import annotations

import pytest
from prep_data import answer_after, talk

from datasets_prep.columns import Columns
from datasets_prep.definition import Definition
from datasets_prep.tally import Tally

QUESTION = "Why do I sleep so badly these days?"
LONG_RULE = "-" * 130


def prepared(answer: str, *authors: str) -> str:
    """An answer after the row-wise steps; empty when its row was dropped."""
    definition = Definition.model_validate(
        {"name": "x", "source": {"file": "x.csv"}, "shape": "prompt_response"}
    )
    return answer_after(definition, talk(QUESTION, answer, authors=authors))


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        # A word glued to the end of an address stays, over a line's end too.
        (
            "Rest more. You can read about it here: https://jane-roe.com/the-fold-breath/Your\n"
            "thoughts on sleep fall under a heading of their own.",
            "Rest more. Your\nthoughts on sleep fall under a heading of their own.",
        ),
        # The sentence behind an address stays when a comma follows its first word.
        (
            "Rest more. You can find it here: www.jane-roe.com/sleep/2017 Recently, one of the "
            "nurses has been checking vitamin D levels.",
            "Rest more. Recently, one of the nurses has been checking vitamin D levels.",
        ),
        # A film that is called so invites nobody to call.
        (
            "You might watch a documentary such as No Kidding or Call me Crazy together.",
            "You might watch a documentary such as No Kidding or Call me Crazy together.",
        ),
        ("He may yell and call me a liar, you say.", "He may yell and call me a liar, you say."),
        # A line of marks is of no language, and hides none.
        (
            f"It takes time, and it gets better. {LONG_RULE}Me he estado sintiendo triste cuando "
            "salgo con una persona en particular o cuando llego a casa.",
            "It takes time, and it gets better.",
        ),
        # Glued sentences.
        ("It was in the specifics.I'm curious how.", "It was in the specifics. I'm curious how."),
        ("Mind the children.It\u2019s unfortunate.", "Mind the children. It\u2019s unfortunate."),
        (
            "It is free of charge :)Online groups help.",
            "It is free of charge :) Online groups help.",
        ),
        (
            'Write "I"m making progress."This is an example of a goal.',
            'Write "I"m making progress." This is an example of a goal.',
        ),
        # Words of everyday are no code: what was glued comes apart, and goes with no link.
        (
            'Well done in the class.As far as it goes, rest.Trying it helps, "it was an accident.'
            '"You may find help here http://jane-roe.com/blog/let-go/ or at home.',
            'Well done in the class. As far as it goes, rest. Trying it helps, "it was an '
            'accident."',
        ),
        (
            "Some are trained (such as those in Rome. Learn more here: http://www.roe.com)."
            "To say it briefly, your pain is valid.",
            "Some are trained (such as those in Rome. To say it briefly, your pain is valid.",
        ),
        # A sentence that was wrapped goes as a whole.
        (
            "It is the key to a fruitful talk. My private practice uses coaching, though I am\n"
            "trained in many ways. The\nbond comes first.",
            "It is the key to a fruitful talk. The\nbond comes first.",
        ),
        # The authors of books stay, whose titles nobody listed.
        (
            "I think that David Richo's When the Past Is Present is the best.",
            "I think that David Richo's When the Past Is Present is the best.",
        ),
        (
            "It is all in the Diary of Anita Nilsson, says the library.",
            "It is all in the Diary of Anita Nilsson, says the library.",
        ),
        (
            "Best of luck to you and your daughter, Mirella~",
            "Best of luck to you and your daughter.",
        ),
        # Signed without a space, and a state is no person.
        (
            "It gets better. Best of luck to both of you,Sarah",
            "It gets better. Best of luck to both of you.",
        ),
        (
            "She was moved to Louisiana, then to Tennessee.",
            "She was moved to Louisiana, then to Tennessee.",
        ),
    ],
)
def test_kinds_found_by_reading(answer: str, right: str) -> None:
    assert prepared(answer) == right


def test_an_author_who_signs_in_lower_case_is_masked() -> None:
    answer = "Always measure the danger. Peace - keith"
    assert prepared(answer, "Keith Hughes, LMFT") == "Always measure the danger. Peace."


def test_one_column_stands_for_a_list_of_one() -> None:
    columns = Columns.model_validate({"author": "by", "group": "id", "ignore": "label"})
    assert (columns.author, columns.group, columns.ignore) == (["by"], ["id"], ["label"])


def test_a_change_of_spacing_can_be_seen_on_the_card() -> None:
    tally, span = Tally(), {"turn": 0, "start": 3, "before": "\u00a0\n", "after": " "}
    tally.ledger({"id": "1", "step": "clean", "action": "changed", "reason": "r", "spans": [span]})
    assert tally.shown[("clean", "r")] == [("1", "U+00A0\u23ce", "\u2423")]
