"""The peers of a coin are found pair by pair, and are those of a plain comparison."""

import numpy as np
import pytest

from crypto_anomaly.features.peers import nearest_coins


def plain_peers(steps: np.ndarray, i: int) -> list[int]:
    """The peers of one coin: the mean difference to every other one, sorted."""
    known = ~np.isnan(steps)
    common = (known & known[:, [i]]).sum(0)
    apart = np.nansum(np.abs(steps - steps[:, [i]]), axis=0, dtype=float)
    distance = np.where(common >= 48, apart / np.maximum(common, 1), np.inf)
    distance[i] = np.inf
    nearest = np.argsort(distance, kind="stable")[:7]
    farthest = 1.3 * distance[nearest[0]] + 300
    return [int(j) for j in nearest if distance[j] <= farthest and distance[j] < np.inf]


@pytest.mark.parametrize("missing", [0.0, 0.02, 0.3])
def test_peers_are_the_nearest_coins(missing):
    """Groups of coins, equal ones among them, some blocks and tiles, gaps, a coin without steps."""
    rng = np.random.default_rng(0)
    groups = np.repeat(rng.normal(size=(97, 220)), 5, axis=1)
    steps = np.round(3000 * groups + 400 * rng.normal(size=groups.shape), -2)
    steps[:, 10:20] = steps[:, [10]]  # more equal ones than a coin has peers
    steps[rng.random(steps.shape) < missing] = np.nan
    steps[:, 77] = np.nan
    steps[20:70, 78] = np.nan  # too few hours
    steps[33] = np.nan  # an hour of which nothing is stored
    found = nearest_coins(steps)
    assert found[77:79].max() == -1
    for i in [*range(90), *range(90, 1100, 9)]:
        wanted = plain_peers(steps, i)
        assert found[i].tolist() == wanted + [-1] * (7 - len(wanted))
