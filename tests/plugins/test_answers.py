"""Watching answers: what is asked, the figures, the rule that chooses, the warning."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from plugins.answers.greedy import Answer, greedy_answers
from plugins.answers.measure import measure
from plugins.answers.plugin import AnswersOptions, AnswersPlugin, _asker
from plugins.answers.prompts import Prompt, held_out_prompts, read_prompts
from plugins.answers.watch import FIGURES, METRIC, WatchAnswers
from plugins.run_record.curves import draw_curves
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import ROOT

END, PAD = 1, 0
LOOP = "You can talk to a friend about it. " * 8
HELP = "Are you safe now? Please call 988, at any hour."
PLAIN = "A wet cloth and an early night may do it."
PROMPTS = [
    Prompt(id="d1", kind="danger", content="a"),
    Prompt(id="d2", kind="danger", content="b"),
    Prompt(id="h1", kind="harmless", content="c"),
    Prompt(id="h2", kind="harmless", content="d"),
]


class Counting(nn.Module):
    """Says the token after the last one, up to 9, and then the end; optionally without a cache."""

    def __init__(self, cached: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.cached = cached
        self.lengths: list[int] = []

    def forward(self, input_ids, attention_mask, position_ids, past_key_values, use_cache):
        assert position_ids.shape == input_ids.shape
        assert attention_mask.shape[1] >= input_ids.shape[1]
        self.lengths.append(input_ids.shape[1])
        following = torch.where(input_ids >= 9, END, input_ids + 1)
        logits = nn.functional.one_hot(following, 16).float()
        return SimpleNamespace(logits=logits, past_key_values=() if self.cached else None)


class Digits:
    pad_token_id, eos_token_id = PAD, END

    def decode(self, tokens, skip_special_tokens=False):
        return " ".join(str(token) for token in tokens)

    def apply_chat_template(self, messages, **_):
        return [2, len(messages[0]["content"]) + 2]


@pytest.mark.parametrize("cached", [True, False])
def test_greedy_answers_end_at_the_end_token_or_the_limit(cached):
    model = Counting(cached).train()
    answers = greedy_answers(model, Digits(), [[2, 3, 7], [4]], max_new_tokens=4)
    assert answers == [Answer("8 9", 2, True), Answer("5 6 7 8", 4, False)]
    assert model.training
    assert model.lengths == ([3, 1, 1, 1] if cached else [3, 4, 5, 6])


def test_a_loop_is_not_written_to_its_limit():
    model = Counting(True)
    model.forward = lambda input_ids, **_: SimpleNamespace(
        logits=nn.functional.one_hot(input_ids.clamp(min=5) * 0 + 5, 16).float(),
        past_key_values=(),
    )
    (answer,) = greedy_answers(model, Digits(), [[2]], max_new_tokens=400)
    assert not answer.ended and answer.tokens < 100


def test_same_as_transformers_generate():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=16, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, pad_token_id=PAD, eos_token_id=END,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter)
    prompts = [[2, 9, 4, 12], [7], [3, 3, 8]]
    for prompt, answer in zip(prompts, greedy_answers(model, Digits(), prompts, 12), strict=True):
        alone = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
        tokens = [t for t in alone[0, len(prompt) :].tolist() if t != END]
        assert answer.text == Digits().decode(tokens)


@pytest.mark.parametrize("adapted", [False, True])
def test_falcon_answers_as_alone(adapted):
    """Left padding and a cache, through the plugin's own forward, in the middle of training."""
    from plugins.falcon.model import install
    from tests.plugins.falcon.tiny_falcon import make_falcon, with_adapter

    class Tokens(Digits):
        pad_token_id, eos_token_id = 3, 11

    model = with_adapter(make_falcon()) if adapted else make_falcon()
    prompts = [[20, 9, 40, 12, 33], [70], [31, 30, 80]]
    model.eval()
    alone = [
        model.generate(input_ids=torch.tensor([p]), max_new_tokens=10, do_sample=False)[0, len(p) :]
        for p in prompts
    ]
    install(model)
    model.train()
    for expected, answer in zip(alone, greedy_answers(model, Tokens(), prompts, 10), strict=True):
        tokens = [token for token in expected.tolist() if token != 11]
        assert answer.text == Tokens().decode(tokens)
    assert model.training


def answers(*texts, ended=True):
    return [Answer(text, len(text.split()), ended) for text in texts]


def test_figures():
    figures = measure(PROMPTS, answers(HELP, LOOP, HELP, PLAIN))
    assert figures["loops"] == 0.25 and figures["ends"] == 1.0 and figures["answers"] == 4
    assert figures["help"] == 0.5 and figures["false_alarms"] == 0.5
    assert measure(PROMPTS[2:], answers(PLAIN, PLAIN))["help"] is None


def feed(points, most_loops=0.05, base=None, calm=False):
    said = iter([answers for _, answers in points])
    watch = WatchAnswers(PROMPTS, lambda: next(said), most_loops, base, calm)
    metrics = []
    for step, (loss, _) in enumerate(points):
        found = {"eval_loss": loss}
        watch.on_evaluate(None, SimpleNamespace(global_step=step), None, metrics=found)
        metrics.append(found)
    return watch, metrics


GOOD = answers(HELP, HELP, PLAIN, PLAIN)
LOOPS = answers(LOOP, HELP, PLAIN, PLAIN)


def test_the_rule_prefers_answers_that_hold():
    _, metrics = feed([(4.0, GOOD), (3.5, GOOD), (3.2, LOOPS)])
    chosen = min(metrics, key=lambda m: m[METRIC])
    assert chosen["eval_loss"] == 3.5 and chosen[METRIC] == 3.5
    assert metrics[2][METRIC] > 100 and metrics[2][FIGURES]["loops"] == 0.25
    assert metrics[1][FIGURES]["texts"]["h1"] == PLAIN


def test_less_of_the_metric_is_better_for_transformers(tmp_path):
    """Axolotl drops `greater_is_better: false`; the name alone decides."""
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        str(tmp_path), metric_for_best_model=METRIC, load_best_model_at_end=True,
        eval_strategy="steps", eval_steps=1, save_steps=1, use_cpu=True,
    )  # fmt: skip
    assert arguments.greater_is_better is False


def test_a_base_that_loops_lifts_nothing_above_the_share_allowed():
    assert feed([(4.0, LOOPS), (3.5, LOOPS)])[1][1][METRIC] > 100
    assert feed([(4.0, LOOPS), (3.5, LOOPS)], most_loops=0.3)[1][1][METRIC] == 3.5
    assert feed([(4.0, GOOD), (3.5, LOOPS)], most_loops=0.3)[1][1][METRIC] > 100
    resumed, metrics = feed([(3.5, LOOPS)], most_loops=0.3, base={"loops": 0.3})
    assert metrics[0][METRIC] == 3.5 or resumed.base is None


def test_a_checkpoint_that_names_help_less_than_before_is_not_chosen(capsys):
    less, one = answers(PLAIN, PLAIN, PLAIN, PLAIN), answers(HELP, PLAIN, PLAIN, PLAIN)
    watch, metrics = feed([(0.7, GOOD), (0.6, one), (0.5, less)])
    assert [m[METRIC] for m in metrics[:2]] == [0.7, 0.6]  # one answer of two is no trend
    assert metrics[2][METRIC] > 100
    watch.on_train_end(None, None, None)
    assert "no checkpoint kept" not in capsys.readouterr().out
    watch, _ = feed([(0.7, GOOD), (0.6, less), (0.5, less)])
    watch.on_train_end(None, None, None)
    assert "no checkpoint kept what the rule asks" in capsys.readouterr().out
    # A base that named none before has none to lose.
    assert feed([(4.0, less), (3.5, less)])[1][1][METRIC] == 3.5


def test_under_preferences_a_checkpoint_with_more_false_alarms_is_not_chosen(capsys):
    all_help, one = answers(HELP, HELP, HELP, HELP), answers(HELP, HELP, HELP, PLAIN)
    watch, metrics = feed([(0.7, GOOD), (0.6, one), (0.5, all_help)], calm=True)
    assert [m[METRIC] for m in metrics[:2]] == [0.7, 0.6]  # one answer of two is no trend
    assert metrics[2][METRIC] > 100
    assert feed([(0.7, GOOD), (0.5, all_help)])[1][1][METRIC] == 0.5  # from a base, which has none
    watch, _ = feed([(0.7, GOOD), (0.5, all_help)], calm=True)
    watch.on_train_end(None, None, None)
    assert "no more false alarms than then" in " ".join(capsys.readouterr().out.split())


def test_one_warning_when_answers_get_worse_while_the_loss_falls(capsys):
    bad = answers(LOOP, LOOP, HELP, HELP)
    watch, _ = feed([(4.0, GOOD), (3.5, bad), (3.2, GOOD), (3.1, bad)])
    assert "held-out loss falls (step 1): loop 0% to 50%" in watch.warning
    assert "name help in danger 100% to 0%" in watch.warning
    assert "false alarms 0% to 100%" in watch.warning
    assert capsys.readouterr().out.count("answers get worse") == 1
    assert feed([(3.0, GOOD), (3.5, bad)])[0].warning is None
    # One answer of four is no trend.
    assert feed([(4.0, GOOD), (3.5, LOOPS)])[0].warning is None


def test_shipped_prompts_are_of_every_kind():
    prompts = read_prompts(ROOT / AnswersOptions().prompts)
    assert {prompt.kind for prompt in prompts} == {"danger", "harmless", "plain"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no prompt"),
        ('{"id": "a", "kind": "dangr", "content": "b"}', r"line 1.*|kind"),
        ('{"id": "a", "kind": "plain", "content": "b"}\n' * 2, "id 'a' twice"),
        ("nonsense", "line 1"),
    ],
)
def test_a_file_of_prompts_that_is_wrong(tmp_path, text, words):
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_prompts(path)
    with pytest.raises(UserError, match="no such file"):
        AnswersPlugin().register({"answers_watch": {"prompts": str(tmp_path / "none.jsonl")}})


def test_held_out_openings_are_the_same_each_time(tmp_path):
    path = tmp_path / "validation.jsonl"
    rows = [
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": f"u{n}"}]}
        for n in range(9)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"text": "no chat"}]))
    first = held_out_prompts([path, tmp_path / "none"], 4, seed=1)
    assert len(first) == 4 and first == held_out_prompts([path], 4, seed=1)
    assert first != held_out_prompts([path], 4, seed=2)
    assert all(prompt.content.startswith("u") for prompt in first)


def test_ranks_share_the_prompts(monkeypatch):
    """Each rank answers its own; together they are all, in order."""
    from plugins.answers import plugin

    trainer = SimpleNamespace(
        processing_class=Digits(), model=Counting(True), model_wrapped=None,
        is_fsdp_enabled=False, is_deepspeed_enabled=False,
        compute_loss_context_manager=nullcontext,
    )  # fmt: skip
    prompts = [Prompt(id=str(n), kind="plain", content="x" * n) for n in range(1, 6)]
    alone = _asker(trainer, prompts, 8)()
    parts: dict[int, list[Answer]] = {}
    monkeypatch.setattr(plugin.dist, "is_initialized", lambda: True)

    def gather(into, own):
        parts[rank] = own
        into[:] = [parts.get(other) for other in range(2)]

    monkeypatch.setattr(plugin.dist, "all_gather_object", gather)
    for rank in (1, 0):
        monkeypatch.setattr(plugin, "_ranks", lambda rank=rank: (rank, 2))
        try:
            together = _asker(trainer, prompts, 8)()
        except TypeError:
            continue  # the first of the two has nothing of the other yet
    assert together == alone and len(parts[0]) == 3 and len(parts[1]) == 2


def test_the_picture_shows_answers_and_what_is_kept(tmp_path: Path):
    from matplotlib import image

    losses = [{"step": n, "loss": 4 - n / 10, "learning_rate": 1e-3} for n in range(1, 9)]
    points = [{"step": n, "held_out_loss": 4 - n / 10} for n in (0, 4, 8)]
    draw_curves(losses, points, "plain", tmp_path / "plain.png")
    figures = measure(PROMPTS, GOOD)
    answered = [point | {"answers": figures} for point in points]
    draw_curves(losses, answered, "answers", tmp_path / "answers.png", chosen=4)
    heights = [image.imread(tmp_path / name).shape[0] for name in ("plain.png", "answers.png")]
    assert heights[1] > heights[0] + 100
