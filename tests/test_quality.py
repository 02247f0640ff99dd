"""Rows too far apart, coins that are polled by turns, and faults that everybody can see."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
from conftest import Cli
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.data.lake import write_part
from crypto_anomaly.data.polls import newest_poll, poll_ends
from crypto_anomaly.data.resolution import (
    CoarseDataError,
    coarse_coins,
    name_spacing,
    resolution_notes,
    spacing,
)
from crypto_anomaly.data.row_counts import FAULTS, counts_of_events, row_counts
from crypto_anomaly.data.table import DataError, market_table
from crypto_anomaly.eval.backtest import lookahead, replay
from crypto_anomaly.features.features import featurize
from crypto_anomaly.lifecycle.dataset_steps import build_dataset
from crypto_anomaly.lifecycle.train_steps import train_candidate
from crypto_anomaly.model.moment import find_left_out
from crypto_anomaly.model.scan import scan
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.serving.data_pages import data_page, quality_part
from crypto_anomaly.serving.state import AppState

START = pd.Timestamp("2026-01-03", tz="UTC")


def market(rows=260, coins=24, hours=1.0, seed=3):
    """Invented coins, each with rows so many hours apart."""
    rng = np.random.default_rng(seed)
    ts = START + pd.to_timedelta(np.arange(rows) * hours, unit="h")
    shared, parts = np.cumsum(rng.standard_t(4, rows) * 0.003 * hours**0.5), []
    for number in range(coins):
        own = np.cumsum(rng.standard_t(4, rows) * 0.006 * hours**0.5)
        price = 10 ** rng.uniform(-1, 3) * np.exp(shared + own)
        facts = dict(coin_id=f"coin-{number:02}", symbol=f"c{number:02}", name=f"Coin {number}")
        volume = 1e7 * np.exp(rng.normal(0, 0.1, rows))
        numbers = dict(current_price=price, market_cap=price * 1e7, total_volume=volume)
        parts.append(pd.DataFrame(dict(ts=ts) | facts | numbers))
    table = pd.concat(parts, ignore_index=True)
    return market_table(table.assign(source="import", run_id="", approximate=False))


def at_own_times(table, step):
    """The same rows, each coin `step` later than the coin before it."""
    number = pd.factorize(table.coin_id)[0]
    return table.assign(ts=table.ts + pd.Timedelta(step) * number)


def lake(tmp_path, table):
    ws = claim(open_workspace(Settings(home=tmp_path / "home", source="coingecko")), "coingecko")
    write_part(ws, "snapshots", table, tag="test")
    return ws


# --- resolution


@pytest.mark.parametrize("hours, name", [(4, "4-hourly"), (6, "6-hourly"), (24, "daily")])
def test_rows_too_far_apart_are_refused_by_name(tmp_path, hours, name):
    ws = lake(tmp_path, market(rows=120, hours=hours))
    with pytest.raises(CoarseDataError, match=rf"{hours} h at the median \({name}\).*backfill"):
        build_dataset(ws, max_history_hours=120 * hours, holdout_hours=10 * hours)


@pytest.mark.parametrize("hours", [1, 2, 3])
def test_rows_up_to_three_hours_apart_are_judged(tmp_path, hours):
    table = market(rows=300, hours=hours)
    newest = table.ts.max()
    is_last = table.ts == newest
    table.loc[is_last & (table.coin_id == "coin-03"), ["current_price", "market_cap"]] *= 1.5
    ws = lake(tmp_path, table)
    build_dataset(ws, max_history_hours=300 * hours, holdout_hours=12 * hours)
    train_candidate(ws)
    flagged = scan(ws).anomalies.coin_id
    assert flagged.iloc[0] == "coin-03"
    assert len(flagged) < 8


def test_a_coarse_coin_among_hourly_ones_is_named_and_left_out(tmp_path, caplog):
    table = market()
    is_kept = (table.coin_id != "coin-05") | (table.ts.dt.hour == 0)
    ws = lake(tmp_path, table[is_kept])
    logging.getLogger("crypto_anomaly").propagate = True
    with caplog.at_level(logging.WARNING):
        built = build_dataset(ws, max_history_hours=240)
    assert built["report"]["coarse_coins"] == ["coin-05"]
    assert "coin-05" in caplog.text
    _, model, rows = train_candidate(ws)
    assert "coin-05" not in set(rows.coin_id)
    seen = scan(ws, at=table.ts[table.ts.dt.hour == 0].max())  # the daily row is there
    assert seen.left_out.coin_id.tolist() == ["coin-05"]
    assert "daily" in seen.left_out.why[0]
    assert "coin-05" not in set(seen.predictions.coin_id)


def test_ids_that_never_repeat_are_one_clear_error(tmp_path):
    table = market(rows=60, coins=4)
    table["coin_id"] = np.arange(len(table)).astype(str)
    assert "is the column of ids the number of the row?" in resolution_notes(table)[0]
    with pytest.raises(DataError, match="no id has rows at two times: 240 ids in 240 rows"):
        build_dataset(lake(tmp_path, table))


def test_too_few_rows_of_every_coin_are_one_clear_error(tmp_path):
    table = market()
    is_even = pd.factorize(table.coin_id)[0] % 2 == table.ts.dt.hour % 2
    with pytest.raises(DataError, match="none of 24 coins has 150 rows"):
        build_dataset(
            lake(tmp_path, table[is_even]), max_history_hours=300, min_snapshots_per_coin=150
        )


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10**6)), max_size=40))
def test_any_table_has_a_spacing(rows):
    table = pd.DataFrame(rows, columns=["coin_id", "minute"])
    table["ts"] = START + pd.to_timedelta(table.minute, unit="min")
    measured = spacing(table)
    assert measured.rows.sum() == len(table)
    for coin, hours in measured.hours.items():
        steps = table[table.coin_id == coin].ts.drop_duplicates().sort_values().diff().dropna()
        expected = (steps / pd.Timedelta("1h")).median()
        assert hours == pytest.approx(expected, nan_ok=True)
        if hours == hours:
            assert name_spacing(hours)
    assert set(coarse_coins(measured).index) <= set(table.coin_id)
    assert all(isinstance(note, str) for note in resolution_notes(table))


# --- polls


@pytest.mark.parametrize("step", ["0s", "1s", "20s", "70s", "2.5min"])
def test_coins_polled_at_their_own_times_are_one_moment(tmp_path, step):
    table = market()
    is_last = table.ts == table.ts.max()
    table.loc[is_last & (table.coin_id == "coin-03"), ["current_price", "market_cap"]] *= 1.4
    ws = lake(tmp_path, at_own_times(table, step))
    build_dataset(ws, max_history_hours=240)
    train_candidate(ws)
    seen = scan(ws)
    assert len(seen.predictions) == 24
    assert seen.left_out.empty
    assert seen.features.price_change_pct_1h_cross_z.notna().all()
    assert "coin-03" in set(seen.anomalies.coin_id)
    replayed = replay(ws, "v1", start=table.ts.max() - pd.Timedelta("20h"))
    assert lookahead(ws, replayed, "v1").differing.sum() == 0


def test_a_poll_of_seconds_has_the_cross_section_of_its_moment():
    table = market(rows=60)
    at_once, by_turns = (featurize(at_own_times(table, step)) for step in ("0s", "2s"))
    z = "price_change_pct_1h_cross_z"
    pd.testing.assert_series_equal(at_once[z], by_turns[z])


def test_who_is_behind_is_named_once_and_forgotten_after_a_week():
    table = market(rows=220)
    ends = {"coin-01": 1, "coin-02": 30, "coin-03": 200}
    hours_old = (table.ts.max() - table.ts) / pd.Timedelta("1h")
    left = find_left_out(table[hours_old >= table.coin_id.map(ends).fillna(0)])
    assert left.coin_id.tolist() == ["coin-01", "coin-02"]
    assert left.why.tolist() == [
        "its newest row is 1 h behind the market",
        "its newest row is 30 h behind the market",
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4000)), min_size=1, max_size=60))
def test_a_poll_is_short_and_holds_a_coin_once(rows):
    frame = pd.DataFrame(rows, columns=["coin_id", "second"]).drop_duplicates()
    frame = frame.sort_values("second", kind="stable", ignore_index=True)
    us = frame.second.to_numpy(np.int64) * 10**6
    ends = poll_ends(us, frame.coin_id.to_numpy())
    assert (ends >= us).all()
    assert (ends - us <= 30 * 60 * 10**6).all()
    moved = frame.assign(end=ends)[ends > us]
    assert not moved.duplicated(["coin_id", "end"]).any()
    frame["ts"] = START + pd.to_timedelta(frame.second, unit="s")
    newest, current = newest_poll(frame)
    assert newest.coin_id.is_unique
    assert current[newest.ts == frame.ts.max()].all()


# --- what people see


def test_left_out_coins_are_on_every_surface(tmp_path):
    table = market()
    gone = (table.coin_id == "coin-02") & (table.ts > table.ts.max() - pd.Timedelta("5h"))
    ws = lake(tmp_path, table[~gone])
    build_dataset(ws, max_history_hours=240)
    train_candidate(ws)
    cli = Cli(tmp_path / "home", workspace=ws.name)
    said = cli("scan", "--json")
    facts = json.loads(said.stdout)
    assert facts["coins_left_out"] == 1
    assert facts["left_out"][0]["coin_id"] == "coin-02"
    assert "5 h behind" in facts["left_out"][0]["why"]
    assert "coins left out: 1: coin-02" in cli("scan").stderr
    message = cli.error("scan", "--at", "2099-01-01")
    assert "is in the future" in message


def test_faults_are_shown_by_source_and_day(tmp_path):
    table = market(rows=100)
    is_kept = (table.coin_id != "coin-05") | (table.ts.dt.hour == 0)
    table = table[is_kept].reset_index(drop=True)
    again = table.tail(2).assign(ts=table.ts.max() + pd.Timedelta("3min"))
    ws = lake(tmp_path, pd.concat([table, again], ignore_index=True))
    r = open_registry(ws)
    summary = dict(rows=90, refused=7, differing=9, replaced=4, duplicates=1)
    r.publish("data_imported", source="import", **summary)
    r.publish("rows_replaced", rows=4)
    r.publish("rows_dropped", rows=3)
    r.publish("snapshot_ingested", source="coingecko", refused=2, repeated=5)
    state = AppState(ws)
    assert 'data-part="/data.quality"' in data_page(state)
    page = quality_part(state)
    assert 'data-figure="faults"' in page
    for kind in FAULTS:
        assert f">{kind}</th>" in page
    assert "coin-05" in page
    counts = row_counts(table, r.events(limit=100))[list(FAULTS)].sum()
    expected = dict(refused=9, differing=5, replaced=4, dropped=3, duplicate=6, coarse=5, late=0)
    assert counts.to_dict() == expected


@given(
    st.lists(
        st.fixed_dictionaries(
            dict(
                at=st.just("2026-03-01T09:00:00Z"),
                kind=st.sampled_from(
                    ["data_imported", "rows_dropped", "history_ready", "promoted"]
                ),
                payload=st.none()
                | st.dictionaries(
                    st.sampled_from(["refused", "rows", "differing", "file", "source"]),
                    st.none() | st.integers(0, 9) | st.text(max_size=3) | st.lists(st.none()),
                ),
            )
        )
    )
)
def test_events_of_any_age_can_be_counted(events):
    counts = counts_of_events(events)
    assert (counts.rows > 0).all()
    assert set(counts.kind) <= set(FAULTS)
