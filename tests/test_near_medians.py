"""A median that slides is the median of its window, whatever comes and goes."""

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
from crypto_anomaly.features.past_windows import Piece

NUMBERS = st.one_of(st.just(np.nan), st.sampled_from([0.0, 1.0]), st.floats(-3, 3, width=16))


@settings(max_examples=EXAMPLES)
@given(
    values=st.lists(NUMBERS, min_size=2, max_size=120),
    steps=st.lists(st.integers(0, 4), min_size=1, max_size=20),
    least=st.integers(1, 5),
)
def test_a_sliding_median_is_the_median_of_its_window(values, steps, least):
    """Windows lose several polls at a time, or none; a list that ran out is made anew."""
    x, exists = np.array(values)[:, None], np.array([True])
    near, begin = np.zeros((1, WIDTH)), 0
    for i in range(len(x)):
        now = min(begin + steps[i % len(steps)], i + 1)
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
