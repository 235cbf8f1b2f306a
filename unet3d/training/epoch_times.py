"""How fast an epoch was: the metrics perf/..."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class EpochTimes:
    """Seconds spent on the steps of an epoch, in all and waiting for the stream."""

    start: float = field(default_factory=time.perf_counter)
    waiting: float = 0.0
    steps: int = 0
    end: float | None = None

    @property
    def seconds(self) -> float:
        """From the first step to the end of the last one."""
        return (self.end or time.perf_counter()) - self.start

    def metrics(
        self, batch_size: int, replicas: int = 1, reduce_ms: float = 0.0, baseline: float = 0.0
    ) -> dict[str, float]:
        """perf/...; none for an epoch that was resumed after its last step.

        reduce_ms: of one all-reduce of all gradients; baseline: patches/s of one replica, or 0.
        """
        if not self.steps:
            return {}
        elapsed = self.seconds
        metrics = {
            "perf/step_ms": 1000 * elapsed / self.steps,
            "perf/patches_per_s": self.steps * batch_size / elapsed,
            "perf/data_wait_pct": 100 * self.waiting / elapsed,
        }
        if replicas > 1:
            metrics |= {
                "perf/patches_per_s_replica": metrics["perf/patches_per_s"] / replicas,
                "perf/allreduce_ms": reduce_ms,
                "perf/allreduce_pct": 100 * reduce_ms / metrics["perf/step_ms"],
            }
        if baseline:
            speedup = metrics["perf/patches_per_s"] / baseline
            metrics |= {"perf/speedup": speedup, "perf/scaling_efficiency": speedup / replicas}
        return metrics
