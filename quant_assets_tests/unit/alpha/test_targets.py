"""Target quantities: worked by hand, and properties that no rounding may break."""

import json

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.cli import cli
from quant_assets.domain.costs import SCHEDULES
from quant_assets.domain.targets import HELD_SHAPE, QUOTES_SHAPE, targets
from quant_assets.errors import ConfigurationError, ShapeError, UnknownNameError
from quant_assets.flows.alpha import STEPS
from quant_assets.flows.targets import account_from_file
from quant_assets.lakehouse.layout import Layout
from quant_assets_tests.unit.alpha import scenario

IBKR = SCHEDULES["ibkr_fixed_us"]
WEIGHTS = {"con_id": pl.Int64, "symbol": pl.String, "weight": pl.Float64}


def weights(*rows):
    return pl.DataFrame([(i, f"NYSE:S{i}", w) for i, w in rows], schema=WEIGHTS, orient="row")


def quotes(*rows):
    return pl.DataFrame(
        [(*row, "USD", 1.0)[:4] if len(row) == 2 else row for row in rows], schema=QUOTES_SHAPE, orient="row"
    )


def held(*rows):
    full = [(i, f"S{i}", q, None, None) if len(rest) == 0 else (i, f"S{i}", q, *rest) for i, q, *rest in rows]
    return pl.DataFrame(full, schema=HELD_SHAPE, orient="row")


def size(w, q, h, worth=100_000.0, **options):
    given_ = {"net_liquidation": worth, "currency": "USD", "schedule": IBKR, "slippage_bps": 10.0, **options}
    return targets(w, q, h, **given_)


def test_by_hand():
    found = size(
        weights((1, 0.25), (2, -0.10), (3, 0.5)),
        quotes((1, 30.0), (2, 7.0, "USD", 100.0), (3, 50.0)),
        held((1, 900.0), (3, 1000.0), (4, 10.0, 20.0, "USD")),
    )
    rows = {row["con_id"]: row for row in found.frame.to_dicts()}
    assert {key: (row["target"], row["delta"]) for key, row in rows.items()} == {
        1: (833.0, -67.0),  # 25,000 / 30 = 833.3
        2: (-1400.0, -1400.0),  # -10,000 / 7 = -1,428.6, in lots of 100, towards zero
        3: (1000.0, 0.0),
        4: (0.0, -10.0),  # held, and not in the run
    }
    assert rows[1]["commission"] == pytest.approx(1.0)  # 67 shares, the minimum
    assert rows[2]["commission"] == pytest.approx(7.0)  # 1,400 x 0.005
    assert rows[3]["commission"] == 0.0
    assert rows[4]["commission"] == pytest.approx(1.0)  # the minimum; the maximum would be 2
    assert rows[2]["slippage"] == pytest.approx(9.80)  # 10 bp of 9,800
    assert rows[2]["weight_after"] == pytest.approx(-0.098)
    assert rows[4]["note"] == "held, no weight"
    summary = found.summary()
    assert summary["net"] == pytest.approx(24_990 - 9_800 + 50_000)
    assert summary["gross"] == pytest.approx(24_990 + 9_800 + 50_000)
    assert summary["traded"] == pytest.approx(2_010 + 9_800 + 200)
    assert summary["costs"] == pytest.approx(9.0 + 12.01)
    assert summary["cash_after"] == pytest.approx(100_000 - 65_190 - 21.01)
    assert found.frame["con_id"][0] == 2  # the largest change first


def test_without_a_price_there_is_a_row_and_no_quantity():
    found = size(weights((1, 0.5), (2, 0.5)), quotes((1, None), (2, 10.0, "EUR", 1.0)), held((3, 5.0)))
    notes = dict(found.frame.select("con_id", "note").iter_rows())
    assert notes == {1: "no price", 2: "no rate for EUR", 3: "held, no weight; no price, so no costs"}
    assert sorted(found.unpriced) == ["NYSE:S1", "NYSE:S2"]
    assert found.frame.filter(con_id=3)["delta"].to_list() == [-5.0]


def test_another_currency_needs_a_rate_and_has_no_commission_of_this_schedule():
    found = size(weights((2, 0.5)), quotes((2, 10.0, "EUR", 1.0)), held(), rates={"EUR": 1.25})
    row = found.frame.row(0, named=True)
    assert (row["price"], row["target"], row["commission"]) == (12.5, 4000.0, None)
    assert row["note"] == "commission not told by the schedule"


def test_a_weight_below_one_lot_says_so():
    row = size(weights((1, 0.001)), quotes((1, 250.0)), held()).frame.row(0, named=True)
    assert (row["target"], row["note"]) == (0.0, "less than one lot")


@pytest.mark.parametrize("worth", [0.0, -1.0, float("nan"), float("inf")])
def test_an_account_worth_nothing_is_refused(worth):
    with pytest.raises(ConfigurationError, match="positive amount"):
        size(weights((1, 1.0)), quotes((1, 10.0)), held(), worth)


def test_two_positions_of_one_instrument_are_refused():
    with pytest.raises(ShapeError, match="con_id 1 twice"):
        size(weights((1, 1.0)), quotes((1, 10.0)), held((1, 1.0), (1, 2.0)))


@given(
    st.lists(
        st.tuples(
            st.floats(-1, 1), st.floats(0.01, 5000), st.sampled_from([1.0, 10.0, 100.0, 0.001]), st.integers(-500, 500)
        ),
        min_size=1,
        max_size=8,
    ),
    st.floats(1_000, 1e8),
)
def test_rounding_never_exceeds_a_weight_and_stays_within_a_lot_of_it(rows, worth):
    found = size(
        weights(*((i, w) for i, (w, _, _, _) in enumerate(rows, 1))),
        quotes(*((i, p, "USD", lot) for i, (_, p, lot, _) in enumerate(rows, 1))),
        held(*((i, float(q)) for i, (_, _, _, q) in enumerate(rows, 1))),
        worth,
    ).frame.sort("con_id")
    for row, (weight, price, lot, quantity) in zip(found.to_dicts(), rows, strict=True):
        wanted = weight * worth / price
        assert abs(row["target"]) <= abs(wanted) + 1e-6
        assert abs(wanted) - abs(row["target"]) < lot + 1e-6
        assert row["target"] * wanted >= 0
        assert row["target"] / lot == pytest.approx(round(row["target"] / lot), abs=1e-6)
        assert quantity + row["delta"] == pytest.approx(row["target"])
        assert row["commission"] == pytest.approx(IBKR.commission(abs(row["delta"]), price))


# ---------------------------------------------------------------- a finished run, as a user asks


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("sized"))
    world = scenario.world()
    run = world.freeze(layout).run
    for step in STEPS:
        step(run, world.clock)
    return layout, run


def ask(layout, run, *options):
    result = CliRunner(env={"QUANT_DATA": str(layout.data)}).invoke(cli, ["run", "targets", run.run_id, *options])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_starts_from_cash_with_an_amount_alone(finished):
    layout, run = finished
    told = json.loads(ask(layout, run, "--net-liquidation", "250000", "--json").stdout)
    record = run.read_json("data/weights.json")
    prices = {one["con_id"]: run.read_frame(one["file"])["close"][-1] for one in run.inputs["instruments"]}
    assert told["from"] == "cash"
    expected = {one["con_id"]: int(250_000 * one["weight"] / prices[one["con_id"]]) for one in record["weights"]}
    assert {one["con_id"]: one["target"] for one in told["targets"]} == expected
    assert told["summary"]["gross"] <= 250_000
    assert not [path for path in layout.data.rglob("*") if "order" in path.name]


def test_the_command_takes_positions_from_a_file_and_their_worth_with_them(finished, tmp_path):
    layout, run = finished
    file = tmp_path / "positions.csv"
    file.write_text("symbol,quantity,net_liquidation,account\nNYSE:S101,1000,80000,main\nS102,-5,80000,main\n")
    told = json.loads(ask(layout, run, "--positions", str(file), "--json").stdout)
    assert told["summary"]["net_liquidation"] == 80_000
    rows = {one["con_id"]: one for one in told["targets"]}
    assert rows[101]["held"] == 1000
    assert rows[102]["delta"] == rows[102]["target"] + 5
    assert ask(layout, run, "--positions", str(file), "--csv").stdout.startswith("con_id,symbol,weight,price")
    assert "an estimate, not an order" in ask(layout, run, "--positions", str(file)).stdout


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("symbol,size\nS101,5\n", "Needed: quantity, and con_id or symbol"),
        ("symbol,quantity\nZZZ,5\n", "'ZZZ'"),
        ("symbol,quantity\nS101,many\n", "must hold a number"),
        ("account,symbol,quantity\na,S101,1\nb,S101,2\n", "Give --account: a, b"),
        (None, "no positions can be read"),
    ],
)
def test_bad_positions_are_refused_with_the_culprit(finished, tmp_path, text, says):
    _, run = finished
    file = tmp_path / "positions.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        account_from_file(file, run)


def test_an_unknown_account_is_named(finished, tmp_path):
    file = tmp_path / "positions.csv"
    file.write_text("account,symbol,quantity\nmain,S101,1\n")
    with pytest.raises(UnknownNameError, match="main"):
        account_from_file(file, finished[1], "mian")


def test_without_positions_and_an_amount_the_command_says_what_to_give(finished):
    with pytest.raises(ConfigurationError, match="--net-liquidation AMOUNT"):
        ask(*finished)
