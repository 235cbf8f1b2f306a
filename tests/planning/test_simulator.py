"""The simulator of sweeps, against schedules that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from unet3d.planning.attempt import pace_of
from unet3d.planning.gantt import text_gantt
from unet3d.planning.grow import GrowingTrial, choose_sizes
from unet3d.planning.simulated import Cluster, Outcome, Policy, SimulatedTrial
from unet3d.planning.simulator import one_device, simulate
from unet3d.planning.timing import Placement, RunCost, Timing

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
    slow = replace(MACHINE, start=100.0)
    outcome = simulate(trials(2, 10), Cluster(1, 2), slow, Policy(grow=True, ready=True))
    assert outcome.makespan == pytest.approx(100)


def phases(outcome: Outcome, trial: int) -> list[tuple[float, float, int]]:
    """When a trial has trained, and on how many devices."""
    own = [s for s in outcome.segments if s.trial == trial and s.kind == "train"]
    return [(round(s.start, 6), round(s.end, 6), len(s.devices)) for s in own]


RESTARTING = replace(MACHINE, start=5.0)  # of a group, as workers that are ready take no time
GROWING = Policy(grow=True, ready=True)


def test_a_grown_trial_gives_back_for_another_step_of_the_search() -> None:
    """When two trials are over, the search asks for two more, and one device is free for them.

    The long trial has grown by then; it shrinks at its epoch's end, and grows again at the tail.
    """
    long, short, middle, *later = trials(20, 2, 7, 3, 3)
    steps = [long, short, middle, *(replace(one, after=2) for one in later)]
    outcome = simulate(steps, Cluster(1, 3), RESTARTING, GROWING)
    assert phases(outcome, 0) == [(0, 30, 1), (35, 75, 2), (80, 110, 1), (115, 145, 2)]
    assert phases(outcome, 3) == [(70, 100, 1)] and phases(outcome, 4) == [(80, 110, 1)]
    assert not overlaps(outcome)


def test_growth_is_put_off_for_a_trial_that_comes() -> None:
    """It takes the free device at once; the long one grows when that trial is over."""
    long, short, third = trials(20, 2, 3)
    steps = [long, short, replace(third, after=1)]
    outcome = simulate(steps, Cluster(1, 2), RESTARTING, GROWING)
    assert phases(outcome, 0) == [(0, 60, 1), (65, 135, 2)]
    assert phases(outcome, 2) == [(20, 50, 1)]


def test_a_grown_trial_gives_back_for_one_that_has_lost_its_node() -> None:
    """At its next epoch's end both go on alone; the lost one from its last epoch that had ended."""
    cluster, seen = Cluster(3, 1, losses=2.0, repair=1e5), 0
    for seed in range(60):
        outcome = simulate(trials(61, 60), cluster, RESTARTING, GROWING, seed)
        before, *again = phases(outcome, 1)
        if outcome.lost != 1 or len(phases(outcome, 0)) != 3 or before[1] % 10 == 0:
            continue  # the loss was of another node, or of none
        seen += 1
        alone, grown, shrunk = phases(outcome, 0)
        lost_at = before[1]
        assert alone == (0, 20, 1) and grown[1] < lost_at + 5
        assert (grown[1] - grown[0]) % 5 == 0 and shrunk[0] == again[0][0] == grown[1] + 5
        trained = before[1] // 10 + sum((end - start) * n / 10 for start, end, n in again)
        assert trained == pytest.approx(60) and not overlaps(outcome)
    assert seen > 3


def test_what_a_trial_does_is_what_a_sweep_would_choose() -> None:
    """At each look the sizes are those of `choose_sizes`, by the parts that a run would record."""
    cost = replace(COST, epochs=9, validation_cases=3, validation_flops=4e9, gradient_bytes=1e6)
    machine = replace(MACHINE, epoch_end=1.0, latency=1e-3, bandwidth=1e8, validation_flops=4e9)
    assert machine.epoch_seconds(cost, Placement()) == pytest.approx(14)
    pace = pace_of(cost, Placement(), machine, 1)
    assert (pace.steps, pace.all_reduce, pace.validation, pace.rest) == (10, 0, 3, 1)
    assert pace.on(1) == pytest.approx(14)
    group = pace_of(cost, Placement(2), machine, 2)
    assert group.all_reduce == pytest.approx(10 * (2 * 1e-3 + 1e6 / 1e8))
    assert group.on(2) == pytest.approx(machine.epoch_seconds(cost, Placement(2)))
    seen = GrowingTrial(0, 1, (1, 2), epochs_left=6, pace=pace, restart=15.0)
    grows = choose_sizes(1, 0, [seen]) == {0: 2}
    both = [SimulatedTrial("long", cost), SimulatedTrial("short", replace(cost, epochs=2))]
    for start, expected in ((15.0, grows), (60.0, False)):
        assert choose_sizes(1, 0, [replace(seen, restart=start)]) == ({0: 2} if expected else {})
        slow = replace(machine, start=start)
        outcome = simulate(both, Cluster(1, 2), slow, Policy(grow=True, ready=True))
        assert any(len(s.devices) == 2 for s in outcome.segments) == expected


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


def test_speed_ups_are_against_the_same_trials() -> None:
    """Each as slow or fast as on the cluster, so that none is above the number of devices."""
    noisy, many = replace(MACHINE, spread=0.3), trials(*[10] * 8)
    for seed in range(4):
        alone = one_device(many, noisy, Policy(), seed)
        on_four = simulate(many, ONE, noisy, seed=seed)
        assert 2 < alone.makespan / on_four.makespan <= 4
        assert simulate(many, Cluster(1, 1), noisy, seed=seed).makespan == alone.makespan


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
