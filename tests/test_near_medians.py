"""What slides is what its window holds, whatever comes and goes."""

import numpy as np
from conftest import EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_anomaly.features.near_medians import (
    WIDTH,
    near_medians,
    near_of_windows,
    slide_near,
)
from crypto_anomaly.features.past_windows import count_tail, slide_tail
from crypto_anomaly.features.poll_pieces import Piece

POLLS = 150


@settings(max_examples=EXAMPLES)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 60),
    missing=st.sampled_from([0.0, 0.2, 0.95]),
    digits=st.integers(0, 3),
    least=st.integers(1, 5),
)
def test_a_sliding_median_is_the_median_of_its_window(seed, width, missing, digits, least):
    """Windows lose none or several values at a time; a list that ran out is made anew."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(POLLS, 1)).cumsum(0) / 5 + rng.normal(size=(POLLS, 1)), digits)
    x[rng.random(x.shape) < missing] = np.nan
    exists, near, begin = np.array([True]), np.zeros((1, WIDTH)), 0
    for i in range(POLLS):
        now = max(begin, i + 1 - width - int(rng.integers(0, 3)))
        slide_near(near, x[i], x, 0, np.array([[begin], [now]]), exists)
        begin = now
        (median,), (unknown,) = near_medians(near, exists, least)
        if unknown:
            near_of_windows([Piece(0, x[: i + 1])], np.array([begin]), np.array([0]), near)
            (median,), (unknown,) = near_medians(near, exists, least)
            assert not unknown
        window = x[begin : i + 1, 0]
        window = window[~np.isnan(window)]
        wanted = np.median(window) if len(window) >= least else np.nan
        np.testing.assert_array_equal(median, wanted)


@settings(max_examples=EXAMPLES)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 60),
    missing=st.sampled_from([0.0, 0.2, 0.95]),
    absent=st.sampled_from([0.0, 0.1]),
)
def test_sliding_counts_are_those_of_the_window(seed, width, missing, absent):
    """Windows lose none or several values at a time; a coin that was absent is counted anew."""
    rng = np.random.default_rng(seed)
    coins = np.arange(3)
    x = rng.choice([0, 1, 5, 3000], (POLLS, 3)).astype(np.int16)
    x[rng.random(x.shape) < missing] = -1
    counts, begin = np.zeros((3, 3), np.int32), np.zeros(3, np.int64)
    for i in range(POLLS):
        now = np.maximum(begin, i + 1 - width - rng.integers(0, 3, 3))
        exists = rng.random(3) >= absent
        slide_tail(counts, x[i].astype(float), x.astype(float), 0, np.array([begin, now]), exists)
        np.testing.assert_array_equal(counts[0][~exists], -1)
        unknown = np.flatnonzero(counts[0] < 0)
        count_tail([Piece(0, x[: i + 1])], now, unknown, counts)
        for j in coins:
            v = x[now[j] : i + 1, j].astype(int)
            wanted = (v >= 0).sum(), (v > 0).sum(), (v[v > 0] - 1).sum()
            assert tuple(counts[:, j]) == wanted
        begin = now
