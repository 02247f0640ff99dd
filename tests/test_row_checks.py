"""The door of the lake: every row is stored, or named exactly once; corrections can be undone."""

import datetime as dt
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import EXAMPLES

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from crypto_anomaly.core.settings import Settings  # noqa: E402
from crypto_anomaly.core.workspace import claim, open_workspace  # noqa: E402
from crypto_anomaly.data.client import CoinGecko  # noqa: E402
from crypto_anomaly.data.corrections import drop_rows, restore_rows, store_rows  # noqa: E402
from crypto_anomaly.data.history import chart_history, sparkline_history  # noqa: E402
from crypto_anomaly.data.lake import write_part  # noqa: E402
from crypto_anomaly.data.responses import check_markets  # noqa: E402
from crypto_anomaly.data.row_checks import check_market_rows  # noqa: E402
from crypto_anomaly.data.snapshots import (  # noqa: E402
    compact,
    newest_moment,
    read_snapshots,
    write_days,
    write_snapshot,
)
from crypto_anomaly.data.stale import lake_corrections, stale_since  # noqa: E402
from crypto_anomaly.data.table import SCHEMA, DataError, simulated_table  # noqa: E402
from crypto_anomaly.registry.registry import open_registry  # noqa: E402
from crypto_anomaly.simulate.coingecko import markets  # noqa: E402
from crypto_anomaly.simulate.market import Market  # noqa: E402
from crypto_anomaly.simulate.market_server import serve_market  # noqa: E402

strict = pytest.mark.filterwarnings("error")
fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
AT = pd.Timestamp("2026-03-01 12:00", tz="UTC")
HOURS = pd.date_range("2026-03-01", periods=48, freq="h", tz="UTC")

texts = st.text(max_size=12) | st.sampled_from(
    ["NA", "nan", "null", "None", "inf", "-inf", "1e999", "0x10", "1_000", "1,5", "$5", "\ud800"]
    + ["\x00", " Bitcoin Cash ", "a/b?c", "2026-03-01", "2062-01-01T00:00Z", "币安人生", "_", "1.0"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
anything = json_values | st.one_of(
    st.binary(max_size=4),
    st.decimals(),
    st.fractions(),
    st.complex_numbers(),
    st.dates(),
    st.times(),
    st.datetimes(),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.timedeltas(),
    st.sampled_from(
        [pd.NaT, pd.NA, np.float32(1.5), np.datetime64("NaT"), np.datetime64("9999-01-01"), 10**400]
    ),
)
GOOD = dict(
    coin_id=st.text(min_size=1, max_size=8),
    ts=st.just("2026-03-01T12:00:00Z"),
    current_price=st.floats(1e-13, 1e9),
)
OPTIONAL = "symbol name market_cap ath last_updated total_volume approximate source run_id".split()


def any_rows(values):
    """Rows of which each cell may be right, or anything."""
    needed = {name: good | good | values for name, good in GOOD.items()}
    return st.lists(
        st.fixed_dictionaries(needed, optional=dict.fromkeys(OPTIONAL, values)), max_size=6
    )


def check_each_once(frame):
    rows, refused = check_market_rows(frame)
    assert sorted([*rows.line, *refused.line.unique()]) == list(range(len(frame)))
    assert refused.reason.notna().all()
    pa.Table.from_pandas(rows[SCHEMA.names], schema=SCHEMA, preserve_index=False)  # can be stored
    assert rows.coin_id.str.fullmatch("[a-z0-9-]+").all()
    assert rows[["symbol", "name", "ts", "current_price"]].notna().all(axis=None)
    assert (rows.current_price > 0).all()
    assert np.isfinite(rows.current_price).all()
    assert not (rows[["market_cap", "total_volume", "ath"]] < 0).any(axis=None)


@strict
@fuzzed
@given(any_rows(anything))
def test_any_row_is_stored_or_named_once(rows):
    columns = None if rows else list(GOOD)
    check_each_once(pd.DataFrame(rows, columns=columns, dtype=object))


@strict
@fuzzed
@given(any_rows(texts.filter(lambda text: text.isprintable())))
def test_any_text_is_stored_or_named_once(rows):
    columns = None if rows else list(GOOD)
    check_each_once(pd.DataFrame(rows, columns=columns, dtype=object).astype("str"))


@strict
@pytest.mark.parametrize("kind", ["float64", "int64", "bool", "category", "Int64", "datetime64[s]"])
@pytest.mark.parametrize("column", ["coin_id", "ts", "current_price", "ath", "last_updated"])
def test_any_typed_column_is_stored_or_named(kind, column):
    frame = pd.DataFrame({"coin_id": ["a", "b"], "ts": "2026-03-01", "current_price": [1.0, 2.0]})
    check_each_once(frame.assign(**{column: pd.Series([1, 0]).astype(kind)}))


@pytest.mark.parametrize(
    "column, value, reason",
    [
        ("current_price", 0, "is not above 0"),
        ("current_price", -1, "is not above 0"),
        ("current_price", None, "is missing"),
        ("current_price", True, "is not a number"),
        ("current_price", float("inf"), "is not finite"),
        ("ath", "high", "is not a number"),
        ("total_volume", -5, "is below 0"),
        ("last_updated", "2062-03-01T00:00:00Z", "in the future"),
        ("last_updated", "2008-03-01T00:00:00Z", "is before 2009"),
        ("last_updated", 7, "is not a time"),
        ("id", None, "is missing"),
        ("id", ["a"], "is not a text"),
        ("symbol", {"a": 1}, "is not a text"),
    ],
)
def test_one_bad_coin_is_named_and_left_out(column, value, reason):
    coins = markets(Market(10), AT, per_page=5)
    coins[2] = coins[2] | {column: value}
    rows, refused = check_markets(coins, AT)
    assert list(refused.line) == [2]
    assert reason in refused.reason[0]
    assert set(rows.line) == {0, 1, 3, 4}


def test_a_null_ticker_stops_nobody():
    coins = markets(Market(10), AT, per_page=3)
    coins[1] = coins[1] | dict(symbol=None, name=None)
    rows, refused = check_markets(coins, AT)
    assert refused.empty
    assert rows.symbol[1] == rows.name[1] == rows.coin_id[1] == coins[1]["id"]


coin_fields = ["id", "symbol", "name", "current_price", "ath", "last_updated", "sparkline_in_7d"]


@strict
@fuzzed
@given(
    st.lists(
        st.none()
        | st.tuples(st.sampled_from(coin_fields), json_values)
        | st.tuples(st.just("whole"), json_values),
        min_size=3,
        max_size=3,
    )
)
def test_any_json_in_any_field_names_a_coin_and_keeps_the_others(changes):
    coins = markets(Market(10), AT, per_page=4, sparkline=True)
    for n, change in enumerate(changes):
        if change:
            field, value = change
            coins[n] = value if field == "whole" else coins[n] | {field: value}
    rows, refused = check_markets(coins, AT)
    assert 3 in set(rows.line)  # the coin that nobody has touched
    assert len(refused.line.unique()) <= sum(change is not None for change in changes)
    past = sparkline_history(coins, AT)
    assert coins[3]["id"] in set(past.coin_id)
    assert (past.current_price > 0).all()


@strict
@fuzzed
@given(st.dictionaries(st.sampled_from(["prices", "market_caps", "total_volumes"]), json_values))
def test_any_chart_is_read_or_refused(series):
    start = int(AT.timestamp()) * 1000
    chart = dict(prices=[[start, 1.5]], market_caps=[], total_volumes=[]) | series
    try:
        rows = chart_history(chart, dict(id="a", symbol=None, name=None))
    except DataError:
        return
    assert (rows.current_price > 0).all()


def new_lake(tmp_path, **more):
    return claim(open_workspace(Settings(home=tmp_path, source="simulated", **more)), "simulated")


@pytest.fixture
def table():
    return simulated_table(Market(10), HOURS, coins=6)


@pytest.fixture
def lake(tmp_path, table):
    ws = new_lake(tmp_path)
    for _, hour in table.groupby("ts"):
        write_part(ws, "snapshots", hour, tag="h", schema=SCHEMA)
    return ws


def prices(ws):
    return read_snapshots(ws).set_index(["ts", "coin_id"]).current_price.sort_index()


def test_an_answer_with_a_bad_coin_is_ingested_without_it(tmp_path):
    from crypto_anomaly.lifecycle.ingest_steps import ingest

    ws = new_lake(tmp_path)
    answer = markets(Market(10), AT, per_page=10)
    answer[4]["current_price"] = 0
    answer[5] = None
    ws.settings.coingecko_url = "http://127.0.0.1:9"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CoinGecko, "_markets_page", lambda *_: answer)
        _, facts = ingest(ws, num_coins=10, as_of=AT, run_id="r")
        assert (facts["coins"], facts["refused"], facts["repeated"]) == (len(answer) - 2, 2, 0)
        for coin in answer[:4] + answer[6:]:
            coin["current_price"] = None
        with pytest.raises(DataError, match="no usable coin"):
            ingest(ws, num_coins=10, as_of=AT + pd.Timedelta("1h"), run_id="r2")
    assert len(read_snapshots(ws)) == len(answer) - 2
    assert open_registry(ws).events(kind="snapshot_ingested")[0]["payload"]["refused"] == 2


def test_a_stage_that_fails_has_stored_nothing(tmp_path):
    from crypto_anomaly.lifecycle import ingest_steps

    ws = new_lake(tmp_path)
    with serve_market(Market(10)) as (url, server), pytest.MonkeyPatch.context() as patch:
        server.clock.set(AT)
        ws.settings.coingecko_url = url

        def away(*_, **__):
            raise DataError("the registry is away")

        patch.setattr(ingest_steps, "record_snapshots", away)
        with pytest.raises(DataError, match="is away"):
            ingest_steps.ingest(ws, num_coins=10, as_of=AT)
    assert newest_moment(ws) is None


def test_a_snapshot_of_the_future_is_refused(tmp_path, table):
    ws = new_lake(tmp_path)
    hour = table[table.ts == HOURS[0]].assign(source="coingecko")
    with pytest.raises(DataError, match="nothing was stored"):
        write_snapshot(ws, hour.assign(ts=pd.Timestamp("2062-01-01", tz="UTC")))
    assert newest_moment(ws) is None


def test_rows_are_new_known_or_differ(lake, table):
    again = table.assign(market_cap=np.nan, total_volume=np.nan)
    again.loc[7, "current_price"] *= 100
    before = prices(lake)
    stored = store_rows(lake, again, "r")
    assert (len(stored.new), stored.known, len(stored.differing)) == (0, len(table) - 1, 1)
    cell = stored.differing.iloc[0]
    assert (cell.line, cell.column, cell.stored) == (7, "current_price", table.current_price[7])
    pd.testing.assert_series_equal(prices(lake), before)


def test_a_replaced_row_comes_back(lake, table):
    before = prices(lake)
    wrong = table.iloc[[7, 100]].assign(current_price=[1.5, 2.5], market_cap=np.nan)
    stored = store_rows(lake, wrong, "r", replace=True)
    assert stored.replaced == 2
    now = read_snapshots(lake)
    assert (prices(lake) != before).sum() == 2
    assert now.market_cap.notna().sum() == table.market_cap.notna().sum()  # what it did not bring
    assert store_rows(lake, wrong, "r2").known == 2
    restore_rows(lake, stored.correction)
    pd.testing.assert_series_equal(prices(lake), before)
    events = len(open_registry(lake).events())
    again = restore_rows(lake, stored.correction)  # twice is once
    assert (again.id, len(again.rows)) == ("", 0)
    assert len(open_registry(lake).events()) == events
    pd.testing.assert_series_equal(prices(lake), before)


def test_a_value_that_a_replace_added_leaves_with_it(lake, table):
    row = table.iloc[[7]]
    store_rows(lake, row.assign(max_supply=5.0, ath=9.0), "r", replace=True)
    bare = lake_row(lake, row).assign(max_supply=np.nan)
    gone = drop_rows(lake, row.coin_id.iloc[0], row.ts.iloc[0], row.ts.iloc[0], "a test")
    write_days(lake, bare[SCHEMA.names], "bare")
    before = read_snapshots(lake)
    stored = store_rows(lake, bare.assign(max_supply=5.0), "r2", replace=True)
    assert (stored.replaced, lake_row(lake, row).max_supply.iloc[0]) == (1, 5.0)
    back = restore_rows(lake, stored.correction)
    pd.testing.assert_frame_equal(sorted_rows(read_snapshots(lake)), sorted_rows(before))
    restored = open_registry(lake).events(kind="rows_restored")
    assert [e["payload"]["rows"] for e in restored] == [len(back.rows)] == [1]
    assert restore_rows(lake, gone.id).rows.max_supply.iloc[0] == 5.0


def sorted_rows(frame):
    return frame.sort_values(["ts", "coin_id"], ignore_index=True)


def lake_row(ws, row):
    rows = read_snapshots(ws)
    return rows[rows.coin_id.eq(row.coin_id.iloc[0]) & rows.ts.eq(row.ts.iloc[0])]


class Away(Exception):
    """The registry, or the disk, is away."""


def failing(patch, owner, name, fails):
    """`owner.name` fails for the calls that `fails` says."""
    real = getattr(owner, name)

    def call(*args, **more):
        if fails(*args, **more):
            raise Away
        return real(*args, **more)

    patch.setattr(owner, name, call)


def test_a_replace_without_a_registry_stores_nothing(lake, table, monkeypatch):
    from crypto_anomaly.data import corrections

    before = sorted_rows(read_snapshots(lake))
    wrong = pd.concat([table.iloc[[7]], table.iloc[[8]].assign(coin_id="new")])
    failing(monkeypatch, corrections, "open_registry", lambda *_: True)
    with pytest.raises(Away):
        store_rows(lake, wrong.assign(current_price=1.5), "r", replace=True)
    pd.testing.assert_frame_equal(sorted_rows(read_snapshots(lake)), before)


def test_a_replace_that_stops_half_way_says_what_it_took_out(lake, table, monkeypatch):
    from crypto_anomaly.data import rewriting

    calls = iter(range(9))
    failing(monkeypatch, rewriting, "keep_taken", lambda *_, **__: next(calls) > 0)
    given = pd.concat([table.iloc[[7, 100]], table.iloc[[8]].assign(coin_id="new")])
    with pytest.raises(Away):
        store_rows(lake, given.assign(current_price=1.5), "r", replace=True)
    monkeypatch.undo()
    assert "new" not in set(read_snapshots(lake).coin_id)
    event = open_registry(lake).events(kind="rows_replaced")[0]["payload"]
    assert event["rows"] == 1
    restore_rows(lake, event["correction"])
    assert list(sorted_rows(read_snapshots(lake)).current_price) == list(
        sorted_rows(table).current_price
    )


@pytest.mark.parametrize("kind", ["rows_replaced", "rows_dropped"])
def test_a_correction_that_cannot_be_announced_is_undone(lake, table, monkeypatch, kind):
    before = prices(lake)
    registry = open_registry(lake)
    failing(monkeypatch, type(registry), "publish", lambda _, event, **__: event == kind)
    with pytest.raises(Away):
        if kind == "rows_dropped":
            drop_rows(lake, table.coin_id[0], HOURS[3], HOURS[9], "a test")
        else:
            store_rows(lake, table.iloc[[7]].assign(current_price=1.5), "r", replace=True)
    pd.testing.assert_series_equal(prices(lake), before)


def test_an_import_that_cannot_be_announced_is_undone(tmp_path, table, monkeypatch):
    from crypto_anomaly.lifecycle.ingest_steps import import_snapshots

    ws = open_workspace(Settings(home=tmp_path))
    file = tmp_path / "recorded.csv"
    rows = table.rename(columns={"ts": "fetched_at_utc"})[
        ["fetched_at_utc", "coin_id", "current_price"]
    ]
    rows.iloc[:-1].to_csv(file, index=False)
    import_snapshots(ws, str(file))
    before = prices(ws)
    rows.assign(current_price=1.5).to_csv(file, index=False)
    registry = open_registry(ws)
    failing(monkeypatch, type(registry), "publish", lambda _, event, **__: event == "data_imported")
    with pytest.raises(Away):
        import_snapshots(ws, str(file), replace=True)
    pd.testing.assert_series_equal(prices(ws), before)
    kinds = [event["kind"] for event in lake_corrections(ws)]
    assert kinds == ["rows_restored", "rows_replaced"]


def test_dropped_rows_come_back(lake, table):
    before = read_snapshots(lake)
    dropped = drop_rows(lake, table.coin_id[0], HOURS[3], HOURS[40], "a test", by="Ada")
    assert len(read_snapshots(lake)) == len(before) - len(dropped.rows)
    assert list((lake.root / "lake" / "replaced").rglob("*.parquet"))
    compact(lake, before=HOURS[-1] + pd.Timedelta("2D"))
    restore_rows(lake, dropped.id)
    after = read_snapshots(lake)
    order = ["ts", "coin_id"]
    pd.testing.assert_frame_equal(
        after.sort_values(order, ignore_index=True), before.sort_values(order, ignore_index=True)
    )
    kinds = [e["kind"] for e in lake_corrections(lake)]
    assert kinds == ["rows_restored", "rows_dropped"]


def test_the_newest_moment_moves_when_its_rows_leave(lake, table):
    for coin in table.coin_id[table.ts == HOURS[-1]]:
        drop_rows(lake, coin, HOURS[-1], HOURS[-1], "a test")
    assert newest_moment(lake) == HOURS[-2]


def test_an_approximate_row_hides_no_full_one(tmp_path, table):
    ws = new_lake(tmp_path)
    write_days(ws, table.assign(approximate=True, market_cap=np.nan, current_price=7.0), "b")
    assert len(store_rows(ws, table, "r").new) == len(table)
    assert list(read_snapshots(ws).current_price) == list(table.current_price)
    weak = table.assign(approximate=True, current_price=9.0)
    assert store_rows(ws, weak, "r2").known == len(table)


def test_the_lake_of_another_workspace_is_not_touched(lake, table, tmp_path):
    branch = open_workspace(
        Settings(home=tmp_path, source="simulated", workspace="branch", read_from="simulated")
    )
    wrong = table.iloc[[7]].assign(current_price=1.5)
    with pytest.raises(DataError, match="reads the lake of 'simulated'"):
        store_rows(branch, wrong, "r", replace=True)
    with pytest.raises(DataError, match="reads the lake of 'simulated'"):
        drop_rows(branch, table.coin_id[0], HOURS[0], HOURS[9], "a test")
    assert len(read_snapshots(lake)) == len(table)


def test_a_dataset_is_stale_after_a_correction(lake, table):
    built, span = "2026-03-04T00:00:00Z", ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z")
    assert stale_since(lake_corrections(lake), built, *span) is None
    dropped = drop_rows(lake, table.coin_id[0], HOURS[0], HOURS[1], "a test")
    assert "2 dropped" in stale_since(lake_corrections(lake), built, *span)
    restore_rows(lake, dropped.id)
    assert stale_since(lake_corrections(lake), built, *span) is None


def test_compaction_readers_and_corrections_at_once(lake, table):
    """Every reader sees each row once; at the end each correction holds, and nothing else."""
    done, faults = threading.Event(), []

    def reading():
        while not done.is_set():
            rows = read_snapshots(lake)
            if rows.duplicated(["coin_id", "ts"]).any() or len(rows) != len(table):
                faults.append(len(rows))

    def compacting():
        while not done.is_set():
            compact(lake, before=HOURS[-1] + pd.Timedelta("2D"))

    def guarded(work):
        try:
            work()
        except Exception as e:  # the thread tells the test
            faults.append(e)

    threads = [threading.Thread(target=guarded, args=[work]) for work in (reading, compacting)]
    for thread in threads:
        thread.start()
    for n in range(8):
        row = table.iloc[[20 * n]].assign(current_price=1000.0 + n)
        assert store_rows(lake, row, "r", replace=True).replaced >= 1
    done.set()
    for thread in threads:
        thread.join(60)
    assert not faults
    now = prices(lake)
    for n in range(8):
        row = table.iloc[20 * n]
        assert now[row.ts, row.coin_id] == 1000.0 + n
    assert (now >= 1000).sum() >= 8
    assert len(now) == len(table)


def test_names_of_missing_values_are_tickers_on_every_page(tmp_path):
    from fastapi.testclient import TestClient

    from crypto_anomaly.data.row_checks import good_rows
    from crypto_anomaly.lifecycle.dataset_steps import build_dataset
    from crypto_anomaly.lifecycle.train_steps import train_candidate
    from crypto_anomaly.serving.app import create_app

    ws = new_lake(tmp_path)
    hours = pd.date_range("2026-02-01", periods=330, freq="h", tz="UTC")
    table = simulated_table(Market(20, start="2026-01-20"), hours, coins=12)
    odd = dict(zip(table.coin_id.unique(), ["NA", "nan", "null", "None", ""], strict=False))
    raw = table.assign(symbol=table.coin_id.map(odd).fillna(table.symbol))
    rows = good_rows(check_market_rows(raw), "a test")
    ids = list(odd)
    unnamed = rows.assign(symbol=rows.symbol.where(rows.coin_id != ids[4], None))  # an old lake
    write_days(ws, unnamed, "t")
    build_dataset(ws)
    train_candidate(ws)
    with TestClient(create_app(ws.settings), base_url="http://127.0.0.1") as client:
        for path in ("/market", "/anomalies", "/coins", f"/why/{ids[0]}", f"/coins/{ids[4]}"):
            assert client.get(path).status_code == 200, path
        page = client.get("/market").text
    assert "NA" in page
