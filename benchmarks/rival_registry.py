"""P9 beside the registry of MLflow on the same kind of database."""

import os
import tempfile
from importlib.util import find_spec
from typing import Any

from bench_registry import fill
from race import Rival, Run, race

from crypto_anomaly.registry.registry import Registry

NAME, VERSIONS = "model", 200


def mlflow_registry(folder: str) -> Any:
    """A client of MLflow's registry in SQLite with as many versions."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.tracking import MlflowClient

    url = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    client.create_registered_model(NAME)
    for v in range(VERSIONS):
        client.create_model_version(NAME, f"{folder}/model", tags={"dataset": f"v{v}"})
    client.set_registered_model_alias(NAME, "champion", "200")
    return client


def p9() -> None:
    """List 200 versions and resolve an alias, CPU of the caller."""
    with tempfile.TemporaryDirectory() as folder:
        r = Registry(f"sqlite:///{folder}/registry.db")
        fill(r)
        client = mlflow_registry(folder) if find_spec("mlflow") else None

        def listing() -> Run:
            return lambda: client.search_model_versions(f"name='{NAME}'", max_results=VERSIONS)

        def alias() -> Run:
            return lambda: client.get_model_version_by_alias(NAME, "champion")

        times = {"ours": 30, "MLflow": 5}
        race(
            "P9",
            "list 200 versions, against MLflow",
            lambda: r.list_model_versions(VERSIONS),
            [Rival("MLflow", "mlflow", listing)],
            same=lambda a, b: len(list(a)) == len(list(b)) == VERSIONS,
            bar=5.0,
            times=times,
        )
        race(
            "P9",
            "resolve an alias, against MLflow",
            lambda: r.resolve("champion"),
            [Rival("MLflow", "mlflow", alias)],
            same=lambda a, b: int(b.version) == VERSIONS == int(a["version"]),
            bar=5.0,
            times=times,
        )
