"""What the accounts hold: asked of TWS for the latest session, kept under aliases, and always in the universe."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl

from quant_assets.connectors.base import Contract, Held, Holdings
from quant_assets.control.files import replacing
from quant_assets.control.locks import hold
from quant_assets.domain.tables import ACCOUNTS, POSITIONS, UNIVERSE
from quant_assets.errors import CorruptFileError
from quant_assets.flows.ingest.details import ask_details
from quant_assets.flows.ingest.ledger import throttle_of
from quant_assets.flows.publishing import Published, publish_frame
from quant_assets.flows.work import OpenSource, Work
from quant_assets.lakehouse.content import combined_id
from quant_assets.lakehouse.layout import Partition

SOURCE = "positions"
"""In the universe's `sources`."""
_KEY_BYTES = 32
_KEY_WAIT_S = 10.0
_KEY_MEND = "Restore it from a backup, or delete it to get new aliases."
_ALIAS_DIGITS = 8


def publish_positions(work: Work, session: date) -> list[Published]:
    """Publish `positions` and `accounts` of a session; nothing where they are off, or the session is a past one.

    TWS tells what is held now, so nothing can be said of a session that another has followed. An answer younger than
    the fetch throttle stands.

    Raises:
        LockHeldError, SourceUnavailableError: TWS cannot be asked.
    """
    if not work.settings.manifest.positions.enabled:
        return []
    partition = Partition(session)
    stored = [work.lake.curated.footer(table, partition) for table in (POSITIONS, ACCOUNTS)]
    is_fresh = all(stored) and _observed_lately(work, partition)
    if session != work.latest_session() or is_fresh:
        return []
    holdings = work.gate.run(lambda opened: _ask(work, opened))
    return [
        publish_frame(work, POSITIONS, partition, _positions(work, session, holdings.positions), inputs={}),
        publish_frame(work, ACCOUNTS, partition, _accounts(work, session, holdings), inputs={}),
    ]


def held_in(work: Work, session: date) -> pl.DataFrame:
    """Return the instruments that were held in a session, once each; columns of POSITIONS, empty where unknown."""
    rows = work.lake.curated.read_many(POSITIONS, [Partition(session)])
    return rows.filter(pl.col("quantity") != 0).sort("con_id").unique("con_id", keep="first", maintain_order=True)


def held_id(work: Work, session: date) -> dict[str, str]:
    """Return what identifies the set of instruments held in a session, as an input of the universe."""
    held = held_in(work, session)
    return {} if held.is_empty() else {SOURCE: combined_id(map(str, held["con_id"]))}


def members_of(work: Work, held: pl.DataFrame) -> list[dict[str, object]]:
    """Return what the universe says of instruments that are held: from details, or from the position itself.

    A position may be in something that TWS no longer describes: it is held all the same.
    """
    known = {row["con_id"]: row for row in _known(work).iter_rows(named=True)}
    rows = []
    for row in held.iter_rows(named=True):
        found = known.get(row["con_id"], row)
        rows.append({name: found[name] for name in ("con_id", "symbol", "exchange", "currency", "asset_class")})
    return rows


def alias_key(path: Path) -> bytes:
    """Return the secret that account aliases are made with; the first call makes it.

    Account numbers are short, so a plain digest of one could be tried out; with a secret of this data directory it
    cannot, and an alias stays the same for as long as the file does. The file appears whole or not at all: aliases
    that were made with a part of it would hide nothing.

    Raises:
        CorruptFileError: the file holds no whole key.
        LockHeldError: another process is making it.
        DiskFullError: no space to make it.
    """
    if not path.exists():
        with hold(path.stem, path.parent / "locks", wait_s=_KEY_WAIT_S):
            if not path.exists():
                with replacing(path) as staged:
                    staged.touch(mode=0o600)
                    staged.write_text(secrets.token_hex(_KEY_BYTES), encoding="ascii")
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise CorruptFileError(path, f"it does not hold {_KEY_BYTES} bytes in hexadecimal digits", _KEY_MEND)
    return key


def alias(key: bytes, account: str) -> str:
    """Return the alias of an account: its kind, and digits that only this data directory can connect with it.

    >>> alias(bytes(32), "DU1234567")
    'paper-d7e3391f'
    """
    kind = "paper" if re.match(r"D[A-Z]?\d|D[UFI]", account) else "live"
    digest = hmac.new(key, account.encode(), hashlib.sha256).hexdigest()
    return f"{kind}-{digest[:_ALIAS_DIGITS]}"


def _alias_of(work: Work) -> Callable[[str], str]:
    key = alias_key(work.layout.alias_key)
    return lambda account: alias(key, account)


async def _ask(work: Work, opened: OpenSource) -> Holdings:
    """Ask what is held, and for the details of what the universe does not know yet."""
    holdings = await opened.source.holdings(_alias_of(work))
    known = {row["con_id"]: row for row in _known(work).iter_rows(named=True)}
    unknown = sorted({one.contract.con_id for one in holdings.positions} - set(known))
    details = await ask_details(
        work, opened, [Contract("", con_id, "", currency="", sec_type="") for con_id in unknown]
    )
    found = {
        one.con_id: Contract.listed(one.primary_exchange or one.exchange, one.symbol, one.asset_class, one.currency)
        for answer in details
        for one in answer
    }
    found |= {
        con_id: Contract.listed(row["exchange"], row["symbol"], row["asset_class"], row["currency"])
        for con_id, row in known.items()
    }
    positions = [
        replace(one, contract=replace(found[one.contract.con_id], con_id=one.contract.con_id))
        if one.contract.con_id in found
        else one
        for one in holdings.positions
    ]
    return Holdings(holdings.accounts, positions)


def _known(work: Work) -> pl.DataFrame:
    newest = work.lake.curated.newest(UNIVERSE)
    return work.lake.curated.read_many(UNIVERSE, [newest] if newest else [])


def _observed_lately(work: Work, partition: Partition) -> bool:
    """An account without a position has a row in `accounts`, so that table tells when TWS was asked."""
    observed = work.lake.curated.read_many(ACCOUNTS, [partition], ["observed_at"])
    return not observed.filter(pl.col("observed_at") >= work.clock.now() - throttle_of(work)).is_empty()


def _positions(work: Work, session: date, positions: Sequence[Held]) -> pl.DataFrame:
    rows = [
        {
            "session": session,
            "account": one.account,
            "con_id": one.contract.con_id,
            "symbol": one.contract.symbol,
            "exchange": one.contract.venue,
            "asset_class": one.contract.sec_type,
            "quantity": one.quantity,
            "average_cost": one.average_cost,
            "market_value": one.market_value,
            "currency": one.contract.currency,
            "observed_at": work.clock.now(),
            "is_pit": True,
        }
        for one in positions
    ]
    return POSITIONS.frame(rows)


def _accounts(work: Work, session: date, holdings: Holdings) -> pl.DataFrame:
    rows = [
        {
            "session": session,
            "account": one.alias,
            "net_liquidation": one.net_liquidation,
            "currency": one.currency,
            "observed_at": work.clock.now(),
        }
        for one in holdings.accounts
    ]
    return ACCOUNTS.frame(rows)
