"""The screen: which instruments of the universe a profile may hold, and why the others may not."""

import json
from collections import Counter
from datetime import date
from typing import Any

import polars as pl

from quant_assets.domain.breaks import on_one_basis
from quant_assets.domain.instruments import valid_at
from quant_assets.domain.returns import SESSIONS_PER_YEAR
from quant_assets.domain.tables import CANDIDATES
from quant_assets.errors import NoCandidatesError
from quant_assets.settings.manifest import DataConfig, SelectionConfig

LOGIC = "daily_screen_v1"

DOLLAR_VOLUME_SESSIONS = 20
MOMENTUM_FAR, MOMENTUM_NEAR = 252, 21
VOLATILITY_SESSIONS = 63
_DIGITS = 9
"""Significant digits of metrics: enough to read, few enough to be equal on every machine."""

_RANKED_BY = {
    "dollar_volume": pl.col("dollar_volume"),
    "momentum": pl.col("momentum"),
    "low_volatility": -pl.col("volatility"),
}


def screen(
    daily: pl.DataFrame,
    universe: pl.DataFrame,
    instruments: pl.DataFrame,
    profile_name: str,
    session: date,
    selection: SelectionConfig,
    data: DataConfig,
    screened: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Judge every instrument of the universe as of a session.

    Args:
        daily: rows of CURATED_TWS_1D_BARS as of `session`; later sessions are ignored.
        universe: rows of UNIVERSE of `session`.
        instruments: rows of INSTRUMENTS as known at `session`.
        profile_name: whose screen this is; instruments that other profiles asked for are rejected as such.
        session: the session that is judged.
        selection: thresholds, ranking and how many to keep.
        data: how much history is needed. A stale instrument is rejected under `stale_policy` fail, and is left to
            the snapshot's audit under warn and allow.
        screened: con_id and `broken`, what the profile's own screens have against each instrument; empty text for
            nothing, None where it has no screens.

    Returns:
        CANDIDATES, one row per universe instrument. The accepted are ranked from 1, ties by con_id; those beyond
        `top_n` are rejected with `below_top_n`.

    Raises:
        NoCandidatesError: nobody was accepted.
    """
    judged = (
        universe.select(
            "con_id",
            "symbol",
            "exchange",
            "asset_class",
            "sources",
            "profiles",
            pl.col("metadata").alias("said"),
            pl.col("is_pit").alias("member_pit"),
        )
        .join(_details(instruments, session), on="con_id", how="left")
        .join(metrics(daily, session, data.lookback_sessions), on="con_id", how="left")
        .join(_NO_SCREENS if screened is None else screened, on="con_id", how="left")
        .with_columns(reasons=_reasons(profile_name, session, selection, data))
    )
    ranked = _rank(judged, selection)
    if not ranked.get_column("rank").len() or ranked.get_column("rank").null_count() == ranked.height:
        raise NoCandidatesError(session, profile_name, ranked.height, _tally(ranked.get_column("reasons")))
    return _table(ranked, profile_name, session, selection)


_NO_SCREENS = pl.DataFrame(schema={"con_id": pl.Int64, "broken": pl.String})


def metrics(daily: pl.DataFrame, session: date, lookback_sessions: int) -> pl.DataFrame:
    """Return per con_id what the screen looks at, from the bars of `session` and before.

    `n_sessions` counts bars within the last `lookback_sessions` sessions that anybody traded in; the other metrics
    count bars of the instrument itself, and may reach further back. `dollar_volume` is the median of close x volume
    over the last 20 bars; `momentum` the adjusted return from 252 to 21 bars ago; `volatility` the sample deviation
    of the last 63 simple returns, per year. Null where bars are too few. Bars before an unexplained break of the price
    basis are none of them.
    """
    bars = on_one_basis(daily).filter(pl.col("session") <= session).sort("con_id", "session")
    sessions = daily.get_column("session")
    window = sessions.filter(sessions <= session).unique().sort().tail(lookback_sessions)
    first, adjusted = pl.lit(window.min(), dtype=pl.Date), pl.col("adj_close")
    return bars.group_by("con_id", maintain_order=True).agg(
        n_sessions=(pl.col("session") >= first).sum().cast(pl.Int64),
        last_session=pl.col("session").last(),
        close=pl.col("close").last(),
        dq_status=pl.col("dq_status").last(),
        coverage=pl.col("coverage").last(),
        dollar_volume=(pl.col("close") * pl.col("volume")).tail(DOLLAR_VOLUME_SESSIONS).median(),
        momentum=adjusted.shift(MOMENTUM_NEAR).last() / adjusted.shift(MOMENTUM_FAR).last() - 1,
        volatility=(adjusted / adjusted.shift(1) - 1).tail(VOLATILITY_SESSIONS).std() * SESSIONS_PER_YEAR**0.5,
        is_observed=(pl.col("known_basis") == "observed").all(),
    )


def _details(instruments: pl.DataFrame, session: date) -> pl.DataFrame:
    """Return the listing exchange per con_id as it was valid at the session."""
    latest = valid_at(instruments, session).unique("con_id", keep="last", maintain_order=True)
    return latest.select("con_id", "primary_exchange", pl.lit(value=True).alias("has_details"))


def _reasons(profile: str, session: date, selection: SelectionConfig, data: DataConfig) -> pl.Expr:
    """Return the text of all rules that a row breaks, in fixed order, separated by `;`."""
    has_bars = pl.col("n_sessions").is_not_null()
    volume, price = pl.col("dollar_volume"), pl.col("close")
    fails_if_stale = data.stale_policy == "fail"
    rules: list[tuple[pl.Expr, pl.Expr]] = [
        (~pl.col("profiles").str.split(";").list.contains(profile), pl.lit(f"not_in_profile: {profile}")),
        (pl.col("has_details").is_null(), pl.lit("no_contract_details")),
        (~has_bars, pl.lit("no_daily_history")),
        (
            has_bars & (pl.col("last_session") < session) & fails_if_stale,
            pl.format("stale: last bar {}", pl.col("last_session").dt.to_string("%Y-%m-%d")),
        ),
        (
            pl.col("n_sessions") < data.min_sessions_floor,
            pl.format("too_short: {} of {} sessions", "n_sessions", pl.lit(data.min_sessions_floor)),
        ),
        (
            pl.col("coverage") < selection.min_coverage,
            pl.format("low_coverage: {} below {}", pl.col("coverage").round(4), pl.lit(selection.min_coverage)),
        ),
        (
            (pl.col("dq_status") != "ok") & data.strict_health,
            pl.format("unhealthy: quality of the last bar is {}", "dq_status"),
        ),
        (price < selection.min_price, pl.format("cheap: close {} below {}", "close", pl.lit(selection.min_price))),
        (
            has_bars & volume.fill_null(0.0).lt(selection.min_dollar_volume),
            pl.format(
                "illiquid: median dollar volume {} below {}",
                volume.fill_null(0.0).round(0).cast(pl.Int64),
                pl.lit(int(selection.min_dollar_volume)),
            ),
        ),
        (pl.col("broken").fill_null("") != "", pl.col("broken")),
    ]
    texts = [pl.when(broken).then(text) for broken, text in rules]
    return pl.concat_str(texts, separator=";", ignore_nulls=True)


def _rank(judged: pl.DataFrame, selection: SelectionConfig) -> pl.DataFrame:
    """Rank those without a reason; give the ones beyond `top_n` theirs."""
    passed = pl.col("reasons") == ""
    score = _RANKED_BY[selection.ranking]
    if selection.direction == "SHORT" and selection.ranking == "momentum":
        score = -score
    order = judged.filter(passed).with_columns(score=score.round_sig_figs(_DIGITS))
    order = order.sort("score", "con_id", descending=[True, False], nulls_last=True).with_row_index("rank", offset=1)
    ranked = judged.join(order.select("con_id", pl.col("rank").cast(pl.Int64)), on="con_id", how="left")
    beyond = pl.col("rank") > selection.top_n
    return ranked.with_columns(
        reasons=pl.when(beyond).then(pl.lit("below_top_n")).otherwise("reasons"),
        position=pl.col("rank"),
        rank=pl.when(~beyond).then("rank"),
    ).sort("con_id")


def _tally(reasons: pl.Series) -> dict[str, int]:
    """Count reasons by kind, the biggest first."""
    kinds = (reason.split(":")[0] for text in reasons.to_list() for reason in text.split(";") if reason)
    return dict(sorted(Counter(kinds).items(), key=lambda item: (-item[1], item[0])))


def _table(ranked: pl.DataFrame, profile: str, session: date, selection: SelectionConfig) -> pl.DataFrame:
    exchange = pl.coalesce("primary_exchange", "exchange")
    accepted = pl.col("rank").is_not_null()
    frame = ranked.select(
        pl.lit(session).alias("session"),
        pl.lit(profile).alias("profile"),
        "con_id",
        pl.format("{}:{}", exchange, "symbol").alias("symbol"),
        exchange.alias("exchange"),
        pl.col("asset_class").alias("asset_type"),
        pl.lit(selection.direction).alias("direction"),
        pl.lit("+".join([LOGIC, *selection.screens])).alias("logic"),
        "rank",
        pl.when(accepted).then(pl.lit("accepted")).otherwise(pl.lit("rejected")).alias("verdict"),
        "reasons",
        pl.Series("metadata", [_metadata(row) for row in ranked.iter_rows(named=True)], dtype=pl.String),
        (pl.col("member_pit") & pl.col("is_observed").fill_null(value=False)).alias("is_pit"),
    )
    return CANDIDATES.conform(frame)


def _metadata(row: dict[str, Any]) -> str:
    """Return the numbers behind a verdict, and who named the instrument, as JSON with sorted keys."""
    names = ("n_sessions", "last_session", "close", "coverage", "dollar_volume", "momentum", "volatility", "position")
    told = {name: _plain(row[name]) for name in names} | {"sources": row["sources"].split(";")}
    told |= {"said": json.loads(row["said"])} if row["said"] else {}
    return json.dumps(told, sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    return value.isoformat() if isinstance(value, date) else value
