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


def row(id_, what, value, unit, bar, equal=None):
    """Keep one figure; a ratio or a limit, whichever `unit` says."""
    ok = value >= bar if unit == "x" else value <= bar
    ROWS.append(dict(id=id_, what=what, value=round(float(value), 4), unit=unit, bar=bar, ok=bool(ok), equal=equal))
    print(f"{id_:4} {what:58} {value:10.3f} {unit:3} (bar {bar:g}) {'ok' if ok else 'MISSED'}{'' if equal is None else ', outputs equal' if equal else ', OUTPUTS DIFFER'}", flush=True)


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


def p3():
    """Read 2,160 hourly files of 250 coins, as they come and compacted, against reading them one by one with pandas."""
    from crypto_anomaly.data import SCHEMA, compact, list_parts, parse_markets, read_snapshots, write_part
    from crypto_anomaly.simulate import Market, markets
    from crypto_anomaly.workspace import Settings, claim, open_workspace

    start = pd.Timestamp("2026-02-01", tz="UTC")
    base = parse_markets(markets(Market(), start, per_page=250, windows=("1h", "24h", "7d", "30d")), start)
    columns = ["coin_id", "ts", "current_price", "market_cap", "total_volume", "price_change_percentage_24h"]
    with tempfile.TemporaryDirectory() as home:
        ws = claim(open_workspace(Settings(home=home, source="simulated")), "simulated")
        for h in range(2160):
            write_part(ws, "snapshots", base.assign(ts=base.ts + pd.Timedelta(hours=h)), tag="b", schema=SCHEMA)
        files = list(list_parts(ws).path)
        plain = lambda: pd.concat([pd.read_parquet(p, columns=columns) for p in files], ignore_index=True)  # noqa: E731
        same = lambda a, b: bool((a[columns].sort_values(["ts", "coin_id"]).to_numpy() == b[columns].sort_values(["ts", "coin_id"]).to_numpy()).all())  # noqa: E731
        a, b, x, y = interleaved(plain, lambda: read_snapshots(ws, columns=columns))
        row("P3", "2,160 hourly files, six columns", a / b, "x", 4, same(x, y))
        compact(ws, before=start + pd.Timedelta("400D"))
        b, y = cpu(lambda: read_snapshots(ws, columns=columns), 3)
        row("P3", f"the same compacted to {len(list_parts(ws))} daily files", a / b, "x", 20, same(x, y))


def p9():
    """Registry verbs on SQLite, wall milliseconds."""
    from crypto_anomaly.registry import Registry

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
        timed = lambda f: np.median([(t := time.perf_counter(), f(), time.perf_counter() - t)[2] for _ in range(50)])  # noqa: E731
        row("P9", "promote", 1e3 * np.median(promote), "ms", 5)
        row("P9", "list 200 versions", 1e3 * timed(lambda: r.list_model_versions(200)), "ms", 6)
        row("P9", "resolve an alias", 1e3 * timed(lambda: r.resolve("champion")), "ms", 1)


def served(home):
    """CPU seconds and peak MB of `serve` after its first answer; it must not have loaded scikit-learn."""
    from crypto_anomaly.registry import open_registry
    from crypto_anomaly.workspace import Settings, claim, open_workspace

    open_registry(claim(open_workspace(Settings(home=home, source="simulated")), "simulated"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    server = subprocess.Popen([sys.executable, "-c", f"import sys; sys.argv = ['x', 'serve', '--port', '{port}']; from crypto_anomaly.cli import main; main()"], env=os.environ | {"CRYPTO_ANOMALY_HOME": home}, stderr=subprocess.DEVNULL)
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
        peak = next(int(line.split()[1]) for line in (proc / "status").read_text().splitlines() if line.startswith("VmHWM"))
        return ticks / os.sysconf("SC_CLK_TCK"), peak / 1024
    finally:
        server.terminate()
        server.wait()


def p10():
    """CPU seconds of a start, in processes of their own."""

    def child(code):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, out

    row("P10", "crypto-anomaly --help, CPU", np.median([child("import sys; sys.argv = ['crypto-anomaly', '--help']; from crypto_anomaly.cli import main\ntry: main()\nexcept SystemExit: pass")[0] for _ in range(5)]), "s", 0.4)
    with tempfile.TemporaryDirectory() as home:
        seconds, megabytes = served(home)
    row("P10", "server ready and first answer, CPU, no sklearn", seconds, "s", 2)
    row("P10", "server memory, peak", megabytes, "MB", 250)
    with tempfile.TemporaryDirectory() as home:
        t = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import sys; sys.argv = ['x', 'up', '--once', '--source', 'simulated', '--home', {home!r}]; from crypto_anomaly.cli import main; main()"], check=True, capture_output=True, env={k: v for k, v in os.environ.items() if not k.startswith("CRYPTO_ANOMALY_")})
        row("P10", "up --once on a warm install, wall", time.perf_counter() - t, "s", 60)


BENCHES = dict(P3=p3, P9=p9, P10=p10)

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHES:
        BENCHES[name]()
    (HERE / "results.json").write_text(json.dumps(ROWS, indent=1) + "\n")
    sys.exit(not all(r["equal"] in (None, True) for r in ROWS))
