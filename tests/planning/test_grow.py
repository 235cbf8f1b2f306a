"""Which running trials get more or fewer slots, over tables of situations."""

from __future__ import annotations

import pytest

from unet3d.planning.grow import GrowingTrial, Pace, choose_sizes, possible_sizes, size_after

MINUTE = Pace(slots=1, steps=60.0, all_reduce=0.0, validation=0.0, rest=0.0)
POWERS = (1, 2, 4, 8)


def trial(
    number: int = 0,
    epochs_left: int = 10,
    slots: int = 1,
    sizes: tuple[int, ...] = POWERS,
    pace: Pace | None = MINUTE,
    restart: float = 30.0,
) -> GrowingTrial:
    return GrowingTrial(number, slots, sizes, epochs_left, pace, restart)


@pytest.mark.parametrize(
    ("free", "waiting", "trials", "expected"),
    [
        (3, 0, [trial()], {0: 4}),  # of 4 devices all
        (4, 0, [trial()], {0: 4}),  # 5 do not divide the batch
        (3, 0, [trial(sizes=(1, 2, 3))], {0: 3}),
        (3, 0, [trial(sizes=(1,))], {}),  # as with a share of a GPU
        (0, 0, [trial()], {}),
        (3, 1, [trial()], {}),  # the free slots are for the one that waits
        (3, 0, [trial(epochs_left=0)], {}),  # in its last epoch
        (3, 0, [trial(pace=None)], {}),  # nothing is measured yet
        (3, 0, [trial(restart=400.0)], {}),  # 10 minutes become 3; the gain must be 1.5 restarts
        (3, 0, [trial(epochs_left=1, restart=40.0)], {}),
        (1, 0, [trial(0, 10), trial(1, 30)], {1: 2}),  # the longest
        (2, 0, [trial(0, 10), trial(1, 30)], {0: 2, 1: 2}),  # 4 would need one more
        (6, 0, [trial(0, 10), trial(1, 30)], {0: 4, 1: 4}),
        (6, 0, [trial(0, 1, restart=90.0), trial(1, 30)], {1: 4}),
        (2, 0, [trial(0, 10), trial(1, 9)], {0: 2, 1: 2}),
        (4, 0, [trial(slots=4)], {0: 8}),
    ],
)
def test_free_slots_go_where_they_gain(
    free: int, waiting: int, trials: list[GrowingTrial], expected: dict[int, int]
) -> None:
    """To the longest trials, in sizes that the batch divides by, if that exceeds the restart."""
    assert choose_sizes(free, waiting, trials) == expected


@pytest.mark.parametrize(
    ("free", "waiting", "trials", "expected"),
    [
        (0, 1, [trial(slots=4)], {0: 2}),
        (0, 1, [trial(slots=3, sizes=(1, 2, 3))], {0: 2}),
        (0, 1, [trial(slots=2), trial(1, slots=4)], {1: 2}),  # of the largest
        (0, 3, [trial(slots=2), trial(1, slots=4)], {1: 1}),
        (0, 9, [trial(slots=2), trial(1, slots=4)], {0: 1, 1: 1}),
        (-2, 1, [trial(slots=4)], {0: 2}),  # a node with two slots was lost
        (1, 1, [trial(slots=4)], {}),  # there is one
        (0, 1, [trial(slots=4, epochs_left=0)], {}),  # it ends with this epoch anyway
        (0, 1, [trial(slots=1)], {}),
        (0, 1, [trial(slots=4, pace=None, sizes=(1, 2, 4))], {0: 2}),
    ],
)
def test_slots_are_given_back(
    free: int, waiting: int, trials: list[GrowingTrial], expected: dict[int, int]
) -> None:
    """As many as are needed by trials that wait, whatever it costs the one that has grown."""
    assert choose_sizes(free, waiting, trials) == expected


def test_only_what_divides_is_divided() -> None:
    """Validation by whole cases, and neither checkpoint nor record; steps at an efficiency."""
    pace = Pace(1, steps=8.0, all_reduce=0.0, validation=3.0, rest=1.0, updates=10.0, cases=3)
    assert pace.on(1) == pytest.approx(12.0)
    assert pace.on(2) == pytest.approx(8.0 / 2 / 0.8 + 10 * 0.02 + 2.0 + 1.0)
    assert pace.on(4) == pytest.approx(8.0 / 4 / 0.8 + 10 * 0.02 + 1.0 + 1.0)


def test_of_a_group_its_own_measurement_counts() -> None:
    """Its all-reduce takes the place of the assumption."""
    group = Pace(2, steps=4.0, all_reduce=0.5, validation=1.0, rest=1.0, updates=10.0, cases=4)
    assert group.on(2) == pytest.approx(6.5)
    assert group.on(4) == pytest.approx(2.0 + 0.5 + 0.5 + 1.0)
    assert group.on(1) == pytest.approx(8.0 + 0.0 + 2.0 + 1.0)


def test_short_steps_do_not_pay_over_processes() -> None:
    """A thousand steps of 20 ms take no less on two devices."""
    short = Pace(1, steps=20.0, all_reduce=0.0, validation=0.0, rest=0.0, updates=1000.0)
    assert choose_sizes(1, 0, [trial(pace=short, epochs_left=1000)]) == {}


def test_sizes_share_the_global_batch() -> None:
    """Patches at a time over all replicas; two devices a slot; what is left when a trial stops."""
    assert possible_sizes(8, 1, 6) == (1, 2, 4)
    assert possible_sizes(8, 2, 6) == (1, 2, 4)
    assert possible_sizes(3, 2, 6) == (1,)
    assert [size_after((1, 2, 4), 4, free) for free in (9, 4, 3, 1, 0, -1)] == [4, 4, 2, 1, 1, 1]


def test_trials_that_cannot_gain_stand_in_nobodys_way() -> None:
    """Two slots: the longest trial would not gain by them, the other takes both."""
    long = trial(0, 30, sizes=(1, 3), restart=2000.0)
    assert choose_sizes(2, 0, [long, trial(1, 20, sizes=(1, 2, 3))]) == {1: 3}
