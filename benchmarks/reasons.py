"""Why a bar is missed, by the id of a row and the beginning of its text."""

from typing import Any

REASONS = (
    (
        "P1",
        "lags, windows",
        "bottleneck works on a gap-free matrix of coins by hours and looks at no clock. Ours "
        "finds each lag by its time, so that a missing hour gives a missing lag and not the value "
        "of another hour. bottleneck slides the sum of a window; ours adds each window anew, so "
        "that the newest hour alone gives the same bits as the whole history.",
    ),
    (
        "P1",
        "peak memory of plain",
        "Imports and compiled code are a part of it on both sides. The rest is one span of at "
        "least 130,000 rows with the week before it, and all its features. Shorter spans take "
        "less memory and more CPU, because each reads the week before it.",
    ),
    (
        "P2",
        "a newest hour of",
        "A hundred kept files are opened, pandas reads and writes small tables, and every "
        "statistic is some calls of numpy: that does not depend on the number of coins. A new "
        "process loads compiled code as well. The hour that begins a day compares every pair of "
        "coins to find peers, which is more than half of its time at 17,000 coins. After a batch "
        "of at most four million rows nothing is kept of medians, so that the first hour sorts "
        "every window. Of the usual hours, deviations from a median are what is still computed "
        "from whole windows; what is kept of all windows is read and written anew.",
    ),
    (
        "P3",
        "read",
        "More than four fifths of the time is pyarrow's, which decodes the footer of each file and "
        "the columns. Ours also reads which rows are approximate, and hands over pandas, as the "
        "slower of Polars' two ways does. With Polars as our reader hourly files would take three "
        "fifths of the CPU and daily ones nine tenths, and every process 0.1 s and 33 MB more "
        "(benchmarks/lake_readers.py); finished days are daily files.",
    ),
    (
        "P5",
        "train",
        "Most of the time is scikit-learn's, which grows the trees for both sides; the threshold "
        "and the scores are what is left to gain.",
    ),
    (
        "P7",
        "store",
        "Two fifths of the client's CPU is the COPY itself, as much as the rival's; the rest "
        "checks every trade, locks its product and writes down which ids are stored, in the same "
        "transaction. Rows that numpy makes take longer than psycopg's "
        "(benchmarks/store_steps.py).",
    ),
    (
        "P7",
        "bytes a trade of a store",
        "In an open day the table takes 142 bytes a trade, 72 of them two order ids as text, and "
        "the index on time 30 (benchmarks/store_bytes.py). Two to three days are open, and the "
        "database keeps the space of three.",
    ),
    (
        "P8",
        "a cached answer",
        "Between the socket and the stored bytes are the checks of host and origin, the request "
        "id, the counters of /metrics and the ETag.",
    ),
    (
        "P8",
        "answers per CPU second, kept",
        "The same checks as for a cached answer: host and origin, the request id, the counters of "
        "/metrics, the ETag.",
    ),
    (
        "P8",
        "answers per CPU second, cached /scan",
        "Bare ASGI, three lines under the same uvicorn, takes as long for the same bytes (the "
        "column of the limit). One client asks over one connection, so the process sleeps and "
        "wakes up between two answers: each costs three times what it costs with eight in flight, "
        "which is the row below.",
    ),
    (
        "P8",
        "CPU of the dearest page",
        "The first who asks in a second has the page drawn: the files of the lake and of the "
        "registry are looked at, what was written is read again, and the template is filled. The "
        "table of coins and the figures are kept until there is another scan. The overview also "
        "asks all parts for their health. A server that was idle for a second runs slower at "
        "first: where the host watches idle memory, the first touch of a page of memory costs "
        "many times what the next one costs (benchmarks/idle_memory.py).",
    ),
    (
        "P8",
        "memory of a worker after all pages",
        "Imports, and what loads compiled code, take more than half of it. A part are libraries, "
        "which all workers of a machine share, LLVM the largest: numba needs it to load stored "
        "code, too (/proc/PID/smaps tells them apart).",
    ),
    (
        "P8",
        "the longest answer while",
        "Readers have the last scan until the new one is whole and its table of coins is drawn, so "
        "nobody waits for it. But the market is scored, and other pages are drawn anew, in threads "
        "of the same process: an answer takes longer while other threads want the interpreter. A "
        "process of its own would hold a second copy of everything that is loaded.",
    ),
    (
        "P4",
        "forest score",
        "Ours takes about 3 µs for one row and scikit-learn 3 to 4 ms; treelite, the best rival, "
        "takes 30 µs. The bar is a ratio to scikit-learn.",
    ),
    (
        "P6",
        "features of one trade",
        "The window that pandas computes has the six features of price; ours follows the orders "
        "of buyers and sellers for each trade, too.",
    ),
    (
        "P10",
        "server ready",
        "Most of it is imports: pandas with pyarrow, FastAPI with the routes, SQLAlchemy. The "
        "pages are drawn once before anybody asks for them, and a part of that is counted, too.",
    ),
    (
        "P10",
        "server memory",
        "pandas with pyarrow takes the most, then FastAPI and SQLAlchemy. numba is not imported "
        "until something is scored, nor are Plotly's classes until a figure is drawn.",
    ),
    (
        "L2",
        "",
        "The run is short, so that its first seconds weigh: with ten minutes the same stream "
        "scores 99 % within half a second (benchmarks/load_shards.py --seconds 600).",
    ),
    (
        "P10",
        "crypto-anomaly --help",
        "Python with the imports of typer and SQLAlchemy alone stands in the column of the plain "
        "way.",
    ),
)


def reason(r: dict[str, Any]) -> str:
    """Why a row misses its bar; a row without a reason says so."""
    for id_, start, text in REASONS:
        if r["id"] == id_ and r["what"].startswith(start):
            return text
    return "No reason is written down yet (benchmarks/reasons.py)."
