"""A seeded market that never was: any session can be computed alone, and always comes out the same."""

from quant_assets.gateway.synthetic.market import SyntheticMarket

__all__ = ["SyntheticMarket"]
