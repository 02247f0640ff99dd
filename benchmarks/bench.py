"""The numbers of DESIGN 12 that exist so far: both sides in one process, interleaved, outputs compared.

`make bench`, or `make bench ONLY="P3 P9"`; prints a table and writes benchmarks/results.json.
"""

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
ROWS: list[dict] = []
COINS = int(os.environ.get("BENCH_COINS", 1000))  # of P1 and P2


def row(id_, what, value, unit, bar, equal=None):
    """Keep one figure; a ratio or a limit, whichever `unit` says."""
    ok = value >= bar if unit == "x" else value <= bar
    ROWS.append(
        dict(
            id=id_,
            what=what,
            value=round(float(value), 4),
            unit=unit,
            bar=bar,
            ok=bool(ok),
            equal=equal,
        )
    )
    print(
        f"{id_:4} {what:74} {value:10.3f} {unit:3} (bar {bar:g}) {'ok' if ok else 'MISSED'}{'' if equal is None else ', outputs equal' if equal else ', OUTPUTS DIFFER'}",
        flush=True,
    )


def cpu(f, times=1):
    """CPU seconds of the process per call, and the last result."""
    start = time.process_time()
    for _ in range(times):
        out = f()
    return (time.process_time() - start) / times, out


def interleaved(a, b, rounds=3):
    """Median CPU seconds of both, taken in turns, and their results."""
    ta, tb = [], []
    for _ in range(rounds):
        t, x = cpu(a)
        ta.append(t)
        t, y = cpu(b)
        tb.append(t)
    return float(np.median(ta)), float(np.median(tb)), x, y


def synthetic(coins, hours, seed=0):
    """A gap-free market table of heavy-tailed walks, every field that CoinGecko sends and features read."""
    rng = np.random.default_rng(seed)
    price = 10 * np.exp(np.cumsum(rng.standard_t(4, (coins, hours)) * 0.006, axis=1))
    n = coins * hours
    f = pd.DataFrame(
        dict(
            coin_id=np.repeat([f"coin{i:05}" for i in range(coins)], hours),
            ts=np.tile(
                pd.date_range("2026-01-01", periods=hours, freq="h", tz="UTC", unit="us"), coins
            ),
        )
    )
    f["symbol"] = f["name"] = f.coin_id
    f["current_price"], f["market_cap"], f["total_volume"] = (
        price.ravel(),
        (price * 1e7).ravel(),
        rng.lognormal(15, 0.4, n),
    )
    f["market_cap_rank"], f["ath_change_percentage"], f["sparkline_volatility"] = (
        1.0,
        -np.abs(rng.normal(50, 10, n)),
        rng.uniform(0.01, 0.1, n),
    )
    for h, name in (
        (1, "price_change_percentage_1h_in_currency"),
        (24, "price_change_percentage_24h"),
        (168, "price_change_percentage_7d_in_currency"),
        (720, "price_change_percentage_30d_in_currency"),
    ):
        change = np.full((coins, hours), np.nan)
        if hours > h:
            change[:, h:] = 100 * (price[:, h:] / price[:, :-h] - 1)
        f[name] = change.ravel()
    return f.assign(approximate=False, source="bench", run_id="b", last_updated=f.ts)


def lake_of(home, table, *, daily=False, **settings):
    """A workspace with `table` in hourly files, or daily ones."""
    from crypto_anomaly.core.workspace import Settings, claim, open_workspace
    from crypto_anomaly.data.client import SCHEMA, market_table, write_part

    ws = claim(open_workspace(Settings(home=home, source="simulated", **settings)), "simulated")
    for _, part in market_table(table).groupby(
        table.sort_values(["ts", "coin_id"], ignore_index=True).ts.dt.floor("D" if daily else "h")
    ):
        write_part(ws, "snapshots", part, tag="b", schema=SCHEMA)
    return ws


def equal(a, b, columns, rtol=1e-4):
    """The same features up to float32."""
    return all(
        np.allclose(
            a[c].to_numpy(float), b[c].to_numpy(float), rtol=rtol, atol=1e-5, equal_nan=True
        )
        for c in columns
    )


def wrong_hours(featurize):
    """Of a market in which one hour in eight is missing: 1 h lags that are not what they should be (the value of that hour, or missing), by the kernel and by a row shift."""
    f = synthetic(50, 500).assign(
        price_change_percentage_24h=lambda d: (d.ts.astype("int64") // 3_600_000_000).astype(float)
    )  # the value says its own hour
    f = f[~f.ts.isin(np.random.default_rng(1).choice(f.ts.unique(), 62, replace=False))]
    x = featurize(f).astype({"price_change_pct_24h": float, "price_change_pct_24h_lag_1h": float})
    there = set(zip(x.coin_id, x.price_change_pct_24h))
    right = pd.Series(
        [
            h - 1 if (c, h - 1) in there else np.nan
            for c, h in zip(x.coin_id, x.price_change_pct_24h)
        ]
    )

    def off(lag):
        return int(
            (lag.reset_index(drop=True) != right).sum()
            - (lag.reset_index(drop=True).isna() & right.isna()).sum()
        )  # noqa: E731

    return (
        off(x.price_change_pct_24h_lag_1h),
        off(x.groupby("coin_id").price_change_pct_24h.shift(1)),
        len(x),
    )


def p1():
    """Files to features: 1000 coins x 2160 h against textbook pandas, once each (ten minutes; BENCH_COINS=200 for a look)."""
    import plain

    from crypto_anomaly.data.client import list_parts, read_snapshots
    from crypto_anomaly.features.features import (
        INPUT,
        FeatureConfig,
        _base,
        _history,
        featurize,
        get_feature_columns,
    )
    from crypto_anomaly.features.windows import Rows, baseline

    featurize(synthetic(12, 300))  # compiled code is loaded
    with tempfile.TemporaryDirectory() as home:
        ws = lake_of(home, synthetic(COINS, 2160))
        files = list(list_parts(ws).path)
        ours_read, table = cpu(lambda: read_snapshots(ws, columns=INPUT))
        ours, x = cpu(lambda: featurize(table))
        plain_read, raw = cpu(
            lambda: pd.concat([pd.read_parquet(p, columns=INPUT) for p in files], ignore_index=True)
        )
        temporal, _ = cpu(lambda: plain.features(raw, robust_z=False))
        whole, y = cpu(lambda: plain.features(raw))
        same = equal(x, y, [c for c in get_feature_columns() if c in y])
    what = f"{COINS} coins x 2160 h"
    row(
        "P1", f"files to features, {what}", (plain_read + whole) / (ours_read + ours), "x", 15, same
    )
    row(
        "P1",
        f"features only, {what} ({ours:.1f} s against {whole:.0f} s)",
        whole / ours,
        "x",
        20,
        same,
    )
    r, c = Rows(table, None), FeatureConfig()
    row(
        "P1",
        "lags, windows and calendar alone (no robust z)",
        temporal / cpu(lambda: dict(_history(r, _base(r, c), c)))[0],
        "x",
        1,
    )
    few, changes = (
        Rows(synthetic(50, 2160), None),
        synthetic(50, 2160).price_change_percentage_24h.to_numpy(),
    )
    theirs, z = cpu(
        lambda: np.concatenate([plain.sliding_mad_z(x, 0.2) for x in changes.reshape(50, -1)])
    )

    def own_z():
        median, mad = baseline(changes, few.window(c.baseline_hours), few.rows, c.least_baseline)
        return (changes - median) / np.maximum(1.4826 * mad, 0.2)

    own_z()  # compiled code is loaded
    mine, own = cpu(own_z)
    row(
        "P1",
        "own-week robust z alone, against numpy's sorted sliding windows",
        theirs / mine,
        "x",
        5,
        bool(np.allclose(own, z, equal_nan=True)),
    )
    wrong, shifted, rows = wrong_hours(featurize)
    row("P1", f"wrong-hour lags with gaps (a row shift has {shifted / rows:.0%})", wrong, "", 0)
    for name, value, bar in memory():
        row("P1", name, value, "x" if bar < 10 else "MB", bar)
    for n, seconds in curve(featurize):
        row("P1", f"cost curve: {n:>9,} rows", 1e6 * seconds / n, "us", 8)


def curve(featurize):
    """CPU seconds of 10^4 to 2*10^6 rows of 250 coins."""
    for n in (10_000, 100_000, 1_000_000, 2_000_000):
        f = synthetic(250, n // 250)
        yield n, min(cpu(lambda f=f: featurize(f))[0] for _ in range(3 if n < 1e6 else 1))


def peak(code):
    """Peak MB of a process that runs `code` with this folder on its path."""
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import bench\n{code}\nprint(next(int(x.split()[1]) for x in open('/proc/self/status') if x.startswith('VmHWM')) / 1024)"
    return float(
        subprocess.run(
            [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.split()[-1]
    )


def memory():
    """Peak memory of a dataset build from files, ours and plain (its robust z left empty: it would only add), and of ten million rows."""
    build = "import pandas as pd; from crypto_anomaly.features.features import build_datasets; from crypto_anomaly.core.workspace import Settings, open_workspace\nbuild_datasets(open_workspace(Settings(home={home!r}, source='simulated', jobs=1)), max_history_hours=9999, now=pd.Timestamp('2026-04-01', tz='UTC'))"
    with tempfile.TemporaryDirectory() as home:
        ws = lake_of(home, synthetic(COINS, 2160), daily=True)
        ours = peak(build.format(home=home))
        theirs = peak(
            f"import glob, pandas as pd, plain; from crypto_anomaly.features.features import INPUT, META, get_feature_columns\nx = plain.features(pd.concat([pd.read_parquet(p, columns=INPUT) for p in sorted(glob.glob('{ws.root}/lake/snapshots/*/*.parquet'))], ignore_index=True), robust_z=False).reindex(columns=[*META, *get_feature_columns()])\nx.to_parquet('{home}/x.parquet')"
        )
        yield (
            f"peak memory of plain over ours ({theirs:,.0f} against {ours:,.0f} MB), dataset written",
            theirs / ours,
            3,
        )
    with tempfile.TemporaryDirectory() as home:
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"import sys; sys.path.insert(0, {str(HERE)!r}); import bench; bench.ten_million({home!r})",
            ],
            check=True,
        )
        t = time.perf_counter()
        used = peak(build.format(home=home))
        yield f"dataset of 10,000,000 rows, peak ({time.perf_counter() - t:.0f} s wall)", used, 4096


def ten_million(home):
    """A lake of 5,000 coins x 2,000 h, ten days at a time."""
    for k in range(9):
        f = synthetic(5000, min(240, 2000 - 240 * k), seed=k)
        lake_of(home, f.assign(ts=f.ts + pd.Timedelta(days=10 * k)), daily=True)


def p2():
    """Append the newest hour of 1000 coins: store it, read what it needs, compute its features; against a full plain rebuild (reading measured whole, features on a tenth of the coins and multiplied)."""
    import plain

    from crypto_anomaly.data.client import (
        SCHEMA,
        compact,
        list_parts,
        market_table,
        read_snapshots,
        write_part,
    )
    from crypto_anomaly.features.features import INPUT, featurize, get_feature_columns
    from crypto_anomaly.model.scan import moment_features

    cols, seconds = get_feature_columns(), {}
    for hours in (720, 2160):
        with tempfile.TemporaryDirectory() as home:
            table = market_table(synthetic(COINS, hours))
            newest = table[table.ts == table.ts.max()]
            ws = lake_of(home, table[table.ts < table.ts.max()])
            files = list(list_parts(ws).path)
            plain_read = (
                cpu(
                    lambda files=files: pd.concat(
                        [pd.read_parquet(p, columns=INPUT) for p in files]
                    )
                )[0]
                if hours == 2160
                else 0.0
            )
            compact(ws, before=table.ts.max())
            moment_features(ws)

            def append(ws=ws, newest=newest):
                write_part(ws, "snapshots", newest, tag="new", schema=SCHEMA)
                return moment_features(ws)

            seconds[hours], x = min((cpu(append) for _ in range(3)), key=lambda r: r[0])
            whole = featurize(read_snapshots(ws, columns=INPUT))
            same = x[cols].equals(whole[whole.ts == x.ts.max()].reset_index(drop=True)[cols])
    sample = synthetic(COINS // 10, 2160)
    rebuild = plain_read + 10 * cpu(lambda: plain.features(sample))[0]
    row(
        "P2",
        f"append the newest hour, {COINS} coins ({1e3 * seconds[2160]:.0f} ms), equal to the batch to the bit; rebuild from a tenth x 10",
        rebuild / seconds[2160],
        "x",
        500,
        same,
    )
    row(
        "P2",
        "cost with 2160 h of history over cost with 720 h",
        seconds[2160] / seconds[720],
        "",
        1.25,
    )


def p3():
    """Read 2,160 hourly files of 250 coins, as they come and compacted, against reading them one by one with pandas."""
    from crypto_anomaly.core.workspace import Settings, claim, open_workspace
    from crypto_anomaly.data.client import (
        SCHEMA,
        compact,
        list_parts,
        parse_markets,
        read_snapshots,
        write_part,
    )
    from crypto_anomaly.simulate.market import Market, markets

    start = pd.Timestamp("2026-02-01", tz="UTC")
    base = parse_markets(
        markets(Market(), start, per_page=250, windows=("1h", "24h", "7d", "30d")), start
    )
    columns = [
        "coin_id",
        "ts",
        "current_price",
        "market_cap",
        "total_volume",
        "price_change_percentage_24h",
    ]
    with tempfile.TemporaryDirectory() as home:
        ws = claim(open_workspace(Settings(home=home, source="simulated")), "simulated")
        for h in range(2160):
            write_part(
                ws,
                "snapshots",
                base.assign(ts=base.ts + pd.Timedelta(hours=h)),
                tag="b",
                schema=SCHEMA,
            )
        files = list(list_parts(ws).path)

        def plain():
            return pd.concat(
                [pd.read_parquet(p, columns=columns) for p in files], ignore_index=True
            )  # noqa: E731

        def same(a, b):
            return bool(
                (
                    a[columns].sort_values(["ts", "coin_id"]).to_numpy()
                    == b[columns].sort_values(["ts", "coin_id"]).to_numpy()
                ).all()
            )  # noqa: E731

        a, b, x, y = interleaved(plain, lambda: read_snapshots(ws, columns=columns))
        row("P3", "2,160 hourly files, six columns", a / b, "x", 4, same(x, y))
        compact(ws, before=start + pd.Timedelta("400D"))
        b, y = cpu(lambda: read_snapshots(ws, columns=columns), 3)
        row(
            "P3",
            f"the same compacted to {len(list_parts(ws))} daily files",
            a / b,
            "x",
            20,
            same(x, y),
        )


def forest_rows(n, d, seed=0):
    """Heavy-tailed float32 rows, one value in twenty missing."""
    rng = np.random.default_rng(seed)
    x = rng.standard_t(3, (n, d)).astype(np.float32)
    x[rng.random(x.shape, dtype=np.float32) < 0.05] = np.nan
    return x


def p4():
    """Score with a forest of 100 trees: 1, 250 and a million rows of 54 features, against scikit-learn."""
    from sklearn.ensemble import IsolationForest

    from crypto_anomaly.model.detectors import Forest

    X = forest_rows(1_000_000, 54)
    sk = IsolationForest(n_estimators=100, random_state=42, contamination=0.05).fit(X[:20_000])
    ours = Forest()._take(sk, X.shape[1])
    for n, times, bar in ((1, 2000, 1500), (250, 200, 35), (len(X), 1, 4.5)):
        x = X[:n]
        ours.strangeness(x)
        a, b, u, v = interleaved(
            lambda x=x, n=n: [sk.score_samples(x) for _ in range(30 if n < 1e6 else 1)][-1],
            lambda x=x, t=times: [ours.strangeness(x) for _ in range(t)][-1],
        )
        same = float(np.abs(u + v).max()) == 0.0 and bool(
            (sk.predict(x) == np.where(-v - sk.offset_ < 0, -1, 1)).all()
        )
        row(
            "P4",
            f"forest score, {n:,} rows, missing values included, largest difference {np.abs(u + v).max()}",
            (a / (30 if n < 1e6 else 1)) / (b / times),
            "x",
            bar,
            same,
        )


def p5():
    """Train, threshold and score against scale-fit-predict-decision with scikit-learn; quality: average precision of planted rows."""
    from sklearn.ensemble import IsolationForest
    from sklearn.impute import SimpleImputer
    from sklearn.metrics import average_precision_score
    from sklearn.preprocessing import StandardScaler

    from crypto_anomaly.model.detectors import Forest

    for n, bar in ((42_000, 4), (2_160_000, 20)):
        X = np.nan_to_num(forest_rows(n, 30))
        planted = np.random.default_rng(1).random(n) < 0.005
        X[planted, :6] += 12

        def plain(X=X):
            Z = StandardScaler().fit_transform(SimpleImputer(strategy="median").fit_transform(X))
            f = IsolationForest(n_estimators=100, contamination=0.05, random_state=42).fit(Z)
            return f.predict(Z), -f.decision_function(Z)

        def ours(X=X):
            f = Forest(contamination=0.05)
            f._fit(X)
            score = f.strangeness(X)
            return score >= np.quantile(score, 0.95), score

        a, b, (_, u), (_, v) = interleaved(plain, ours, rounds=3 if n < 1e6 else 1)
        quality = average_precision_score(planted, u), average_precision_score(planted, v)
        row(
            "P5",
            f"train, threshold, score {n:,} x 30 ({a:.1f} s against {b:.2f} s; average precision {quality[0]:.3f} and {quality[1]:.3f})",
            a / b,
            "x",
            bar,
            quality[1] >= quality[0] - 0.02,
        )


def p9():
    """Registry verbs on SQLite, wall milliseconds."""
    from crypto_anomaly.registry.versions import Registry

    with tempfile.TemporaryDirectory() as home:
        r, promote = Registry(f"sqlite:///{home}/registry.db"), []
        for v in range(1, 201):
            r.register("ab" * 32, dict(data_source="training_dataset:v1", feature_names=["x"] * 20))
            if v % 10 == 0:
                r.record_evaluation(v, passed=True, gates=[], metrics={}, dataset="d")
                r.request_approval(v, by="a")
                r.approve(v, by="b", reason="c")
                t = time.perf_counter()
                r.promote(v)
                promote.append(time.perf_counter() - t)

        def timed(f):
            return np.median(
                [(t := time.perf_counter(), f(), time.perf_counter() - t)[2] for _ in range(50)]
            )  # noqa: E731

        row("P9", "promote", 1e3 * np.median(promote), "ms", 5)
        row("P9", "list 200 versions", 1e3 * timed(lambda: r.list_model_versions(200)), "ms", 6)
        row("P9", "resolve an alias", 1e3 * timed(lambda: r.resolve("champion")), "ms", 1)


def served(home):
    """CPU seconds and peak MB of `serve` after its first answer; it must not have loaded scikit-learn."""
    from crypto_anomaly.core.workspace import Settings, claim, open_workspace
    from crypto_anomaly.registry.versions import open_registry

    open_registry(claim(open_workspace(Settings(home=home, source="simulated")), "simulated"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    server = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; sys.argv = ['x', 'serve', '--port', '{port}']; from crypto_anomaly.serving.cli import main; main()",
        ],
        env=os.environ | {"CRYPTO_ANOMALY_HOME": home},
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/versions").read()
                break
            except OSError:
                time.sleep(0.05)
        proc = Path(f"/proc/{server.pid}")
        assert "sklearn" not in (proc / "maps").read_text()
        ticks = sum(map(int, (proc / "stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        peak = next(
            int(line.split()[1])
            for line in (proc / "status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
        return ticks / os.sysconf("SC_CLK_TCK"), peak / 1024
    finally:
        server.terminate()
        server.wait()


def cpu_of(pid):
    """CPU seconds of a process so far."""
    ticks = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def requests_per_cpu_second(command, env, asks, seconds):
    """Answers of a server per second of its own CPU, asked over one kept connection each for `seconds`."""
    import http.client

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [a.replace("PORT", str(port)) for a in command],
        env=os.environ | env,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
                break
            except OSError:
                time.sleep(0.05)
        rates = {}
        for method, path in asks:
            c = http.client.HTTPConnection("127.0.0.1", port)
            for length in (0.5, seconds):  # the first is warm-up
                start, cpu, n = time.perf_counter(), cpu_of(server.pid), 0
                while time.perf_counter() - start < length or n == 0:
                    c.request(method, path)
                    answer = c.getresponse()
                    body = answer.read()
                    assert answer.status == 200, body
                    n += 1
            rates[path] = n / max(cpu_of(server.pid) - cpu, 0.01)
        return rates
    finally:
        server.terminate()
        server.wait()


def p6():
    """A trade in, its scores out, with a forest of 100 trees; and the features against recomputing their window."""
    from crypto_anomaly.simulate.trades import TradeSimulator, trades
    from crypto_anomaly.trades.detector import CONFIG, ProductState, train_trades
    from crypto_anomaly.trades.store import to_trades
    from crypto_anomaly.trades.ticks import FEATURES, kernel_input, new_state, taken, ticks

    at = pd.Timestamp("2026-01-02", tz="UTC")
    f = taken(trades(TradeSimulator(), "BTC-USD", at, at + pd.Timedelta("3h")))
    model, _ = train_trades(f.iloc[:40_000], CONFIG | dict(contamination=0.01))
    stream = to_trades(f.iloc[40_000:60_000])
    live, took = ProductState("BTC-USD", model, 1), []
    live.warm(f.iloc[:40_000])
    for t in stream:
        start = time.perf_counter_ns()
        one = live.step(t)
        took.append(time.perf_counter_ns() - start)
    batch = ProductState("BTC-USD", model, 1)
    batch.warm(f.iloc[:40_000])
    seconds, _ = cpu(lambda: batch.score(stream))
    same = bool(np.array_equal(live.last, batch.last)) and one[0] == batch.now["score"]
    row(
        "P6", "one trade in, its scores out, p50 in process", np.median(took) / 1000, "µs", 10, same
    )
    row("P6", "trades scored a second, in batches", len(stream) / seconds, "x", 100_000, same)
    px = f.set_index("ts").price
    window = px[px.index > px.index[40_000] - pd.Timedelta("20min")][: px.index[40_000]]

    def plain():
        s = np.log(window.resample("1s").last().ffill())
        return [s.diff(k).iloc[-1] for k in (1, 5, 30)] + [
            s.ewm(span=30).mean().iloc[-1],
            s.diff().rolling(60).std().iloc[-1],
            ((s - s.rolling(30).mean()) / s.rolling(30).std()).iloc[-1],
        ]

    a, state = kernel_input(f), new_state()
    ticks(state, *(v[:40_000] for v in a))
    theirs, _ = cpu(plain, 20)
    ours, (X, _, _) = cpu(lambda: ticks(state, *(v[40_000:100_000] for v in a)))
    row(
        "P6",
        "features of one trade against recomputing a window of 20 min",
        theirs / (ours / len(X)),
        "x",
        3000,
    )
    assert len(FEATURES) == X.shape[1]


def private_postgres(folder):
    """A PostgreSQL of our own on loopback: its URL, and how to stop it; None where none is installed."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not binaries:
        return None, None
    os.chmod(folder, 0o777)
    asuser = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

    def tool(name, *args):
        subprocess.run(
            [*asuser, str(binaries[-1].with_name(name)), "-D", f"{folder}/db", *args],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tool("initdb", "-A", "trust", "-U", "postgres")
    tool(
        "pg_ctl",
        "-o",
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}",
        "-l",
        f"{folder}/log",
        "-w",
        "start",
    )
    return f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres", lambda: tool(
        "pg_ctl", "-m", "immediate", "stop"
    )


def p7():
    """The store of trades: batches, against one INSERT in one transaction for each trade on the same PostgreSQL (wall time: the disk is what is waited for)."""
    from crypto_anomaly.simulate.trades import TradeSimulator, trades
    from crypto_anomaly.trades.store import TradeStore, to_trades
    from crypto_anomaly.trades.ticks import taken

    at = pd.Timestamp("2026-01-02", tz="UTC")
    all_of = to_trades(taken(trades(TradeSimulator(), "BTC-USD", at, at + pd.Timedelta("6h"))))
    batches = [all_of[i : i + 5000] for i in range(0, len(all_of), 5000)]
    with tempfile.TemporaryDirectory() as home:
        store, start = TradeStore(f"sqlite:///{home}/trades.db"), time.perf_counter()
        for b in batches:
            store.write(b)
        row(
            "P7",
            f"trades stored a second on SQLite ({len(all_of):,}, batches of 5,000)",
            len(all_of) / (time.perf_counter() - start),
            "x",
            80_000,
            store.completeness("BTC-USD")["trades"] == len(all_of),
        )
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        url, stop = private_postgres(folder)
        if url is None:
            return print("P7   PostgreSQL is not installed: the ratio was not measured")
        try:
            import psycopg

            store, part = TradeStore(url), all_of[:50_000]
            plain = psycopg.connect(url.replace("+psycopg", ""))
            plain.execute("CREATE TABLE plain (LIKE trades INCLUDING ALL)")
            plain.commit()
            rates = []
            for k in range(3):
                start = time.perf_counter()
                for b in (part[i : i + 5000] for i in range(0, len(part), 5000)):
                    store.write(t._replace(trade_id=t.trade_id + k * 10_000_000) for t in b)
                ours = len(part) / (time.perf_counter() - start)
                start = time.perf_counter()
                for t in all_of[k * 500 : k * 500 + 500]:
                    plain.execute("INSERT INTO plain VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s)", t)
                    plain.commit()
                rates.append((ours, 500 / (time.perf_counter() - start)))
            ours, theirs = np.median(rates, axis=0)
            same = (
                store._read(
                    __import__("sqlalchemy").text(
                        "SELECT count(*) FROM plain p JOIN trades t USING (product_id, trade_id, ts, price, size, taker_side)"
                    )
                )[0][0]
                == 1500
            )
            row(
                "P7",
                f"PostgreSQL, batches ({ours:,.0f}/s) against an INSERT a transaction ({theirs:,.0f}/s)",
                ours / theirs,
                "x",
                60,
                same,
            )
            plain.close()
            store.engine.dispose()
        finally:
            stop()


def trades_of_an_hour(ws):
    """An hour of trades that ends now, streamed into `ws`, and a model of them."""
    from crypto_anomaly.lifecycle.steps import train_trade_candidate
    from crypto_anomaly.simulate.trades import TradeSimulator, trades
    from crypto_anomaly.trades.feed import replay
    from crypto_anomaly.trades.ticks import taken

    now = pd.Timestamp.now("UTC")
    f = taken(trades(TradeSimulator(), "BTC-USD", now - pd.Timedelta("1h"), now), "replay")
    replay(ws, f.assign(ts=f.ts + pd.Timedelta("50s")), pace="max", once=True)
    train_trade_candidate(ws)
    return len(f)


def p8():
    """Cached answers against a server that trains, or predicts with scikit-learn, for every request; the same hundred coins."""
    from crypto_anomaly.core.workspace import Settings, claim, open_workspace
    from crypto_anomaly.data.client import hold_source
    from crypto_anomaly.lifecycle.steps import backfill_lake, build_dataset, ingest, train_candidate
    from crypto_anomaly.model.scan import moment_features

    with tempfile.TemporaryDirectory() as home:
        ws = claim(open_workspace(Settings(home=home, source="simulated")), "simulated")
        with hold_source(ws) as held:
            backfill_lake(held)
            ingest(held)
            build_dataset(held)
            train_candidate(held)
        moment_features(ws).to_parquet(f"{home}/moment.parquet")
        hour = trades_of_an_hour(ws)
        ours = requests_per_cpu_second(
            [
                sys.executable,
                "-c",
                "import sys; sys.argv = ['x', 'serve', '--port', 'PORT']; from crypto_anomaly.serving.cli import main; main()",
            ],
            {"CRYPTO_ANOMALY_HOME": home, "CRYPTO_ANOMALY_LOG_LEVEL": "WARNING"},
            [("GET", "/anomalies?limit=5"), ("POST", "/scan"), ("GET", "/score")],
            4,
        )
        plain = requests_per_cpu_second(
            [
                sys.executable,
                str(Path(__file__).with_name("plain_server.py")),
                f"{home}/moment.parquet",
                "PORT",
            ],
            {},
            [("GET", "/predict"), ("POST", "/train")],
            4,
        )
    row(
        "P8",
        "answers per CPU second, cached /anomalies against predict per request",
        ours["/anomalies?limit=5"] / plain["/predict"],
        "x",
        100,
    )
    row(
        "P8",
        f"answers per CPU second, /score ({hour} trades stored) against predict per request",
        ours["/score"] / plain["/predict"],
        "x",
        100,
    )
    row(
        "P8",
        "answers per CPU second, cached /scan against train per request",
        ours["/scan"] / plain["/train"],
        "x",
        2000,
    )
    print(f"     {ours} against {plain}")


def p10():
    """CPU seconds of a start, in processes of their own."""

    def child(code):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, out

    row(
        "P10",
        "crypto-anomaly --help, CPU",
        np.median(
            [
                child(
                    "import sys; sys.argv = ['crypto-anomaly', '--help']; from crypto_anomaly.serving.cli import main\ntry: main()\nexcept SystemExit: pass"
                )[0]
                for _ in range(5)
            ]
        ),
        "s",
        0.4,
    )
    with tempfile.TemporaryDirectory() as home:
        seconds, megabytes = served(home)
    row("P10", "server ready and first answer, CPU, no sklearn", seconds, "s", 2)
    row("P10", "server memory, peak", megabytes, "MB", 250)
    with tempfile.TemporaryDirectory() as home:
        t = time.perf_counter()
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"import sys; sys.argv = ['x', 'up', '--once', '--source', 'simulated', '--home', {home!r}]; from crypto_anomaly.serving.cli import main; main()",
            ],
            check=True,
            capture_output=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("CRYPTO_ANOMALY_")},
        )
        row("P10", "up --once on a warm install, wall", time.perf_counter() - t, "s", 60)


BENCHES = dict(P1=p1, P2=p2, P3=p3, P4=p4, P5=p5, P6=p6, P7=p7, P8=p8, P9=p9, P10=p10)

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHES:
        BENCHES[name]()
    (HERE / "results.json").write_text(json.dumps(ROWS, indent=1) + "\n")
    sys.exit(not all(r["equal"] in (None, True) for r in ROWS))
