"""Where data lives and where work runs: a bucket, another workspace, processes, a Dask cluster.

The numbers are the same everywhere.
"""

import importlib.util
import json
import shutil

import pandas as pd
import pytest
from conftest import Cli, free_port, stop, wait_for

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.data.dataset_facts import inspect_dataset
from crypto_anomaly.data.datasets import new_dataset, read_dataset
from crypto_anomaly.data.lake import list_parts, write_part
from crypto_anomaly.data.responses import parse_markets
from crypto_anomaly.data.snapshots import compact, read_snapshots, write_snapshot
from crypto_anomaly.data.table import DataError
from crypto_anomaly.features.build import build_datasets
from crypto_anomaly.features.features import featurize
from crypto_anomaly.features.spans import spans_between
from crypto_anomaly.simulate.coingecko import markets
from crypto_anomaly.simulate.market import Market

HOURS = pd.date_range("2026-01-03", periods=240, freq="h", tz="UTC")


@pytest.fixture(scope="module")
def table():
    market = Market(15)
    return pd.concat(
        [
            parse_markets(
                markets(market, t, per_page=15, windows=("1h", "24h")), t, source="simulated"
            )
            for t in HOURS
        ],
        ignore_index=True,
    )


def stored(home, table, **settings):
    ws = claim(open_workspace(Settings(home=home, source="simulated", **settings)), "simulated")
    for _, day in table.groupby(table.ts.dt.date):
        write_part(ws, "snapshots", day, tag="t")
    return ws


@pytest.fixture(scope="module")
def here(tmp_path_factory, table):
    """A dataset built in this process, in one span."""
    ws = stored(tmp_path_factory.mktemp("here"), table, jobs=1)
    build_datasets(ws, now=HOURS[-1], max_history_hours=200)
    return read_dataset(ws, "training_dataset")[0]


@pytest.fixture
def bucket(monkeypatch):
    """A bucket on moto's server on loopback: the real protocol through s3fs."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for k, v in dict(
        AWS_ENDPOINT_URL=f"http://{host}:{port}",
        AWS_ACCESS_KEY_ID="x",
        AWS_SECRET_ACCESS_KEY="x",
        AWS_DEFAULT_REGION="us-east-1",
    ).items():
        monkeypatch.setenv(k, v)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    name = f"lake-{port}"  # moto's buckets outlive its server
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}/team"
    server.stop()


@pytest.fixture
def google_bucket(monkeypatch):
    """A bucket on an emulator of Google Cloud Storage on loopback, through gcsfs."""
    how = "pip install gcsfs gcp-storage-emulator"
    gcsfs = pytest.importorskip("gcsfs", reason=how)
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason=how)
    port = free_port()
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="lake")
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # else it speaks gRPC, too
    gcsfs.GCSFileSystem.clear_instance_cache()
    yield "gs://lake/team"
    server.stop()


def check_a_lake(ws, home, table, here):
    """What is written is read, once, and compacted; a dataset of it is that of a folder."""
    assert not list(home.rglob("*.parquet"))
    late = table[table.ts == HOURS[-1]]
    again = late.assign(ts=HOURS[-1] + pd.Timedelta("20s"))
    assert write_snapshot(ws, again) is None  # the same rows
    for m in (1, 2):
        write_part(ws, "snapshots", late.assign(ts=HOURS[-1] + pd.Timedelta(hours=m)), tag="hourly")
    before = read_snapshots(ws)
    assert compact(ws, before=HOURS[-1] + pd.Timedelta("3D")) == 2
    after = read_snapshots(ws)
    pd.testing.assert_frame_equal(
        after.sort_values(["ts", "coin_id"], ignore_index=True),
        before.sort_values(["ts", "coin_id"], ignore_index=True),
    )
    build_datasets(ws, now=HOURS[-1], max_history_hours=200, as_of=HOURS[-1])
    pd.testing.assert_frame_equal(read_dataset(ws, "training_dataset")[0], here)


def test_a_lake_in_a_google_bucket(tmp_path, table, here, google_bucket):
    ws = stored(tmp_path, table, jobs=1, lake_url=google_bucket)
    check_a_lake(ws, tmp_path, table, here)


def test_a_lake_in_a_bucket(tmp_path, table, here, bucket):
    ws = stored(tmp_path, table, jobs=1, lake_url=bucket)
    assert ws.store == "s3"
    check_a_lake(ws, tmp_path, table, here)
    numbers = [new_dataset(ws, "training_dataset") for _ in range(2)]
    assert numbers == [2, 3]  # claimed one by one, by a conditional put
    newest = list_parts(ws).path.iloc[-1]
    import s3fs

    s3fs.S3FileSystem().pipe_file(newest, b"PAR1 not really")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_snapshots(ws, start=HOURS[-1])


def test_a_store_without_its_package_says_what_to_install(tmp_path):
    for url, extra in (("gs://bucket", "gs"), ("abfs://box@account/lake", "azure")):
        if importlib.util.find_spec(dict(gs="gcsfs", azure="adlfs")[extra]):
            continue
        with pytest.raises(DataError, match=rf"pip install 'crypto_anomaly\[{extra}\]'"):
            list_parts(open_workspace(Settings(home=tmp_path, workspace="w", lake_url=url)))
    with pytest.raises(DataError, match="not an address of a store"):
        list_parts(
            open_workspace(Settings(home=tmp_path, workspace="w", lake_url="nonsense://bucket"))
        )


@pytest.mark.parametrize("jobs", [1, 2], ids=["one chain", "other processes"])
def test_spans_build_the_same(tmp_path, table, here, monkeypatch, jobs):
    monkeypatch.setitem(spans_between.__kwdefaults__, "span_rows", 1)  # the least: four days
    ws = stored(tmp_path, table, jobs=jobs)
    built = build_datasets(ws, now=HOURS[-1], max_history_hours=200)
    spans = {p["path"][-12:-8] for d in ("training", "holdout") for p in built[d]["parts"]}
    assert spans == {"0000", "1000"}
    pd.testing.assert_frame_equal(read_dataset(ws, "training_dataset")[0], here)


def test_spans_on_a_dask_cluster_build_the_same(tmp_path, table, here, monkeypatch):
    from dask.distributed import LocalCluster

    monkeypatch.setitem(spans_between.__kwdefaults__, "span_rows", 1)
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        ws = stored(tmp_path, table, dask_url=cluster.scheduler_address)
        build_datasets(ws, now=HOURS[-1], max_history_hours=200)
        pd.testing.assert_frame_equal(read_dataset(ws, "training_dataset")[0], here)
        # and the same by the command line
        cli = Cli(tmp_path, source="simulated", workspace="simulated")
        before = cluster.scheduler.transition_counter
        options = ["--dask", cluster.scheduler_address, "-p", "max_history_hours", "200"]
        result = cli.json("run", "build_dataset", *options)["result"]
        assert result["training_samples"] == len(here)
        assert cluster.scheduler.transition_counter > before


def test_reading_from_another_workspace_changes_nothing_there(home, tmp_path):
    """Branch isolation: snapshots and datasets of `main`, models and datasets of one's own."""
    mine = Cli(home.home, workspace="mine", read_from="simulated", source="simulated")

    def files():
        """Every file of the other workspace with the moment of its last change."""
        there = (home.home / "simulated").rglob("*")
        return sorted((p, p.stat().st_mtime_ns) for p in there if p.is_file())

    before = files()
    mine("run", "build_dataset", "-p", "max_history_hours", "120")
    mine("run", "train")
    assert mine.json("show", "v1")["data_workspace"] == "simulated"
    assert files() == before
    side = {
        (r["dataset"], r["fact"]): r["same"]
        for r in home.json("datasets", "--compare", "simulated", "mine")
    }
    assert side["training_dataset", "status"]
    assert not side["training_dataset", "rows"]
    assert home.json("datasets", "--compare", "simulated", "nowhere")[0]["nowhere"] == "not_found"


def test_targets_look_neither_past_as_of_nor_into_the_holdout(tmp_path, table):
    jitter = pd.to_timedelta(
        pd.Series(range(len(HOURS)), index=HOURS).mul(7919).mod(600).sub(300), unit="s"
    )  # polls are never on the dot
    late = table.assign(ts=table.ts + table.ts.map(jitter))
    ws = stored(tmp_path, late, jobs=1)
    as_of = HOURS[180]
    build_datasets(ws, now=HOURS[-1], as_of=as_of, max_history_hours=150, targets=True)
    train, meta = read_dataset(ws, "training_dataset")
    holdout, _ = read_dataset(ws, "eval_holdout")
    assert train.future_price.notna().mean() > 0.95
    assert train.ts.max() + pd.Timedelta("24.5h") <= as_of - pd.Timedelta("23h")
    known = holdout[holdout.future_price.notna()]
    assert (known.ts + pd.Timedelta("23.5h") <= as_of).all()
    last = train[train.ts == train.ts.max()]
    assert (last.ts + pd.Timedelta("24h") + pd.Timedelta("30min") < holdout.ts.min()).all()
    assert meta["config"]["add_targets"]


def test_many_hands_on_one_lake(tmp_path, table):
    """Compaction by several threads while others read and write the same file name.

    No error, and no row is lost or doubled.
    """
    from concurrent.futures import ThreadPoolExecutor

    ws = claim(open_workspace(Settings(home=tmp_path, source="simulated")), "simulated")
    for _, hour in table.groupby("ts"):
        write_part(ws, "snapshots", hour, tag="t")
    end = HOURS[-1] + pd.Timedelta("1D")

    def hand(i):
        if i % 3 == 0:
            return compact(ws, before=end)
        if i % 3 == 1:
            return len(read_snapshots(ws)) == len(table) or "rows"
        return write_part(ws, "predictions", table.head(5), tag="v1", replace=True)

    with ThreadPoolExecutor(6) as pool:
        assert "rows" not in list(pool.map(hand, range(18), timeout=300))
    compact(ws, before=end)
    assert len(read_snapshots(ws)) == len(table)
    assert len(list_parts(ws)) == 10
    assert len(list_parts(ws, "predictions")) == 1


def test_a_store_that_does_not_answer_is_one_line(tmp_path):
    cli = Cli(tmp_path / "home", source="simulated", workspace="simulated", lake_url="s3://nowhere")
    cli.env |= dict(
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="x",
        AWS_SECRET_ACCESS_KEY="x",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_MAX_ATTEMPTS="1",
    )
    claim(open_workspace(Settings(home=tmp_path / "home", source="simulated")), "simulated")
    assert "whether the store answers" in cli.error("datasets")


def test_the_whole_recording(tmp_path, recordings):
    """90 days of real, irregular polls: imported, inspected, featured.

    Every lag of hours is taken from its own hour.
    """
    cli = Cli(tmp_path / "home")
    report = cli.json("import", str(next((recordings / "coingecko_hourly").glob("*.csv.gz"))))
    assert (report["stored"], report["coins"], report["snapshots"]) == (194_800, 150, 1_948)
    ws = open_workspace(Settings(home=tmp_path / "home", workspace="coingecko"))
    from crypto_anomaly.data.quality import data_quality

    table = read_snapshots(ws)
    q = data_quality(table)
    assert 0.85 < q.covered < 0.95
    assert round(q.gaps.hours.max(), 1) == 21.6
    assert 0.03 < q.nulls.total_volume < 0.04
    f = featurize(table)
    assert len(f) == 194_800
    assert f.price_change_pct_1h.notna().mean() > 0.85  # derived: the recording has no 1 h change
    price = f.set_index(["coin_id", "ts"]).current_price
    known = f[f.price_change_pct_1h.notna()].sample(300, random_state=0)
    for r in known.itertuples():
        then = price[r.coin_id].loc[r.ts - pd.Timedelta("90min") : r.ts - pd.Timedelta("30min")]
        assert ((100 * (r.current_price / then - 1) - r.price_change_pct_1h).abs() < 1e-3).any()
    built = build_datasets(ws, now=table.ts.max(), max_history_hours=2200)
    assert built["training"]["feature_stats"]["price_change_pct_24h"]["missing"] == 0
    assert inspect_dataset(ws, detailed=True)["unique_coins"] == 142


def test_the_big_profile_gives_the_same_numbers(tmp_path, table, bucket, postgres, monkeypatch):
    """PostgreSQL, a bucket and a Dask cluster against everything embedded.

    Dataset, model, evaluation and backtest are the same.
    """
    import sqlalchemy as sa
    from dask.distributed import LocalCluster

    from crypto_anomaly.eval.backtest import replay
    from crypto_anomaly.lifecycle.dataset_steps import build_dataset
    from crypto_anomaly.lifecycle.evaluate_steps import evaluate_candidate
    from crypto_anomaly.lifecycle.promote_steps import promote_version
    from crypto_anomaly.lifecycle.train_steps import train_candidate
    from crypto_anomaly.registry.registry import open_registry

    name = f"big{tmp_path.stat().st_ino}"
    admin = sa.create_engine(f"{postgres}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as c:
        c.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()

    def life(ws):
        build_dataset(ws, as_of=HOURS[-1], max_history_hours=200)
        version, model, _ = train_candidate(ws, config="robust_z", contamination=0.1)
        e = evaluate_candidate(ws)
        r = open_registry(ws)
        if e["passed"]:
            r.approve("v1", by="a", reason="same as ever")
            promote_version(ws, version="v1")
        said = replay(ws, "v1", every_days=0.5).drop(columns=["role"])
        return r.resolve("v1"), e["metrics"], said.sort_values(["ts", "coin_id"], ignore_index=True)

    # the hash of a dataset is that of its files, which end with the spans
    monkeypatch.setitem(spans_between.__kwdefaults__, "span_rows", 400)
    small = life(stored(tmp_path / "small", table, jobs=1))
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        big = life(
            stored(
                tmp_path / "big",
                table,
                db_url=f"{postgres}/{name}",
                lake_url=bucket,
                artifacts_url=f"{bucket}-models",
                dask_url=cluster.scheduler_address,
            )
        )
    assert big[0]["artifact_sha256"]
    for fact in ("status", "training_samples", "anomaly_rate", "dataset_hash"):
        assert big[0][fact] == small[0][fact], fact
    assert big[1]["recall"] == small[1]["recall"]
    assert big[1]["anomaly_rate"] == small[1]["anomaly_rate"]
    pd.testing.assert_frame_equal(big[2], small[2])
    assert not list((tmp_path / "big").rglob("*.parquet"))


def test_a_container_with_an_empty_home_answers(tmp_path, table, bucket, postgres_server):
    """What one host has stored and trained, another one serves that knows only the addresses."""
    from crypto_anomaly.lifecycle.dataset_steps import build_dataset
    from crypto_anomaly.lifecycle.train_steps import train_candidate

    name = f"container{tmp_path.stat().st_ino}"
    postgres_server.run(f"CREATE DATABASE {name}")
    addresses = dict(
        db_url=f"{postgres_server.url}/{name}",
        trades_url=f"{postgres_server.url}/{name}",
        lake_url=bucket,
        artifacts_url=f"{bucket}-models",
    )
    ws = stored(tmp_path / "scheduler", table, jobs=1, **addresses)
    build_dataset(ws, as_of=HOURS[-1], max_history_hours=200)
    train_candidate(ws, config="robust_z", contamination=0.1)
    container = Cli(tmp_path / "container", source="simulated", **addresses)
    assert [v["version"] for v in container.json("versions")] == [1]
    shutil.rmtree(tmp_path / "container")
    port = free_port()
    server = container.start("serve", "--port", str(port))
    try:
        assert json.loads(wait_for(f"http://127.0.0.1:{port}/health/live")) == {"status": "alive"}
        found = json.loads(wait_for(f"http://127.0.0.1:{port}/anomalies?limit=1"))
    finally:
        stop(server)
    assert (found["model_version"], found["as_of"]) == (1, HOURS[-1].isoformat()), found
    assert not list((tmp_path / "container").rglob("*.parquet"))
    nobody = Cli(tmp_path / "nobody", db_url=addresses["db_url"])  # which market is not said
    assert "there is no workspace" in nobody.error("versions")
