"""Days of trades that became files are told as before, whatever happens while they move."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import Cli
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.lifecycle.backup import back_up, restore
from crypto_anomaly.lifecycle.database_copy import copy_trades
from crypto_anomaly.lifecycle.retention_steps import archive_trades, prune
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.trades import archive, part_files, parts
from crypto_anomaly.trades.deleted import TradeRange
from crypto_anomaly.trades.epochs import Epoch
from crypto_anomaly.trades.id_ranges import IdRange, range_table
from crypto_anomaly.trades.messages import Refused, Trade, TradeError
from crypto_anomaly.trades.origin import stored_sources
from crypto_anomaly.trades.schema import trades_table
from crypto_anomaly.trades.store import TradeStore, open_store
from crypto_anomaly.trades.stored_end import stored_end

BEGIN = pd.Timestamp("2026-02-01", tz="UTC")
END = BEGIN + pd.Timedelta(days=9)
HOUR = 3_600_000_000
FIRST = int(BEGIN.value // 1000)


def trade(product, i, hours, **fields):
    """A trade at a time; its contents follow from its id."""
    told = dict(taker_side=("buy", "sell")[i % 2], maker_order_id=None, taker_order_id=f"o\t{i}")
    at = FIRST + int(hours * HOUR)
    return Trade(product, i, at, 1 + i / 7, 0.1 * i, **(told | fields))


def days_of_trades(store, seed=1):
    """Four days: two products, two epochs, holes, a gap, refused trades, ids not in time order."""
    rng = random.Random(seed)
    times = [i / 5 + rng.uniform(-0.3, 0.3) for i in range(480)]
    batch = [trade("kraken:X-USD", i, max(0.0, h)) for i, h in enumerate(times, 1)]
    left_out = set(rng.sample(range(2, 480), 60)) | set(range(50, 70))
    store.write(t for t in batch if t.trade_id not in left_out)
    store.write(trade("Y-USD", i, i / 3, source="rest") for i in range(1, 150))
    first = trade("Y-USD", 5, 50)
    store.add_epoch(Epoch("Y-USD", 1, first, 149))
    store.write((trade("Y-USD", i, 49.8 + i / 4) for i in range(1, 180)), epoch=1)
    refused = [
        Refused("kraken:X-USD", i, "size", "0", "is none", "ws", f"row {i}") for i in (55, 56)
    ]
    store.add_refused([*refused, refused[0]._replace(trade_id=71)])
    store.open_gap("kraken:X-USD", 400, 420, "an outage")
    row = dict(price=1.0, score=1.0, reason="", evidence={}, kind="burst", ts=FIRST)
    store.add_alarms([row | dict(product_id="kraken:X-USD", trade_id=i, epoch=0) for i in (30, 31)])


def answers(store):
    """What every reader says."""
    found, at = {}, [BEGIN + pd.Timedelta(hours=h) for h in (0, 11, 24, 30, 60, 100)]
    names = store.stored_products()
    for p in names:
        for epoch in (None, 0, 1, 2):
            queries = [dict(), dict(newest=0), dict(newest=1), dict(newest=77), dict(newest=10**6)]
            queries += [dict(first_id=40, last_id=200), dict(last_id=90, newest=10)]
            queries += [dict(start=a, end=b) for a, b in itertools.combinations(at, 2)]
            queries += [dict(start=at[1], newest=33), dict(end=at[4], newest=50)]
            queries += [dict(start=at[2], end=at[4], first_id=80, last_id=300)]
            for query in queries:
                found[p, epoch, str(query)] = store.read(p, epoch=epoch, **query)
        found[p] = [
            *(store.last_id(p), store.current_epoch(p), store.holes(p), store.epochs(p)),
            *(store.holes_between(p, 1, 500, e) for e in (0, 1)),
            *(store.ranges_between(p, 45, 300, e) for e in (0, 1)),
            *(store.count_between(p, 45, 300, e) for e in (0, 1)),
            *(store.refused_between(p, 1, 500, epoch=e) for e in (0, 1)),
            *(store.epoch_facts(p, e) for e in (0, 1)),
            *(store.is_whole(p, IdRange(1, 40), e) for e in (0, 1)),
            stored_end(store, p).recent,
            stored_end(store, p).sequence.newest,
        ]
    found["all"] = [store.completeness_of([*names, "Z"]), store.summaries(names), names]
    found["rest"] = [store.gaps(opened=True), stored_sources(store), store.wrong_ranges()]
    found["ranges"] = sorted(map(tuple, store.rows(sa.select(range_table))))
    for day in (1, 2, 3, 9):
        old = BEGIN + pd.Timedelta(days=day)
        ends = [(e[:3], up_to) for e, up_to in store.old_trades(old)]
        found["old", day] = [ends, store.delete_before(old, dry_run=True)]
    return found


def brief(store):
    """What some readers say, in little time."""
    queries = (dict(), dict(newest=20), dict(start=BEGIN + pd.Timedelta(hours=11)))
    found = {str(query): store.read("X-USD", **query) for query in queries}
    ranges = sorted(map(tuple, store.rows(sa.select(range_table))))
    return found | dict(rest=[store.completeness("X-USD"), store.wrong_ranges(), ranges])


def assert_same(store, before, ask=answers):
    """Every reader says what it said before."""
    now = ask(store)
    assert list(now) == list(before)
    for name, told in before.items():
        if isinstance(told, pd.DataFrame):
            pd.testing.assert_frame_equal(now[name], told, obj=str(name))
        else:
            assert now[name] == told, name


def in_table(store):
    """How many trades are rows of the table."""
    return store.value(sa.select(sa.func.count()).select_from(trades_table))


def files(store):
    """The files below the folder of the parts."""
    return sorted(p.relative_to(store.parts_folder).as_posix() for p in _files(store.parts_folder))


def _files(folder):
    return [p for p in folder.rglob("*") if p.is_file()]


@pytest.fixture
def small(monkeypatch):
    """Slices of seven trades, and chunks of ten."""
    monkeypatch.setattr(parts, "SLICE", 7)
    monkeypatch.setattr(archive, "CHUNK", 10)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_reader_says_the_same(db_url, tmp_path, small, seed):
    store = TradeStore(db_url, tmp_path / "parts")
    days_of_trades(store, seed)
    before, rows = answers(store), in_table(store)
    new = store.archive(END, days=1)
    assert [p.day for p in new] == ["2026-02-01"] * 2
    assert_same(store, before)
    new += store.archive(END, days=9)
    assert in_table(store) == rows - sum(p.trades for p in new)
    told = {(p.product_id, p.epoch, p.day[-2:]) for p in new}
    x, y = "kraken:X-USD", "Y-USD"
    days = [(x, 0, "01"), (x, 0, "02"), (x, 0, "03"), (y, 0, "01"), (y, 0, "02"), (y, 0, "03")]
    assert told == {*days, (y, 1, "03")}  # nothing later is stored; of X a gap is open, too
    assert sorted(p.path for p in store.parts()) == files(store)
    assert_same(store, before)
    assert store.archive(END, days=9) == store.damaged_parts() == []
    store.close_as_lost(store.gaps(opened=True)[0]["id"])
    assert [(p.product_id, p.day) for p in store.archive(END)] == []  # nothing later is stored
    store.write([trade("kraken:X-USD", 481, 97)])
    assert [(p.product_id, p.day) for p in store.archive(END)] == [("kraken:X-USD", "2026-02-04")]
    assert store.wrong_ranges() == []


IDS = st.integers(1, 60)
STEP = st.one_of(
    st.tuples(st.just("store"), st.integers(0, 1), st.lists(IDS, min_size=1, max_size=25)),
    st.tuples(st.just("delete"), st.integers(0, 5), st.lists(st.tuples(IDS, IDS), max_size=2)),
    st.tuples(st.just("archive"), st.integers(0, 5), st.integers(1, 3)),
    st.tuples(st.just("gap"), IDS, IDS),
    st.tuples(st.just("refuse"), st.integers(0, 1), IDS),
)


def do(store, step):
    """One step of a life; `archive` only where the store has files."""
    kind, number, values = step
    if kind == "store":
        batch = [trade("X-USD", i, 2 * i + (i % 3)) for i in values]
        other = [trade("Y-USD", i, 2 * i) for i in values[:4]]
        store.write_epochs({number: batch, 0: other if number else batch + other})
        row = dict(price=1.0, score=1.0, reason="", evidence={}, kind="burst", ts=FIRST)
        store.add_alarms([row | dict(product_id="X-USD", trade_id=values[0], epoch=number)])
    elif kind == "delete":
        keep = [TradeRange("X-USD", min(pair), max(pair)) for pair in values]
        return store.delete_before(BEGIN + pd.Timedelta(days=number), keep=keep)
    elif kind == "gap":
        store.open_gap("X-USD", min(number, values), max(number, values), "t")
    elif kind == "refuse":
        refused = Refused("X-USD", values, "size", "0", "is none", "ws", f"row {values}")
        store.add_refused([refused], epoch=number)
    elif store.parts_folder.name == "files":
        store.archive(BEGIN + pd.Timedelta(days=number), days=values)
    return None


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEP, min_size=3, max_size=12))
def test_a_store_with_files_is_as_one_without(steps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lives")
    plain = TradeStore(f"sqlite:///{folder}/rows.db")
    store = TradeStore(f"sqlite:///{folder}/files.db")
    for step in steps:
        assert do(plain, step) == do(store, step)
        assert store.wrong_ranges() == []
    told, before = answers(store), answers(plain)
    for name in ("rest",):  # times of gaps differ
        for one in (told, before):
            one[name] = [
                [{k: g[k] for k in ("from_id", "to_id", "epoch")} for g in one[name][0]],
                *one[name][1:],
            ]
    assert list(told) == list(before)
    for name, expected in before.items():
        if isinstance(expected, pd.DataFrame):
            pd.testing.assert_frame_equal(told[name], expected, obj=str(name))
        else:
            assert told[name] == expected, name
    assert store.damaged_parts() == []
    assert {p.path for p in store.parts()} <= set(files(store))
    shutil.rmtree(folder)


class Died(Exception):
    """A process that dies."""


def dying(monkeypatch, step):
    """Let the process die at one step: before or after a file, a transaction or a deletion."""
    seen = itertools.count()

    def around(owner, name):
        real = getattr(owner, name)

        def call(*given, **options):
            if next(seen) == step:
                raise Died
            done = real(*given, **options)
            if next(seen) == step:
                raise Died
            return done

        monkeypatch.setattr(owner, name, call)

    for name in ("replace_file", "sync_file", "part_chunks", "_digest", "file_problem"):
        around(part_files, name)
    for name in ("_delete_rows", "lock_series", "recount"):
        around(parts, name)
    around(Path, "unlink")
    return seen


def test_a_process_that_dies_at_any_step_loses_and_doubles_nothing(tmp_path, small):
    store = TradeStore(f"sqlite:///{tmp_path}/trades.db")
    store.write(trade("X-USD", i, i) for i in range(1, 60))
    expected, died = brief(store), 0
    store.engine.dispose()
    for step in range(200):
        folder = tmp_path / str(step)
        folder.mkdir()
        shutil.copyfile(tmp_path / "trades.db", folder / "trades.db")
        store = TradeStore(f"sqlite:///{folder}/trades.db")
        with pytest.MonkeyPatch.context() as patch:
            dying(patch, step)
            try:
                store.archive(END, days=9)
            except Died:
                died += 1
            else:
                break
        assert_same(store, expected, brief)
        store.archive(END, days=9)
        assert_same(store, expected, brief)
        assert in_table(store) == 59 - 47  # the third day has no later trade
        assert [p.moving for p in store.parts()] == [0, 0]
        assert sorted(p.path for p in store.parts()) == files(store)
        store.engine.dispose()
        shutil.rmtree(folder)
    assert died > 30


def test_retention_that_dies_at_any_step_goes_on(tmp_path, small):
    store = TradeStore(f"sqlite:///{tmp_path}/trades.db")
    store.write(trade("X-USD", i, i) for i in range(1, 60))
    store.archive(END, days=9)
    store.engine.dispose()
    keep = [TradeRange("X-USD", 20, 30)]
    for step in range(200):
        folder = tmp_path / str(step)
        shutil.copytree(tmp_path / "trades", folder / "trades")
        shutil.copyfile(tmp_path / "trades.db", folder / "trades.db")
        store, done = TradeStore(f"sqlite:///{folder}/trades.db"), False
        with pytest.MonkeyPatch.context() as patch:
            dying(patch, step)
            try:
                store.delete_before(BEGIN + pd.Timedelta(days=2), keep=keep)
                done = True
            except Died:
                assert set(store.read("X-USD").trade_id) >= {*range(20, 31), *range(48, 60)}
        store.delete_before(BEGIN + pd.Timedelta(days=2), keep=keep)
        assert store.read("X-USD").trade_id.tolist() == [*range(20, 31), *range(48, 60)]
        assert store.wrong_ranges() == store.damaged_parts() == []
        store.engine.dispose()
        shutil.rmtree(folder)
        if done:
            break
    assert step > 10


KILLED = """
import os, signal, sys
import pandas as pd
from crypto_anomaly.trades import archive, part_files, parts
from crypto_anomaly.trades.store import TradeStore

left = int(sys.argv[2])
parts.SLICE = 7

def around(owner, name):
    real = getattr(owner, name)
    def call(*given, **options):
        global left
        done = real(*given, **options)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    setattr(owner, name, call)

around(part_files, "replace_file")
around(part_files, "sync_file")
around(parts, "_delete_rows")
TradeStore(sys.argv[1]).archive(pd.Timestamp("2026-02-10", tz="UTC"))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_process_loses_and_doubles_nothing(tmp_path):
    store = TradeStore(f"sqlite:///{tmp_path}/trades.db")
    store.write(trade("X-USD", i, i) for i in range(1, 60))
    expected = answers(store)
    for step in (1, 2, 3, 3, 4, 2, 6):
        ran = subprocess.run(
            [sys.executable, "-c", KILLED, f"sqlite:///{tmp_path}/trades.db", str(step)],
            timeout=120,
            env=dict(os.environ),
            check=False,
        )
        assert ran.returncode in (-signal.SIGKILL, 0)
        assert_same(store, expected)
    store.archive(END, days=9)
    assert_same(store, expected)
    assert in_table(store) == 12


def test_trades_that_retention_deletes_meanwhile_do_not_come_back(tmp_path, monkeypatch):
    store = TradeStore(f"sqlite:///{tmp_path}/trades.db")
    store.write(trade("X-USD", i, i) for i in range(1, 60))
    write = archive.write_part

    def slow(*given):
        part = write(*given)
        store.delete_before(BEGIN + pd.Timedelta(hours=10))
        return part

    monkeypatch.setattr(archive, "write_part", slow)
    new = store.archive(END, days=9)
    assert [p.day for p in new] == ["2026-02-02"]
    assert store.read("X-USD").trade_id.tolist() == list(range(10, 60))
    monkeypatch.undo()
    assert [p.ids for p in store.archive(END)] == ["10-23"]
    assert store.read("X-USD").trade_id.tolist() == list(range(10, 60))
    assert store.wrong_ranges() == []


def test_a_late_trade_is_told_with_its_day_and_none_is_stored_twice(db_url, tmp_path):
    store = TradeStore(db_url, tmp_path / "parts")
    batch = [trade("X-USD", i, i / 10) for i in range(1, 400)]
    late = {5, 100, 101, 230}
    store.write(t for t in batch if t.trade_id not in late)
    gap = store.open_gap("X-USD", 5, 5, "late")
    store.close_as_lost(gap)
    assert len(store.archive(END)) == 1
    left = in_table(store)
    store.write([t._replace(price=9.9) for t in batch[:90] if t.trade_id not in late])
    assert in_table(store) == left  # what a file has is not stored again
    other = [t._replace(product_id="Y-USD") for t in batch[:3]]
    store.write_epochs({0: [*batch[:120], *other], 1: [batch[0]._replace(product_id="Z-USD")]})
    assert in_table(store) == left + 3 + 3 + 1
    store.write(batch)
    read = store.read("X-USD")
    assert read.trade_id.tolist() == list(range(1, 400))
    assert read.price.tolist() == [t.price for t in batch]
    assert store.completeness("X-USD")["missing"] == 0
    assert store.wrong_ranges() == store.archive(END) == []


def test_readers_and_a_writer_beside_it_see_every_trade_once(tmp_path, small):
    store = TradeStore(f"sqlite:///{tmp_path}/trades.db")
    store.write(trade("X-USD", i, i / 20) for i in range(1, 1000))
    wrong, done = [], threading.Event()

    def read():
        while not done.is_set():
            ids = store.read("X-USD", last_id=999).trade_id.tolist()
            newest = store.read("X-USD", last_id=999, newest=600).trade_id.tolist()
            if ids != list(range(1, 1000)) or newest != list(range(400, 1000)):
                wrong.append((len(ids), len(newest)))

    def write():
        for i in itertools.count(1000):
            if done.is_set():
                return
            store.write(
                [trade("X-USD", i, i / 20), trade("X-USD", i % 900 + 1, (i % 900 + 1) / 20)]
            )

    threads = [threading.Thread(target=work) for work in (read, read, write)]
    for thread in threads:
        thread.start()
    try:
        assert len(store.archive(END)) == 2
        store.delete_before(BEGIN, keep=[])
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
    assert wrong == []
    assert store.wrong_ranges() == []


def test_retention_deletes_files_and_keeps_what_is_referred_to(db_url, tmp_path):
    store = TradeStore(db_url, tmp_path / "parts")
    store.write(trade("X-USD", i, i / 10) for i in range(1, 1000))
    row = dict(price=1.0, score=1.0, reason="", evidence={}, kind="burst", ts=FIRST)
    store.add_alarms([row | dict(product_id="X-USD", trade_id=77, epoch=0)])
    store.archive(END, days=9)
    assert len(files(store)) == 4
    keep, limit = [TradeRange("X-USD", 250, 260)], BEGIN + pd.Timedelta(days=2, hours=5)
    planned = store.delete_before(limit, keep=keep, dry_run=True)
    assert planned == store.delete_before(limit, keep=keep) == 479 - 1 - 11
    left = [77, *range(250, 261), *range(480, 1000)]
    assert store.read("X-USD").trade_id.tolist() == left
    assert [p.trades for p in store.parts()] == [1, 11, 240, 240]
    facts = store.completeness("X-USD")
    assert (facts["trades"], facts["first_id"], facts["missing"]) == (520, 480, 0)
    assert store.delete_before(BEGIN + pd.Timedelta(days=3)) == 11 + 240
    assert store.read("X-USD").trade_id.tolist() == [77, *range(720, 1000)]
    assert sorted(p.path for p in store.parts()) == files(store)
    assert len(files(store)) == 2
    assert store.wrong_ranges() == store.damaged_parts() == []


@pytest.fixture
def ws(tmp_path):
    """A workspace with four days of trades, all but the last one in files."""
    ws = open_workspace(Settings(home=tmp_path / "var", workspace="w", products="X-USD"))
    claim(ws, "coingecko")
    open_registry(ws)
    open_store(ws).write(trade("X-USD", i, i / 10) for i in range(1, 900))
    return ws


def now(days):
    """A time after the first trade."""
    return BEGIN + pd.Timedelta(days=days)


def test_the_setting_says_when(ws):
    def of(value):
        own = ws.settings.model_copy(update=dict(trades_parts_after=value))
        return ws.__class__(own, ws.name)

    assert Settings().trades_parts_after is None
    assert archive_trades(of(0), now(9)) == []
    assert archive_trades(ws, now(2.9)) == []
    assert [p.day for p in archive_trades(ws, now(3.1))] == ["2026-02-01"]
    assert archive_trades(of(9), now(9)) == []
    assert [p.day for p in archive_trades(of(1), now(4.1))] == ["2026-02-02", "2026-02-03"]
    assert open_store(ws).parts_folder == ws.root / "trades"


def test_a_server_keeps_rows_unless_told(postgres_store):
    ws, store = postgres_store
    assert archive_trades(ws, now(9)) == []
    own = ws.settings.model_copy(update=dict(trades_parts_after=1))
    assert len(archive_trades(ws.__class__(own, ws.name), now(9))) == 3
    assert len(files(store)) == 3
    assert store.parts_folder == ws.root / "trade_parts"


@pytest.fixture
def postgres_store(request, tmp_path):
    """A workspace whose trades are on a server."""
    server, name = request.getfixturevalue("postgres"), f"parts{time.monotonic_ns()}"
    admin = sa.create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as c:
        c.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()
    own = dict(home=tmp_path / "var", workspace="w", trades_url=f"{server}/{name}")
    ws = open_workspace(Settings(**own, products="X-USD"))
    claim(ws, "coingecko")
    store = open_store(ws)
    store.write(trade("X-USD", i, i / 10) for i in range(1, 900))
    return ws, store


def test_backup_restore_and_copy_have_every_trade(ws, tmp_path, postgres_store):
    store = open_store(ws)
    archive_trades(ws, now(9))
    expected, everything = answers(store), store.read("X-USD")
    manifest = back_up(ws, tmp_path / "saved")
    assert sum(name.startswith("trades") for name in manifest["files"]) == 1 + 3
    counts = copy_trades(store, f"sqlite:///{tmp_path}/copied.db")
    assert counts["trades"] == 899
    copied = TradeStore(f"sqlite:///{tmp_path}/copied.db")
    assert (copied.parts(), in_table(copied)) == ([], 899)
    assert_same(copied, expected)
    server, there = postgres_store
    with there.transaction() as c:
        for table in reversed(trades_table.metadata.sorted_tables):
            c.execute(sa.delete(table))
    store.engine.dispose()
    restore(ws, tmp_path / "saved", replace=True)
    again = open_store(ws)
    assert len(again.parts()) == 3
    assert_same(again, expected)
    assert again.damaged_parts() == []
    again.engine.dispose()
    restore(server, tmp_path / "saved", replace=True)
    pd.testing.assert_frame_equal(TradeStore(server.trades_url).read("X-USD"), everything)
    assert not (server.root / "trades").exists()


def test_verify_finds_a_damaged_file_and_mends(ws):
    cli, store = Cli(ws.settings.home, workspace="w"), open_store(ws)
    archive_trades(ws, now(9))
    assert "are as many as are written down" in cli("verify", "--trades").stderr
    part = store.parts()[1]
    path = store.parts_folder / part.path
    content = path.read_bytes()
    path.write_bytes(content[:900] + bytes([content[900] ^ 1]) + content[901:])
    said = cli("verify", "--trades", ok=False).stderr
    assert "X-USD (epoch 0), 2026-02-02: its file was changed, so 240 trades cannot be read" in said
    with pytest.raises(TradeError, match="verify --trades"):
        store.read("X-USD")
    assert len(store.read("X-USD", start=now(2))) == 420  # other days are told
    with pytest.raises(TradeError, match="was changed"):
        store.finish_part(part)
    path.unlink()
    assert "its file is missing" in cli("verify", "--trades", ok=False).stderr
    with pytest.raises(TradeError, match="is missing"):
        store.read("X-USD")
    path.write_bytes(content[:-5])
    assert "mended: X-USD" in cli("verify", "--trades", "--mend").stderr
    assert cli("verify", "--trades").returncode == 0
    assert len(store.read("X-USD")) == 899 - 240
    assert store.completeness("X-USD")["missing"] == 240
    gaps = store.gaps(opened=True)
    assert [(g["from_id"], g["to_id"]) for g in gaps] == [(part.first_id, part.last_id)]
    store.write(trade("X-USD", i, i / 10) for i in range(1, 900))
    assert store.completeness("X-USD")["missing"] == 0


def test_prune_deletes_files_and_moves_days(ws):
    store, today = open_store(ws), pd.Timestamp.now("UTC").floor("D")
    shift = int((today - pd.Timedelta(days=32) - BEGIN).value // 1000)
    with store.transaction() as c:
        c.execute(sa.text("UPDATE trades SET ts = ts + :by"), dict(by=shift))
    assert len(archive_trades(ws, today)) == 3
    assert prune(ws, dry_run=True) == prune(ws) == ["479 trades"]  # the third day is not over yet
    assert store.read("X-USD").trade_id.tolist() == list(range(480, 900))
    assert [p.trades for p in store.parts()] == [240]
    assert [p.path for p in store.parts()] == files(store)
    later = int((today - pd.Timedelta(days=20) - BEGIN).value // 1000)
    store.write(trade("X-USD", i, i / 10)._replace(ts=FIRST + later + i) for i in range(900, 950))
    moved = [p.trades for p in store.parts()]
    assert prune(ws) == []
    assert [p.trades for p in store.parts()] == [*moved, 180]
    assert store.wrong_ranges() == store.damaged_parts() == []
