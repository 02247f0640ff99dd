"""`make bench`: rows of one shape, rivals with equal outputs, and a comparison that can fail."""

import ast
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import bench
import compare
import measure
import race
import results_page
from reasons import reason

FIELDS = {"id", "what", "value", "unit", "bar", "ok", "equal"}


@pytest.fixture
def rows(monkeypatch):
    """An empty table of rows."""
    found = []
    monkeypatch.setattr(measure, "ROWS", found)
    return found


class Spent:
    """The clocks of a race, which only its calls move."""

    def __init__(self):
        self.seconds = 0.0

    def process_time(self):
        return self.seconds

    perf_counter = process_time

    def work(self, seconds: float):
        """A call that takes so long."""

        def run():
            self.seconds += seconds
            return 1

        return run


def same(a, b) -> bool:
    """Whether two results are one."""
    return a == b


def one_row(**changes) -> dict:
    """A row that raced a rival."""
    row = dict(id="P3", what="read", value=2.0, unit="x", bar=1.0, ok=True, equal=True)
    return row | dict(ours=0.1, rival="Polars", rivals={"Polars": 0.2}) | changes


def test_every_part_names_a_function_that_exists():
    for part in bench.PARTS:
        source = (ROOT / "benchmarks" / f"{part.module}.py").read_text()
        names = [x.name for x in ast.parse(source).body if isinstance(x, ast.FunctionDef)]
        assert part.function in names, part
        assert set(part.sizes.split()) <= set(measure.SIZES)


def burn(seconds: float) -> None:
    """Use the CPU in this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_the_cpu_of_a_process_counts_threads_that_have_ended():
    before = measure.cpu_of(os.getpid())
    worker = threading.Thread(target=burn, args=(0.05,))
    worker.start()
    worker.join(30)
    assert not worker.is_alive()
    assert measure.cpu_of(os.getpid()) - before >= 0.05
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(30)
    with pytest.raises(OSError):
        measure.cpu_of(gone.pid)


def test_a_race_is_a_row_with_every_side(rows, monkeypatch):
    spent = Spent()
    monkeypatch.setattr(race, "time", spent)
    rivals = [
        race.Rival("slow", "", lambda: spent.work(2)),
        race.Rival("slower", "", lambda: spent.work(8)),
        race.Rival("absent", "no_such_package", lambda: 1 / 0),
    ]
    race.race("P3", "read", spent.work(0.25), rivals, same=same, plain=spent.work(9), rounds=2)
    missing, raced = rows
    assert all(r.keys() >= FIELDS for r in rows)
    assert raced["rival"] == "slow" and raced["value"] == 8 and raced["ok"] and raced["equal"]
    assert raced["ours"] < raced["rivals"]["slow"] < raced["rivals"]["slower"] < raced["plain"]
    assert missing["value"] is None and missing["ok"] is None
    assert "pip install no_such_package" in missing["missing"]


def test_outputs_that_differ_are_a_row_that_says_so(rows, capsys):
    wrong = [race.Rival("wrong", "", lambda: lambda: 2)]
    race.race("P3", "read", lambda: 1, wrong, same=same)
    assert rows[0]["equal"] is False
    assert "OUTPUTS DIFFER" in capsys.readouterr().out


def changes(now: dict, before: dict) -> compare.Comparison:
    """Two runs of one row each."""
    return compare.compare(dict(rows=[now]), dict(rows=[before]))


def test_slower_is_what_is_slower_by_itself_and_beside_the_rival():
    before = one_row()
    slower = changes(one_row(ours=0.3, value=0.66), before).slower
    assert [round(c.factor, 1) for c in slower] == [3.0]
    assert not changes(one_row(ours=0.3, rivals={"Polars": 0.6}), before).slower  # the machine
    assert not changes(one_row(value=0.5, rivals={"Polars": 0.05}), before).slower  # the rival
    assert not changes(one_row(ours=0.13, value=1.5), before).slower  # noise


def test_a_figure_without_a_rival_is_compared_by_itself():
    before = dict(id="P9", what="promote", value=2.0, unit="ms", bar=5, ok=True, equal=None)
    assert changes(before | dict(value=3.5), before).slower[0].factor == 1.75
    assert not changes(before | dict(value=1.0), before).slower
    rate = before | dict(unit="x", value=100.0)
    assert changes(rate | dict(value=50.0), rate).slower[0].factor == 2


def test_the_command_names_what_became_slower(tmp_path, capsys):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    gone = one_row(what="gone")
    old.write_text(json.dumps([one_row(), gone]))  # a bare list of rows is taken, too
    new.write_text(json.dumps(dict(size="quick", rows=[one_row(ours=0.25, value=0.8)])))
    assert bench.main(["--compare", str(old), "--with", str(new)]) == 3
    out = capsys.readouterr().out
    assert "SLOWER 2.50 x  P3 read: 0.1 s (2 x) before, 0.25 s (0.8 x) now" in out
    assert "not measured now: P3 gone" in out
    assert bench.main(["--compare", str(old), "--with", str(new), "--tolerance", "2"]) == 0
    new.write_text("{")
    assert bench.main(["--compare", str(new), "--with", str(old)]) == 2
    assert "is no JSON" in capsys.readouterr().err


def test_the_page_says_what_is_missed_and_what_was_not_measured(tmp_path):
    absent = one_row(what="read: DuckDB", value=None, ok=None, missing="pip install duckdb")
    slow = one_row(what="read 240 hourly files", value=0.4, ok=False)
    result = dict(size="full", date="2026-01-01", seconds=9.0, machine={}, rows=[slow, absent])
    file = results_page.write_page(result, tmp_path / "page.ipynb")
    nbformat.validate(nbformat.read(file, 4))
    text = "\n".join(c["source"] for c in nbformat.read(file, 4).cells)
    assert "| read 240 hourly files | 100 ms | Polars: 200 ms |" in text
    assert "**missed**" in text and reason(slow) in text
    assert "No reason is written down" not in text
    assert "pip install duckdb" in text


def test_a_row_without_a_bar_is_shown_and_not_counted(rows, capsys, tmp_path):
    measure.row("P7", "bytes of an open day", 181.0, "B", None)
    assert rows[0]["ok"] is None
    assert "(no bar)" in capsys.readouterr().out
    result = dict(size="full", date="2026-01-01", seconds=9.0, machine={}, rows=[one_row(), *rows])
    file = results_page.write_page(result, tmp_path / "page.ipynb")
    text = "\n".join(c["source"] for c in nbformat.read(file, 4).cells)
    assert "| P7 | bytes of an open day | 181 B |  |  |  | 181 B |  |  |" in text
    assert "1 of 1 bars are reached" in text and "**missed**" not in text


def test_rows_of_a_later_run_have_a_table_of_their_own(tmp_path):
    result = dict(size="full", date="2026-01-01", seconds=9.0, machine={}, rows=[one_row()])
    later = dict(date="2026-01-02", commit="abc", rows=[one_row(what="read again", ours=0.05)])
    file = results_page.write_page(result, tmp_path / "page.ipynb", later)
    cells = [c["source"] for c in nbformat.read(file, 4).cells]
    (again,) = (text for text in cells if text.startswith("## Measured again"))
    assert "2026-01-02 at commit `abc`" in again and "| read again | 50 ms |" in again
    assert sum("read again" in text for text in cells) == 1


def test_features_equal_those_of_the_rivals():
    pytest.importorskip("polars", reason="pip install polars")
    pytest.importorskip("duckdb", reason="pip install duckdb")
    pytest.importorskip("bottleneck", reason="pip install bottleneck")
    import expert_features as e
    from markets import synthetic
    from measure import equal

    from crypto_anomaly.features.features import featurize

    table = synthetic(12, 200)
    ours = featurize(table)
    theirs = e.polars_features(e.polars_table(table)).to_pandas()
    assert equal(ours, theirs, [c for c in [*e.HISTORY, *e.OWN_Z, *e.CROSS_Z] if c in ours])
    c = e.duckdb_market(table)
    assert equal(ours, e.duckdb_history(c).to_pandas(), e.HISTORY)
    m = e.matrices(table)
    assert equal(ours, e.bottleneck_history(m), e.HISTORY)
    z = e.bottleneck_z(m["price_change_percentage_24h"], 0.2)
    assert np.allclose(e.duckdb_z(c), z, equal_nan=True)


def test_scores_equal_those_of_treelite(tmp_path: Path):
    pytest.importorskip("treelite", reason="pip install treelite")
    import rival_forest as f
    from sklearn.ensemble import IsolationForest

    x = np.nan_to_num(f.forest_rows(300, 20))
    sk = IsolationForest(n_estimators=20, random_state=1).fit(x)
    ours = f.Forest().take_trees(sk, x.shape[1]).anomaly_score(x)
    assert f.same_scores(ours, f.Rivals(sk, str(tmp_path)).treelite(x)())


def test_stores_hold_what_raw_sqlite_holds(tmp_path: Path):
    import rival_trades as r

    stored = r.to_trades(r.hours_of_trades(1))[:500]
    stores = r.Stores(str(tmp_path))
    assert r.same_counts(r.ours_on_sqlite(stores, stored), r.raw_sqlite(stores, stored))
    assert not r.same_counts(r.ours_on_sqlite(stores, stored), r.raw_sqlite(stores, stored[1:]))
