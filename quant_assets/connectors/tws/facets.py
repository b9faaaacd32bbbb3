"""The client for those who need only part of it to be ready: history pauses for reasons that lookups do not."""

from typing import Protocol


class Client(Protocol):
    """What a facet asks of the client."""

    epoch: int

    async def connect(self) -> None:
        """Connect, unless connected."""
        ...

    async def ensure_lookups(self) -> None:
        """Return when a contract would be looked up now."""
        ...

    async def renew(self, after: int) -> None:
        """Return on a later connection."""
        ...


class Connecting:
    """The client as something that is ready once it is connected."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ensure_ready(self) -> None:
        """Connect."""
        await self._client.connect()


class Looking:
    """The client as something that is ready once contracts can be looked up."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.renew = client.renew

    @property
    def epoch(self) -> int:
        """The client's."""
        return self._client.epoch

    async def ensure_ready(self) -> None:
        """Connect, and wait for the contract farm."""
        await self._client.ensure_lookups()
