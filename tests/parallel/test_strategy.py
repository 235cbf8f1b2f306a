"""What does not need several devices: shares, sums, scaling and the words between workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.small import small_config
from unet3d.config import ConfigError
from unet3d.parallel.place import Place, read_word
from unet3d.training.schedule import scaled
from unet3d.training.setup import baseline_speed
from unet3d.training.validate import CaseResult, gather


def test_every_case_is_counted_once() -> None:
    """Five cases over three workers: the gathered results are those of one worker, exactly."""
    cases = tuple("abcde")
    results = [CaseResult(c, 0.1 * i, np.array([i / 7, i / 3])) for i, c in enumerate(cases)]
    tables: list[np.ndarray] = []

    def keep(values: np.ndarray) -> np.ndarray:
        tables.append(values)
        return values

    for rank in range(3):
        own = {i: results[i] for i in range(rank, 5, 3)}
        gather(own, cases, 2, keep)
    found = gather({}, cases, 2, lambda _: np.sum(tables, axis=0))
    for one, other in zip(found, results, strict=True):
        assert (one.case, one.loss) == (other.case, other.loss)
        np.testing.assert_array_equal(one.dice, other.dice)


@pytest.mark.parametrize(("kind", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_lr_scales_with_the_replicas_and_warms_up(tmp_path: Path, kind: str, factor: float) -> None:
    """A larger rate has a warm-up where the schedule has none; its own one is kept."""
    config = small_config(tmp_path, f"parallel.lr_scaling={kind}", "lr=0.01", "epochs=10")
    schedule, lr = scaled(config, 4)
    assert lr == pytest.approx(0.01 * factor)
    assert schedule.warmup_epochs == (0 if factor == 1 else 1)
    config.schedule.warmup_epochs = 3.0
    assert scaled(config, 4)[0].warmup_epochs == 3


def test_words_between_workers(tmp_path: Path) -> None:
    """The chief's run id and a request to stop reach the others."""
    chief, other = (Place(rank=rank, workers=2, job=tmp_path) for rank in (0, 1))
    assert chief.chief and not other.chief
    with pytest.raises(TimeoutError, match="worker 1: no word of the chief"):
        other.announced(timeout=0.1)
    chief.announce("abc")
    assert other.announced(timeout=0.1) == "abc"
    assert chief.asked_to_stop() is None
    (tmp_path / "stop").write_text("15")
    assert chief.asked_to_stop() == "15"
    assert read_word(tmp_path / "nothing") is None


def test_baseline_that_is_not_there_is_named(tmp_path: Path) -> None:
    """parallel.baseline must be a run with a finished epoch."""
    config = small_config(tmp_path, "parallel.baseline=abc")
    with pytest.raises(ConfigError, match="parallel.baseline: abc has no finished epoch"):
        baseline_speed(config)
