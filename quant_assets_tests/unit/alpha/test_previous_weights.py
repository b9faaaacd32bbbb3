"""Where a turnover limit starts from: the newest published weights of an older session, session by session."""

from datetime import date
from types import SimpleNamespace

import pytest

from quant_assets.cli.flow import run_alpha
from quant_assets.domain.tables import WEIGHTS
from quant_assets.flows import indexed
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import CuratedStore
from quant_assets.registry import RunOutcome
from quant_assets_tests.unit.alpha import scenario

DAYS = [date(2024, 6, 26), date(2024, 6, 27), date(2024, 6, 28)]


def work(tmp_path, **risk: object) -> SimpleNamespace:
    store = CuratedStore(Layout(tmp_path), clock=scenario.world(n=1).clock)
    manifest = SimpleNamespace(profile=lambda _: scenario.profile(**risk))
    return SimpleNamespace(lake=SimpleNamespace(curated=store), settings=SimpleNamespace(manifest=manifest))


def publish(made: SimpleNamespace, session: date, profile: str, weights: dict[int, float]) -> None:
    base = {"session": session, "profile": profile, "run_id": f"run-{session.day}", "method": "hrp", "sector": "a"}
    rows = [{**base, "con_id": i, "symbol": f"NYSE:S{i}", "weight": w} for i, w in weights.items()]
    made.lake.curated.write(WEIGHTS, Partition(session, profile), WEIGHTS.conform(WEIGHTS.frame(rows)))


def test_the_newest_older_session_of_the_same_profile_counts(tmp_path):
    made = work(tmp_path, max_turnover=0.2)
    assert indexed._previous(made, Partition(DAYS[0], "default")) is None
    for session, weight in zip(DAYS, (0.1, 0.2, 0.3), strict=True):
        publish(made, session, "default", {101: weight, 102: 0.0})
    publish(made, DAYS[1], "other", {101: 0.9})
    found = indexed._previous(made, Partition(DAYS[2], "default"))
    assert found is not None
    assert (found.session, found.run_id, found.weights[101]) == (DAYS[1], "run-27", 0.2)
    assert found.described()["weights"] == {"101": 0.2}
    assert indexed._previous(made, Partition(DAYS[0], "default")) is None


@pytest.mark.parametrize("step", ["read", "footer"])
def test_weights_that_are_published_meanwhile_are_taken_with_their_own_content_id(tmp_path, monkeypatch, step):
    """The run before is computed again while this one looks at it: its weights are part of a run's identity."""
    made = work(tmp_path, max_turnover=0.2)
    publish(made, DAYS[0], "default", {101: 0.1})
    at = Partition(DAYS[0], "default")
    said, look = {made.lake.curated.footer(WEIGHTS, at).content_id: 0.1}, getattr(CuratedStore, step)

    def looked(store, *args):
        found = look(store, *args)
        if store is made.lake.curated and len(said) == 1:
            again = SimpleNamespace(lake=SimpleNamespace(curated=CuratedStore(Layout(tmp_path))))
            said[""] = 0.0
            publish(again, DAYS[0], "default", {101: 0.2})
            said[again.lake.curated.footer(WEIGHTS, at).content_id] = 0.2
        return found

    monkeypatch.setattr(CuratedStore, step, looked)
    found = indexed._previous(made, Partition(DAYS[1], "default"))
    assert len(said) == 3
    assert found.weights == {101: said[found.content_id]}


def test_without_a_limit_no_run_depends_on_another(tmp_path):
    made = work(tmp_path)
    publish(made, DAYS[0], "default", {101: 0.1})
    assert indexed._previous(made, Partition(DAYS[1], "default")) is None


@pytest.mark.parametrize(("limit", "spans"), [(None, [(DAYS[0], DAYS[2])]), (0.2, [(one, one) for one in DAYS])])
def test_sessions_under_a_turnover_limit_go_one_by_one(limit, spans):
    asked = []

    def run(assets, first=None, last=None):
        if first:
            asked.append((first.session, last.session))
        return RunOutcome("r", success=True, rewritten=1 if first else 0)

    manifest = SimpleNamespace(resolve=lambda name: name, profile=lambda _: scenario.profile(max_turnover=limit))
    registry = SimpleNamespace(run=run, settings=SimpleNamespace(manifest=manifest))
    outcome = run_alpha(registry, DAYS, "default")
    assert asked == spans
    assert (outcome.success, outcome.rewritten) == (True, len(spans))


def test_a_failing_session_ends_the_chain():
    asked = []

    def run(assets, first=None, last=None):
        asked.append(first)
        return RunOutcome("r", success=False, failures=((65, "no"),))

    manifest = SimpleNamespace(resolve=lambda name: name, profile=lambda _: scenario.profile(max_turnover=0.1))
    assert not run_alpha(SimpleNamespace(run=run, settings=SimpleNamespace(manifest=manifest)), DAYS, "default").success
    assert asked == [Partition(DAYS[0], "default"), None]
