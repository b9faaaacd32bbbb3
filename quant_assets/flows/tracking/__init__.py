"""Telling others of finished runs: MLflow compares them, DVC points to their data. The run directory is the record."""

from quant_assets.flows.tracking.dvc import Pointer, pointers, write_pointers
from quant_assets.flows.tracking.mlflow import NOT_TRACKED, Tracked, track_run, tracked

__all__ = ["NOT_TRACKED", "Pointer", "Tracked", "pointers", "track_run", "tracked", "write_pointers"]
