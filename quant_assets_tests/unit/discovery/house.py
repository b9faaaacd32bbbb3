"""A lab whose scanners, environment and sections of the manifest a test chooses."""

import json

import yaml

from quant_assets.control.audit import read
from quant_assets.domain.tables import UNIVERSE
from quant_assets.flows.discover import Discovery
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings import Settings
from quant_assets_tests.unit.flows.lab import SESSION, Lab, after


class House(Lab):
    """A lab whose scanners, environment and sections of the manifest a test chooses."""

    def __init__(self, root, scanners=None, lists=True, env=None, **sections):
        super().__init__(root, symbols=("ARCA:QMKT", "NYSE:QFID"), scanners=tuple(scanners or ()))
        self.files, self.has_list, self.env, self.sections = scanners or {}, lists, env or {}, sections

    def settings(self):
        settings = super().settings()
        file = settings.configs / "manifest.json"
        manifest = json.loads(file.read_text())
        discovery = manifest["profiles"]["default"]["discovery"]
        discovery |= {"lists": ["core"] if self.has_list else [], **self.sections.get("discovery", {})}
        manifest |= {key: value for key, value in self.sections.items() if key != "discovery"}
        file.write_text(json.dumps(manifest))
        (settings.configs / "scanners").mkdir(exist_ok=True)
        for name, content in self.files.items():
            (settings.configs / "scanners" / f"{name}.yaml").write_text(yaml.safe_dump(content))
        return Settings.from_env(self.env, data=settings.data, configs=settings.configs)

    def discover(self, session=SESSION, now=None):
        with self.at(now or after(SESSION)) as work:
            return Discovery(work).publish(session)

    def universe(self, session=SESSION):
        return self.lake.curated.read(UNIVERSE, Partition(session)).sort("con_id")

    def names(self, session=SESSION):
        return sorted(self.universe(session)["symbol"])

    def events(self, name):
        return [one for one in read(self.root / "data" / "artifacts" / "audit.jsonl") if one["event"] == name]
