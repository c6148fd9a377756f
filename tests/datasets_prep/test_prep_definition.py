"""Definitions: those that are shipped are valid, and mistakes are told with the nearest key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prep_data import definition

from datasets_prep.definition import DEFINITIONS, load_definition
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import load_recipe

SHIPPED = sorted(path.stem for path in DEFINITIONS.glob("*.yaml"))


def test_there_are_definitions() -> None:
    assert {"counsel_chat", "mental_health_chatbot_172", "mental_health_support"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_definitions_are_whole(name: str) -> None:
    shipped, path = load_definition(name)
    assert shipped.name == name == path.stem
    assert shipped.licence != "unknown" and shipped.title and shipped.description
    assert shipped.recipe and load_recipe(shipped.recipe)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"splitt": {}}, "splitt: unknown key. Did you mean split?"),
        (
            {"steps": {"deduplicate": {}}},
            "steps.deduplicate: unknown key. Did you mean dedupe?",
        ),
        ({"steps": {"filter": {"toxicty": True}}}, "Did you mean toxicity?"),
        ({"steps": {"anonymise": {"nams": "rules"}}}, "Did you mean names?"),
        ({"steps": {"filter": {"language": {"kep": "en"}}}}, "Did you mean keep?"),
        ({"columns": {"promt": "q", "response": "a"}}, "Did you mean prompt?"),
        ({"turns": {"leading_asistant": "fail"}}, "Did you mean leading_assistant?"),
        ({"source": {"file": "a.csv", "hub": "a/b"}}, "give either hub or file"),
        ({"source": {"file": "a.csv", "encoding": "utf-99"}}, "unknown encoding: utf-99"),
        ({"shape": "sharegtp"}, "is none of"),
        ({"shape": "turns", "columns": {}}, "shape turns needs columns.turns"),
        ({"split": {"validation": 0.6, "test": 0.5}}, "leave nothing to train on"),
        ({"split": {"validation": 1.5}}, "neither a fraction below 1 nor a whole count"),
        ({"steps": {"anonymise": {"names": "magic"}}}, "is none of"),
        ({"steps": {"clean": 7}}, "is 7, which is no mapping of keys or false"),
        ({"name": "../up"}, "name:"),
        ({"roles": {"therapist": ["x"]}}, "roles.therapist: 'therapist' is none of"),
        ({"steps": {"filter": {"language": {"keep": False}}}}, "keep: is false, which is no text"),
        ({"columns": {"prompt": 3, "response": "a"}}, "prompt: is 3, which is no text or list"),
    ],
)
def test_mistakes_are_one_line_that_helps(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    path = definition(tmp_path, **keys)
    with pytest.raises(UserError) as error:
        load_definition(path)
    assert message in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = definition(tmp_path, splitt={}, steps={"claen": {}})
    with pytest.raises(UserError, match=r"splitt.*\n.*claen"):
        load_definition(path)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1", "", "name: x\n"])
def test_files_that_are_no_definition(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"x\.yaml"):
        load_definition(path)


def test_a_key_given_twice_is_named_with_its_line(tmp_path: Path) -> None:
    path = definition(tmp_path)
    path.write_text(path.read_text() + "split: {seed: 1}\nlicence: MIT\nsplit: {seed: 2}\n")
    line = len(path.read_text().splitlines())
    with pytest.raises(UserError) as error:
        load_definition(path)
    assert "split: is given twice" in str(error.value) and f"{path}:{line}" in str(error.value)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean counsel_chat"):
        load_definition("counsel-chat")


@pytest.mark.parametrize(
    ("keys", "place", "word"),
    [
        ("steps: {filter: {language: {keep: no, others: [sv, da]}}}", "language.keep", "no"),
        ("steps: {anonymise: {phone_regions: [SE, DK, NO]}}", "phone_regions[2]", "NO"),
    ],
)
def test_norway_is_no_false(tmp_path: Path, keys: str, place: str, word: str) -> None:
    path = definition(tmp_path)
    path.write_text(f"{path.read_text()}{keys}\n")
    with pytest.raises(UserError) as error:
        load_definition(path)
    line = f'{place}: YAML reads {word} as false. Write "{word}" for text, false for false'
    assert line in str(error.value)
    path.write_text(
        path.read_text().replace(f": {word},", f': "{word}",').replace(word + "]", f'"{word}"]')
    )
    load_definition(path)
