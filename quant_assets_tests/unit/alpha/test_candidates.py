import json
from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.domain.candidates import metrics, screen
from quant_assets.domain.tables import CANDIDATES
from quant_assets.errors import NoCandidatesError
from quant_assets.settings.manifest import DataConfig, SelectionConfig
from quant_assets_tests.unit.alpha import scenario

SESSIONS = scenario.weekdays(120)
SESSION = SESSIONS[-1]
DATA = DataConfig(lookback_sessions=120, min_sessions_floor=100)
SELECTION = SelectionConfig(top_n=3, min_price=5.0, min_dollar_volume=1e6, min_coverage=0.9)


def judge(
    prices, *, universe=None, instruments=None, selection=SELECTION, data=DATA, edit=lambda frame: frame, **kwargs
):
    ids = list(range(101, 101 + prices.shape[1]))
    frame = screen(
        edit(scenario.daily(SESSIONS, prices, **kwargs)),
        scenario.universe(SESSION, ids) if universe is None else universe,
        scenario.instruments(SESSION, ids) if instruments is None else instruments,
        "default",
        SESSION,
        selection,
        data,
    )
    return {row["con_id"]: row for row in frame.iter_rows(named=True)}


def flat(*levels: float) -> np.ndarray:
    return np.tile(np.array(levels, dtype=float), (120, 1))


def test_every_instrument_gets_a_row_and_each_fate_its_reason():
    prices = flat(50, 40, 30, 20, 10, 4, 60, 70)
    prices[:20, 1] = np.nan  # 100 of 120 sessions: enough of them, too little coverage
    prices[:50, 2] = np.nan  # 70 sessions
    prices[-3:, 3] = np.nan  # stopped three sessions ago
    ids = list(range(101, 110))
    universe = scenario.universe(SESSION, ids).with_columns(
        profiles=pl.when(pl.col("con_id") == 107).then(pl.lit("other;second")).otherwise("profiles")
    )
    details = scenario.instruments(SESSION, [i for i in ids if i != 108])

    rows = judge(prices, universe=universe, instruments=details)

    assert {con_id: row["reasons"] for con_id, row in rows.items()} == {
        101: "",
        102: "low_coverage: 0.8333 below 0.9",
        103: "too_short: 70 of 100 sessions;low_coverage: 0.5833 below 0.9",
        104: f"stale: last bar {SESSIONS[-4]}",
        105: "",
        106: "cheap: close 4.0 below 5.0",
        107: "not_in_profile: default",
        108: "no_contract_details",
        109: "no_daily_history",
    }
    assert [row["verdict"] for row in rows.values()].count("accepted") == 2
    assert (rows[101]["rank"], rows[105]["rank"], rows[102]["rank"]) == (1, 2, None)


def test_an_illiquid_instrument_is_told_its_median_not_its_mean():
    def two_days_of_frenzy(frame):
        quiet = pl.col("session") < SESSIONS[-2]
        return frame.with_columns(volume=pl.when(quiet).then(100.0).otherwise(1e9))

    with pytest.raises(NoCandidatesError, match=r"accepted none of 1 instruments of 2024-06-28: illiquid \(1\)"):
        judge(flat(50), edit=two_days_of_frenzy)


def test_ties_are_ranked_by_con_id_and_those_beyond_top_n_are_rejected_with_their_position():
    rows = judge(flat(50, 50, 50, 50, 50))
    assert [rows[i]["rank"] for i in (101, 102, 103, 104, 105)] == [1, 2, 3, None, None]
    assert rows[104]["reasons"] == "below_top_n"
    assert json.loads(rows[105]["metadata"])["position"] == 5


@pytest.mark.parametrize(("ranking", "best"), [("dollar_volume", 103), ("momentum", 101), ("low_volatility", 102)])
def test_each_ranking_orders_by_its_own_metric(ranking, best):
    n = 260
    sessions = scenario.weekdays(n)
    t = np.arange(n)
    wobble = np.where(t % 2 == 0, 1.0, 1.02)
    prices = np.column_stack([20 * 1.002**t * wobble, np.linspace(30, 31, n), 200 * wobble])
    frame = screen(
        scenario.daily(sessions, prices),
        scenario.universe(sessions[-1], [101, 102, 103]),
        scenario.instruments(sessions[-1], [101, 102, 103]),
        "default",
        sessions[-1],
        SelectionConfig(top_n=3, ranking=ranking),
        DataConfig(lookback_sessions=260, min_sessions_floor=100),
    )
    assert frame.filter(rank=1)["con_id"].to_list() == [best]


def test_metrics_equal_hand_worked_numbers():
    sessions = scenario.weekdays(260)
    prices = np.linspace(100, 359, 260)[:, None]  # 100, 101, … 359
    row = metrics(scenario.daily(sessions, prices), sessions[-1], 260).row(0, named=True)
    assert row["n_sessions"] == 260
    assert row["close"] == 359
    assert row["dollar_volume"] == pytest.approx(349.5e6)  # median of 340 … 359, times a million shares
    assert row["momentum"] == pytest.approx(338 / 107 - 1)  # 21 bars ago over 252 bars ago
    returns = 1 / np.arange(296, 359)  # the last 63: 1/296 … 1/358
    assert row["volatility"] == pytest.approx(returns.std(ddof=1) * 252**0.5)


def test_bars_after_the_session_are_never_looked_at():
    prices = scenario.closes(120, 2)
    until = scenario.daily(SESSIONS, prices).filter(pl.col("session") <= SESSIONS[99])
    assert (
        metrics(scenario.daily(SESSIONS, prices), SESSIONS[99], 120)
        .drop("coverage")
        .equals(metrics(until, SESSIONS[99], 120).drop("coverage"))
    )


def test_nobody_accepted_is_an_error_that_counts_the_biggest_reasons():
    with pytest.raises(NoCandidatesError) as caught:
        judge(flat(1, 2, 3), selection=SELECTION.model_copy(update={"min_dollar_volume": 2.5e6}))
    assert caught.value.reasons == {"cheap": 3, "illiquid": 2}
    assert "quant flow data" in str(caught.value)


def test_an_empty_universe_is_an_error_and_not_an_empty_table():
    with pytest.raises(NoCandidatesError, match="none of 0"):
        judge(flat(50), universe=scenario.universe(SESSION, [101]).clear())


@pytest.mark.parametrize(
    ("member_pit", "basis", "is_pit"), [(True, "observed", True), (False, "observed", False), (True, "assumed", False)]
)
def test_point_in_time_needs_a_known_membership_and_observed_bars(member_pit, basis, is_pit):
    universe = scenario.universe(SESSION, [101], is_pit=member_pit)
    assert judge(flat(50), universe=universe, known_basis=basis)[101]["is_pit"] is is_pit


def test_a_stale_instrument_passes_the_screen_only_where_the_policy_lets_it():
    prices = flat(50, 60)
    prices[-1, 1] = np.nan
    assert judge(prices)[102]["verdict"] == "rejected"
    assert judge(prices, data=DATA.model_copy(update={"stale_policy": "warn"}))[102]["verdict"] == "accepted"


def test_details_are_those_valid_at_the_session():
    old = scenario.instruments(SESSION, [101]).with_columns(
        primary_exchange=pl.lit("AMEX"), valid_until=pl.lit(date(2023, 1, 5))
    )
    new = scenario.instruments(SESSION, [101]).with_columns(valid_from=pl.lit(date(2023, 1, 6)))
    assert judge(flat(50), instruments=pl.concat([old, new]))[101]["symbol"] == "NYSE:S101"


def test_candidates_do_not_depend_on_row_order_and_metadata_is_sorted_json():
    prices = scenario.closes(120, 4)
    rows = judge(prices)
    shuffled = judge(prices, edit=lambda frame: frame.sample(fraction=1, shuffle=True, seed=1))
    assert rows == shuffled
    assert list(json.loads(rows[101]["metadata"])) == sorted(json.loads(rows[101]["metadata"]))
    assert CANDIDATES.frame(list(rows.values())).height == 4


def test_history_is_counted_within_the_lookback_of_the_profile():
    prices = flat(50, 60)
    prices[100:110, 1] = np.nan  # 110 sessions in all, 40 of the last 50
    short = DataConfig(lookback_sessions=50, min_sessions_floor=45)
    rows = judge(prices, data=short)
    assert rows[101]["verdict"] == "accepted"
    assert rows[102]["reasons"] == "too_short: 40 of 45 sessions"
