"""The error tree as drawn equals the error tree as built, and every message names culprit and mend."""

import errno
import os
import re
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets import errors
from quant_assets.errors import QuantAssetsError


def drawn():
    """Child → parent as drawn in the docstring."""
    parents, path = {}, []
    for line in errors.__doc__.splitlines():
        match = re.match(r"([│ ]*[├└]── )?([A-Z]\w+)(?:\s{2,}|$)", line)
        if not match:
            continue
        depth = len(match.group(1) or "") // 4
        path[depth:] = [match.group(2)]
        if depth:
            parents[match.group(2)] = path[depth - 1]
    return parents


def built():
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, QuantAssetsError)
    ]
    return {cls.__name__: cls.__base__.__name__ for cls in classes if cls is not QuantAssetsError}


def test_the_tree_is_the_one_that_is_drawn():
    assert drawn() == built()


@pytest.mark.parametrize(
    ("branch", "code"),
    [("RetryLater", 75), ("FixConfiguration", 2), ("DataWrong", 65), ("NetworkSealedError", 70), ("DefectError", 70)],
)
def test_exit_codes_belong_to_branches(branch, code):
    top = getattr(errors, branch)
    assert top.__base__ is QuantAssetsError
    assert top.exit_code == code

    def leaves(cls):
        return [cls, *(leaf for child in cls.__subclasses__() for leaf in leaves(child))]

    assert {leaf.exit_code for leaf in leaves(top)} == {code}
    assert re.search(rf"{branch}\s+{code}\s", errors.__doc__), "the docstring says the code too"


DAY = date(2024, 1, 2)

SAMPLES = [
    (errors.HardRuleError("20260109-1f3a", ["ohlc_order"]), ["20260109-1f3a", "ohlc_order", "confirm"]),
    (
        errors.BrokenChainError(Path("overrides.jsonl"), 3, "the line was edited", Path("audit.jsonl")),
        ["overrides.jsonl, line 3", "the line was edited", "audit.jsonl from one backup", "quant audit verify"],
    ),
    (
        errors.SourceUnavailableError("127.0.0.1:7497", "connection refused", "Start TWS."),
        ["127.0.0.1:7497", "Start TWS"],
    ),
    (errors.SourceTimeoutError("AAPL 1 W", 60), ["AAPL 1 W", "60 s", "tws.request_timeout_s"]),
    (errors.PacingError("AAPL", 600, "max rate"), ["AAPL", "600 s", "max rate"]),
    (errors.LockHeldError("tws", {"run": "r1", "pid": 7}, 1.5), ["tws", "run=r1", "pid=7", "Run again"]),
    (errors.LockHeldError("tws", {}, 0), ["unknown", "Run again"]),
    (errors.PastRemovedError(Path("data/as-of-1")), ["data/as-of-1", "again"]),
    (errors.ChangingLakeError(["raw_tws_bars", "universe"]), ["raw_tws_bars, universe", "quant pause"]),
    (errors.DiskFullError(Path("/x/y"), OSError(28, "No space left")), ["/x/y", "No space left", "free some space"]),
    (errors.ConfigurationError("m.json, key 'a'", "is wrong.", "Do b."), ["m.json", "'a'", "Do b."]),
    (
        errors.UnknownNameError("profile", "defualt", ["default", "fast"]),
        ["'defualt'", "Did you mean 'default'?", "fast"],
    ),
    (errors.UnknownNameError("profile", "zzz", []), ["'zzz'", "none"]),
    (
        errors.UnknownNameError("instrument", "QFIA", [], f"with a price break on {DAY}"),
        ["There is no instrument 'QFIA' with a price break on 2024-01-02. Known: none."],
    ),
    (errors.NotPublishedError("universe", "", "Run it."), ["universe is not published. Run it."]),
    (errors.VerificationError("t0", ["a differs"], "Tag"), ["Tag 't0' failed verification: a differs."]),
    (errors.UnsafeNameError("symbol", "../etc", "capitals"), ["../etc", "capitals"]),
    (errors.NotASessionError("2024-01-01", "New Year", [DAY]), ["2024-01-01", "New Year", "2024-01-02"]),
    (errors.FutureSessionError(DAY, date(2023, 12, 29)), ["2024-01-02", "2023-12-29"]),
    (errors.EmptyUniverseError(DAY, []), ["2024-01-02", "configs/lists", "configs/manifest.json"]),
    (
        errors.LiveOnlyError(DAY, date(2024, 1, 5), "fast", ["busy"]),
        ["2024-01-02", "'fast'", "busy", "CANDIDATES_FILE"],
    ),
    (errors.ScannerRefusedError("scanner 'x'", 400, "Unknown field"), ["'x'", "400", "Unknown field", "quant scanner"]),
    (errors.ScannerUnavailableError("http://x", "HTTP 502", 4), ["http://x", "HTTP 502", "4", "tradingview.enabled"]),
    (errors.MalformedAnswerError("scanner 'x'", "no JSON"), ["'x'", "no JSON", "try again later"]),
    (
        errors.InvalidRecordsError("scanner:x", {"NYSE:A": "unknown"}),
        ["scanner:x", "NYSE:A (unknown)", "strict: false"],
    ),
    (
        errors.UnknownContractError("AAPL", 200, "no definition", "Check the symbol."),
        ["AAPL", "200", "Check the symbol"],
    ),
    (errors.ShapeError("universe", ["column 'x' is missing"]), ["universe", "'x'"]),
    (errors.CorruptFileError(Path("/x/y"), "no magic", "Move it."), ["/x/y", "no magic", "Move it."]),
    (
        errors.DamagedSourcesError("Observations are lost", ["bronze/x is gone"], "Mend: restore it."),
        ["Observations are lost", "nothing was written", "bronze/x is gone", "Mend: restore it."],
    ),
    (errors.CorruptCopyError(Path("/x/y"), "no magic"), ["/x/y", "no magic", "quant lake compact"]),
    (errors.NotPublishedError("universe", "2024-01-02", "Run it."), ["universe[2024-01-02]", "Run it."]),
    (
        errors.NoMoveError("UGAZ", DAY, "day 56 against its minutes 958"),
        ["UGAZ", str(DAY), "day 56 against its minutes 958", "quant flow data"],
    ),
    (
        errors.UnexplainedBreakError(
            "UGAZ", DAY, ["from 2024-01-02 on", "up to 2024-01-01"], "close 0.88 before", ["UGAZ", "DGAZ"]
        ),
        [
            "UGAZ",
            "2024-01-02",
            "up to 2024-01-01",
            "close 0.88 before",
            "without UGAZ",
            "So do DGAZ",
            'adjust="as_served"',
        ],
    ),
    (
        errors.UnprovedBasisError("QCOC", DAY, date(2024, 3, 1), date(2024, 1, 30), ["QCOC", "QFIA"]),
        ["QCOC", "2024-01-02", "from 2024-03-01 on", "begins on 2024-01-30", "QFIA", "as_served", "missing"],
    ),
    (errors.StaleInputsError("t", "p", "T2", "T1"), ["t[p]", "T2", "T1", "Materialize"]),
    (
        errors.MissingSessionsError("bars", [DAY], [], "lacks 1 of 2 sessions; not there: 2024-01-02. Run it."),
        ["bars lacks 1 of 2", "2024-01-02", "Run it."],
    ),
    (errors.SessionsNotPublishedError("t", {"2024-01-02": "gaps"}, 4), ["1 of 5", "2024-01-02 (gaps)"]),
    (errors.NotInRunError("r1", "NYSE:A", "below_top_n"), ["NYSE:A", "r1", "below top n"]),
    (errors.UnknownBarError("NYSE:A@2026-01-05"), ["NYSE:A@2026-01-05", "in UTC", "quant status"]),
    (errors.WrongUnitError(["NYSE:A"]), ["NYSE:A", "lots of 100", "Send market data in lots"]),
    (errors.CurrencyError("USD", {"BARC": "GBP"}), ["base currency USD", "BARC in GBP", "lakehouse.base_currency"]),
    (
        errors.SnapshotIncompleteError(DAY, "default", [("bars of AAPL", "quant repair")]),
        ["bars of AAPL", "quant repair"],
    ),
    (errors.SnapshotExistsError("r1", "a" * 64, "b" * 64), ["r1", "aaaaaaaaaaaa…", "bbbbbbbbbbbb…"]),
    (errors.VerificationError("r1", ["weights differ"]), ["r1", "weights differ"]),
    (errors.InfeasibleError("No weights.", "Raise risk.max_weight."), ["No weights.", "risk.max_weight"]),
    (
        errors.NoCandidatesError(DAY, "default", 40, {"price too low": 30, "coverage": 10}),
        ["'default'", "none of 40", "2024-01-02", "price too low (30)", "quant flow data", "configs/manifest.json"],
    ),
    (
        errors.NotEnoughReturnsError("3 returns are left.", "Lower data.min_sessions_floor."),
        ["3 returns", "Lower data"],
    ),
    (errors.NotARunError(Path("/x/y")), ["/x/y", "no run", "quant run list"]),
    (errors.NotInRunError("r1", "NYSE:QTEA", "price_too_low;coverage"), ["NYSE:QTEA", "r1", "price too low; coverage"]),
    (errors.UnknownBarError("NYSE:QTEA@2026-01-05T14:30Z"), ["NYSE:QTEA@2026-01-05T14:30Z", "UTC", "quant status"]),
    (errors.WrongUnitError(["QTEB", "QTEA"]), ["QTEA, QTEB", "lots of 100", "dual-mode API clients"]),
    (errors.NetworkSealedError("1.2.3.4:80"), ["1.2.3.4:80", "sealed"]),
]


@pytest.mark.parametrize(("error", "words"), SAMPLES, ids=lambda value: type(value).__name__)
def test_messages_name_the_culprit_and_the_mend(error, words):
    for word in words:
        assert word in str(error)


def test_every_leaf_has_a_sample():
    parents = set(built().values())
    abstract = {"BadRequestError", "NoPermissionError", "DefectError"}  # made like a sibling, or from free text
    assert {name for name in built() if name not in parents} - abstract == {
        type(error).__name__ for error, _ in SAMPLES
    }


def test_a_full_disk_heals_and_wrong_permissions_do_not():
    path = Path("/x/y")
    assert isinstance(errors.cannot_write(path, OSError(errno.ENOSPC, "No space left")), errors.DiskFullError)
    assert isinstance(errors.cannot_write(path, OSError(errno.EDQUOT, "Quota")), errors.DiskFullError)
    refused = errors.cannot_write(path, PermissionError(errno.EACCES, "Permission denied"))
    assert isinstance(refused, errors.ConfigurationError)
    assert "/x/y: it cannot be written (Permission denied)" in str(refused)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_lack_of_space_is_known_by_its_number_or_by_its_words(code):
    words = f"{os.strerror(code)} (os error {code}): while writing"
    assert errors.no_space(OSError(code, "whatever")).errno == code
    assert errors.no_space(pl.exceptions.ComputeError(words)).errno == code
    assert errors.no_space(OSError(errno.EACCES, words)) is None, "the number counts where there is one"
    assert errors.no_space(pl.exceptions.ComputeError("no space between words")) is None
    told = errors.DiskFullError(Path("/x/y"), OSError(code, os.strerror(code)))
    assert errors.no_space(told) is None, "it is told already, about its own file"


def test_long_lists_are_cut_and_say_so():
    assert "and 8 more" in str(errors.VerificationError("r", [f"p{number}" for number in range(20)]))
