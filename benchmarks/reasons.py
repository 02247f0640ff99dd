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
