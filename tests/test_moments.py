"""A time that somebody typed is a moment, or one clear error."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crypto_anomaly.core.moments import EARLIEST, MomentError, read_moment, read_time

NOW = datetime(2026, 2, 5, 12, tzinfo=UTC)
DAYS = st.dates(date(2009, 1, 2), date(2100, 1, 1))
TIMES = st.datetimes(datetime(2009, 1, 3), datetime(2100, 1, 1))


def _is_clear(error):
    return "\n" not in str(error) and 20 < len(str(error)) < 250


@given(st.text(max_size=60) | st.from_regex(r"[0-9]{1,4}[-/. ][0-9]{1,2}.{0,30}"))
@example("2026-02-05T24:00")
@example("2026-02-30")
@example("9999-12-31T23:00-14:00")
@example("٢٠٢٦-٠٢-٠٥")
@example("2026-02-05T14:00 ../../etc/passwd")
@example("2026-02-05 14:00 \x00/x")
def test_any_text_is_a_moment_or_one_clear_line(text):
    try:
        first, last = read_moment(text)
    except MomentError as error:
        assert _is_clear(error)
    else:
        assert EARLIEST <= first <= last <= first + timedelta(days=1)


@given(DAYS)
def test_every_way_to_write_a_day_means_the_whole_day(day):
    whole = read_moment(f"{day:%Y-%m-%d}")
    for style in ("%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", " %Y-%m-%d ", "%d %b %Y", "%B %d, %Y"):
        assert read_moment(day.strftime(style)) == whole
    assert whole.first.date() == whole.last.date() == day
    assert whole.last - whole.first == timedelta(days=1) - timedelta(microseconds=1)


@given(DAYS, st.sampled_from(["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d/%m/%y 14:00"]))
def test_a_date_without_its_year_in_front_is_refused(day, style):
    with pytest.raises(MomentError, match="is ambiguous.*2026-02-05"):
        read_moment(day.strftime(style))


@given(TIMES, st.integers(-14 * 60, 14 * 60))
def test_a_zone_is_honoured(at, minutes):
    zone = timedelta(minutes=minutes)
    sign = "-" if minutes < 0 else "+"
    offset = f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    local = f"{at + zone:%Y-%m-%dT%H:%M:%S.%f}"
    for text in (f"{local}{offset}", f"{local} {offset}", f"{local} UTC{offset}"):
        assert read_moment(text).first == at.replace(tzinfo=UTC)


@pytest.mark.parametrize("zone", ["IST", "CET", "Mars/Phobos", "+25:00", "02:00", "Zulu time"])
def test_an_unknown_zone_is_named(zone):
    with pytest.raises(MomentError, match="is not a zone; use Z"):
        read_moment(f"2026-02-05T14:00 {zone}")


def test_a_place_has_its_summer_time():
    winter = read_moment("2026-02-05T14:00 Europe/Berlin").first
    summer = read_moment("2025-07-05T14:00 europe/berlin").first
    assert (winter.hour, summer.hour) == (13, 12)


@pytest.mark.parametrize("text", ["2026-02-06", "2026-02-05T12:06", "2027-01-01"])
def test_the_future_is_refused_where_it_makes_no_sense(text):
    with pytest.raises(MomentError, match="is in the future; it is 2026-02-05T12:00 UTC now"):
        read_time(text, now=NOW)
    assert read_time(text, now=NOW, past=False) > NOW


def test_a_parameter_may_be_a_number():
    assert read_time(20260205, end=False, now=NOW).isoformat() == "2026-02-05T00:00:00+00:00"


def test_an_empty_text_is_not_the_newest_moment():
    assert read_time(None) is None
    with pytest.raises(MomentError, match="'' is not a time"):
        read_time("")
