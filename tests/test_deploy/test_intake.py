"""Checks of live events: times never fall, damage is dropped and counted, garbage is refused."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.deploy.sources.intake import Intake, joined
from etram_mmdet.events.recording import Events
from etram_mmdet.utils.errors import InputError

WIDTH, HEIGHT = 64, 48
SECOND = 1_000_000


def events(t_us, x=1, y=1) -> Events:
    t_us = np.array(t_us, np.int64)
    filled = [np.full(len(t_us), each, np.uint16) for each in (x, y)]
    return Events(t_us, *filled, np.zeros(len(t_us), np.uint8))


def steps(start_us, num=20, step_us=100) -> list[int]:
    return list(range(start_us, start_us + num * step_us, step_us))


def taken(*packets) -> tuple[list[int], Intake]:
    """Times that an intake lets through, and the intake."""
    intake = Intake("camera", WIDTH, HEIGHT)
    kept = [intake(packet if isinstance(packet, Events) else events(packet)) for packet in packets]
    times = joined(*kept, intake.finish()).t.tolist()
    intake.check()
    return times, intake


def test_events_in_order_come_through_whatever_the_packets():
    t_us = np.sort(np.random.default_rng(0).integers(0, 10 * SECOND, 5000))
    for size in (1, 7, 999, 5000):
        times, intake = taken(*(t_us[i : i + size] for i in range(0, len(t_us), size)))
        assert times == t_us.tolist()
        assert intake.dropped == {}


def test_small_steps_back_are_raised_and_counted():
    times, intake = taken(steps(SECOND), [SECOND + 1500, SECOND + 2500])
    assert times == [*steps(SECOND), SECOND + 1900, SECOND + 2500]
    assert intake.num_corrected == 1
    assert intake.dropped == {}


@pytest.mark.parametrize("damaged_us", [0, SECOND // 2, 7 * SECOND, 1 << 50])
def test_a_stamp_that_the_others_contradict_is_dropped(damaged_us):
    packet = steps(SECOND)
    times, intake = taken(steps(SECOND - 5000), [*packet[:9], damaged_us, *packet[9:]])
    assert times == steps(SECOND - 5000) + packet
    assert intake.dropped == {"events_with_bad_stamp": 1}


def test_a_step_back_of_less_than_a_second_is_dropped_until_time_goes_on():
    times, intake = taken(steps(SECOND), steps(SECOND // 2), steps(SECOND + 3000))
    assert times == steps(SECOND) + steps(SECOND + 3000)
    assert intake.dropped == {"events_with_bad_stamp": 20}


def test_a_clock_that_begins_again_goes_on_from_the_last_event(monkeypatch):
    said = []
    monkeypatch.setattr(
        "etram_mmdet.deploy.sources.intake.say", lambda sentence, level: said.append(sentence)
    )
    first = steps(50 * SECOND)
    times, intake = taken(first, steps(0), steps(2000))
    assert times == first + steps(first[-1], 40)
    assert intake.num_restarts == 1
    assert intake.dropped == {}
    assert said == ["camera: its clock stepped back by 50.0 s; times go on from 50001900 us"]


def test_a_clock_may_begin_again_within_a_packet():
    first = steps(50 * SECOND)
    times, intake = taken(first[:10], first[10:] + steps(0), steps(2000))
    assert times == first + steps(first[-1], 40)
    assert intake.dropped == {}


def test_a_clock_that_begins_again_is_found_in_packets_of_one_event():
    first = steps(50 * SECOND)
    times, intake = taken(first, *([each] for each in steps(0, 30)))
    assert times == first + steps(first[-1], 20)
    assert intake.dropped == {"events_with_bad_stamp": 10}


def test_single_stamps_far_back_between_good_ones_are_damage_not_a_new_clock():
    starts_us = range(50 * SECOND, 51 * SECOND, SECOND // 30)
    times, intake = taken(*([*steps(start_us), 0] for start_us in starts_us))
    assert len(times) == 20 * len(starts_us)
    assert intake.num_restarts == 0
    assert intake.dropped == {"events_with_bad_stamp": len(starts_us)}


def test_after_a_pause_events_come_with_the_next_packet():
    intake = Intake("camera", WIDTH, HEIGHT)
    intake(events(steps(SECOND)))
    assert len(intake(events(steps(3600 * SECOND))).t) == 0
    assert intake.reached_us(3600 * SECOND) == SECOND + 1900
    assert intake(events(steps(3600 * SECOND + 2000))).t.tolist() == steps(3600 * SECOND, 40)
    assert intake.dropped == {}


def test_a_jump_ahead_that_the_next_packet_contradicts_is_dropped():
    times, intake = taken(
        steps(SECOND), [*steps(SECOND + 2000), *steps(900 * SECOND, 5)], steps(SECOND + 4000, 50)
    )
    assert times == steps(SECOND, 40) + steps(SECOND + 4000, 50)
    assert intake.dropped == {"events_with_bad_stamp": 5}


def test_a_jump_ahead_that_the_rest_of_the_packet_contradicts_is_dropped_however_long():
    far = steps(900 * SECOND, 50)
    times, intake = taken(steps(SECOND), steps(SECOND + 2000) + far + steps(SECOND + 4000, 30))
    assert times == steps(SECOND, 40) + steps(SECOND + 4000, 30)
    assert intake.dropped == {"events_with_bad_stamp": 50}


def test_a_few_events_far_ahead_at_the_end_are_dropped_but_many_are_kept():
    assert taken(steps(SECOND, 2000), steps(900 * SECOND, 5))[0] == steps(SECOND, 2000)
    assert len(taken(steps(SECOND, 2000), steps(900 * SECOND, 50))[0]) == 2050


def test_events_outside_the_sensor_are_dropped():
    times, intake = taken(events(steps(0), x=63, y=47), events([3000], x=64), events([3100], y=48))
    assert times == steps(0)
    assert intake.dropped == {"events_out_of_frame": 2}


def test_another_sensor_is_refused_with_the_option_that_states_it():
    with pytest.raises(InputError, match=r"100% of the last 20,000.*64x48.*--sensor"):
        taken(events(steps(0, 20_000), x=300))


def test_a_broken_clock_is_refused():
    t_us = np.random.default_rng(0).integers(0, 1 << 40, 20_000)
    with pytest.raises(InputError, match=r"camera: \d+% of the last .*events_with_bad_stamp \d+ "):
        taken(*np.split(t_us, 2))


def test_a_clock_that_steps_back_again_and_again_is_refused():
    with pytest.raises(InputError, match=r"clock stepped back .* 11 times"):
        taken(*(steps(2 * back * SECOND) for back in range(20, 0, -1)))


def test_what_is_usable_is_given_before_a_source_is_refused():
    intake = Intake("camera", WIDTH, HEIGHT)
    packet = joined(events(steps(0)), events(steps(2000, 20_000), x=300))
    assert intake(packet).t.tolist() == steps(0)
    with pytest.raises(InputError):
        intake.check()
    with pytest.raises(InputError):
        intake(events(steps(3000)))


def test_a_burst_of_damage_is_survived():
    good = steps(SECOND, 100_000, 10)
    bad = np.random.default_rng(0).integers(0, 1 << 30, 3000)
    times, intake = taken(*np.split(np.array(good), 100), bad, steps(3 * SECOND, 100_000, 10))
    assert len(times) > 190_000
    assert sum(intake.dropped.values()) > 1000


@pytest.mark.parametrize("seed", range(30))
def test_times_never_fall_and_every_event_is_kept_or_counted(seed):
    rng = np.random.default_rng(seed)
    t_us = np.cumsum(rng.integers(0, 2000, 6000))
    for _ in range(rng.integers(1, 12)):
        start = rng.integers(0, 6000)
        t_us[start : start + rng.integers(1, 500)] += rng.integers(-(10**8), 10**8)
    intake = Intake("camera", WIDTH, HEIGHT)
    kept = []
    for packet in np.split(t_us, np.sort(rng.integers(0, 6000, 40))):
        before_us = intake.last_us
        kept.append(intake(events(packet)))
        assert (np.diff(kept[-1].t, prepend=before_us) >= 0).all()
    kept.append(intake.finish())
    assert sum(len(each.t) for each in kept) + sum(intake.dropped.values()) == 6000
    assert (np.diff(joined(*kept).t) >= 0).all()
