"""Dagster resources: thin adapters around settings, stores and the TWS client."""
