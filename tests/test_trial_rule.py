"""The rule of a trial: a false verdict in one trial of twenty at most, whoever looks when."""

import numpy as np
import pytest

from crypto_anomaly.eval.sequential import MARGIN, confidence_sequence, verdict_of
from crypto_anomaly.eval.trial import LIMIT, days_needed, decide, gain_of

TRIALS, DAYS = 1000, 30
EVEN = gain_of(np.full(10, 0.5), np.full(10, 0.5))  # what followed was alike


def words(gains):
    """What is said on every day of a trial."""
    bounds = confidence_sequence(gains, LIMIT)
    return [verdict_of(low, high, MARGIN) for low, high in zip(*bounds, strict=True)]


def noisy_days(rng, kind):
    """Differences of two models that are equally good; days may follow the day before."""
    if kind == "coin":  # all or nothing
        return rng.choice([-0.6, 0.6], DAYS)
    if kind == "fat tails":
        return 0.08 * rng.standard_t(3, DAYS)
    x = rng.normal(0, 0.04 if kind == "quiet" else 0.15, DAYS)
    return x + 0.3 * np.r_[0, x[:-1]] if kind == "days that follow" else x


KINDS = ("quiet", "wild", "coin", "fat tails", "days that follow")


@pytest.mark.parametrize("kind", KINDS)
def test_equal_models_are_rarely_called_better_or_worse(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    said = [words(noisy_days(rng, kind)) for _ in range(TRIALS)]
    false = np.mean([bool({"better", "worse"} & set(s)) for s in said])
    assert false <= 0.05, false


@pytest.mark.parametrize("gain", [MARGIN, -MARGIN])
def test_a_gain_at_the_margin_is_not_called_more_than_the_margin(gain):
    """The hardest case: half of the days are above it, and somebody looks at each of them."""
    rng = np.random.default_rng(7)
    beyond = "better" if gain > 0 else "worse"
    said = [words(gain + rng.choice([-0.2, 0.2], DAYS)) for _ in range(TRIALS)]
    assert np.mean([beyond in s for s in said]) <= 0.05


@pytest.mark.parametrize(("gain", "word"), [(0.3, "better"), (-0.3, "worse")])
def test_a_large_gain_is_seen_within_ten_days(gain, word):
    rng = np.random.default_rng(8)
    said = [words(rng.normal(gain, 0.08, DAYS))[:10] for _ in range(200)]
    assert np.mean([s[-1] == word for s in said]) >= 0.95


def test_the_same_model_twice_is_never_better_or_worse():
    found = np.random.default_rng(9).uniform(0.1, 0.9, 60)
    verdicts = [decide(gain_of(found[:n], found[:n]), EVEN) for n in range(1, 61)]
    assert set(verdicts) == {"undecided", "not worse"}
    first = verdicts.index("not worse") + 1
    assert days_needed(np.zeros(3)) == first - 3


def test_a_single_look_says_what_the_sequence_says():
    rng = np.random.default_rng(10)
    ours, theirs = 0.5 + rng.normal(0.15, 0.1, 25), np.full(25, 0.5)
    each = [gain_of(ours[:n], theirs[:n]).verdict for n in range(1, 26)]
    assert each == words(ours - theirs)
    assert decide(gain_of(ours, theirs), gain_of([], [])) == "undecided"  # without outcomes
