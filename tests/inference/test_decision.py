"""Thresholds and post-processing: as typed, as tuned, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unet3d.config.compose import from_overrides
from unet3d.config.schema import DataConfig, PostprocessConfig, PredictConfig
from unet3d.errors import ConfigError, RunError
from unet3d.inference.decision import Decision, logit, make_decision
from unet3d.inference.ensemble import Ensemble, ensemble_of
from unet3d.inference.label_maps import encode
from unet3d.inference.tuned import Tuned, read_tuned, weights_of, write_tuned
from unet3d.sampling.targets import Targets, make_targets

LABELS = {1: "edema", 2: "core"}


def targets(target: str = "regions") -> Targets:
    return make_targets(DataConfig(name="x", root="x", target=target), LABELS)


def run_with_weights(folder: Path) -> Ensemble:
    """A run of which only the file of its weights is there."""
    weights = folder / "runs" / "a" / "checkpoints" / "best.weights.h5"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    return ensemble_of(["a"], str(folder))


def decide(folder: Path, *typed: str, of: Targets | None = None) -> Decision:
    """What `unet3d predict run=a` with `typed` would do."""
    settings = from_overrides(PredictConfig, ["run=a", "input=x", "output=y", *typed])
    own = ensemble_of(["a"], str(folder))
    return make_decision(
        settings.thresholds, settings.postprocess, of or targets(), own, str(folder)
    )


@pytest.mark.parametrize(
    ("typed", "shares"),
    [
        ("thresholds=0.3", (0.3, 0.3)),
        ("thresholds=[0.3,0.6]", (0.3, 0.6)),
        ("thresholds={core: 0.6}", (0.5, 0.6)),
        ("postprocess=none", None),
        ("thresholds=0.5", None),
    ],
)
def test_thresholds_as_typed(tmp_path: Path, typed: str, shares: tuple[float, ...] | None) -> None:
    """One for all regions, one each, or of some."""
    assert decide(tmp_path, typed).cuts == (tuple(map(logit, shares)) if shares else ())


def test_a_region_is_predicted_above_its_threshold() -> None:
    """0.4 and 0.6 by cuts of 0.3 and 0.7: only the first is there."""
    logits = np.array([logit(0.4), logit(0.6)], np.float32)
    assert encode(logits, targets()) == 0b10
    assert encode(logits, targets(), (logit(0.3), logit(0.7))) == 0b01


def test_what_was_tuned_is_used_where_asked(tmp_path: Path) -> None:
    """Thresholds and the steps chosen at them; without thresholds=auto those at 0.5."""
    own = run_with_weights(tmp_path)
    half = {name: PostprocessConfig() for name in ("edema", "core")}
    at = {"edema": PostprocessConfig(largest=True), "core": PostprocessConfig(min_volume=8.0)}
    tuned = Tuned(weights_of(own, str(tmp_path)), {"edema": 0.4, "core": 0.7}, half, at, 3, {})
    assert own.tuned is not None
    write_tuned(own.tuned, tuned)
    assert read_tuned(own.tuned) == tuned
    both = decide(tmp_path, "thresholds=auto", "postprocess=auto")
    assert both == Decision((logit(0.4), logit(0.7)), (at["edema"], at["core"]))
    assert decide(tmp_path, "postprocess=auto") == Decision((), (PostprocessConfig(),) * 2)
    from_file = decide(tmp_path, "thresholds=0.2", f"postprocess={own.tuned}")
    assert from_file.cuts == (logit(0.2),) * 2
    assert (
        decide(tmp_path, "postprocess.largest=true").after == (PostprocessConfig(largest=True),) * 2
    )


def test_what_was_tuned_with_other_weights_is_refused(tmp_path: Path) -> None:
    """A run that was trained on is another network."""
    own = run_with_weights(tmp_path)
    assert own.tuned is not None
    steps = {name: PostprocessConfig() for name in ("edema", "core")}
    choice = {"edema": 0.4, "core": 0.7}
    write_tuned(own.tuned, Tuned({"a": "00000000"}, choice, steps, steps, 3, {}))
    with pytest.raises(RunError, match="before they were trained on; type unet3d tune run=a"):
        decide(tmp_path, "thresholds=auto")


@pytest.mark.parametrize(
    ("typed", "error", "message"),
    [
        ("thresholds=1", ConfigError, "thresholds: 1 is not possible; write a probability above 0"),
        ("thresholds=half", ConfigError, "thresholds: half is not possible"),
        ("thresholds=[0.5]", ConfigError, "1 values, but there are 2 regions: edema, core"),
        ("thresholds={tumour: 0.5}", ConfigError, "tumour is not a region; choose of edema, core"),
        ("thresholds=auto", RunError, "nothing is chosen for run=a yet; type unet3d tune run=a"),
        ("postprocess=auto", RunError, "nothing is chosen for run=a yet"),
        ("postprocess=no.json", RunError, "postprocess: no.json cannot be read; type auto, none"),
    ],
)
def test_what_cannot_work_is_one_line(
    tmp_path: Path, typed: str, error: type[Exception], message: str
) -> None:
    """Before a network is loaded."""
    with pytest.raises(error, match=message):
        decide(tmp_path, typed)


def test_classes_have_no_thresholds(tmp_path: Path) -> None:
    """The largest of a softmax counts."""
    with pytest.raises(ConfigError, match="the classes of one softmax"):
        decide(tmp_path, "thresholds=0.4", of=targets("classes"))
    assert decide(tmp_path, of=targets("classes")).cuts == ()


def test_auto_beside_steps_of_ones_own_is_refused(tmp_path: Path) -> None:
    """Which of the two counts would be a guess."""
    with pytest.raises(ConfigError, match="auto is not possible beside postprocess.fill_holes"):
        decide(tmp_path, "postprocess=auto", "postprocess.largest=true")


def test_several_runs_without_a_sweep_have_nothing_tuned(tmp_path: Path) -> None:
    """As each may have validated on what another has trained on."""
    together = ensemble_of(["a", "b"], str(tmp_path))
    with pytest.raises(RunError, match="for one run or for a sweep; for run=a,b type the values"):
        make_decision("auto", PostprocessConfig(), targets(), together, str(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"thresholds": {"edema": 1.5, "core": 0.5}},
        {"at_half": {"edema": {}}},
        {"weights": 3},
        {"cases": "many"},
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    """Its name and what to do."""
    steps = {name: {"min_volume": 0, "largest": False} for name in ("edema", "core")}
    whole = {
        "weights": {},
        "thresholds": {"edema": 0.5, "core": 0.5},
        **{"at_half": steps, "at_thresholds": steps, "cases": 2},
    }
    path = tmp_path / "tuned.json"
    path.write_text(json.dumps({**whole, **change}))
    with pytest.raises(RunError, match="tuned.json: is not a file of unet3d tune"):
        read_tuned(path)
