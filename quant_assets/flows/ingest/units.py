"""Whether TWS counts volumes in lots of 100, as far as the answers of a run tell it: then it spares the rest."""

from collections.abc import Iterable
from typing import Final

from quant_assets.connectors.base import Contract
from quant_assets.domain.instruments import may_be_lots

SHOWN: Final = 3
"""Answers in a row that have to show lots before a run believes it; one or two may be the faults of single answers."""


class Units:
    """The unit of volumes that the answers of one run show.

    TWS's setting is one for all US stocks. So answers that show lots count together, and each has to be of another
    instrument as far as the run has so many: what only one instrument shows may be a fault of its own history. Once
    they have shown it, it holds for the run: nobody changes the setting meanwhile and has the run go on.

    Args:
        contracts: the instruments of the run.
    """

    def __init__(self, contracts: Iterable[Contract]) -> None:
        self._n_instruments = min(SHOWN, len({one.con_id for one in contracts if self.concerns(one)}))
        self._lots: list[Contract] = []
        """Whose the answers in lots are, since the last one in shares."""
        self._n_shares = 0
        """Answers in shares, since the last one in lots."""
        self.are_lots = False
        """Whether TWS counts in lots: whatever else is asked of what the setting concerns comes in lots, too."""

    @staticmethod
    def concerns(contract: Contract) -> bool:
        """Return whether TWS has a setting that counts the volumes of an instrument in lots."""
        return may_be_lots(contract.sec_type, contract.currency)

    @property
    def are_open(self) -> bool:
        """Whether answers are to be looked at one by one, because too few have shown that they are in shares."""
        return self._n_shares < SHOWN

    @property
    def shown_by(self) -> set[str]:
        """Symbols of the instruments whose answers have shown that TWS counts in lots; none unless it does."""
        return {one.symbol for one in self._lots} if self.are_lots else set()

    def spares(self, contract: Contract) -> bool:
        """Return whether nothing more is to be asked of an instrument, because it would come in lots."""
        return self.are_lots and self.concerns(contract)

    def heard(self, contract: Contract, unit: str) -> None:
        """Note what an answer shows.

        Args:
            contract: whose answer it is.
            unit: `shares`, `lots`, or whatever shows neither.
        """
        if not self.concerns(contract):
            return
        if unit == "lots":
            self._lots.append(contract)
            self._n_shares = 0
            n_instruments = len({one.con_id for one in self._lots})
            self.are_lots |= len(self._lots) >= SHOWN and n_instruments >= self._n_instruments
        elif unit == "shares":
            self._n_shares += 1
            if not self.are_lots:
                self._lots.clear()

    def reopen(self) -> None:
        """Look at the next answers one by one: some volume was in lots."""
        self._n_shares = 0
