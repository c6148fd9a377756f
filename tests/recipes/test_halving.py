"""The rule of a sweep with a time budget: what it spends and keeps, how often it is right."""

import random

import pytest

from recipes.runner.core.errors import UserError
from recipes.runner.sweep.halving import parts_of, race, read_budget


class Bench:
    """Settings with a true loss each; a run takes its time and shows the loss with chance in it."""

    def __init__(self, true, seconds, chance=0.0, level=0.0, fails=(), seed=0):
        self.true, self.seconds, self.chance = true, seconds, chance
        self.fails, self.now, self.ran = fails, 0.0, []
        self._random = random.Random(seed)
        self._level = [self._random.gauss(0, level) for _ in range(99)]

    def clock(self):
        return self.now

    def pull(self, settings, repeat, left):
        losses = {}
        for name in settings:
            if left < self.seconds[name]:
                self.now += left
                return losses
            left -= self.seconds[name]
            self.now += self.seconds[name]
            self.ran.append((name, repeat))
            noise = self._level[repeat] + self._random.gauss(0, self.chance)
            losses[name] = None if name in self.fails else self.true[name] + noise
        return losses

    def race(self, repeats, budget):
        return race(list(self.true), repeats, budget, self.pull, self.clock)


def bench(settings=8, step=0.01, seconds=10.0, **more):
    names = [f"s{n}" for n in range(settings)]
    return Bench(
        {name: 2 + step * n for n, name in enumerate(names)},
        dict.fromkeys(names, seconds),
        **more,
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("", None), ("1h", 3600), ("90m", 5400), ("1h30m", 5400), ("45s", 45)]
)
def test_budgets(text, seconds):
    assert read_budget(text) == seconds


@pytest.mark.parametrize("text", ["1", "h", "1 h", "-1h", "0m", "1h!", "ten"])
def test_a_wrong_budget_is_refused_in_words(text):
    with pytest.raises(UserError, match=r"BUDGET: .*Write 1h, 90m or 1h30m"):
        read_budget(text)


def test_half_goes_after_each_part_and_two_are_left_to_the_end():
    found = bench().race(repeats=15, budget=1000)
    assert parts_of(8) == 3
    assert found.left == ["s0", "s1"]
    assert list(found.dropped) == ["s4", "s5", "s6", "s7", "s2", "s3"]
    assert len({found.dropped[name] for name in ("s4", "s5", "s6", "s7")}) == 1
    assert found.dropped["s2"] > found.dropped["s4"]
    assert len(found.losses["s0"]) > found.dropped["s2"]
    # What is saved goes to those that are left: more runs than a fair share each.
    assert len(found.losses["s0"]) > 1000 / 10 / 8 - 1


def test_those_that_are_left_have_the_same_pulls():
    one = bench(chance=0.01)
    found = one.race(repeats=15, budget=1000)
    of = {name: [r for n, r in one.ran if n == name] for name in one.true}
    assert of["s0"] == list(range(len(found.losses["s0"])))
    assert of[found.left[0]] == of[found.left[1]]


@pytest.mark.parametrize("budget", [5, 85, 120, 333, 1000, 5000])
def test_the_budget_is_kept(budget):
    one = bench(chance=0.01)
    found = one.race(repeats=15, budget=budget)
    assert one.now <= budget
    assert found.out_of_time == (len(found.losses[found.left[0]]) < 15)


def test_with_time_for_one_run_each_all_are_left_or_halved_once():
    found = bench().race(repeats=15, budget=85)
    assert all(len(losses) <= 1 for losses in found.losses.values())
    assert found.out_of_time


def test_a_setting_that_fails_is_dropped_at_once():
    one = bench(fails=("s0",))
    found = one.race(repeats=15, budget=1000)
    assert found.failed == ["s0"] and "s0" not in found.left
    assert found.left == ["s1", "s2"]
    assert sum(name == "s0" for name, _ in one.ran) == 1


def test_without_hurry_every_repeat_runs():
    found = bench(settings=2).race(repeats=6, budget=10_000)
    assert not found.out_of_time and not found.dropped
    assert [len(found.losses[name]) for name in found.left] == [6, 6]


@pytest.mark.parametrize(
    ("step", "least"),
    # A step of one standard deviation of a run's chance between neighbours, and of half of one.
    [(0.02, 0.97), (0.01, 0.90)],
)
def test_the_best_is_among_the_two_that_are_left(step, least):
    """Of 300 races of nine settings in the time of 45 runs; a fold's level is ten times chance."""
    hits = 0
    for seed in range(300):
        hits += "s0" in bench(9, step, chance=0.02, level=0.2, seed=seed).race(15, 450).left
    assert hits / 300 >= least
