"""P4 and P5 beside treelite, onnxruntime and scikit-learn in one pass."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from markets import forest_rows
from measure import SIZE, size
from race import Rival, Run, race
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score

from crypto_anomaly.model.forest import Forest


class Rivals:
    """A forest of scikit-learn in the forms of others, each made when it is first wanted."""

    def __init__(self, sk: IsolationForest, folder: str) -> None:
        self.sk = sk
        self.folder = Path(folder)

    @cached_property
    def trees(self) -> Any:
        """The model of treelite."""
        import treelite.sklearn

        return treelite.sklearn.import_model(self.sk)

    @cached_property
    def predictor(self) -> Any:
        """C code of the trees by TL2cgen and gcc, one thread."""
        import tl2cgen

        library, options = self.folder / "forest.so", {"parallel_comp": 2}
        with quiet():
            tl2cgen.export_lib(self.trees, toolchain="gcc", libpath=library, params=options)
        return tl2cgen.Predictor(library, nthread=1)

    @cached_property
    def session(self) -> Any:
        """The graph of skl2onnx in onnxruntime, one thread."""
        import onnxruntime
        from skl2onnx import to_onnx

        example = np.zeros((1, self.sk.n_features_in_), np.float32)
        graph = to_onnx(self.sk, example, target_opset={"": 15, "ai.onnx.ml": 3})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def treelite(self, x: np.ndarray) -> Run:
        """The interpreter of treelite, one thread."""
        import treelite

        trees = self.trees
        return lambda: treelite.gtil.predict(trees, x, nthread=1).ravel()

    def compiled(self, x: np.ndarray) -> Run:
        """The compiled trees."""
        import tl2cgen

        predictor = self.predictor
        return lambda: predictor.predict(tl2cgen.DMatrix(x)).ravel()

    def onnxruntime(self, x: np.ndarray) -> Run:
        """The session; it gives scores less the offset, of the other sign."""
        session, offset = self.session, -self.sk.offset_
        name = session.get_inputs()[0].name
        return lambda: offset - session.run(["scores"], {name: x})[0].ravel()

    def of(self, x: np.ndarray) -> list[Rival]:
        """All of them, for these rows; a quick run leaves out the graph: 7 s to make."""
        found = [Rival("treelite", "treelite", lambda: self.treelite(x))]
        if SIZE != "quick":
            found.append(Rival("onnxruntime", "onnxruntime", lambda: self.onnxruntime(x)))
        if shutil.which("gcc"):
            found.append(Rival("treelite, compiled", "tl2cgen", lambda: self.compiled(x)))
        return found


@contextmanager
def quiet() -> Iterator[None]:
    """Without what a C++ library says on the terminal."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def by_onnxruntime(sk: IsolationForest, x: np.ndarray) -> Run:
    """The graph of skl2onnx in onnxruntime, one thread; it gives scores less the offset."""
    import onnxruntime
    from skl2onnx import to_onnx

    graph = to_onnx(sk, x[:1], target_opset={"": 15, "ai.onnx.ml": 3})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda: sk.offset_ * -1 - session.run(["scores"], {name: x})[0].ravel()


def same_scores(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether scores are equal up to the float32 of the rival."""
    return bool(np.allclose(a, b, atol=2e-6))


def p4() -> None:
    """Score 1, 250 and many rows without missing values, which onnxruntime refuses."""
    X = np.nan_to_num(forest_rows(size(20_000, 200_000, 1_000_000), 54))
    sk = IsolationForest(n_estimators=100, random_state=42).fit(X[:20_000])
    ours = Forest().take_trees(sk, X.shape[1])
    with tempfile.TemporaryDirectory() as folder:
        rivals = Rivals(sk, folder)
        for n in (1, 250, len(X)):
            score_rows(ours, sk, X[:n], rivals)


def score_rows(ours: Forest, sk: IsolationForest, x: np.ndarray, rivals: Rivals) -> None:
    """One row of the table."""
    ours.anomaly_score(x)  # compiled code is loaded
    calls = 500 // len(x) if len(x) < 500 else 1
    times = {"ours": 10 * calls, "treelite": calls, "treelite, compiled": calls}
    race(
        "P4",
        f"forest score, {len(x):,} row{'s' * (len(x) > 1)} of 54 features",
        lambda: ours.anomaly_score(x),
        rivals.of(x),
        same=same_scores,
        plain=lambda: -sk.score_samples(x),
        times=times | {"onnxruntime": max(calls // 10, 1)},
    )


def p5() -> None:
    """Train, threshold and score; the rival scores once and takes the quantile itself."""
    n = size(20_000, 200_000, 2_160_000)
    X = np.nan_to_num(forest_rows(n, 30))
    injected = np.random.default_rng(1).random(n) < 0.005
    X[injected, :6] += 12

    def ours() -> np.ndarray:
        f = Forest(contamination=0.05)
        f.fit_rows(X)
        return threshold(f.anomaly_score(X))

    def one_pass() -> np.ndarray:
        f = IsolationForest(n_estimators=100, random_state=42).fit(X)
        return threshold(-f.score_samples(X))

    def as_good(a: np.ndarray, b: np.ndarray) -> bool:
        found = [average_precision_score(injected, x) for x in (a, b)]
        return bool(found[0] >= found[1] - 0.02)

    rivals = [Rival("scikit-learn, one pass", "sklearn", lambda: one_pass)]
    what = f"train, threshold, score {n:,} rows of 30 features"
    race("P5", what, ours, rivals, same=as_good, bar=2.0, rounds=size(2, 2, 1))


def threshold(score: np.ndarray) -> np.ndarray:
    """Scores, with the threshold found as it would be used."""
    flagged = score >= np.quantile(score, 0.95)
    assert 0.04 < flagged.mean() < 0.06
    return score
