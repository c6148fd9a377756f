import pytest

from recipes.runner.core.errors import UserError
from recipes.runner.core.overrides import apply, as_flags, parse_overrides


def test_values_are_read_as_yaml_and_numbers_as_people_write_them():
    overrides = parse_overrides("lora_r=64 learning_rate=1e-4 bf16=false lora_target_modules=[a,b]")
    assert overrides == {
        "lora_r": 64,
        "learning_rate": 1e-4,
        "bf16": False,
        "lora_target_modules": ["a", "b"],
    }
    assert as_flags(overrides) == [
        "--lora_r=64",
        "--learning_rate=0.0001",
        "--bf16=False",
        "--lora_target_modules=['a', 'b']",
    ]


def test_a_key_one_level_down_reaches_axolotl_as_its_nested_flag():
    overrides = parse_overrides("falcon.memory=low")
    assert as_flags(overrides) == ["--falcon__memory='low'"]
    assert apply({"falcon": {"loss": "plain"}}, overrides) == {
        "falcon": {"loss": "plain", "memory": "low"}
    }


@pytest.mark.parametrize("text", ["datasets.0.path=x", "a.b.c=1", "datasets[0]=x"])
def test_deeper_keys_are_refused_in_words(text):
    with pytest.raises(UserError, match=r"lies too deep.*Copy the recipe"):
        parse_overrides(text)


@pytest.mark.parametrize("text", ["lora_r", "=3", "lora_r='a"])
def test_what_is_no_pair_is_refused(text):
    with pytest.raises(UserError, match="SET"):
        parse_overrides(text)
