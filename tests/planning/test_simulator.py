"""The simulator of sweeps, against schedules that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from unet3d.planning.gantt import text_gantt
from unet3d.planning.simulated import Cluster, Outcome, Policy, SimulatedTrial
from unet3d.planning.simulator import one_device, simulate
from unet3d.planning.timing import RunCost, Timing

COST = RunCost(epochs=10, steps=10, batch=4, flops=1e9)  # an epoch of 10 s on one device
MACHINE = Timing("machine", start=0.0, compile=0.0, warm_start=0.0, step=0.0, flops=4e9)
ONE = Cluster(1, 4)


def trials(*epochs: int) -> list[SimulatedTrial]:
    return [SimulatedTrial(f"{n}", replace(COST, epochs=n)) for n in epochs]


def overlaps(outcome: Outcome) -> bool:
    """Whether a device has two trials at one time."""
    for device in range(outcome.devices):
        times = sorted((s.start, s.end) for s in outcome.segments if device in s.devices)
        if any(a[1] > b[0] + 1e-9 for a, b in pairwise(times)):
            return True
    return False


def test_experiment_parallelism_is_a_queue() -> None:
    """Six equal trials on four devices take two rounds."""
    outcome = simulate(trials(*[10] * 6), ONE, MACHINE)
    assert outcome.makespan == pytest.approx(200)
    assert outcome.busy == pytest.approx(6 / 8)


def test_data_parallelism_divides_each_trial() -> None:
    """On all devices, one after another; no more devices than the batch has patches."""
    outcome = simulate(trials(10, 10), ONE, MACHINE, Policy(devices=4))
    assert outcome.makespan == pytest.approx(50)
    wide = simulate(trials(10), Cluster(2, 4), MACHINE, Policy(devices=8))
    assert len(wide.segments[-1].devices) == 4


def test_hybrid_parallelism_shares_nodes() -> None:
    """Two devices a trial, two trials at once, each within a node."""
    outcome = simulate(trials(10, 10, 10, 10), Cluster(2, 2), MACHINE, Policy(devices=2))
    assert outcome.makespan == pytest.approx(100)
    assert all(s.devices[0] // 2 == s.devices[-1] // 2 for s in outcome.segments)


def test_the_longest_first_leaves_a_shorter_tail() -> None:
    """1, 1, 1, 1 and 4: the long one at the end runs alone."""
    lengths = trials(10, 10, 10, 10, 40)
    in_order = simulate(lengths, Cluster(1, 2), MACHINE)
    sorted_ = simulate(lengths, Cluster(1, 2), MACHINE, Policy(longest_first=True))
    assert in_order.makespan == pytest.approx(600) and sorted_.makespan == pytest.approx(400)


def test_a_trial_grows_onto_free_devices_at_an_epochs_end() -> None:
    """A short trial ends at 20 s; the long one goes on with both devices from 20 s."""
    outcome = simulate(trials(2, 10), Cluster(1, 2), MACHINE, Policy(grow=True))
    assert outcome.makespan == pytest.approx(30 + 70 / 2)  # it notices during its third epoch
    assert not overlaps(outcome)


def test_a_trial_does_not_grow_where_the_restart_costs_more() -> None:
    """A restart of 100 s for a gain of 40 s."""
    slow = replace(MACHINE, warm_start=100.0)
    outcome = simulate(trials(2, 10), Cluster(1, 2), slow, Policy(grow=True))
    assert outcome.makespan == pytest.approx(100)


def test_a_pruned_trial_leaves_its_device_earlier() -> None:
    """After the epochs that it was given."""
    pruned = [replace(trial, epochs=3) for trial in trials(10, 10)]
    assert simulate(pruned, Cluster(1, 1), MACHINE).makespan == pytest.approx(60)


def test_lost_nodes_cost_time_and_no_trial() -> None:
    """What was trained up to the last epoch's end is kept; every epoch is trained once."""
    losing = Cluster(2, 2, losses=20.0, repair=30.0)
    outcome = simulate(trials(*[20] * 8), losing, MACHINE, seed=3)
    assert outcome.lost > 0 and not overlaps(outcome)
    assert outcome.makespan > simulate(trials(*[20] * 8), Cluster(2, 2), MACHINE).makespan
    for number in range(8):
        trained = sum(
            s.end - s.start for s in outcome.segments if s.trial == number and s.kind == "train"
        )
        assert trained >= 200 - 1e-6


def test_the_same_seed_gives_the_same_times() -> None:
    """And another one, others."""
    noisy = replace(MACHINE, spread=0.2)
    first, again, other = (simulate(trials(*[10] * 9), ONE, noisy, seed=s) for s in (1, 1, 2))
    assert first == again and first.makespan != other.makespan


def test_the_paper_s_batches_are_those_of_replicas() -> None:
    """Fewer steps of the same length, rounded up: what data parallelism loses on 32 devices."""
    cost = replace(COST, steps=10, batch=2)
    weak = Policy(devices=4, weak=True)
    outcome = simulate([SimulatedTrial("a", cost)], ONE, MACHINE, weak)
    alone = one_device([SimulatedTrial("a", cost)], MACHINE, weak)
    assert alone.makespan / outcome.makespan == pytest.approx(10 / 3)


def test_a_thousand_trials_on_a_thousand_devices() -> None:
    """Each is trained to its end, and no device has two at a time."""
    many = trials(*[5 + n % 40 for n in range(1000)])
    outcome = simulate(many, Cluster(256, 4, losses=0.01), MACHINE, Policy(grow=True))
    assert {segment.trial for segment in outcome.segments} == set(range(1000))
    assert not overlaps(outcome)


def test_a_picture_in_text_has_a_line_for_each_device() -> None:
    """Blocks of a trial's letter; blanks where a device has nothing to do."""
    lines = text_gantt(simulate(trials(10, 5), Cluster(1, 2), MACHINE), width=10)
    assert lines == ["    0 |0000000000|", "    1 |11111     |"]
