"""Files that other people recorded: read right, or refused in one line by name."""

import bz2
import gzip
import io
import json
import lzma
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from conftest import EXAMPLES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_anomaly.data.imports import parse_import
from crypto_anomaly.data.market_columns import FileOptions
from crypto_anomaly.data.market_formats import FORMATS
from crypto_anomaly.data.raw_files import read_raw
from crypto_anomaly.data.responses import check_markets
from crypto_anomaly.data.table import DataError

H = 3600
T0 = 1_767_225_600  # 2026-01-01T00:00Z
ROWS = [(64000.5, "2026-01-01T00:00:00Z"), (64100.5, "2026-01-01T01:00:00Z")]
OWN = "ts,id,symbol,name,current_price,market_cap\n" + "".join(
    f"{t},bitcoin,btc,Bitcoin,{p},1.2e12\n" for p, t in ROWS
)


def parsed(tmp_path, data, name="recorded.csv", **options):
    """What is understood of a file."""
    file = tmp_path / name
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return parse_import(file, options=FileOptions(**options))


def rows(tmp_path, data, name="recorded.csv", **options):
    """Coin, time and price of each row."""
    table = parsed(tmp_path, data, name, **options).table
    return [(r.coin_id, f"{r.ts:%Y-%m-%dT%H:%M}", r.current_price) for r in table.itertuples()]


def refusal(tmp_path, data, name="recorded.csv", **options):
    """The one line that refuses a file."""
    with pytest.raises(DataError) as e:
        parsed(tmp_path, data, name, **options)
    assert "\n" not in str(e.value)
    return str(e.value)


TWO = [("bitcoin", "2026-01-01T00:00", 64000.5), ("bitcoin", "2026-01-01T01:00", 64100.5)]


def zipped(data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        z.writestr("inside.csv", data)
    return buffer.getvalue()


PACKED = {
    "gz": gzip.compress,
    "zip": zipped,
    "zst": lambda data: zstandard.ZstdCompressor().compress(data),
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "gz in gz": lambda data: gzip.compress(gzip.compress(data)),
}


@pytest.mark.parametrize("how", PACKED)
@pytest.mark.parametrize("name", ["recorded.csv", "recorded", "recorded.parquet"])
def test_packed_by_content_whatever_the_name(tmp_path, how, name):
    assert rows(tmp_path, PACKED[how](OWN.encode()), name) == TWO


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_delimiters_and_encodings(tmp_path, delimiter, encoding):
    text = OWN.replace(",", delimiter).replace("Bitcoin", "Bitcöin")
    found = parsed(tmp_path, text.encode(encoding))
    assert found.table.name.tolist() == ["Bitcöin"] * 2
    assert found.table.current_price.tolist() == [64000.5, 64100.5]


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n", "\n\n"])
def test_line_ends(tmp_path, end):
    assert rows(tmp_path, OWN.replace("\n", end)) == TWO


TABLE = pd.DataFrame(
    {"ts": pd.to_datetime([t for _, t in ROWS]), "id": "bitcoin", "price": [p for p, _ in ROWS]}
)


def parquet(frame, **options):
    buffer = io.BytesIO()
    frame.to_parquet(buffer, **options)
    return buffer.getvalue()


def feather(frame):
    buffer = io.BytesIO()
    frame.to_feather(buffer)
    return buffer.getvalue()


TYPED = {
    "parquet": lambda: parquet(TABLE),
    "parquet, time is the index": lambda: parquet(TABLE.set_index("ts")),
    "parquet, two levels of index": lambda: parquet(TABLE.set_index(["ts", "id"])),
    "parquet, times without a zone": lambda: parquet(
        TABLE.assign(ts=TABLE.ts.dt.tz_localize(None))
    ),
    "parquet, categories": lambda: parquet(TABLE.astype({"id": "category"})),
    "parquet, times as numbers": lambda: parquet(TABLE.assign(ts=[T0 * 1000, (T0 + H) * 1000])),
    "parquet, packed": lambda: gzip.compress(parquet(TABLE)),
    "feather": lambda: feather(TABLE),
    "json array": lambda: TABLE.to_json(orient="records", date_format="iso").encode(),
    "json lines": lambda: TABLE.to_json(orient="records", lines=True, date_format="iso").encode(),
    "json columns": lambda: TABLE.to_json(date_format="iso").encode(),
    "json split": lambda: TABLE.to_json(orient="split", date_format="iso").encode(),
    "json in an object": lambda: json.dumps(
        {
            "status": {"ok": 1},
            "data": [{"ts": t, "id": "bitcoin", "price": str(p)} for p, t in ROWS],
        }
    ).encode(),
}


@pytest.mark.parametrize("kind", TYPED)
def test_typed_files_and_json(tmp_path, kind):
    assert rows(tmp_path, TYPED[kind](), "no_suffix") == TWO


@pytest.mark.parametrize("name", FORMATS)
def test_each_example_is_its_own_format(tmp_path, name):
    found = parsed(tmp_path, FORMATS[name].example, FORMATS[name].file)
    assert found.report["format"] == name and found.report["refused"] == 0
    assert found.table.current_price.gt(100).all()
    assert found.table.ts.ge(pd.Timestamp("2026-01-01", tz="UTC")).all()


@pytest.mark.parametrize("name", [n for n in FORMATS if n not in ("yfinance", "wide")])
def test_each_format_is_known_by_its_name_too(tmp_path, name):
    found = parsed(tmp_path, FORMATS[name].example, FORMATS[name].file, format=name)
    assert found.report["format"] == name


def test_candles_stand_at_their_close(tmp_path):
    kline = f"{T0 * 10**3},1,9,1,5,2,{(T0 + H) * 10**3 - 1},11,3,1,2,0\n"
    assert rows(tmp_path, kline, "ETHUSDT-1h-2026-01.csv") == [("eth", "2026-01-01T01:00", 5)]
    micros = f"{T0 * 10**6},1,9,1,5,2,{(T0 + H) * 10**6 - 1},11,3,1,2,0\n"
    assert rows(tmp_path, micros, "ETHUSDT-1h-2026-01.csv") == [("eth", "2026-01-01T01:00", 5)]
    kraken = "".join(f"{T0 + i * H},1,99,1,{5 + i},2,3\n" for i in (0, 1, 5))
    found = parsed(tmp_path, kraken, "XBTUSD_60.csv", coin="bitcoin")
    assert [f"{t:%H}" for t in found.table.ts] == ["01", "02", "06"]
    assert found.table.total_volume.tolist() == [10, 12, 20]
    days = "Date,Open,High,Low,Close,Adj Close,Volume\n2026-01-01,1,9,1,5,5,7\n"
    assert rows(tmp_path, days, "SOL-USD.csv") == [("sol", "2026-01-02T00:00", 5)]


def test_months_close_at_the_next_month(tmp_path):
    text = "date,open,high,low,close\n2026-01-01,1,9,1,5\n2026-02-01,1,9,1,6\n2026-03-01,1,9,1,7\n"
    found = rows(tmp_path, text, coin="bitcoin")
    assert [ts[:10] for _, ts, _ in found] == ["2026-02-01", "2026-03-01", "2026-04-01"]


def test_an_open_candle_is_left_out_and_named(tmp_path):
    hour = pd.Timestamp.now("UTC").floor("h")
    text = "date,open,high,low,close\n"
    for i in (-2, -1, 0):
        text += f"{hour + pd.Timedelta(hours=i)},1,9,1,5\n"
    found = parsed(tmp_path, text, "BTC-USD.csv")
    assert len(found.table) == 2 and found.table.ts.max() == hour
    assert any("still open" in note and "line 4" in note for note in found.report["notes"])


def test_the_old_export_of_coinmarketcap(tmp_path):
    text = (
        "Date,Open*,High,Low,Close**,Volume,Market Cap\n"
        '"Jan 05, 2026","64,000.10","65,000.00","63,000.00","64,500.25","30,000,000,000","1,2"\n'
    ).replace('"1,2"', '"1,200,000,000,000"')
    found = parsed(tmp_path, text, "bitcoin.csv")
    row = found.table.iloc[0]
    assert (f"{row.ts:%Y-%m-%d}", row.current_price, row.market_cap) == (
        "2026-01-06",
        64500.25,
        1.2e12,
    )
    assert row.total_volume == 3e10


MORE = {
    "coinbase candles": (
        f"[[{T0}, 1, 9, 2, 5, 7], [{T0 + H}, 1, 9, 2, 6, 7]]",
        "BTC-USD.json",
        [("btc", "2026-01-01T01:00", 5), ("btc", "2026-01-01T02:00", 6)],
    ),
    "coingecko ohlc": (
        f"[[{T0 * 1000}, 1, 9, 1, 5], [{(T0 + 4 * H) * 1000}, 1, 9, 1, 6]]",
        "bitcoin.json",
        [("bitcoin", "2026-01-01T00:00", 5), ("bitcoin", "2026-01-01T04:00", 6)],
    ),
    "investing": (
        '"Date","Price","Open","High","Low","Vol."\n"01/31/2026","64,000.5","1","9","1","5K"\n',
        "BTC-USD.csv",
        [("btc", "2026-02-01T00:00", 64000.5)],
    ),
    "days of coinmarketcap": (
        "SNo,Name,Symbol,Date,High,Low,Open,Close,Volume,Marketcap\n"
        "1,Aave,AAVE,2026-01-01 23:59:59,9,1,2,5,7,8\n",
        "coin_Aave.csv",
        [("aave", "2026-01-02T00:00", 5)],
    ),
    "old cryptodatadownload": (
        "https://www.CryptoDataDownload.com\nDate,Symbol,Open,High,Low,Close,Volume BTC,Volume USD\n"  # noqa: E501
        "2026-01-01 05-PM,BTCUSD,1,9,1,5,2,10\n2026-01-01 04-PM,BTCUSD,1,9,1,6,2,12\n",
        "Coinbase_BTCUSD_1h.csv",
        [("btc", "2026-01-01T17:00", 6), ("btc", "2026-01-01T18:00", 5)],
    ),
    "kraken with a mean price": (
        f"{T0},1,9,1,5,4,2,3\n{T0 + H},1,9,1,6,4,2,3\n",
        "ETHUSD_60.csv",
        [("eth", "2026-01-01T01:00", 5), ("eth", "2026-01-01T02:00", 6)],
    ),
    "binance answer": (
        f'[[{T0 * 1000}, "1", "9", "1", "5", "2", {(T0 + H) * 1000 - 1}, "11", 3, "1", "2", "0"]]',
        "BTCUSDT-1h.json",
        [("btc", "2026-01-01T01:00", 5)],
    ),
}


@pytest.mark.parametrize("case", MORE)
def test_more_candles(tmp_path, case):
    data, name, right = MORE[case]
    assert rows(tmp_path, data, name) == right


def test_a_saved_answer_stands_at_its_time_or_at_a_given_one(tmp_path):
    answer = json.dumps(
        [{"id": "bitcoin", "current_price": 5, "last_updated": "2026-01-01T00:00:10Z"}]
    )
    assert rows(tmp_path, answer, "x.json") == [("bitcoin", "2026-01-01T00:00", 5)]
    at = pd.Timestamp("2026-01-02", tz="UTC")
    assert rows(tmp_path, answer, "x.json", at=at) == [("bitcoin", "2026-01-02T00:00", 5)]


def test_a_null_symbol_stops_nobody(tmp_path):
    answer = json.dumps(
        [
            {
                "id": "a",
                "symbol": None,
                "name": None,
                "current_price": 5,
                "last_updated": ROWS[0][1],
            },
            {
                "id": "b",
                "symbol": "NA",
                "name": "null",
                "current_price": 6,
                "last_updated": ROWS[0][1],
            },
        ]
    )
    table = parsed(tmp_path, answer, "x.json").table
    assert table.symbol.tolist() == ["a", "na"] and table.name.tolist() == ["a", "null"]


def test_wide_tables(tmp_path):
    text = "time;bitcoin;ETH-USD\n2026-01-01T00:00;64000,5;3000,25\n2026-01-01T01:00;;3001,5\n"
    assert rows(tmp_path, text) == [
        ("bitcoin", "2026-01-01T00:00", 64000.5),
        ("eth", "2026-01-01T00:00", 3000.25),
        ("eth", "2026-01-01T01:00", 3001.5),
    ]
    assert "EUR" in refusal(tmp_path, text.replace("ETH-USD", "ETH-EUR"))
    assert "lacks" in refusal(tmp_path, "time,side,size\n2026-01-01,1,2\n")


OTHER_CURRENCY = {
    "suffix": ("ts,id,price_eur\n2026-01-01,bitcoin,1\n", "x.csv"),
    "in brackets": ("ts,id,Price (GBP)\n2026-01-01,bitcoin,1\n", "x.csv"),
    "column": ("ts,id,price,currency\n2026-01-01,bitcoin,1,EUR\n", "x.csv"),
    "vs_currency": ("ts,id,price,vs_currency\n2026-01-01,bitcoin,1,btc\n", "x.csv"),
    "comment": ("# currency: EUR\nts,id,price\n2026-01-01,bitcoin,1\n", "x.csv"),
    "value": ("ts;id;price\n2026-01-01;bitcoin;€ 64.000,50\n", "x.csv"),
    "name": ("snapped_at,price,market_cap,total_volume\n2026-01-01,1,1,1\n", "btc-eur-max.csv"),
    "pair": ("Date,Open,High,Low,Close,Adj Close,Volume\n2026-01-01,1,9,1,5,5,7\n", "BTC-EUR.csv"),
    "symbol": ("date,symbol,open,high,low,close\n2026-01-01,BTC/EUR,1,9,1,5\n", "x.csv"),
    "quote is a coin": ("date,symbol,open,high,low,close\n2026-01-01,ETHBTC,1,9,1,5\n", "x.csv"),
    "cmc": (FORMATS["coinmarketcap"].example.replace("2781", "2790"), "bitcoin.csv"),
    "answer": ('{"prices": [[1767225600000, 1]], "vs_currency": "eur"}', "bitcoin.json"),
}


@pytest.mark.parametrize("case", OTHER_CURRENCY)
def test_another_currency_is_refused_by_name(tmp_path, case):
    assert "the lake holds US dollars" in refusal(tmp_path, *OTHER_CURRENCY[case])


def test_dollars_are_taken_and_dollar_coins_are_named(tmp_path):
    assert len(rows(tmp_path, "ts,id,price_usd,currency\n2026-01-01,bitcoin,1,usd\n")) == 1
    notes = parsed(tmp_path, FORMATS["binance"].example, "BTCUSDT-1h.csv").report["notes"]
    assert any("USDT are taken as US dollars" in note for note in notes)


SAME_HOUR = [
    "2026-01-31T07:00:00Z",
    "2026-01-31 07:00:00 UTC",
    "2026-01-31 07:00:00+00:00",
    "2026-01-31T09:00:00+02:00",
    "2026-01-31 07:00",
    "2026/01/31 07:00",
    "20260131T07:00:00",
    "1769842800",
    "1769842800.0",
    "1769842800000",
    "1769842800000000",
    "1769842800000000000",
    "31/01/2026 07:00",
    "01/31/2026 7:00 AM",
    "31.01.2026 07:00:00",
    "Jan 31, 2026 07:00",
    "31-Jan-2026 07:00",
    "Sat, 31 Jan 2026 07:00:00 GMT",
]


@pytest.mark.parametrize("text", SAME_HOUR)
def test_one_hour_in_many_notations(tmp_path, text):
    quoted = f'ts,id,price\n"{text}",bitcoin,1\n'
    assert rows(tmp_path, quoted) == [("bitcoin", "2026-01-31T07:00", 1)]


BAD_TIMES = {
    "may be two days": ["05/02/2026", "06/02/2026"],
    "holds both orders": ["31/01/2026", "01/31/2026"],
    "some times have a zone": ["2026-01-31T07:00", "2026-01-31T08:00Z"],
    "some times are numbers": ["2026-01-31T07:00Z", "1769842800"],
    "is not a time": ["31/01/26", "soon"],
    "is before 2009": ["1999-01-01", "1999-01-02"],
    "is in the future": ["2062-01-01", "2062-01-02"],
}


@pytest.mark.parametrize("word", ["NA", "null", "-", "--", "N/A", " none ", "<NA>", ""])
def test_a_missing_time_is_one_at_both_doors(tmp_path, word):
    coin = {"id": "a", "current_price": 2.0, "last_updated": word, "ath_date": word}
    at = pd.Timestamp("2026-01-01", tz="UTC")
    answer = check_markets([coin], at)
    file = parsed(tmp_path, json.dumps([coin | {"ts": "2026-01-01"}]), "a.json")
    text = parsed(tmp_path, f"ts,id,current_price,last_updated\n2026-01-01,a,2.0,{word}\n")
    for rows, refused in (answer, (file.table, file.refused), (text.table, text.refused)):
        assert (len(rows), len(refused)) == (1, 0)
        assert rows.last_updated.isna().all()
    late = refusal(tmp_path, f"ts,id,current_price\n{word},a,2.0\n")
    assert "ts" in late


@pytest.mark.parametrize("part", BAD_TIMES)
def test_times_that_are_refused(tmp_path, part):
    text = "ts,id,price\n" + "".join(
        f"{t},bitcoin,{i + 1}\n" for i, t in enumerate(BAD_TIMES[part])
    )
    assert part in refusal(tmp_path, text)


def test_numbers_with_marks(tmp_path):
    for given_, price in {"64.000,50": 64000.5, "64000,5": 64000.5, "0,0000123": 1.23e-5}.items():
        assert rows(tmp_path, f"ts;id;price\n2026-01-01;b;{given_}\n")[0][2] == price
    for given_, price in {"64,000.50": 64000.5, "$64,000.50": 64000.5, "1.5e-8": 1.5e-8}.items():
        assert rows(tmp_path, f'ts,id,price\n2026-01-01,b,"{given_}"\n')[0][2] == price
    assert "may be a decimal comma" in refusal(tmp_path, "ts;id;price\n2026-01-01;b;64,000\n")


def test_each_faulty_row_is_named_and_the_others_are_read(tmp_path):
    found = parsed(
        tmp_path,
        "ts,id,price,market_cap\n"
        "2026-01-01T00:00,a,1,5\n"
        "2026-01-01T00:00,b,0,5\n"
        "\n"
        "2026-01-01T00:00,c,-1,5\n"
        "2026-01-01T00:00,d,,5\n"
        "2026-01-01T00:00,e,inf,5\n"
        "2026-01-01T00:00,f,1,-5\n"
        "2026-01-01T00:00,g\n"
        "2026-01-01T00:00,h,1,5,6\n"
        "soon,i,1,5\n"
        "2026-01-01T00:00,,1,5\n"
        "2062-01-01T00:00,j,1,5\n"
        "2026-01-01T00:00,k,1,\n",
    )
    assert found.table.coin_id.tolist() == ["a", "k"]
    assert found.refused.line.tolist() == [3, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert found.report["rows"] == 12 and found.report["refused"] == 10


def test_lines_are_those_of_the_file_with_quoted_line_feeds(tmp_path):
    text = 'ts,id,name,price\n2026-01-01,a,"two\nlines",1\n2026-01-01,b,"5"" disk",x\n'
    assert parsed(tmp_path, text).refused.line.tolist() == [4]


REFUSED = {
    "empty": (b"", "is empty"),
    "blank": (b"\n \n", "is empty"),
    "header": (b"ts,id,price\n", "a header and no rows"),
    "no rows": (b"[]", "a header and no rows"),
    "rubbish": (bytes(range(256)) * 20, "neither text nor"),
    "html": (b"<!DOCTYPE html><html></html>", "web page"),
    "pdf": (b"%PDF-1.7 rest", "PDF"),
    "cut gz": (gzip.compress(OWN.encode())[:-12], "cut off or broken"),
    "cut parquet": (parquet(TABLE)[:-30], "broken"),
    "cut json": (b'[{"id": "bitcoin", "current_pri', "neither JSON nor"),
    "one number": (b"{} {}", ""),
    "two columns for a time": (
        b"ts,timestamp,id,price\n2026-01-01,2026-01-02,b,1\n",
        "two columns for ts",
    ),
    "two columns for a price": (
        b"ts,id,price,current_price\n2026-01-01,b,1,2\n",
        "two columns for current_price",
    ),
    "a name twice": (b"ts,id,price,price\n2026-01-01,b,1,2\n", "names price twice"),
    "no coin": (b"time,price\n2026-01-01,1\n", "lacks coin_id"),
    "row numbers": (
        b"id,ts,symbol,price\n1,2026-01-01,x,1\n2,2026-01-02,x,1\n3,2026-01-03,x,1\n",
        "number of the row",
    ),
    "ids of one coin": (b"ts,symbol,current_price\n2026-01-01,sol,1\n", "symbol is not unique"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_one_line(tmp_path, case):
    data, says = REFUSED[case]
    assert says in refusal(tmp_path, data)


def test_a_folder_a_locked_file_and_an_archive_are_one_line(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        read_raw(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_raw(tmp_path / "none.csv")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as z:
        z.writestr("a.csv", OWN)
        z.writestr("b.csv", OWN)
    with pytest.raises(DataError, match="zip archive of 2 files"):
        read_raw(tmp_path / "two.zip")


def test_a_bomb_is_refused(tmp_path):
    assert "unpacks to more than" in refusal(tmp_path, gzip.compress(bytes(2**28), 9))


def test_columns_by_name_and_position(tmp_path):
    text = "when,what,how much\n2026-01-01,bitcoin,5\n"
    named = {"ts": "when", "id": "2", "price": "how much"}
    assert rows(tmp_path, text, columns=named) == [("bitcoin", "2026-01-01T00:00", 5)]
    bare = "2026-01-01,7,5\n2026-01-02,7,6\n"
    found = rows(tmp_path, bare, columns={"ts": "1", "price": "3"}, coin="bitcoin")
    assert [price for *_, price in found] == [5, 6]
    assert "has no column '9'" in refusal(tmp_path, text, columns={"ts": "9"})
    assert "is unknown" in refusal(tmp_path, text, columns={"weather": "1"})


def test_ids_have_one_spelling(tmp_path):
    text = "ts,id,price\n2026-01-01,1,5\n2026-01-02,1.0,6\n2026-01-03, Bit Coin ,7\n"
    assert [coin for coin, *_ in rows(tmp_path, text)] == ["1", "1", "bit-coin"]


def test_recordings_are_read(recordings):
    for file in (recordings / "coingecko_hourly").glob("*.csv.gz"):
        assert parse_import(file).report["rows"] == 194_800
    for file in sorted((recordings / "coingecko_responses").glob("*markets*.json")):
        assert len(parse_import(file).table)
    for file in recordings.rglob("*.*"):
        if file.suffix in (".csv", ".gz", ".json", ".feather"):
            assert read_raw(file).frame.shape[1] > 0


# Fuzz: whatever the bytes, the answer is a table or one DataError in one line.

fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def answers(tmp_path_factory, data, name="x"):
    """Read `data`: rows, or one error in one line; nothing else."""
    file = tmp_path_factory.mktemp("fuzz") / name
    file.write_bytes(data)
    try:
        found = parse_import(file)
    except DataError as e:
        assert str(e) and "\n" not in str(e)
        return
    assert len(found.table) and found.table.current_price.gt(0).all()
    assert not found.table[["coin_id", "ts", "symbol", "name"]].isna().any().any()
    assert not found.table.duplicated(["coin_id", "ts"]).any()
    assert found.table.coin_id.str.fullmatch("[a-z0-9-]+").all()
    lines = found.refused.drop_duplicates(["line", "coin_id"])
    assert len(found.table) + found.report["duplicates"] + len(lines) == found.report["rows"]


CELLS = st.one_of(
    st.sampled_from(
        ["", "NA", "nan", "null", "1", "1.0", "1,5", "1.234,5", "64,000", "-1", "0", "inf", "1e400"]
        + ["2026-01-01", "2026-01-01T00:00Z", "05/02/2026", "31/01/2026", "1767225600", "20260101"]
        + [
            "2026-01-01 00:00:00 UTC",
            "2062-01-01",
            "bitcoin",
            "Bitcoin ",
            "BTC/EUR",
            "BTCUSDT",
            "€5",
        ]
        + ['"', "'", "=1+1", "true", "🚀", "\x00", "\r", "NaT", "None", "1" * 40]
    ),
    st.text(max_size=12),
    st.floats(allow_nan=True).map(str),
    st.integers().map(str),
)
NAMES = st.sampled_from(
    "ts time timestamp date id coin_id name symbol price current_price price_eur market_cap volume "
    "open high low close open_time close_time quote_volume snapped_at last_updated unix currency "
    "rank bitcoin ethereum timeOpen timeClose marketCap".split()
    + ["", "Adj Close", "Volume BTC", "Market Cap", "1", "index"]
)


@fuzz
@given(
    st.lists(NAMES, min_size=1, max_size=7),
    st.lists(st.lists(CELLS, max_size=8), max_size=12),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-16", "latin-1", "utf-8-sig"]),
    st.booleans(),
)
def test_fuzz_tables_of_text(tmp_path_factory, names, cells, delimiter, encoding, header):
    lines = [names] * header + cells
    text = "\n".join(delimiter.join(line) for line in lines)
    answers(tmp_path_factory, text.encode(encoding, errors="replace"), "BTCUSD_60.csv")


@fuzz
@given(st.lists(NAMES, min_size=3, max_size=6, unique=True), st.data())
def test_fuzz_whole_tables(tmp_path_factory, names, data):
    names = ["ts", "id", "price", *[n for n in names if n not in ("ts", "id", "price")]]
    count = data.draw(st.integers(1, 12))
    line = st.lists(CELLS, min_size=len(names), max_size=len(names))
    good = ["2026-01-01", "bitcoin", "5"]
    cells = [good[: data.draw(st.integers(0, 3))] for _ in range(count)]
    full = [c + data.draw(line)[len(c) :] for c in cells]
    buffer = io.StringIO()
    pd.DataFrame(full, columns=names).to_csv(buffer, index=data.draw(st.booleans()))
    answers(tmp_path_factory, buffer.getvalue().encode(errors="replace"))


@fuzz
@given(st.binary(max_size=400), st.sampled_from(["", *PACKED]), st.booleans())
def test_fuzz_bytes(tmp_path_factory, data, how, head):
    data = b"ts,id,price\n" * head + data
    answers(tmp_path_factory, PACKED[how](data) if how else data)


@fuzz
@given(st.sampled_from(sorted(FORMATS)), st.data())
def test_fuzz_examples_that_are_cut_or_changed(tmp_path_factory, name, data):
    text = bytearray(FORMATS[name].example.encode())
    for _ in range(data.draw(st.integers(0, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(text)))
    answers(tmp_path_factory, bytes(text[:cut]), FORMATS[name].file)


HALVES = ["\ud800", "x\udfff", float("nan")]  # half a surrogate is no text
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | CELLS | st.sampled_from(HALVES),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=25,
)
JSON_ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "id": CELLS | st.none() | st.integers(),
            "current_price": CELLS | st.none() | st.floats() | st.integers(),
            "ts": CELLS | st.none() | st.integers(),
            "last_updated": CELLS | st.none(),
            "symbol": JSON_VALUES,
            "name": JSON_VALUES,
            "market_cap": JSON_VALUES,
        },
    ),
    max_size=8,
)
CHARTS = st.fixed_dictionaries(
    {"prices": st.lists(st.lists(JSON_VALUES, min_size=2, max_size=2) | JSON_VALUES, max_size=6)},
    optional={"market_caps": JSON_VALUES, "total_volumes": JSON_VALUES, "vs_currency": JSON_VALUES},
)


@fuzz
@given(st.one_of(JSON_VALUES, JSON_ROWS, CHARTS), st.booleans())
def test_fuzz_json(tmp_path_factory, value, lines):
    if lines and isinstance(value, list):
        text = "\n".join(json.dumps(x) for x in value)
    else:
        text = json.dumps(value)
    answers(tmp_path_factory, text.encode(errors="replace"), "bitcoin.json")


@pytest.mark.parametrize("half", ["\\ud800", "\\udfff"])
def test_half_a_surrogate_is_no_text_even_beside_nan(tmp_path, half):
    row = '{"ts":"2026-01-01","id":"a","name":"%s","current_price":%s}'
    for price in ("NaN", "1.0"):
        refusal(tmp_path, f"[{row % (half, price)}]", "a.json")
        refusal(tmp_path, row % (half, price), "a.jsonl")


@st.composite
def arrow_tables(draw):
    """A Parquet table of any types under names that matter."""
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    length = draw(st.integers(0, 6))
    columns = {}
    for name in names:
        kind = draw(
            st.sampled_from(
                [
                    "text",
                    "float",
                    "int",
                    "bool",
                    "time",
                    "date",
                    "dict",
                    "list",
                    "null",
                    "decimal",
                    "bytes",
                    "nested",
                    "duration",
                ]
            )
        )
        cell = {
            "text": (CELLS, pa.string()),
            "dict": (st.sampled_from(["bitcoin", "a", ""]), pa.dictionary(pa.int8(), pa.string())),
            "float": (st.floats(), pa.float64()),
            "int": (st.integers(-(2**63), 2**63 - 1), pa.int64()),
            "bool": (st.booleans(), pa.bool_()),
            "time": (
                st.integers(-(2**62), 2**62),
                pa.timestamp(
                    draw(st.sampled_from(["s", "ms", "us", "ns"])),
                    tz=draw(st.sampled_from([None, "UTC", "Europe/Berlin"])),
                ),
            ),
            "date": (st.integers(-(2**30), 2**30), pa.date32()),
            "list": (st.lists(st.integers(0, 9), max_size=2), pa.list_(pa.int64())),
            "null": (st.none(), pa.null()),
            "decimal": (st.decimals(-999, 999, places=2), pa.decimal128(9, 2)),
            "bytes": (st.binary(max_size=4), pa.binary()),
            "nested": (
                st.fixed_dictionaries({"a": st.integers(0, 9)}),
                pa.struct([("a", pa.int64())]),
            ),
            "duration": (st.integers(-9, 9), pa.duration("s")),
        }[kind]
        values = draw(st.lists(cell[0] | st.none(), min_size=length, max_size=length))
        try:
            columns[name or "x"] = pa.array(values, cell[1])
        except (pa.ArrowException, UnicodeError):
            columns[name or "x"] = pa.nulls(length)
    return pa.table(columns)


@fuzz
@given(arrow_tables())
def test_fuzz_parquet_schemas(tmp_path_factory, table):
    buffer = io.BytesIO()
    try:
        pq.write_table(table, buffer)
    except pa.ArrowException:
        return
    answers(tmp_path_factory, buffer.getvalue())


def test_a_large_file_takes_linear_time(tmp_path):
    import time

    taken = []
    for count in (20_000, 80_000):
        times = pd.date_range("2020-01-01", periods=count // 20, freq="h", tz="UTC")
        frame = pd.DataFrame(
            {"ts": np.repeat(times, 20), "id": [f"coin-{i}" for i in range(20)] * len(times)}
        )
        frame["price"] = np.arange(count) + 1.5
        frame["name"] = '5" disk'
        text = frame.to_csv(index=False).encode()
        start = time.perf_counter()
        assert len(parsed(tmp_path, text).table) == count
        taken.append(time.perf_counter() - start)
    assert taken[1] < 12 * taken[0] + 1
