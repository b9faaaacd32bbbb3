"""A small lake of four sessions and three instruments, written by the stores and derived by the flow."""

import json
from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.domain.features import GROUPS, LABELS
from quant_assets.domain.tables import CURATED_TWS_1D_BARS, CURATED_TWS_1M_BARS, UNIVERSE
from quant_assets.flows.derive import publish_group
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings import Settings
from quant_assets_tests.builders import CALENDAR, hours, universe
from quant_assets_tests.unit.features.makers import daily_bars, random_minutes, walk

DAYS = CALENDAR.between(date(2024, 1, 2), date(2024, 1, 5))
CON_IDS = (101, 102, 103)


def known_at(session):
    return hours(session).closes_at + timedelta(hours=10)


def write_session(work, session, con_ids=CON_IDS, missing=0.05):
    """Publish universe, minutes and daily window of a session, as curation would."""
    curated, partition = work.lake.curated, Partition(session)
    mark = known_at(session).isoformat()
    curated.write(UNIVERSE, partition, universe(session, con_ids), inputs={"test": "1"}, watermark=mark)
    minutes = pl.concat(
        [random_minutes(10 * session.day + i, session=session, con_id=i, missing=missing) for i in con_ids]
    )
    curated.write(CURATED_TWS_1M_BARS, partition, minutes, inputs={"test": "1"}, watermark=mark)
    window = pl.concat([daily_bars(walk(80, i)[0], con_id=i, last=session, spread=0.1) for i in con_ids])
    rest = {
        "wap": pl.lit(None, dtype=pl.Float64),
        "bar_count": pl.lit(None, dtype=pl.Int64),
        "vintage": pl.lit(session),
        "known_at": pl.lit(known_at(session)).cast(pl.Datetime("us", "UTC")),
        "known_basis": pl.lit("observed"),
        "transform_version": pl.lit("1"),
    }
    curated.write(CURATED_TWS_1D_BARS, partition, window.with_columns(**rest), inputs={"test": "1"}, watermark=mark)


def make_work(root):
    (root / "configs").mkdir(parents=True)
    manifest = {"default_profile": "p", "lakehouse": {"start_session": "2024-01-02"}, "profiles": {"p": {}}}
    (root / "configs" / "manifest.json").write_text(json.dumps(manifest))
    settings = Settings.from_env({}, data=root / "data", configs=root / "configs")
    return Work(settings, TwsGate(settings), run_id="test")


@pytest.fixture
def work(tmp_path):
    return make_work(tmp_path)


@pytest.fixture(scope="session")
def lake(tmp_path_factory):
    """A lake that tests only read."""
    made = make_work(tmp_path_factory.mktemp("features"))
    for session in DAYS:
        write_session(made, session)
        for group in (*GROUPS.values(), *LABELS.values()):
            published = publish_group(made, group, session)
            assert published.is_committed, published.reason
    return made
