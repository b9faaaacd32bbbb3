"""Whether TWS counts volumes in lots of 100, as far as the answers of a run tell it: then nothing more is asked."""

from collections.abc import Iterable
from typing import Final

from quant_assets.connectors.base import Contract
from quant_assets.domain.instruments import may_be_lots

SHOWN: Final = 3
"""Answers in a row that have to show lots before a run ends; one or two may be the faults of single answers."""


class Units:
    """The unit of volumes that the answers of one run show.

    TWS's setting is one for all US stocks. So answers that show lots count together, and each has to be of another
    instrument as far as the run has so many: what only one instrument shows may be a fault of its own history.

    Args:
        contracts: the instruments of the run.
    """

    def __init__(self, contracts: Iterable[Contract]) -> None:
        self._n_instruments = min(SHOWN, len({one.con_id for one in contracts if self.concerns(one)}))
        self._lots: list[int] = []
        """con_ids of the answers in lots, since the last one in shares."""
        self._n_shares = 0
        """Answers in shares, since the last one in lots."""

    @staticmethod
    def concerns(contract: Contract) -> bool:
        """Return whether TWS has a setting that counts the volumes of an instrument in lots."""
        return may_be_lots(contract.sec_type, contract.currency)

    @property
    def are_open(self) -> bool:
        """Whether answers are to be looked at one by one, because too few have shown that they are in shares."""
        return self._n_shares < SHOWN

    @property
    def are_lots(self) -> bool:
        """Whether TWS counts in lots: whatever else is asked comes in lots, too."""
        return len(self._lots) >= SHOWN and len(set(self._lots)) >= self._n_instruments

    def heard(self, contract: Contract, unit: str) -> None:
        """Note what an answer shows.

        Args:
            contract: whose answer it is.
            unit: as `completeness.unit_of` has it.
        """
        if not self.concerns(contract):
            return
        if unit == "shares":
            self._lots.clear()
            self._n_shares += 1
        elif unit == "lots":
            self._lots.append(contract.con_id)
            self._n_shares = 0

    def reopen(self) -> None:
        """Look at the next answers one by one: some volume was in lots."""
        self._n_shares = 0
