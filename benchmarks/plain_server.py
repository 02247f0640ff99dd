"""The textbook server of P8: scikit-learn at every request, over one stored moment of the market. `plain_server.py FILE PORT`"""

import sys

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


def fit():
    scaler = StandardScaler().fit(X)
    return scaler, IsolationForest(n_estimators=100, contamination=0.05, random_state=42).fit(
        scaler.transform(X)
    )


def answer(scaler, forest):
    z = scaler.transform(X)
    flagged, score = forest.predict(z) == -1, -forest.score_samples(z)
    top = table.assign(score=score)[flagged].nlargest(5, "score")[
        ["symbol", "price_change_pct_24h", "score"]
    ]
    return dict(
        coins_scanned=len(table),
        anomalies_detected=int(flagged.sum()),
        top_anomalies=top.to_dict("records"),
    )


fitted = fit()


@app.get("/health")
def health():
    return dict(status="ok")


@app.get("/predict")
def predict():
    return answer(*fitted)


@app.post("/train")
def train():
    return answer(*fit())


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
