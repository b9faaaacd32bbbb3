"""Conditions over columns, worked by hand; and candidates that have to keep them."""

import math
from datetime import date

import polars as pl
import pytest

from quant_assets.connectors.scanners import Scanner
from quant_assets.domain.candidates import screen
from quant_assets.domain.features.agreement import VALUES, agreement
from quant_assets.domain.screens import Condition, check_condition, fields, judge, ranked, tables_of
from quant_assets.domain.tables import INSTRUMENTS, TV_TECHNICALS_1D, UNIVERSE
from quant_assets.errors import UnknownNameError
from quant_assets.flows.screens import Gathered, apply, required_tables
from quant_assets.settings.manifest import DataConfig, Profile, SelectionConfig
from quant_assets_tests.unit.alpha.scenario import daily, weekdays

RSI, CLOSE, STATUS = "tv_technicals_1d.rsi", "curated_tws_1d_bars.close", "curated_tws_1d_bars.dq_status"
FRAME = pl.DataFrame(
    {
        "con_id": [1, 2, 3, 4],
        RSI: [20.0, 30.0, None, math.nan],
        CLOSE: [5.0, 50.0, 500.0, 7.0],
        STATUS: ["ok", "warn", "ok", "error"],
    }
)


def passing(*conditions):
    return judge(FRAME, conditions).filter(pl.col("broken") == "")["con_id"].to_list()


@pytest.mark.parametrize(
    ("field", "op", "value", "expected"),
    [
        (RSI, "<", 30, [1]),
        (RSI, "<=", 30, [1, 2]),
        (RSI, ">", 20, [2]),
        (RSI, ">=", 20, [1, 2]),
        (RSI, "!=", 20, [2]),
        (CLOSE, "==", 50, [2]),
        (CLOSE, "between", (5.0, 50.0), [1, 2, 4]),
        (CLOSE, "in", (5.0, 7.0), [1, 4]),
        (STATUS, "in", ("ok", "warn"), [1, 2, 3]),
        (STATUS, "not_in", ("ok",), [2, 4]),
        (STATUS, "==", "ok", [1, 3]),
        (RSI, "is_null", None, [3]),
        (RSI, "not_null", None, [1, 2, 4]),
    ],
)
def test_each_operator(field, op, value, expected):
    condition = Condition("x", field, op, value)
    check_condition(condition)
    assert passing(condition) == expected


def test_what_is_missing_keeps_no_comparison_and_reasons_tell_what_was_found():
    broken = judge(FRAME, [Condition("low", RSI, "<", 30.0), Condition("dear", CLOSE, ">", 6.0)])
    assert broken["broken"].to_list() == [
        "dear: curated_tws_1d_bars.close > 6 wanted, it is 5.0",
        "low: tv_technicals_1d.rsi < 30 wanted, it is 30.0",
        "low: tv_technicals_1d.rsi < 30 wanted, it is missing",
        "low: tv_technicals_1d.rsi < 30 wanted, it is NaN",
    ]


def test_ranks_break_ties_by_con_id_and_put_the_unknown_last():
    frame = pl.DataFrame({"con_id": [4, 3, 2, 1], RSI: [None, 10.0, 10.0, 90.0]})
    assert ranked(frame, RSI, 9)["con_id"].to_list() == [1, 2, 3, 4]
    assert ranked(frame, RSI, 2, descending=False).rows() == [(2, 1, 10.0), (3, 2, 10.0)]


def test_fields_are_values_of_tables_and_never_keys_or_times():
    assert RSI in fields()
    assert "metrics.momentum" in fields()
    assert not {name for name in fields() if name.endswith((".con_id", ".session", ".ts", ".known_at"))}
    assert [table.name for table in tables_of(["metrics.momentum", RSI])] == ["curated_tws_1d_bars", "tv_technicals_1d"]
    with pytest.raises(UnknownNameError, match=r"tv_technicals_1d\.rsi"):
        check_condition(Condition("x", "tv_technicals_1d.rsx", ">", 1.0))


def test_a_screen_counts_who_passed_before_its_limit_cuts():
    filters = {"cheap": {"field": CLOSE, "op": "<", "value": 100}}
    scanner = Scanner.model_validate({"source": "lakehouse", "limit": 2, "filters": filters, "rank": {"by": CLOSE}})
    found = apply(scanner, Gathered(FRAME))
    assert (found.n_judged, found.n_passed) == (4, 3)
    assert found.found.rows() == [(2, 1, 50.0), (4, 2, 7.0)]


# ------------------------------------------------------------------ candidates


SESSIONS = weekdays(30)
AT = SESSIONS[-1]


def judged(selection=None, data=None, screened=None, statuses=("ok", "ok")):
    import numpy as np

    prices = np.column_stack([np.linspace(50, 60, 30), np.linspace(60, 50, 30)])
    bars = daily(SESSIONS, prices)
    status = pl.when(pl.col("con_id") == 102).then(pl.lit(statuses[1])).otherwise(pl.lit(statuses[0]))
    bars = bars.with_columns(pl.when(pl.col("session") == AT).then(status).otherwise(pl.lit("ok")).alias("dq_status"))
    common = {"currency": "USD", "asset_class": "STK", "exchange": "NYSE", "profiles": "p", "is_pit": True}
    members = [
        {**common, "session": AT, "con_id": i, "symbol": f"S{i}", "sources": "list:a;scanner:b", "metadata": said}
        for i, said in ((101, '{"scanner:b": {"rank": 1}}'), (102, None))
    ]
    details = [
        {**common, "session": AT, "con_id": i, "symbol": f"S{i}", "valid_from": date(2020, 1, 1), "active": True}
        | {"primary_exchange": "NYSE", "min_tick": 0.01, "timezone": "US/Eastern", "long_name": "", "industry": "X"}
        for i in (101, 102)
    ]
    frame = screen(
        bars,
        UNIVERSE.frame(members),
        INSTRUMENTS.frame(details),
        "p",
        AT,
        selection or SelectionConfig(min_dollar_volume=0),
        data or DataConfig(lookback_sessions=30, min_sessions_floor=5),
        screened,
    )
    return {row["con_id"]: row for row in frame.iter_rows(named=True)}


def test_a_broken_condition_is_a_reason_and_the_logic_names_the_screens():
    screened = pl.DataFrame({"con_id": [101, 102], "broken": ["", "screen dips/low: rsi"]})
    rows = judged(SelectionConfig(min_dollar_volume=0, screens=("dips",)), screened=screened)
    assert (rows[101]["verdict"], rows[101]["logic"]) == ("accepted", "daily_screen_v1+dips")
    assert (rows[102]["verdict"], rows[102]["reasons"]) == ("rejected", "screen dips/low: rsi")


def test_strict_health_wants_a_clean_last_bar():
    strict = DataConfig(lookback_sessions=30, min_sessions_floor=5, strict_health=True)
    rows = judged(data=strict, statuses=("ok", "warn"))
    assert rows[101]["verdict"] == "accepted"
    assert rows[102]["reasons"] == "unhealthy: quality of the last bar is warn"
    assert judged(statuses=("ok", "warn"))[102]["verdict"] == "accepted"


def test_metadata_tells_who_named_it_and_what_they_said():
    rows = judged()
    assert '"sources": ["list:a", "scanner:b"]' in rows[101]["metadata"]
    assert '"said": {"scanner:b": {"rank": 1}}' in rows[101]["metadata"]
    assert '"said"' not in rows[102]["metadata"]


def test_short_candidates_rank_by_the_weakest_momentum():
    sessions = weekdays(300)
    import numpy as np

    prices = np.column_stack([np.linspace(50, 90, 300), np.linspace(90, 50, 300)])
    bars = daily(sessions, prices)
    common = {"currency": "USD", "asset_class": "STK", "exchange": "NYSE", "profiles": "p", "is_pit": True}
    at = sessions[-1]
    members = [{**common, "session": at, "con_id": i, "symbol": f"S{i}", "sources": "list:a"} for i in (101, 102)]
    details = [
        {**common, "session": at, "con_id": i, "symbol": f"S{i}", "valid_from": date(2020, 1, 1), "active": True}
        | {"primary_exchange": "NYSE"}
        for i in (101, 102)
    ]
    best = {}
    for side in ("LONG", "SHORT"):
        selection = SelectionConfig(min_dollar_volume=0, ranking="momentum", direction=side)
        frame = screen(
            bars,
            UNIVERSE.frame(members),
            INSTRUMENTS.frame(details),
            "p",
            at,
            selection,
            DataConfig(lookback_sessions=300, min_sessions_floor=5),
        )
        assert set(frame["direction"]) == {side}
        best[side] = frame.filter(pl.col("rank") == 1)["con_id"][0]
    assert best == {"LONG": 101, "SHORT": 102}


def test_a_profile_stands_on_the_features_that_it_names():
    profile = Profile.model_validate({"features": {"groups": ["tv_technicals_1d"]}})
    assert [table.name for table in required_tables(profile, ())] == ["tv_technicals_1d"]
    with pytest.raises(UnknownNameError, match="Did you mean 'features_price_1m_v1'"):
        required_tables(Profile.model_validate({"features": {"groups": ["features_price_1m_v2"]}}), ())


# ------------------------------------------------------------------ two producers


def test_agreement_by_hand():
    def technicals(**values):
        rows = [
            {"session": AT, "con_id": i, "symbol": "S", "rsi": v} for i, v in zip((1, 2, 3), values["rsi"], strict=True)
        ]
        return TV_TECHNICALS_1D.frame(rows)

    found = agreement(technicals(rsi=[50.0, 40.0, None]), technicals(rsi=[51.0, 37.0, 60.0]))
    assert tuple(found["column"]) == VALUES
    rsi = found.filter(pl.col("column") == "rsi").row(0, named=True)
    assert (rsi["n_both"], rsi["n_only_ours"], rsi["n_only_theirs"]) == (2, 0, 1)
    assert (rsi["mean_abs"], rsi["max_abs"], rsi["same_sign"]) == (2.0, 3.0, 1.0)
    macd = found.filter(pl.col("column") == "macd").row(0, named=True)
    assert (macd["n_both"], macd["max_abs"]) == (0, None)
