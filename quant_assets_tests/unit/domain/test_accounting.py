"""Every expected minute is in exactly one place; the numbers are counted by hand."""

from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.domain.accounting import (
    account,
    coverage,
    equation,
    imbalance,
    mass_delisting,
    unexplained_share,
)
from quant_assets.domain.reports.coverage import absences, accounting_png
from quant_assets.domain.tables import BAR_ACCOUNTING, QUARANTINE_TWS_BARS
from quant_assets_tests.builders import CON_ID, HALF_DAY, SESSION, curated_bars, hours, minute, universe

VOLUME = 1000.0
"""Of each bar that the builder makes."""


def grid(session: date = SESSION, con_id: int = CON_ID) -> pl.DataFrame:
    opens = hours(session)
    stamps = [opens.opens_at + timedelta(minutes=n) for n in range(opens.n_minutes)]
    schema = {"con_id": pl.Int64, "ts": pl.Datetime("us", "UTC")}
    return pl.DataFrame([(con_id, ts) for ts in stamps], schema=schema, orient="row")


def said(outcome: str, proof: str = "", con_id: int = CON_ID) -> pl.DataFrame:
    return pl.DataFrame({"con_id": [con_id], "outcome": [outcome], "proof": [proof], "detail": [""]})


def knows(
    volume: float | None,
    first: date | None = SESSION,
    last: date | None = SESSION,
    *,
    silent: int = 0,
    steady: bool = True,
) -> pl.DataFrame:
    schema = {"con_id": pl.Int64, "daily_volume": pl.Float64, "first_day": pl.Date, "last_day": pl.Date}
    schema |= {"n_silent": pl.Int64, "is_steady": pl.Boolean}
    return pl.DataFrame([(CON_ID, volume, first, last, silent, steady)], schema=schema, orient="row")


def minutes_of(
    valid: pl.DataFrame,
    ledger: pl.DataFrame,
    daily: pl.DataFrame,
    *,
    session: date = SESSION,
    quarantine: pl.DataFrame | None = None,
    open_minutes: pl.DataFrame | None = None,
    accepted: pl.DataFrame | None = None,
) -> dict[str, int]:
    rows = rows_of(
        valid, ledger, daily, session=session, quarantine=quarantine, open_minutes=open_minutes, accepted=accepted
    )
    assert imbalance(rows, universe(session)).is_empty()
    assert set(rows["expected"]) == {390}
    return {reason: n for reason, n in rows.select("reason", "minutes").iter_rows() if n}


def rows_of(
    valid: pl.DataFrame,
    ledger: pl.DataFrame,
    daily: pl.DataFrame | None = None,
    *,
    session: date = SESSION,
    quarantine: pl.DataFrame | None = None,
    open_minutes: pl.DataFrame | None = None,
    accepted: pl.DataFrame | None = None,
) -> pl.DataFrame:
    usual = pl.DataFrame({"con_id": [CON_ID], "n_usual": [390]})
    rejected = QUARANTINE_TWS_BARS.empty() if quarantine is None else quarantine
    opened = grid(session) if open_minutes is None else open_minutes
    known = knows(None) if daily is None else daily
    return account(session, universe(session), opened, usual, valid, rejected, ledger, known, accepted)


ALL = [100.0] * 390
TEN_LESS: list[float | None] = [*[100.0] * 380, *[None] * 10]


def test_a_complete_session_is_present():
    assert minutes_of(curated_bars(ALL), said("bars", "complete"), knows(390 * VOLUME)) == {"present": 390}


@pytest.mark.parametrize("proof", ["volume", "agreement"])
def test_missing_minutes_that_are_proved_had_no_trades(proof):
    found = minutes_of(curated_bars(TEN_LESS), said("bars", proof), knows(380 * VOLUME))
    assert found == {"present": 380, "no_trades": 10}


def test_two_answers_that_agree_explain_nothing_when_the_daily_volume_says_that_minutes_are_lost():
    found = minutes_of(curated_bars(TEN_LESS), said("bars", "agreement"), knows(390 * VOLUME))
    assert found == {"present": 380, "unexplained": 10}
    later_prints = minutes_of(curated_bars(TEN_LESS), said("bars", "agreement"), knows(382 * VOLUME))
    assert later_prints == {"present": 380, "no_trades": 10}, "two of ten average minutes are late prints and rounding"


@pytest.mark.parametrize(
    ("outcome", "proof", "daily", "reason"),
    [
        ("no_data", "daily", knows(0.0, date(2024, 2, 1), date(2024, 3, 1)), "not_listed"),
        ("no_data", "daily", knows(None, None, None), "not_listed"),
        ("no_trades", "daily", knows(0.0, date(2023, 1, 3), date(2023, 12, 1), silent=20), "delisted"),
        ("no_trades", "daily", knows(0.0, date(2023, 1, 3), date(2023, 12, 29), silent=19), "halt"),
        ("no_trades", "daily", knows(0.0, date(2023, 1, 3), date(2023, 12, 29), silent=1), "halt"),
        ("no_trades", "daily", knows(0.0, date(2023, 1, 3), date(2023, 12, 29), silent=1, steady=False), "no_trades"),
        ("no_trades", "daily", knows(0.0, date(2023, 1, 3), date(2024, 2, 1)), "halt"),
        ("no_trades", "daily", knows(0.0, date(2023, 1, 3), date(2024, 2, 1), steady=False), "no_trades"),
        ("closed", "schedule", knows(None), "closed"),
        ("no_permission", "", knows(5e5), "no_permission"),
        ("unknown_contract", "", knows(5e5), "unknown_contract"),
        ("suspect_empty", "", knows(5e5), "suspect_empty"),
        ("no_data", "", knows(5e5), "suspect_empty"),
        ("shifted", "", knows(5e5), "unexplained"),
    ],
)
def test_a_session_without_a_bar_says_why(outcome, proof, daily, reason):
    assert minutes_of(curated_bars([]), said(outcome, proof), daily) == {reason: 390}


def gone(n: int, day: str, first: int = 1) -> list[dict[str, object]]:
    common = {"session": SESSION, "kind": "explained", "reason": "delisted", "minutes": 390, "expected": 390}
    named = ((i, f"S{i}") for i in range(first, first + n))
    return [{**common, "con_id": i, "symbol": s, "evidence": f"no daily bar since {day}"} for i, s in named]


def living(n: int) -> list[dict[str, object]]:
    common = {"session": SESSION, "kind": "present", "reason": "present", "minutes": 390, "expected": 390}
    return [{**common, "con_id": 1000 + i, "symbol": f"L{i}", "evidence": ""} for i in range(n)]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([*gone(2, "2023-12-01"), *living(8)], ""),
        ([*gone(3, "2023-12-01"), *living(7)], "3 of 10 instruments have no daily bar since 2023-12-01: S1, S2, S3"),
        ([*gone(3, "2023-12-01"), *living(97)], ""),
        ([*gone(2, "2023-12-01"), *gone(2, "2023-11-01", 5), *living(6)], ""),
        (gone(7, "2023-12-01"), "7 of 7 instruments have no daily bar since 2023-12-01: S1, S2, S3, S4, S5"),
    ],
)
def test_many_histories_that_end_on_one_day_are_a_finding(rows, told):
    assert mass_delisting(BAR_ACCOUNTING.frame(rows)) == told


def test_a_half_day_explains_its_afternoon():
    valid = curated_bars([100.0] * 210, session=HALF_DAY)
    found = minutes_of(valid, said("bars", "complete"), knows(2.1e5), session=HALF_DAY)
    assert found == {"present": 210, "half_day": 180}


def test_a_closed_exchange_explains_everything():
    found = minutes_of(curated_bars([]), said("bars").clear(), knows(None), open_minutes=grid().clear())
    assert found == {"closed": 390}


def test_filler_and_imputed_minutes_are_no_present_ones():
    bars = curated_bars(ALL).with_columns(
        pl.when(pl.col("ts") < minute(3)).then(0.0).otherwise("volume").alias("volume"),
        pl.when(pl.col("ts") < minute(3)).then(0).otherwise("bar_count").alias("bar_count"),
        (pl.col("ts") == minute(5)).alias("is_imputed_close"),
    )
    found = minutes_of(bars, said("bars", "complete"), knows(3.9e5))
    assert found == {"present": 386, "vendor_filler": 3, "imputed": 1}


# ------------------------------------------------------------ what is filled in stays counted


def with_filled(minutes: range, volume: float = 0.0) -> pl.DataFrame:
    """A session with a bar in each minute, of which some are imputed."""
    is_filled = pl.col("ts").is_between(minute(minutes[0]), minute(minutes[-1]))
    return curated_bars(ALL).with_columns(
        is_imputed_close=is_filled,
        is_imputed_volume=is_filled,
        volume=pl.when(is_filled).then(volume).otherwise("volume"),
    )


def rejected_at(*minutes: int) -> pl.DataFrame:
    rows = {"con_id": [CON_ID] * len(minutes), "ts": [minute(n) for n in minutes], "volume": [5.0] * len(minutes)}
    return pl.DataFrame(rows, schema_overrides={"ts": pl.Datetime("us", "UTC")})


def test_a_value_over_a_minute_that_nothing_explains_is_imputed_and_still_unexplained():
    bars = with_filled(range(100, 104))
    for outcome in ("truncated", "unconfirmed"):
        assert minutes_of(bars, said(outcome), knows(None)) == {"present": 386, "imputed_unexplained": 4}
    proved = minutes_of(bars, said("bars", "volume"), knows(386 * VOLUME))
    assert proved == {"present": 386, "imputed": 4}
    rows = rows_of(bars, said("truncated"))
    assert equation(rows) == "390 expected = 386 present + 4 imputed + 0 explained + 0 unexplained"
    assert unexplained_share(rows) == 4 / 390
    assert coverage(rows).rows() == [(CON_ID, 390, 4, 1.0)], "they have a bar, and nobody knows what was traded"


def test_volume_that_was_filled_in_does_not_add_up_to_the_daily_volume():
    """Ten average minutes of volume are lost; filled with as much, the sum would agree with the day's."""
    bars = with_filled(range(100, 110), volume=VOLUME)
    found = minutes_of(bars, said("bars", "agreement"), knows(390 * VOLUME))
    assert found == {"present": 380, "imputed_unexplained": 10}


def test_a_value_over_a_rejected_row_is_imputed_and_still_lost_to_quarantine():
    found = minutes_of(
        with_filled(range(100, 104)), said("bars", "complete"), knows(3.9e5), quarantine=rejected_at(100, 101)
    )
    assert found == {"present": 386, "imputed_quarantined": 2, "imputed": 2}


# ------------------------------------------------------------ what a person accepts


def accepts(minutes: int) -> pl.DataFrame:
    return pl.DataFrame({"con_id": [CON_ID], "accepted": [minutes], "note": ["anna: the vendor has no more"]})


def test_minutes_that_a_person_accepts_are_explained_and_no_more_than_those():
    lost = said("bars", "agreement"), knows(390 * VOLUME)
    assert minutes_of(curated_bars(TEN_LESS), *lost, accepted=accepts(10)) == {"present": 380, "accepted": 10}
    more = minutes_of(curated_bars(TEN_LESS), *lost, accepted=accepts(4))
    assert more == {"present": 380, "accepted": 4, "unexplained": 6}, "a hole that grew was not accepted"
    less = minutes_of(
        curated_bars([*[100.0] * 388, None, None]), said("truncated"), accepted=accepts(10), daily=knows(None)
    )
    assert less == {"present": 388, "accepted": 2}
    explained = minutes_of(curated_bars(TEN_LESS), said("bars", "volume"), knows(380 * VOLUME), accepted=accepts(10))
    assert explained == {"present": 380, "no_trades": 10}, "what is proved needs nobody's word"
    rows = rows_of(curated_bars(TEN_LESS), said("truncated"), accepted=accepts(10))
    assert rows.filter(pl.col("reason") == "accepted").select("kind", "evidence").rows() == [
        ("explained", "anna: the vendor has no more")
    ]


def test_accepted_minutes_stay_accepted_where_a_value_is_filled_in():
    found = minutes_of(with_filled(range(100, 104)), said("truncated"), knows(None), accepted=accepts(3))
    assert found == {"present": 386, "imputed": 3, "imputed_unexplained": 1}


# ------------------------------------------------------------ halts inside a session


def without(*stretches: range) -> pl.DataFrame:
    silent = {n for stretch in stretches for n in stretch}
    return curated_bars([None if n in silent else 100.0 for n in range(390)])


@pytest.mark.parametrize(
    ("silent", "proof", "found"),
    [
        pytest.param([range(100, 130)], "volume", {"halt": 30}, id="half an hour of an instrument that always trades"),
        pytest.param([range(100, 130), range(200, 205)], "volume", {"halt": 35}, id="two of them"),
        pytest.param(
            [range(100, 130), range(200, 203)], "volume", {"halt": 30, "no_trades": 3}, id="and three minutes"
        ),
        pytest.param([range(100, 104)], "volume", {"no_trades": 4}, id="shorter than the shortest pause"),
        pytest.param([range(100, 130)], "agreement", {"no_trades": 30}, id="no volume speaks for it"),
        pytest.param([range(360, 390)], "volume", {"no_trades": 30}, id="trading does not resume"),
        pytest.param([range(30)], "volume", {"no_trades": 30}, id="it opened late"),
        pytest.param(
            [range(100, 130), range(200, 380, 2)], "volume", {"no_trades": 120}, id="an instrument that trades seldom"
        ),
    ],
)
def test_a_run_of_silent_minutes_is_a_halt_where_the_instrument_trades_in_all_others(silent, proof, found):
    bars = without(*silent)
    assert minutes_of(bars, said("bars", proof), knows(bars.height * VOLUME)) == {"present": bars.height, **found}


def test_a_minute_whose_only_row_is_in_quarantine_is_named_so_and_counts_once():
    rejected = pl.DataFrame(
        {"con_id": [CON_ID] * 3, "ts": [minute(384), minute(384), minute(0)], "volume": [5.0, 7.0, 9.0]},
        schema_overrides={"ts": pl.Datetime("us", "UTC")},
    )
    found = minutes_of(curated_bars(TEN_LESS), said("bars", "volume"), knows(380 * VOLUME), quarantine=rejected)
    assert found == {"present": 380, "quarantined": 1, "no_trades": 9}


def test_what_does_not_come_out_even_is_named():
    members = universe()
    outside = curated_bars([*ALL, 100.0])
    usual = pl.DataFrame({"con_id": [CON_ID], "n_usual": [390]})
    rows = account(SESSION, members, grid(), usual, outside, QUARANTINE_TWS_BARS.empty(), said("bars"), knows(1.0))
    assert imbalance(rows, members).row(0) == ("S101", 390, 391, 391)
    nobody = universe(con_ids=[CON_ID, 102])
    assert imbalance(rows, nobody)["symbol"].to_list() == ["S101", "S102"]


def test_the_unexplained_share_is_of_all_expected_minutes():
    members = universe()
    usual = pl.DataFrame({"con_id": [CON_ID], "n_usual": [390]})
    rows = account(
        SESSION,
        members,
        grid(),
        usual,
        curated_bars(TEN_LESS),
        QUARANTINE_TWS_BARS.empty(),
        said("truncated"),
        knows(1.0),
    )
    assert unexplained_share(rows) == 10 / 390


def test_coverage_is_of_the_minutes_in_which_the_exchange_was_open():
    half = rows_of(curated_bars([100.0] * 189, session=HALF_DAY), said("bars"), session=HALF_DAY)
    assert coverage(half).rows() == [(CON_ID, 210, 21, 0.9)]
    assert equation(half) == "390 expected = 189 present + 0 imputed + 180 explained + 21 unexplained"
    closed = rows_of(curated_bars([]), said("bars").clear(), open_minutes=grid().clear())
    assert coverage(closed).is_empty()


def test_imputed_and_filler_minutes_have_a_bar_and_proved_absence_has_none_but_explains():
    filler = curated_bars(TEN_LESS).with_columns(volume=pl.lit(0.0), bar_count=pl.lit(0))
    found = coverage(rows_of(filler, said("bars", "volume")))
    assert found.rows() == [(CON_ID, 390, 0, 380 / 390)]


def test_the_heat_map_says_in_percent_where_the_minutes_of_each_session_went():
    whole = rows_of(curated_bars(ALL), said("bars", "complete"))
    half = rows_of(curated_bars([100.0] * 171, session=HALF_DAY), said("bars"), session=HALF_DAY)
    both = pl.concat([whole, half])
    found = {reason: values for reason, *values in absences(both).iter_rows()}
    assert absences(both).columns == ["reason", *sorted([str(SESSION), str(HALF_DAY)])]
    at = absences(both).columns.index(str(HALF_DAY)) - 1
    assert found["half_day"][at] == pytest.approx(100 * 180 / 390)
    assert found["unexplained"][at] == pytest.approx(10.0)
    assert found["half_day"][1 - at] == found["unexplained"][1 - at] == 0.0
    assert absences(whole).is_empty()
    assert all(accounting_png(rows).startswith(b"\x89PNG") for rows in (whole, both))


@pytest.mark.parametrize(
    ("minutes", "found"),
    [
        pytest.param(range(390), {"present": 390}, id="every minute"),
        pytest.param([*range(5), *range(6, 390)], {"present": 389, "unexplained": 1}, id="one is missing inside"),
        pytest.param([*range(1, 390)], {"present": 389, "unexplained": 1}, id="the first is missing"),
    ],
)
def test_whole_instruments_and_such_with_holes_are_counted_alike(minutes, found):
    bars = curated_bars([100.0 if n in minutes else None for n in range(390)])
    assert minutes_of(bars, said("bars"), knows(None)) == found
    assert minutes_of(bars.sort("ts", descending=True), said("bars"), knows(None)) == found


def test_as_many_bars_as_minutes_but_not_on_them_are_not_a_whole_session():
    late = curated_bars(ALL).with_columns(
        ts=pl.when(pl.col("ts") == minute(5)).then(minute(4) + timedelta(seconds=30)).otherwise("ts")
    )
    rows = rows_of(late, said("bars"))
    assert rows.filter(pl.col("reason") == "unexplained")["minutes"].to_list() == [1]
    assert imbalance(rows, universe())["minutes"].to_list() == [391], "the bar off the minute is in no place"


def test_a_break_in_the_hours_is_no_missing_minute():
    opened = grid().filter(~pl.col("ts").is_between(minute(120), minute(179)))
    bars = curated_bars([None if 120 <= n < 180 else 100.0 for n in range(390)])
    found = rows_of(bars, said("bars"), open_minutes=opened)
    assert found.filter(pl.col("kind") == "unexplained").is_empty()
    moved = bars.with_columns(ts=pl.when(pl.col("ts") == minute(119)).then(minute(120)).otherwise("ts"))
    lost = rows_of(moved, said("bars"), open_minutes=opened)
    assert lost.filter(pl.col("kind") == "unexplained")["minutes"].to_list() == [1]
