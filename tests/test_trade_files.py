"""Files of trades of everybody's making: read right, or refused by name; never a traceback."""

import gzip
import io
import json
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
from conftest import EXAMPLES, Cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.data.table import DataError
from crypto_anomaly.trades.format_list import FORMATS
from crypto_anomaly.trades.messages import TradeError
from crypto_anomaly.trades.origin import MixedTradesError, Origin, claim_store
from crypto_anomaly.trades.playback import import_summary, replay_file
from crypto_anomaly.trades.recordings import read_recording
from crypto_anomaly.trades.table import to_trades

AT = pd.Timestamp("2026-01-02 12:00", tz="UTC")
N = 40


def market(n=N, seed=3):
    """Trades of our own: ids, times, prices, sizes and the taker's side."""
    r = np.random.default_rng(seed)
    return pd.DataFrame(
        dict(
            id=np.arange(7000, 7000 + n),
            ts=AT + pd.to_timedelta(np.cumsum(r.integers(1, 4000, n)), unit="ms"),
            price=np.round(100 * np.exp(np.cumsum(r.normal(0, 1e-3, n))), 4),
            size=np.round(r.uniform(0.01, 2, n), 5),
            side=r.choice(["buy", "sell"], n),
        )
    )


M = market()
MS = M.ts.dt.as_unit("ms").astype("int64")
ISO = M.ts.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
MAKER = M.side.map(dict(buy="sell", sell="buy"))
SELLS = M.side.eq("sell")
ROWS = list(zip(M.id, MS, M.price, M.size if False else M["size"], M.side))


def csv(header=True, **columns):
    """A CSV file."""
    return pd.DataFrame(columns).to_csv(index=False, header=header).encode()


def lines(rows):
    """JSON lines."""
    return "\n".join(json.dumps(row, default=str) for row in rows).encode()


def objects(**columns):
    """Rows as dictionaries."""
    return pd.DataFrame(columns).astype(object).to_dict("records")


def parquet(**columns):
    """A Parquet file."""
    out = io.BytesIO()
    pd.DataFrame(columns).to_parquet(out)
    return out.getvalue()


def feather(**columns):
    """A Feather file."""
    out = io.BytesIO()
    pd.DataFrame(columns).to_feather(out)
    return out.getvalue()


def zipped(data):
    """A zip archive of one file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("inside.csv", data)
    return out.getvalue()


EXCHANGE = objects(
    type="match",
    trade_id=M.id,
    product_id="BTC-USD",
    maker_order_id="m",
    taker_order_id="t",
    side=MAKER,
    size=M["size"].astype(str),
    price=M.price.astype(str),
    time=ISO,
)
REST = [{k: row[k] for k in ("trade_id", "side", "size", "price", "time")} for row in EXCHANGE]
ADVANCED = [
    dict(
        channel="market_trades",
        events=[dict(type="update", trades=[row | dict(side=side.upper())])],
    )
    for row, side in zip(REST, M.side)
]
BEATS = [dict(type="subscriptions", channels=[]), dict(type="heartbeat", last_trade_id=7)]
TRADES = csv(
    header=False, a=M.id, b=M.price, c=M["size"], d=M.price * M["size"], e=MS, f=SELLS, g=True
)
AGG = csv(False, a=M.id, b=M.price, c=M["size"], d=M.id, e=M.id, f=MS * 1000, g=SELLS, h=True)
KRAKEN = [[str(p), str(q), ms / 1000, s[0], "m", "", i] for i, ms, p, q, s in ROWS]
FREQTRADE = [[ms, str(i), None, s, p, q, p * q] for i, ms, p, q, s in ROWS]
CCXT = objects(
    info=[{}] * N,
    timestamp=MS,
    datetime=ISO,
    symbol="BTC/USDT",
    id=M.id.astype(str),
    order=None,
    type=None,
    side=M.side,
    takerOrMaker=None,
    price=M.price,
    amount=M["size"],
    cost=M.price * M["size"],
)
TARDIS = dict(
    exchange="bitmex",
    symbol="XBTUSD",
    timestamp=MS * 1000,
    local_timestamp=MS * 1000 + 7,
    id=[f"06cf84cf-1e90-88b0-8fca-{i:012}" for i in M.id],
    side=M.side,
    price=M.price,
    amount=M["size"],
)
OURS = dict(
    product_id="BTC-USD", trade_id=M.id, ts=ISO, price=M.price, size=M["size"], taker_side=M.side
)
AGG_NAMES = dict(
    agg_trade_id=M.id,
    price=M.price,
    quantity=M["size"],
    first_trade_id=M.id,
    last_trade_id=M.id,
    transact_time=MS,
    is_buyer_maker=SELLS,
)
SIMPLE = dict(time=ISO, trade_id=M.id, price=M.price, volume=M["size"])

FILES = {
    "ours csv": (csv(**OURS), "ours"),
    "ours parquet": (parquet(**(OURS | dict(ts=M.ts))), "ours"),
    "ours feather": (feather(**(OURS | dict(ts=M.ts))), "ours"),
    "ours gz": (gzip.compress(csv(**OURS)), "ours"),
    "ours zip": (zipped(csv(**OURS)), "ours"),
    "ours newest first": (
        csv(**{k: v if isinstance(v, str) else v[::-1] for k, v in OURS.items()}),
        "ours",
    ),
    "exchange feed": (lines(BEATS + EXCHANGE), "coinbase_feed"),
    "exchange csv": (pd.DataFrame(EXCHANGE).to_csv(index=False).encode(), "coinbase_feed"),
    "rest array": (json.dumps(REST[::-1], default=str).encode(), "coinbase_rest"),
    "rest lines": (lines(REST), "coinbase_rest"),
    "advanced trade feed": (lines(BEATS + ADVANCED), "coinbase_rest"),
    "binance trades": (TRADES, "binance_trades"),
    "binance aggtrades": (AGG, "binance_aggtrades"),
    "binance aggtrades with header": (csv(**AGG_NAMES), "binance_aggtrades"),
    "binance rest": (
        json.dumps(
            objects(
                id=M.id,
                price=M.price.astype(str),
                qty=M["size"].astype(str),
                quoteQty="1",
                time=MS,
                isBuyerMaker=SELLS,
                isBestMatch=True,
            ),
            default=str,
        ).encode(),
        "binance_trades",
    ),
    "binance feed": (
        lines(
            objects(
                e="trade",
                E=MS,
                s="BTCUSDT",
                t=M.id,
                p=M.price.astype(str),
                q=M["size"].astype(str),
                T=MS,
                m=SELLS,
                M=True,
            )
        ),
        "binance_trades",
    ),
    "kraken csv": (csv(False, a=MS / 1000, b=M.price, c=M["size"]), "kraken_csv"),
    "kraken rest": (
        json.dumps(dict(error=[], result=dict(XXBTZUSD=KRAKEN, last="1")), default=str).encode(),
        "kraken_rest",
    ),
    "freqtrade json.gz": (gzip.compress(json.dumps(FREQTRADE, default=str).encode()), "freqtrade"),
    "freqtrade feather": (
        feather(
            timestamp=MS,
            id=M.id.astype(str),
            type="market",
            side=M.side,
            price=M.price,
            amount=M["size"],
            cost=M.price * M["size"],
        ),
        "freqtrade",
    ),
    "tardis": (gzip.compress(csv(**TARDIS)), "tardis"),
    "ccxt": (json.dumps(CCXT, default=str).encode(), "ccxt"),
    "letters": (csv(**SIMPLE, side=M.side.str[0]), "columns"),
    "numbers": (csv(**SIMPLE, side=M.side.map(dict(buy=1, sell=-1))), "columns"),
    "capitals": (csv(**SIMPLE, Side=M.side.str.title()), "columns"),
    "buyer is maker": (csv(**SIMPLE, is_buyer_maker=SELLS), "columns"),
    "bids and asks": (csv(**SIMPLE, side=M.side.map(dict(buy="bid", sell="ask"))), "columns"),
    "maker's side": (csv(**SIMPLE, maker_side=MAKER), "columns"),
    "semicolons": (
        pd.DataFrame(dict(**SIMPLE, side=M.side))
        .to_csv(index=False, sep=";", decimal=",")
        .encode("utf-8-sig"),
        "columns",
    ),
    "without sides": (csv(**SIMPLE), "columns"),
    "without ids": (csv(time=ISO, price=M.price, size=M["size"], side=M.side), "columns"),
}
NO_IDS = {"kraken csv", "tardis", "without ids"}
NO_SIDES = {"kraken csv", "without sides"}


@pytest.mark.parametrize("name", FILES)
def test_a_format_is_read_as_it_was_meant(tmp_path, name):
    data, format_name = FILES[name]
    path = tmp_path / "file.bin"
    path.write_bytes(data)
    file = read_recording(path, default="BTC-USD")
    t = file.trades
    assert file.facts["format"] == format_name
    assert len(t) == N
    assert not len(file.refused)
    unit = "ms" if abs((t.ts - t.ts.dt.floor("ms")).max()) < pd.Timedelta("2us") else "us"
    assert (t.ts.dt.round(unit).to_numpy() == M.ts.dt.round("ms").to_numpy()).all()
    assert t.price.tolist() == M.price.tolist()
    assert t["size"].tolist() == M["size"].tolist()
    assert file.numbered == (name in NO_IDS)
    assert t.trade_id.tolist() == (list(range(1, N + 1)) if name in NO_IDS else M.id.tolist())
    if name not in NO_SIDES:
        assert t.taker_side.tolist() == M.side.tolist()
    else:
        assert "tick rule" in file.facts["sides"]


def test_every_format_of_the_registry_is_tried():
    assert {f for _, f in FILES.values()} | {"binance_pages"} == {f.name for f in FORMATS}


def write(tmp_path, text, name="t.csv"):
    """A file of text."""
    path = tmp_path / name
    path.write_text(text)
    return path


HEAD = "time,trade_id,price,size,side\n"
GOOD = "2026-01-02T12:00:00Z,{},100,1,buy\n"


@pytest.mark.parametrize(
    "cell, column",
    [
        ("2062-01-02T12:00:00Z,7,100,1,buy", "ts"),
        ("1999-01-02T12:00:00Z,7,100,1,buy", "ts"),
        ("05/02/2026 10:00,7,100,1,buy", "ts"),
        (",7,100,1,buy", "ts"),
        ("2026-01-02T12:00:00Z,7,0,1,buy", "price"),
        ("2026-01-02T12:00:00Z,7,,1,buy", "price"),
        ("2026-01-02T12:00:00Z,7,inf,1,buy", "price"),
        ("2026-01-02T12:00:00Z,7,-5,1,buy", "price"),
        ("2026-01-02T12:00:00Z,7,nan,1,buy", "price"),
        ("2026-01-02T12:00:00Z,7,100,0,buy", "size"),
        ("2026-01-02T12:00:00Z,0,100,1,buy", "trade_id"),
        ("2026-01-02T12:00:00Z,x7,100,1,buy", "trade_id"),
        ("2026-01-02T12:00:00Z,7,100,1,none", "taker_side"),
        ("2026-01-02T12:00:00Z,7,100,1,", "taker_side"),
        ("2026-01-02T12:00:00Z,7,100,1", "row"),
        ("2026-01-02T12:00:00Z,7,100,1,buy,8,9", "row"),
        ("2026-01-02T12:00:00Z,1001,99,1,buy", "trade_id"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_kept(tmp_path, cell, column):
    text = HEAD + "".join(GOOD.format(1000 + i) for i in range(30)) + cell + "\n"
    file = read_recording(write(tmp_path, text))
    assert len(file.trades) == 30
    assert file.refused.line.tolist() == [32]
    assert file.refused["column"].tolist() == [column]


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "is empty"),
        ("time,price\n", "no rows"),
        ("[]", "no rows"),
        ("{}", "no"),
        ("soon,100\nlater,101\n", "has no header"),
        (HEAD + "".join(GOOD.format(i).replace("buy", "0") for i in range(1, 5)), "'0' is no side"),
        (HEAD + GOOD.format(1).replace("100", "0"), "line 2: price '0' is not a number above 0"),
        ("time,open,high,low,close,volume\n2026-01-02,1,2,1,2,5\n", "candles"),
        ("time,price,size,volume\n2026-01-02,1,2,200\n", "size and volume, which differ"),
        ("1,2,3,4\n5,6,7,8\n", "has no header"),
        ('[{"a": 1}]', "no column for ts and price"),
        ('{"error": ["EGeneral"], "result": {}}', "without trades"),
        ("\x00\x01\x02", ""),
    ],
)
def test_a_file_that_is_none_is_one_clear_error(tmp_path, text, says):
    with pytest.raises((TradeError, DataError)) as e:
        read_recording(write(tmp_path, text))
    assert says in str(e.value)
    assert "\n" not in str(e.value)


def test_columns_by_name_place_and_value(tmp_path):
    headless = write(tmp_path, "x,1767355200,5,2.5,s\ny,1767355201,6,3.5,b\n")
    file = read_recording(headless, dict(ts="2", price="4", size="3", side="5"), product="X-USD")
    assert file.trades.price.tolist() == [2.5, 3.5]
    assert file.trades.taker_side.tolist() == ["sell", "buy"]
    assert file.trades.product_id.unique().tolist() == ["X-USD"]
    for columns, says in [
        (dict(ts="9", price="4"), "called '9'"),
        (dict(colour="4"), "no column of a trade"),
    ]:
        with pytest.raises(TradeError, match=says):
            read_recording(headless, columns)
    with pytest.raises(TradeError, match="known formats"):
        read_recording(headless, format="mt4")
    with pytest.raises(TradeError, match="format tardis calls"):
        read_recording(write(tmp_path, HEAD + GOOD.format(1)), format="tardis")


def recorded(tmp_path, name="w"):
    """A workspace for recordings."""
    return claim(open_workspace(Settings(home=tmp_path / "home", workspace=name)), "coingecko")


def played(ws, path, **options):
    """The summary of a file that is replayed."""
    told = []
    file = read_recording(path, default="X-USD", **options)
    replay_file(ws, file, pace="max", once=True, told=told.append)
    return told[0]


def test_files_without_ids_go_on_and_are_recognised(tmp_path):
    ws = recorded(tmp_path)
    day = [f"2026-01-0{d}T12:00:{s:02}Z,{100 + s},1,buy\n" for d in (2, 3) for s in range(20)]
    head = "time,price,size,side\n"
    two = write(tmp_path, head + "".join(day[::-1]), "two.csv")
    first = write(tmp_path, head + "".join(day[:20]), "first.csv")
    late = write(tmp_path, head + "2026-01-02T12:00:03.5Z,1,1,buy\n" + day[-1], "late.csv")
    older = write(tmp_path, head + "2026-01-01T12:00:03.5Z,1,1,buy\n", "older.csv")
    assert played(ws, first)["stored"] == 20
    said = played(ws, two)
    assert (said["stored"], said["known"], said["refused"]) == (20, 20, 0)
    assert played(ws, two)["known"] == 40
    said = played(ws, late)
    assert (said["stored"], said["known"], said["refused"]) == (0, 1, 1)
    with pytest.raises(TradeError, match="before the last stored trade"):
        played(ws, older)
    rows = claim_store(ws, Origin.RECORDED).read("X-USD")
    assert rows.ts.is_monotonic_increasing
    assert rows.trade_id.tolist() == list(range(1, 41))


def test_a_corrected_trade_is_named(tmp_path):
    ws = recorded(tmp_path)
    text = HEAD + "".join(GOOD.format(i) for i in range(1, 11))
    assert played(ws, write(tmp_path, text))["stored"] == 10
    corrected = text.replace(",5,100,", ",5,99,") + GOOD.format(11)
    said = played(ws, write(tmp_path, corrected))
    assert (said["stored"], said["known"], said["differing"]) == (1, 9, 1)
    assert said["refusals"][0]["line"] == 6


def test_ids_that_begin_again_are_an_epoch(tmp_path):
    ws = recorded(tmp_path)
    old = "".join(f"2026-01-02T12:{i:02}:00Z,{i + 1},100,1,buy\n" for i in range(40))
    new = "".join(f"2026-01-02T14:{i:02}:00Z,{i + 1},200,1,sell\n" for i in range(40))
    path = write(tmp_path, HEAD + new + old)
    assert read_recording(path).facts["ids"] == "of the file; they begin again"
    said = played(ws, path)
    assert (said["stored"], said["refused"]) == (80, 0)
    rows = claim_store(ws, Origin.RECORDED).read("X-USD")
    assert rows.groupby("epoch").size().tolist() == [40, 40]
    assert played(ws, path)["known"] == 80


def test_recordings_live_trades_and_simulated_trades_stay_apart(tmp_path):
    ws = recorded(tmp_path)
    live = to_trades(read_recording(write(tmp_path, HEAD + GOOD.format(7))).trades)
    claim_store(ws, Origin.LIVE).write([t._replace(source="ws", product_id="Y-USD") for t in live])
    with pytest.raises(MixedTradesError, match="CRYPTO_ANOMALY_WORKSPACE=replay"):
        played(ws, write(tmp_path, HEAD + GOOD.format(8)))
    other = recorded(tmp_path, "other")
    played(other, write(tmp_path, HEAD + GOOD.format(8)))
    for origin in (Origin.LIVE, Origin.SIMULATED):
        with pytest.raises(MixedTradesError, match="holds recorded trades"):
            claim_store(other, origin)


def test_the_command_line_reads_checks_and_stores(tmp_path):
    cli = Cli(tmp_path / "home")
    path = write(tmp_path, HEAD + GOOD.format(1) + GOOD.format(2).replace("100", "0"))
    said = cli.json("stream", "--replay", str(path), "--check")
    assert (said["rows"], said["refused"], said["stored"]) == (2, 1, 0)
    assert not list(cli.home.rglob("trades.db"))
    assert "leave out --check" in cli("stream", "--replay", str(path), "--check").stderr
    command = ["stream", "--replay", str(path), "--once", "--pace", "max", "--product", "X-USD"]
    done = cli.json(*command)
    assert (done["file"]["stored"], done["file"]["refusals"][0]["line"]) == (1, 3)
    assert done["products"][0]["product_id"] == "X-USD"
    events = [e for e in cli.json("events") if e["kind"] == "trades_imported"]
    assert events[0]["payload"]["refused"] == 1
    assert "--check is of a recording" in cli.error("stream", "--check")


def test_reading_takes_time_in_proportion(tmp_path):
    seconds = []
    for n in (20_000, 160_000):
        rows = [[1767355200000 + i, str(i + 1), None, "buy", 1.5, 1.0, 1.5] for i in range(n)]
        path = tmp_path / f"{n}.json.gz"
        path.write_bytes(gzip.compress(json.dumps(rows).encode(), 1))
        read_recording(path)  # warm
        began = time.process_time()
        assert len(read_recording(path).trades) == n
        seconds.append(time.process_time() - began)
    assert seconds[1] < 24 * max(seconds[0], 0.05)  # 8 times the rows; quadratic would be 64


# every row is stored or named, and nothing but one clear error comes out


def accounted(data, **options):
    """Read bytes as a file; every row is a trade, a repeat, a message, or refused by name."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(data)
        try:
            file = read_recording(path, **options)
        except (TradeError, DataError) as e:
            assert str(e)
            assert "\n" not in str(e)
            return
    facts = import_summary(file)
    json.dumps(facts)
    named = facts["trades"] + facts["duplicates"] + len(file.refused.drop_duplicates("line"))
    assert named >= facts["rows"] - facts["passed_over"] or file.refused.line.duplicated().any()
    t = file.trades
    assert (t.price > 0).all() and np.isfinite(t.price).all()
    assert (t["size"] > 0).all() and np.isfinite(t["size"]).all()
    assert t.taker_side.isin(["buy", "sell"]).all()
    assert not t.duplicated(["product_id", "trade_id"]).any()
    assert t.ts.notna().all()
    to_trades(t)


FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
NAMES = (
    "time timestamp ts date price px p qty size amount volume q id trade_id side taker_side type "
    "isBuyerMaker is_buyer_maker m M T t a f l e s symbol product_id exchange local_timestamp "
    "datetime takerOrMaker cost btc_volume maker_order_id taker_order_id open high low misc "
    "events trades data channel result error"
).split()
CELLS = st.one_of(
    st.sampled_from(
        "1767355200 1767355200.25 1767355200000 1767355200000000 2026-01-02T12:00:00Z 2062-01-01 "
        "05/02/2026 100.5 0 -1 1e-12 1e400 nan inf NaN NA null None True false buy sell b S 1 7 "
        "12345678901234567890123 1,5 ١٢٣ 2026-01-02D12:00 BTC/USD é 0x10 1_000".split()
    ),
    st.just(""),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8),
)
HEADERS = st.lists(st.sampled_from(NAMES) | st.text(max_size=4), min_size=1, max_size=8)


@FUZZ
@given(
    HEADERS,
    st.lists(st.lists(CELLS, min_size=1, max_size=9), max_size=12),
    st.sampled_from(",;\t|"),
    st.booleans(),
)
def test_no_text_table_ends_in_a_traceback(header, rows, delimiter, has_header):
    body = [header, *rows] if has_header else rows
    accounted("\n".join(delimiter.join(map(str, row)) for row in body).encode())


VALUES = st.recursive(
    CELLS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([1767355200000, 1767355200, 100.5, 1, "buy"]),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.sampled_from(NAMES), x, max_size=6),
    max_leaves=12,
)
RECORDS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=9)


@FUZZ
@given(st.lists(RECORDS | st.lists(VALUES, max_size=8), max_size=8) | VALUES, st.booleans())
def test_no_json_ends_in_a_traceback(document, as_lines):
    if as_lines and isinstance(document, list):
        accounted("\n".join(json.dumps(row) for row in document).encode())
    else:
        accounted(json.dumps(document).encode())


COLUMNS = st.sampled_from(
    [
        pd.Series([1767355200000, 1767355200001], dtype="int64"),
        pd.Series([1767355200.5, np.nan]),
        pd.Series([100.5, -1.0], dtype="float32"),
        pd.Series([1, 2], dtype="uint64") * 2**62,
        pd.Series([1, None], dtype="Int64"),
        pd.Series(["buy", None]),
        pd.Series(["2026-01-02", "x"]),
        pd.Series(["b", "s"], dtype="category"),
        pd.Series([True, None], dtype="boolean"),
        pd.Series([True, False]),
        pd.Series(pd.to_datetime(["2026-01-02", None])),
        pd.Series(pd.to_datetime(["2026-01-02", "2062-01-02"], utc=True)),
        pd.Series(np.array(["200000-01-01", "2026-01-02"], "datetime64[s]")),
        pd.Series(pd.to_timedelta([1, 2], unit="s")),
        pd.Series([b"raw", b""]),
        pd.Series([[1, 2], None]),
        pd.Series([{"a": 1}, {"a": 2}]),
        pd.Series([pd.Timestamp("2026-01-02").date(), None]),
        pd.Series([1.5, 2.5], dtype="float16") * 10,
    ]
)


@FUZZ
@given(st.dictionaries(st.sampled_from(NAMES), COLUMNS, min_size=1, max_size=9), st.booleans())
def test_no_table_of_types_ends_in_a_traceback(columns, as_feather):
    out = io.BytesIO()
    frame = pd.DataFrame(columns)
    try:
        frame.to_feather(out) if as_feather else frame.to_parquet(out)
    except (ValueError, TypeError, NotImplementedError, OverflowError):
        return  # pyarrow does not write such a table
    accounted(out.getvalue())


@FUZZ
@given(st.binary(max_size=200) | st.sampled_from([d for d, _ in FILES.values()]), st.data())
def test_no_bytes_end_in_a_traceback(data, draw):
    at = draw.draw(st.integers(0, max(len(data) - 1, 0)))
    changed = (
        data[:at] + draw.draw(st.binary(max_size=6)) + data[at:][: draw.draw(st.integers(0, 4000))]
    )
    accounted(changed)


GRID = st.sampled_from(["ts=1,price=2", "ts=1,price=9", "side=1,ts=2,price=3", "price=.5,ts=1"])


@FUZZ
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=9), GRID)
def test_no_named_columns_end_in_a_traceback(rows, columns):
    named = dict(part.split("=") for part in columns.split(","))
    accounted("\n".join(",".join(row) for row in rows).encode(), columns=named)
