"""P4 and P5: the isolation forest, against scikit-learn."""

import numpy as np
from markets import forest_rows
from measure import interleaved, row
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

from crypto_anomaly.model.forest import Forest


def p4() -> None:
    """Score with a forest of 100 trees: 1, 250 and a million rows of 54 features."""
    X = forest_rows(1_000_000, 54)
    sk = IsolationForest(n_estimators=100, random_state=42, contamination=0.05).fit(X[:20_000])
    ours = Forest().take_trees(sk, X.shape[1])
    for n, times, bar in ((1, 2000, 1500), (250, 200, 35), (len(X), 1, 4.5)):
        score_rows(ours, sk, X[:n], times, bar)


def score_rows(ours: Forest, sk: IsolationForest, x: np.ndarray, times: int, bar: float) -> None:
    """Score `x` with both; a small one many times."""
    ours.anomaly_score(x)  # compiled code is loaded
    their_times = 30 if len(x) < 1e6 else 1

    def their_score() -> np.ndarray:
        return [sk.score_samples(x) for _ in range(their_times)][-1]

    def our_score() -> np.ndarray:
        return [ours.anomaly_score(x) for _ in range(times)][-1]

    t = interleaved(their_score, our_score)
    difference = np.abs(t.result_a + t.result_b).max()  # scikit-learn's sign is the other way
    labels = np.where(-t.result_b - sk.offset_ < 0, -1, 1)
    same = float(difference) == 0.0 and bool((sk.predict(x) == labels).all())
    rows = f"forest score, {len(x):,} rows, missing values included"
    what = f"{rows}, largest difference {difference}"
    costs = dict(ours=t.b / times, plain=t.a / their_times)
    row("P4", what, costs["plain"] / costs["ours"], "x", bar, same, **costs)


def p5() -> None:
    """Train, threshold and score; quality is the average precision of injected rows."""
    for n, bar in ((42_000, 4), (2_160_000, 20)):
        X = np.nan_to_num(forest_rows(n, 30))
        injected = np.random.default_rng(1).random(n) < 0.005
        X[injected, :6] += 12
        train_rows(X, injected, bar)


def train_rows(X: np.ndarray, injected: np.ndarray, bar: float) -> None:
    """Fit both to `X`, find a threshold, and score `X`."""

    def plain() -> tuple[np.ndarray, np.ndarray]:
        filled = SimpleImputer(strategy="median").fit_transform(X)
        Z = StandardScaler().fit_transform(filled)
        f = IsolationForest(n_estimators=100, contamination=0.05, random_state=42).fit(Z)
        return f.predict(Z), -f.decision_function(Z)

    def ours() -> tuple[np.ndarray, np.ndarray]:
        f = Forest(contamination=0.05)
        f.fit_rows(X)
        score = f.anomaly_score(X)
        return score >= np.quantile(score, 0.95), score

    t = interleaved(plain, ours, rounds=3 if len(X) < 1e6 else 2)
    theirs = average_precision_score(injected, t.result_a[1])
    quality = average_precision_score(injected, t.result_b[1])
    seconds = f"{t.a:.1f} s against {t.b:.2f} s"
    precision = f"average precision {theirs:.3f} and {quality:.3f}"
    what = f"train, threshold, score {len(X):,} x 30 ({seconds}; {precision})"
    is_as_good = bool(quality >= theirs - 0.02)
    row("P5", what, t.a / t.b, "x", bar, is_as_good, ours=t.b, plain=t.a)
