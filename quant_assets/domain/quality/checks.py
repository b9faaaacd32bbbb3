"""The rules at work: each function looks at a session's rows and returns what it found."""

import polars as pl

from quant_assets.domain import toxic
from quant_assets.domain.breaks import UNEXPLAINED_BREAK
from quant_assets.domain.quality import rules
from quant_assets.domain.quality.findings import FINDINGS, found
from quant_assets.domain.quality.kinds import UnitRule, text
from quant_assets.domain.quality.terms import SessionTerms

NOTHING = pl.DataFrame(schema=FINDINGS)
_MINUTE = ["con_id", "ts"]
_NEXT = pl.col("con_id").shift(1) == pl.col("con_id")
_WAVE = 0.01
"""Relative difference up to which two price ratios of a session are one."""
_HUNDRED = 100.0
_DENSE = 0.9
"""Share of the minutes between its first and its last bar in which a dense answer has one."""
_PROVED = 0.25
"""Share of the distance between minutes and day that may be left when a volume is put right."""


def single_rows(rows: pl.DataFrame, terms: SessionTerms) -> pl.DataFrame:
    """Judge each row alone; all rules are evaluated in one pass, evidence only for rows that break one."""
    laid = terms.laid(rows)
    declared = rules.row_rules()
    flags = laid.select(rule.broken(terms).fill_null(value=False).alias(rule.name) for rule in declared)
    broken = flags.select(pl.all().any()).row(0, named=True) if flags.height else {}
    frames = [
        found(laid.filter(flags[rule.name]), rule.name, rule.evidence(terms))
        for rule in declared
        if broken.get(rule.name)
    ]
    return pl.concat(frames) if frames else NOTHING


def other_symbols(rows: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """Find rows whose symbol is not the one that the universe gives their instrument.

    Args:
        rows: _row, con_id, symbol, sorted by con_id.
        names: con_id, symbol.
    """
    changes = rows.filter((~_NEXT | (pl.col("symbol") != pl.col("symbol").shift(1))).fill_null(value=True))
    expected = names.select("con_id", pl.col("symbol").alias("_expected"))
    odd = changes.join(expected, on="con_id").filter(pl.col("symbol") != pl.col("_expected"))
    if odd.is_empty():
        return NOTHING
    wrong = rows.join(expected, on="con_id").filter(pl.col("symbol") != pl.col("_expected"))
    return found(wrong, "other_symbol", pl.format("symbol is {}, not {}", "symbol", "_expected"))


def rescaled(rows: pl.DataFrame) -> pl.DataFrame:
    """Find rows of older answers that were put on the newest one's price basis."""
    told = pl.format("prices as served, times {}", "rescaled_by")
    return found(rows.filter(pl.col("rescaled_by") != 1.0), "rescaled", told)


def disorder(rows: pl.DataFrame) -> pl.DataFrame:
    """Find rows that start before a row that the same answer sent earlier; rows in the order they were sent."""
    back = _NEXT & (pl.col("ts") < pl.col("ts").shift(1))
    touched = rows.filter(back).select("con_id").unique()
    if touched.is_empty():
        return NOTHING
    late = rows.join(touched, on="con_id", how="semi", maintain_order="left").filter(rules.monotonic().broken())
    return found(late, "out_of_order", pl.format("row {} of its answer", "answer_row"))


def repeated_minutes(rows: pl.DataFrame, released: pl.Series) -> pl.DataFrame:
    """Of several rows of one minute keep the one with the largest volume, then the one sent last.

    A row that somebody released goes before both. The row that stays in front of different ones is marked.

    Args:
        rows: sorted by con_id and ts.
        released: _row of released rows.
    """
    same = _NEXT & (pl.col("ts") == pl.col("ts").shift(1))
    several = rows.filter((same | same.shift(-1)).fill_null(value=False))
    if several.is_empty():
        return NOTHING
    ordered = several.with_columns(pl.col("_row").is_in(released.implode()).alias("_first")).sort(
        *_MINUTE, "_first", "volume", "answer_row", descending=[False, False, True, True, True], nulls_last=True
    )
    marked = ordered.with_columns(rule.broken().alias(rule.name) for rule in rules.duplicates())
    kept = pl.format(
        "kept row {}: close {} volume {}; this row: close {} volume {}",
        pl.col("answer_row").first().over(_MINUTE),
        pl.col("close").first().over(_MINUTE),
        text("volume").first().over(_MINUTE),
        "close",
        text("volume"),
    )
    told = marked.with_columns(kept.alias("_kept"))
    conflict = pl.col("duplicate_conflicting").any().over(_MINUTE)
    winners = told.filter(conflict & (pl.int_range(pl.len()).over(_MINUTE) == 0))
    losers = [found(told.filter(pl.col(rule.name)), rule.name, pl.col("_kept")) for rule in rules.duplicates()]
    chosen = pl.format("kept of {} rows of the minute", pl.lit("several"))
    said = pl.lit("kept_of_several")
    return pl.concat([*losers, found(winners, "duplicate_conflicting", chosen, verdict=said, keeps=True)])


def shifted(rows: pl.DataFrame, outside: pl.DataFrame, terms: SessionTerms) -> pl.DataFrame:
    """Find answers that are moved as a whole: what spills over one end of the session is missing at the other.

    Args:
        rows: every row of the session.
        outside: those of them outside their session's hours.
        terms: hours, `shifted_minutes` and `shifted_dense_minutes`.
    """
    spilled = outside.select("con_id").unique()
    if spilled.is_empty():
        return NOTHING
    laid = terms.laid(rows.join(spilled, on="con_id", how="semi", maintain_order="left"))
    opens, closes, minute = terms["opens_at"], terms["closes_at"], pl.duration(minutes=1)
    ends = laid.group_by("con_id", maintain_order=True).agg(
        (opens - pl.col("ts").min()).first().dt.total_minutes().alias("early"),
        (pl.col("ts").max() + minute - closes).first().dt.total_minutes().alias("late"),
        terms["shifted_minutes"].first().alias("least"),
        terms["shifted_dense_minutes"].first().alias("least_dense"),
        (pl.col("ts").n_unique() / ((pl.col("ts").max() - pl.col("ts").min()).dt.total_minutes() + 1)).alias("filled"),
        pl.len().alias("n"),
    )
    early, late, least = (pl.col(name) for name in ("early", "late", "least"))
    is_moved = ((early >= least) & (late <= -0.8 * early)) | ((late >= least) & (early <= -0.8 * late))
    # who trades in nearly every minute does not miss the first ones by chance, and as many as come after the close
    by_few = (early == -late) & (early.abs() >= pl.col("least_dense")) & (pl.col("filled") >= _DENSE)
    moved = ends.filter(is_moved | by_few)
    told = pl.format("{} bars from {} minutes before the opening to {} after the close", "n", "early", "late")
    return found(rows.join(moved, on="con_id"), "shifted_hours", told)


def stale_bars(rows: pl.DataFrame, terms: SessionTerms) -> pl.DataFrame:
    """Find bars that repeat the bar before them in every value, in runs of at least `stale_bars`."""
    repeats = rules.stale().repeats().fill_null(value=False).alias("_repeats")
    touched = rows.filter(repeats).select("con_id").unique()
    if touched.is_empty():
        return NOTHING
    path = rows.join(touched, on="con_id", how="semi", maintain_order="left").with_columns(repeats)
    runs = path.with_columns((~pl.col("_repeats")).cum_sum().alias("_run")).with_columns(
        pl.len().over("_run").alias("_length")
    )
    long = terms.laid(runs).filter(pl.col("_repeats") & (pl.col("_length") >= terms["stale_bars"]))
    return found(long, "stale_repeat", pl.format("one of {} equal bars in a row", "_length"))


def toxic_prices(rows: pl.DataFrame, day: pl.DataFrame, terms: SessionTerms) -> pl.DataFrame:
    """Find prices that jump; only instruments with a jump are looked at bar by bar.

    Args:
        rows: sorted by con_id and ts, one row per minute, prices positive and in order.
        day: columns as `day_of` makes them.
        terms: `max_jump` and `daily_tolerance`.
    """
    suspects = _jumping(rows, day, terms)
    if suspects.is_empty():
        return NOTHING
    part = rows.join(suspects, on="con_id", how="semi", maintain_order="left")
    reference = terms.laid(suspects.join(day, on="con_id", how="left")).with_columns(
        terms["max_jump"].alias("max_jump"), terms["daily_tolerance"].alias("tolerance")
    )
    judged = toxic.judge(part, reference).filter(pl.col("toxic").is_not_null())
    moved = pl.col("toxic") == toxic.REAL_MOVE
    return pl.concat(
        [
            found(judged.filter(~moved), "toxic_price", pl.col("toxic_evidence"), verdict=pl.col("toxic")),
            found(judged.filter(moved), "real_move", pl.col("toxic_evidence")),
            _beyond_the_break(part, judged),
        ]
    )


def _beyond_the_break(rows: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
    """Find the bars from an unexplained jump that stays on: the one at its edge is toxic, the others are not."""
    edges = judged.filter(pl.col("toxic").is_in([toxic.MISSED_SPLIT, toxic.LEVEL_SHIFT])).unique(
        "con_id", keep="first", maintain_order=True
    )
    beyond = rows.join(edges.select("con_id", "toxic_evidence", _since="ts"), on="con_id", maintain_order="left")
    told = pl.format("beyond a jump at {}: {}", pl.col("_since").dt.to_string("%H:%M"), "toxic_evidence")
    return found(beyond.filter(pl.col("ts") >= pl.col("_since")), UNEXPLAINED_BREAK, told)


def _jumping(rows: pl.DataFrame, day: pl.DataFrame, terms: SessionTerms) -> pl.DataFrame:
    """Return con_id of the instruments of which some price is far from a neighbour's close, or from the last one."""
    laid, close, most = terms.laid(rows), pl.col("close"), terms["max_jump"]
    before, after = close.shift(1), close.shift(-1)
    is_last = pl.col("con_id").shift(-1) != pl.col("con_id")
    jumps = (_NEXT & _is_far(before, most)) | (~is_last & _is_far(after, most))
    inside = laid.filter(jumps.fill_null(value=False)).select("con_id")
    firsts = laid.filter((~_NEXT).fill_null(value=True)).join(day, on="con_id")
    overnight = firsts.filter(_is_far(pl.col("previous_close"), most)).select("con_id")
    return pl.concat([inside, overnight]).unique()


def _is_far(reference: pl.Expr, most: pl.Expr) -> pl.Expr:
    return (pl.col("high") > reference * most) | (pl.col("low") * most < reference)


def totals(rows: pl.DataFrame) -> pl.DataFrame:
    """Return what each instrument's minutes add up to.

    Returns:
        con_id, n, high, low, close (last), volume, trades, mean_trade (shares), and the extremes of a bar's mean trade.
    """
    size = pl.when(pl.col("bar_count") > 0).then(pl.col("volume") / pl.col("bar_count"))
    return (
        rows.group_by("con_id", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("n"),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
            pl.col("bar_count").sum().alias("trades"),
            size.max().alias("largest_trade"),
            size.filter(size > 0).min().alias("smallest_trade"),
            rules.filler().broken().sum().cast(pl.Int64).alias("fillers"),
        )
        .with_columns((pl.col("volume") / pl.col("trades")).alias("mean_trade"))
    )


def bases(summed: pl.DataFrame, day: pl.DataFrame, terms: SessionTerms, split: pl.Series) -> pl.DataFrame:
    """Compare each instrument's minutes with the day's own bar.

    Args:
        summed: see `totals`.
        day: columns as the curation makes them.
        terms: tolerances.
        split: con_id of instruments whose jump was found to be a split already; the bar at its edge is not among the
            minutes any more, so that their volume alone would not tell.

    Returns:
        con_id and day, `scale` (close of the minutes ÷ close of the day), `is_other_basis` (one factor in price, its
        inverse in volume) and `is_lots` (volumes a hundred times off, prices not).
    """
    both = terms.laid(summed.join(day, on="con_id", suffix="_", how="left", maintain_order="left"))
    scale = pl.col("close") / pl.col("day_close")
    one_factor = pl.all_horizontal(
        (pl.col(name) / pl.col(f"day_{name}") / scale - 1).abs() <= _WAVE for name in ("high", "low")
    )
    shares = pl.col("volume") / pl.col("day_volume")
    inverse = (shares * scale - 1).abs() <= terms["volume_tolerance"].clip(lower_bound=_WAVE)
    off = (scale - 1).abs() > _WAVE
    lots = pl.min_horizontal((shares * _HUNDRED - 1).abs(), (shares / _HUNDRED - 1).abs()) <= terms[
        "volume_tolerance"
    ].clip(lower_bound=_WAVE)
    return both.with_columns(
        scale.alias("scale"),
        ((off & one_factor & inverse).fill_null(value=False) | pl.col("con_id").is_in(split.implode())).alias(
            "is_other_basis"
        ),
        (~off & lots).fill_null(value=False).alias("is_lots"),
        terms["daily_tolerance"].alias("daily_tolerance"),
        terms["volume_tolerance"].alias("volume_tolerance"),
    )


def outside_the_day(rows: pl.DataFrame, compared: pl.DataFrame, terms: SessionTerms) -> pl.DataFrame:
    """Find prices outside the day's own bar.

    Far outside is a bad print, as long as the instrument's other minutes keep to the day. When most do not, the two
    sources contradict each other: the close before the session decides, and where it sides with the minutes, or there
    is none, they only warn. On another price basis nothing is compared.
    """
    near = rules.daily_range("outside_daily_range")
    candidates = compared.filter(~pl.col("is_other_basis") & near.broken(terms))
    if candidates.is_empty():
        return NOTHING
    day = candidates.select("con_id", "day_high", "day_low", "day_close", "previous_close")
    laid = terms.laid(rows.join(day, on="con_id", maintain_order="left"))
    far = rules.daily_range("far_outside_daily_range").broken(terms)
    told = pl.format("high {} low {}; the day's bar {} to {}", "high", "low", "day_low", "day_high")
    odd = laid.with_columns(far.alias("_far")).with_columns(pl.col("_far").mean().over("con_id").alias("_share"))
    reach = (pl.col("close") / pl.col("previous_close")).log().abs()
    day_reach = (pl.col("day_close") / pl.col("previous_close")).log().abs()
    day_is_right = (reach.median().over("con_id") > 2 * day_reach.first().over("con_id")).fill_null(value=False)
    condemned = pl.col("_far") & ((pl.col("_share") < 0.5) | day_is_right)  # noqa: PLR2004 - a majority
    marked = odd.with_columns(condemned.alias("_condemned"))
    return pl.concat(
        [
            found(marked.filter("_condemned"), "far_outside_daily_range", told),
            found(marked.filter(~pl.col("_condemned") & near.broken(terms)), "outside_daily_range", told),
        ]
    )


def volumes(rows: pl.DataFrame, compared: pl.DataFrame, terms: SessionTerms) -> pl.DataFrame:
    """Find volumes in other units: of a whole session, and of single bars where the daily volume proves it."""
    lots = compared.filter("is_lots")
    whole = rows.join(lots.select("con_id", "day_volume", total="volume"), on="con_id")
    told = pl.format("minutes add up to {}, the day's bar to {}", pl.col("total"), "day_volume")
    found_whole = found(whole, "session_volume_unit", told)
    far = pl.min_horizontal(terms[rule.factor] for rule in rules.units()) / 2
    doubted = compared.filter(
        ~pl.col("is_lots")
        & ~pl.col("is_other_basis")
        & pl.col("day_volume").is_not_null()
        & (
            (pl.col("largest_trade") > pl.col("mean_trade") * far)
            | (pl.col("smallest_trade") * far < pl.col("mean_trade"))
        ).fill_null(value=False)
    )
    if doubted.is_empty():
        return found_whole
    laid = terms.laid(
        rows.join(doubted.select("con_id", "day_volume", total="volume"), on="con_id", maintain_order="left")
    )
    size = pl.when(pl.col("bar_count") > 0).then(pl.col("volume") / pl.col("bar_count"))
    sized = laid.with_columns(size.median().over("con_id").alias("mean_trade"))
    hundred, ten = (_proved(sized, rule, terms) for rule in rules.units())
    evidence = pl.format(
        "volume {} in {} trades of usually {} shares; the day has {}, its minutes {}",
        "volume", "bar_count", pl.col("mean_trade").round(1), "day_volume", "total",
    )  # fmt: skip
    return pl.concat(
        [
            found_whole,
            found(hundred, "volume_unit", evidence),
            found(ten.join(hundred, on="_row", how="anti"), "volume_tenfold", evidence),
        ]
    )


def _proved(sized: pl.DataFrame, rule: UnitRule, terms: SessionTerms) -> pl.DataFrame:
    """Return the bars with odd volumes which, put right alone or with all odd ones, bring the minutes to the day."""
    odd = sized.filter(rule.broken(terms).fill_null(value=False))
    change, off = pl.col("_change"), pl.col("_off")
    mended = odd.with_columns(
        (rule.mended() - pl.col("volume")).alias("_change"),
        (pl.col("total") - pl.col("day_volume")).alias("_off"),
    )
    rest = pl.min_horizontal((off + change).abs(), (off + change.sum().over("con_id")).abs())
    return mended.filter(rest < off.abs() * _PROVED)
