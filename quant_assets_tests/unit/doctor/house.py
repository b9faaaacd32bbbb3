"""A small configuration on disk, for the doctor to look at."""

import json
from pathlib import Path

import yaml

from quant_assets.settings import Settings


def house(root: Path, **sections: object) -> Settings:
    (root / "configs" / "lists").mkdir(parents=True, exist_ok=True)
    (root / "configs" / "lists" / "short.yaml").write_text(yaml.safe_dump({"symbols": ["ARCA:QMKT", "NYSE:QHEA"]}))
    manifest = {
        "default_profile": "calm",
        "profiles": {"calm": {"discovery": {"lists": ["short"]}}},
        "defaults": {"data": {"lookback_sessions": 30, "min_sessions_floor": 20}},
    }
    (root / "configs" / "manifest.json").write_text(json.dumps(manifest | sections))
    return Settings.from_env({}, data=root / "data", configs=root / "configs")
