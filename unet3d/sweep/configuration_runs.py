"""The runs in the tracking store that group the trials of each configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from unet3d.files import read_text, write_text
from unet3d.sweep.configurations import configuration_name, own_settings
from unet3d.sweep.verdict.verdict import Verdict
from unet3d.tracking.connection import record_or_warn
from unet3d.tracking.sweep import SweepRecord


@dataclass
class ConfigurationRuns:
    """One below the sweep's run for each configuration, opened with its first trial.

    kept: a file with their ids, for later commands.
    """

    record: SweepRecord
    kept: Path
    opened: dict[str, str] = field(default_factory=dict)

    def parent_of(self, swept: Mapping[str, str]) -> str:
        """The id of the run that a trial shall lie under; the sweep's where none can be made."""
        own = own_settings(swept)
        key = json.dumps(own, sort_keys=True)
        if key not in self.opened:
            before: dict[str, str] = json.loads(read_text(self.kept) or "{}")
            name = configuration_name(own)
            run_id = record_or_warn(self.record.open_group, name, own, before.get(key))
            if run_id is None:
                return self.record.run_id
            self.opened[key] = run_id
            write_text(self.kept, json.dumps({**before, key: run_id}, indent=1))
        return self.opened[key]

    def close(self, verdict: Verdict | None) -> None:
        """End them all, with mean, deviation, interval and standing of each that has a value."""
        rows = (
            {} if verdict is None else {_key(row.configuration.trials): row for row in verdict.rows}
        )
        kept: dict[str, str] = json.loads(read_text(self.kept) or "{}")
        for key, run_id in kept.items():
            metrics: dict[str, float] = {}
            tags: dict[str, str] = {}
            if key in rows:
                row = rows[key]
                low, high = row.estimate.interval()
                found = {
                    "val/dice": row.estimate.mean,
                    "sweep/deviation": row.deviation,
                    "sweep/low": low,
                    "sweep/high": high,
                    "sweep/trials": float(len(row.configuration.values)),
                }
                if row.against is not None:
                    found["sweep/p_holm"] = row.against.p
                metrics = {name: value for name, value in found.items() if math.isfinite(value)}
                tags = {"sweep.standing": row.standing}
            record_or_warn(self.record.close_group, run_id, metrics, tags)


def _key(trials: tuple) -> str:
    return json.dumps(own_settings(trials[0].swept), sort_keys=True)
