"""What is proven before anything is scored, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from eval.against import find_reference
from eval.generation.arms import local_arms, prove_honest
from eval.generation.base_model import load_base
from eval.generation.decoding import Decoding
from eval.generation.dialogue import cache_file, check_lengths, hold
from eval.generation.reference import reference_arms
from eval.suite import Suite, load_suite
from recipes.runner.core.errors import UserError
from recipes.runner.run.finished import Run, find_run


@pytest.fixture(scope="module")
def run(worse_run: Path) -> Run:
    return find_run(str(worse_run), None)


def test_off_is_the_plain_base_to_the_bit_and_on_is_not(run: Run) -> None:
    base = load_base(run.config, "fp32", "cpu")
    ids = torch.tensor([[5, 9, 11, 40]])
    plain = base.model(ids).logits
    off, on = local_arms(run, base)
    with off.active() as model:
        assert torch.equal(model(ids).logits, plain)
    with on.active() as model:
        assert not torch.allclose(model(ids).logits, plain)
    with off.active() as model:  # and off again, after on
        assert torch.equal(model(ids).logits, plain)
    assert off.digest != on.digest


def test_an_adapter_that_changes_nothing_is_refused(make_run: Callable[..., Path]) -> None:
    noop = find_run(str(make_run("noop")), None)
    with pytest.raises(UserError, match="changes nothing"):
        local_arms(noop, load_base(noop.config, "fp32", "cpu"))


def test_two_adapters_on_one_base(run: Run, make_run: Callable[..., Path]) -> None:
    ids, other = torch.tensor([[5, 9, 11, 40]]), find_run(str(make_run("other")), None)
    base = load_base(run.config, "fp32", "cpu")
    off, on = local_arms(other, base)
    with on.active() as model:
        alone = model(ids).logits
    reference, tuned = reference_arms(run, other, load_base(run.config, "fp32", "cpu"))
    for arm, same in ((reference, True), (tuned, False), (reference, True)):
        with arm.active() as model:
            assert torch.equal(model(ids).logits, alone) is same
    assert reference.digest == on.digest and {off.digest, tuned.digest} - {on.digest}


def test_an_adapter_that_is_the_same_is_refused(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "again")
    again = find_run(str(tmp_path / "again"), None)
    with pytest.raises(UserError, match="same logits"):
        reference_arms(run, again, load_base(run.config, "fp32", "cpu"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"load_in_4bit": True}, "bits of the base"),
        ({"chat_template": "chatml"}, "chat_template"),
    ],
)
def test_a_run_that_one_load_can_t_serve_too(
    run: Run, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    shutil.copytree(run.path, tmp_path / "other")
    record = json.loads((tmp_path / "other" / "run.json").read_text())
    record["config"].update(change)
    (tmp_path / "other" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=f"trained with another {words}.*make compare RUNS="):
        find_reference(run, str(tmp_path / "other"))


def test_a_base_that_drifted_is_refused() -> None:
    plain = torch.zeros(3, 5)
    with pytest.raises(UserError, match="not the plain base"):
        prove_honest(plain, plain + 0.01, plain + 1, "run")
    with pytest.raises(UserError, match="not the plain base"):
        prove_honest(plain, plain * torch.nan, plain + 1, "run")


def test_a_run_without_adapter(worse_run: Path, tmp_path: Path) -> None:
    shutil.copy(worse_run / "run.json", tmp_path / "run.json")
    with pytest.raises(UserError, match=r"holds no adapter.*make train RECIPE=tiny"):
        find_run(str(tmp_path), None).check_adapter()


def test_a_run_in_training(worse_run: Path, tmp_path: Path) -> None:
    record = json.loads((worse_run / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**record, "status": "running"}))
    with pytest.raises(UserError, match=r"its training has not ended.*Wait for it.*RECIPE=tiny"):
        find_run(str(tmp_path), None).check_adapter()


def _edited(worse_run: Path, target: Path, **changes: object) -> Run:
    shutil.copytree(worse_run, target)
    path = target / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return find_run(str(target), None)


def test_an_adapter_for_another_base_by_name(worse_run: Path, tmp_path: Path) -> None:
    run = _edited(worse_run, tmp_path / "r", base_model_name_or_path="someone/else-7b")
    with pytest.raises(UserError, match="another base, someone/else-7b"):
        run.check_adapter()


def test_an_adapter_for_another_base_by_shape(worse_run: Path, tmp_path: Path) -> None:
    from tiny_chat import make_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    other = tmp_path / "other"
    LlamaForCausalLM(
        LlamaConfig(vocab_size=420, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                    num_attention_heads=2, num_key_value_heads=2, eos_token_id=1, pad_token_id=0)
    ).save_pretrained(other)  # fmt: skip
    make_tokenizer().save_pretrained(other)
    run = find_run(str(worse_run), None)
    config = {**run.config, "base_model": str(other)}
    with pytest.raises(UserError, match=r"does not fit the base|does not have"):
        local_arms(run, load_base(config, "fp32", "cpu"))


def test_unknown_and_broken_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such run"):
        find_run("there-is-none", None)
    with pytest.raises(UserError, match=r"no run\.json"):
        find_run(str(tmp_path), None)
    monkeypatch.setattr("recipes.runner.run.finished.ROOT", tmp_path)
    (tmp_path / "runs/mine").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no run\.json\. Runs: none$"):
        find_run("mine", None)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        find_run(str(tmp_path), None)


@pytest.fixture
def suite(known_suite: Path) -> Suite:
    return load_suite(str(known_suite))


class Counting:
    """The real arm, counting what it is asked; stops like a killed process after ``limit``."""

    def __init__(self, arm: object, limit: int = 10**6) -> None:
        self.arm, self.limit, self.asked = arm, limit, 0
        self.name, self.digest, self.context = arm.name, arm.digest, arm.context  # type: ignore[attr-defined]

    def answer(self, batch: list, decoding: Decoding, seed: str) -> list:
        """Pass on, and count."""
        if self.asked >= self.limit:
            raise KeyboardInterrupt
        self.asked += 1
        return self.arm.answer(batch, decoding, seed)  # type: ignore[attr-defined]

    def count_tokens(self, messages: list) -> int:
        """As the real arm."""
        return self.arm.count_tokens(messages)  # type: ignore[attr-defined]


def test_interrupted_it_goes_on_where_it_stopped(run: Run, suite: Suite, tmp_path: Path) -> None:
    off, _ = local_arms(run, load_base(run.config, "fp32", "cpu"))
    decoding = Decoding(12, batch_size=3)
    whole = hold(off, suite, decoding, tmp_path / "whole")
    killed = Counting(off, limit=2)
    with pytest.raises(KeyboardInterrupt):
        hold(killed, suite, decoding, tmp_path / "cut")  # type: ignore[arg-type]
    cached = cache_file(tmp_path / "cut", off, suite, decoding)
    with cached.open("a") as file:
        file.write('{"key": "6/0", "value": [{"te')  # the line that the kill cut
    rest = Counting(off)
    assert hold(rest, suite, decoding, tmp_path / "cut") == whole  # type: ignore[arg-type]
    assert rest.asked == 2
    nothing = Counting(off)
    assert hold(nothing, suite, decoding, tmp_path / "cut") == whole  # type: ignore[arg-type]
    assert nothing.asked == 0


def test_the_few_that_go_on_share_a_batch(run: Run, suite: Suite, tmp_path: Path) -> None:
    off, _ = local_arms(run, load_base(run.config, "fp32", "cpu"))
    longer = [
        prompt.model_copy(update={"turns": (*prompt.turns, "And then?")}) if i % 4 == 0 else prompt
        for i, prompt in enumerate(suite.prompts)
    ]
    counted = Counting(off)
    decoding = Decoding(12, batch_size=len(longer) // 3)
    talks = hold(
        counted,  # type: ignore[arg-type]
        suite.model_copy(update={"prompts": tuple(longer)}),
        decoding,
        tmp_path,
    )
    assert counted.asked == 3 + 1  # three batches of first turns, one of second turns
    for prompt, talk in zip(longer, talks, strict=True):
        assert talk.prompt_id == prompt.id and len(talk.answers) == len(prompt.turns)
        alone = off.answer([talk.messages(upto=len(prompt.turns) - 1)], decoding, "x")[0]
        assert alone == talk.last  # what came before belongs to the same conversation


def test_one_edited_prompt_asks_one_answer_anew(run: Run, suite: Suite, tmp_path: Path) -> None:
    off, _ = local_arms(run, load_base(run.config, "fp32", "cpu"))
    before = hold(off, suite, Decoding(12), tmp_path)
    edited = suite.prompts[3].model_copy(update={"turns": ("Which animal barks, then?",)})
    prompts = (edited, *suite.prompts[4:], *suite.prompts[:2])  # one edited, one gone, new order
    changed = suite.model_copy(update={"prompts": prompts, "title": "Other"})
    asked: list[str] = []

    class Watched(Counting):
        def answer(self, batch: list, decoding: Decoding, seed: str) -> list:
            asked.extend(messages[-1]["content"] for messages in batch)
            return super().answer(batch, decoding, seed)

    after = hold(Watched(off), changed, Decoding(12), tmp_path)  # type: ignore[arg-type]
    assert asked == ["Which animal barks, then?"]
    kept = {talk.prompt_id: talk.answers for talk in before}
    assert all(kept[talk.prompt_id] == talk.answers for talk in after[1:])


def test_the_cache_key_depends_on_everything(run: Run, suite: Suite, tmp_path: Path) -> None:
    off, on = local_arms(run, load_base(run.config, "fp32", "cpu"))
    bf16 = load_base(run.config, "bf16", "cpu")
    template = load_base(
        {**run.config, "chat_template": "jinja", "chat_template_jinja": "{{ messages }}"},
        "fp32",
        "cpu",
    )
    plain = Decoding(12)
    names = [
        cache_file(tmp_path, arm, asked, decoding).name
        for arm, asked, decoding in [
            (off, suite, plain), (on, suite, plain),
            (off, suite, Decoding(13)), (off, suite, Decoding(12, samples=2)),
            (off, suite, Decoding(12, seed=1)),
        ]
    ]  # fmt: skip
    assert len(set(names)) == len(names)
    assert len({off.digest, bf16.digest, template.digest}) == 3


def test_a_prompt_longer_than_the_context(run: Run, suite: Suite) -> None:
    off, _ = local_arms(run, load_base(run.config, "fp32", "cpu"))
    check_lengths(off, suite, 12)
    with pytest.raises(UserError, match=r"suite known: prompt 'q0' may take \d+ tokens.*256"):
        check_lengths(off, suite, 250)
