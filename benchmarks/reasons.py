"""Why a bar is missed, by the id of a row and the beginning of its text."""

from typing import Any

REASONS = (
    (
        "P1",
        "lags, windows",
        "bottleneck works on a gap-free matrix of coins by hours and looks at no clock. Ours "
        "finds each lag by its time, so that a missing hour gives a missing lag and not the value "
        "of another hour.",
    ),
    (
        "P2",
        "the newest hour of",
        "Some 80 ms do not depend on the number of coins: a hundred kept files are opened, pandas "
        "reads and writes small tables, and every statistic is some calls of numpy. The first hour "
        "of a process loads compiled code as well, and the first one after a batch sorts every "
        "window, because no median is known yet. In later hours 17,000 coins take 35 to 41 "
        "microseconds each: a third is medians, which look at 3,300 kept values of each coin.",
    ),
    (
        "P3",
        "read",
        "The files are listed with their hours, the schema of each is checked, and rows that were "
        "written twice are dropped; the rivals read the files they are given.",
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
        "Every trade is checked first (price, size, id and time can be), and what is stored "
        "already stays as it is; the rival sends what it is given.",
    ),
    (
        "P7",
        "bytes a trade",
        "A row holds two order ids, and is found by its id and by its time. Only the newest days "
        "are rows: a closed day is a file, in which the same trades take the bytes that another "
        "line says.",
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
        "A POST goes through the whole app with its checks of token and body; only a GET is sent "
        "before the framework runs.",
    ),
    (
        "P8",
        "CPU of the dearest page",
        "A moment of the past is not kept: its rows are read from the lake and scored for each "
        "visitor. Pages of now cost less than 25 ms.",
    ),
    (
        "P8",
        "memory of a worker after all pages",
        "numba with what runs its compiled code takes 110 MB, pandas with pyarrow 104 MB. Some "
        "155 MB are pages of libraries, which all workers of a machine share; a further worker "
        "costs what is its own.",
    ),
    (
        "P8",
        "the longest answer while",
        "Readers have the last scan until the new one is whole, so nobody waits for it. But the "
        "market is scored, and pages are drawn anew, in threads of the same process: a page "
        "takes longer while other threads want the interpreter. A process "
        "of its own would hold a second copy of everything that is loaded.",
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
        "Most of it is imports: pandas, FastAPI, SQLAlchemy, numba, Plotly. The pages are drawn "
        "once before anybody asks for them, and that is counted, too.",
    ),
    (
        "P10",
        "server memory",
        "pandas, numba's compiler and FastAPI take 240 MB before a line of ours has run.",
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
