"""The textbook server of P8: scikit-learn at every request, over one stored moment of the market.

`plain_server.py FILE PORT`
"""

import sys
from typing import Any, NamedTuple

import pandas as pd
import uvicorn
from fastapi import FastAPI
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import StandardScaler

app = FastAPI()
table = pd.read_parquet(sys.argv[1])
COLUMNS = [
    "price_change_pct_1h",
    "price_change_pct_24h",
    "price_change_pct_7d",
    "market_cap_to_volume",
    "ath_change_pct",
    "sparkline_volatility",
]
X = table[COLUMNS].fillna(0).to_numpy()


class Fitted(NamedTuple):
    """A model in two parts."""

    scaler: StandardScaler
    forest: IsolationForest


def fit() -> Fitted:
    """Train on the whole moment."""
    scaler = StandardScaler().fit(X)
    forest = IsolationForest(n_estimators=100, contamination=0.05, random_state=42)
    return Fitted(scaler, forest.fit(scaler.transform(X)))


def answer(model: Fitted) -> dict[str, Any]:
    """Score the whole moment."""
    z = model.scaler.transform(X)
    flagged, score = model.forest.predict(z) == -1, -model.forest.score_samples(z)
    columns = ["symbol", "price_change_pct_24h", "score"]
    top = table.assign(score=score)[flagged].nlargest(5, "score")[columns]
    return dict(
        coins_scanned=len(table),
        anomalies_detected=int(flagged.sum()),
        top_anomalies=top.to_dict("records"),
    )


fitted = fit()


@app.get("/health")
def health() -> dict[str, str]:
    """Whether the server runs."""
    return dict(status="ok")


@app.get("/predict")
def predict() -> dict[str, Any]:
    """Score with the fitted model."""
    return answer(fitted)


@app.post("/train")
def train() -> dict[str, Any]:
    """Train and score."""
    return answer(fit())


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
