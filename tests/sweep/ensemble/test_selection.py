"""An ensemble is chosen greedily, exactly, and is not called better by luck."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.sweep.folders import write_sweep, write_trial
from unet3d.errors import RunError
from unet3d.inference.predict import weighted_mean
from unet3d.metrics import dice
from unet3d.sampling.targets import Targets
from unet3d.sweep.configurations import configurations, find_ensemble
from unet3d.sweep.ensemble.build import members_of, said
from unet3d.sweep.ensemble.selection import (
    Votes,
    held_out_gain,
    predicted,
    select,
    single_dice,
    weighted_dice,
)
from unet3d.sweep.ensemble.votes import VoteCounter
from unet3d.sweep.kept_ensemble import ENSEMBLE, KeptEnsemble, write_ensemble
from unet3d.sweep.sweep_folder import SweepFolder


def volumes(
    random: np.random.Generator, noise: Sequence[float], exclusive: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Truth (x, y, z, outputs) and the logits of members (members, x, y, z, outputs)."""
    label = random.integers(0, 3, (4, 6, 5))
    truth = np.stack([label == 0, label == 1, label == 2], axis=-1)
    if not exclusive:
        truth = truth[..., 1:]
    logits = [(2.0 * truth - 1) + random.normal(0, n, truth.shape) for n in noise]
    return truth, np.array(logits, np.float32)


def count(truth: np.ndarray, logits: np.ndarray, exclusive: bool) -> Votes:
    """As `VoteCounter` does, plane by plane."""
    table: np.ndarray = np.eye(3, dtype=np.int8)[:, 0 if exclusive else 1 :]
    names = ("background", "a", "b") if exclusive else ("a", "b")
    targets = Targets(names, table, exclusive)
    full = truth if exclusive else np.concatenate([~truth.any(-1, keepdims=True), truth], -1)
    counter = VoteCounter(targets, np.zeros(0), None)
    counter.truth = full.argmax(-1).astype(np.uint8)
    for x in range(truth.shape[0]):
        counter.take(x, logits[:, x].mean(0), list(logits[:, x]))
    return counter.votes()


@pytest.mark.parametrize("exclusive", [False, True])
def test_votes_give_the_dice_of_the_whole_volume(exclusive: bool) -> None:
    """For any weights, though only the voxels on which members disagree are kept."""
    random = np.random.default_rng(0)
    truth, logits = volumes(random, (0.5, 0.6, 0.7), exclusive)
    votes = count(truth, logits, exclusive)
    assert 0 < votes.truth.shape[0] < truth[..., 0].size
    for weights in ([1, 0, 0], [1, 2, 0], [3, 1, 4]):
        mean = np.tensordot(np.array(weights), logits, axes=1) / sum(weights)
        each = dice(truth, predicted(mean, exclusive))
        expected = each[1:].mean() if exclusive else each.mean()
        assert weighted_dice([votes], np.array(weights))[0] == pytest.approx(expected)


def cases(seed: int, noise: Sequence[float], number: int = 8) -> list[Votes]:
    random = np.random.default_rng(seed)
    return [count(*volumes(random, noise), exclusive=False) for _ in range(number)]


def test_selection_is_greedy_and_with_replacement() -> None:
    """It begins with the best, never becomes worse, and a poor member stays out."""
    votes = cases(1, (0.8, 0.8, 0.9, 6.0))
    counts = select(votes, rounds=10)
    assert counts[3] == 0 and 2 <= counts.sum() <= 10
    together = weighted_dice(votes, counts).mean()
    assert together > single_dice(votes).mean(axis=1).max()
    one = select(votes, rounds=1)
    assert one.sum() == 1 and one[single_dice(votes).mean(axis=1).argmax()] == 1


def test_a_gain_is_one_on_cases_that_were_left_out() -> None:
    """Independent members gain; equal ones do not, though chosen among many."""
    gain = held_out_gain(cases(2, (1.0, 1.0, 1.0, 1.0)), rounds=8)
    assert gain is not None and gain.mean > 0 and gain.p < 0.05
    random, alike = np.random.default_rng(3), []
    for _ in range(8):
        truth, logits = volumes(random, (1.0,))
        alike.append(count(truth, np.repeat(logits, 4, axis=0), exclusive=False))
    none = held_out_gain(alike, rounds=8)
    assert none is not None and none.mean == 0 and none.p == 1
    assert held_out_gain(alike[:3], rounds=8) is None


def test_it_says_when_the_single_best_is_as_good() -> None:
    """With what was measured; and that three cases say nothing."""
    kept = KeptEnsemble({"a": 2, "b": 1}, 0.9, "lr=1", 0.89, 0.001, (-0.01, 0.012), False, 8, 2)
    assert said(kept).endswith("it is no better than the single best, which is smaller and faster.")
    unknown = KeptEnsemble({"a": 1}, 0.9, "lr=1", 0.9, None, None, False, 3, 2)
    assert "With fewer than 4 cases nothing says" in said(unknown)

    alone = KeptEnsemble({"a": 1}, 0.9, "lr=1", 0.9, -0.01, (-0.02, 0.0), False, 8, 1)
    assert said(alone).startswith("the choice is lr=1 alone, with val/dice 0.9000: no other")


def test_a_member_has_a_run_on_each_fold(tmp_path: Path) -> None:
    """One that has lost a fold cannot be compared on its cases; seeds are members of their own."""
    sweep = write_sweep(tmp_path, "s")
    whole = [("1", "0", "0", 0.8), ("1", "1", "0", 0.6), ("1", "0", "1", 0.9), ("1", "1", "1", 0.9)]
    for number, (rate, fold, seed, value) in enumerate([*whole, ("2", "0", "0", 0.99)]):
        write_trial(sweep, number, {"lr": rate, "data.fold": fold, "seed": seed}, [value])
    found = members_of(configurations(SweepFolder(sweep).trials()))
    assert [one.name for one in found] == ["lr=1, seed=1", "lr=1, seed=0"]
    assert found[0].runs == {"0": f"{2:032x}", "1": f"{3:032x}"}


def test_what_was_chosen_is_a_configuration_of_its_sweep(tmp_path: Path) -> None:
    """With its weights; before there is one, or where its file is damaged, one line says it."""
    sweep = write_sweep(tmp_path, "s")
    with pytest.raises(RunError, match="s has no ensemble yet; type unet3d ensemble sweep=s"):
        find_ensemble(str(tmp_path), "s", "ensemble")
    kept = KeptEnsemble({"a": 2, "b": 1}, 0.9, "lr=1", 0.89, None, None, False, 3, 2)
    write_ensemble(sweep / ENSEMBLE, kept)
    found = find_ensemble(str(tmp_path), "s", "ensemble")
    assert found.weight_of == {"a": 2, "b": 1} and found.typed == "sweep=s configuration=ensemble"
    (sweep / ENSEMBLE).write_text("half a")
    with pytest.raises(RunError, match="ensemble.json: cannot be read"):
        find_ensemble(str(tmp_path), "s", "ensemble")


def test_the_mean_is_weighted() -> None:
    """Equal weights give what they gave before there were any, bit by bit."""
    random = np.random.default_rng(0)
    logits = [random.normal(size=(3, 2)).astype(np.float32) for _ in range(3)]
    equal = weighted_mean(logits, [1.0, 1.0, 1.0])
    assert (equal == (logits[0] + logits[1] + logits[2]) / np.float32(3)).all()
    expected = (2 * logits[0] + logits[1] + logits[2]) / 4
    np.testing.assert_allclose(weighted_mean(logits, [2.0, 1.0, 1.0]), expected, rtol=1e-5)
