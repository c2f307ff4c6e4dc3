# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever is killed at whatever instant: no disk has two writers, no write is lost, and what the service says is what
the kernel has.

GUESTLOCK_CRASH (1) multiplies the kills, 300; GUESTLOCK_CRASH_SEED (1) chooses them.
"""

import os
from collections import Counter

from guestlocktest import LOG, main, note, test
from storm import Load, Nemesis, make_disks
from tables import all_is_gone, compare, end_the_lost, guests_standing_still

KILLS = 300
KILLS_A_STORM = 100
TIMES = float(os.environ.get('GUESTLOCK_CRASH') or 1)
SEED = int(os.environ.get('GUESTLOCK_CRASH_SEED', 1))
# Seconds between two blows, on average.
PACE = float(os.environ.get('GUESTLOCK_CRASH_PACE', 0.03))


def across_kills(calls, nemesis):
    """How long those calls took during which the service was killed, which did not wait for a disk by themselves."""
    kills = sorted(nemesis.times)
    return sorted((end - begin, method) for begin, end, _, waited, method, _ in calls
                  if not waited and any(begin <= kill <= end for kill in kills))


def report(load, nemesis):
    calls = list(load.what_was_called())
    note(f'{sum(nemesis.kills.values())} kills survived: ' +
         ', '.join(f'{name} {n}' for name, n in nemesis.kills.items()))
    note('stopped for a while: ' + ', '.join(f'{name} {n}' for name, n in nemesis.stops.items()) +
         f'; disks that somebody else took meanwhile: {nemesis.n_strangers}')
    note(f'{len(calls)} calls, {sum(repeated > 0 for _, _, repeated, *_ in calls)} of them repeated; outcomes: ' +
         ', '.join(f'{name} {n}' for name, n in Counter(outcome.split()[0] for *_, outcome in calls).most_common()))
    waits = across_kills(calls, nemesis)
    if waits:
        note(f'{len(waits)} calls went across a kill of the service; longest {waits[-1][0] * 1000:.0f} ms '
             f'({waits[-1][1]}), median {waits[len(waits) // 2][0] * 1000:.1f} ms')
    odd, said = load.odd_calls(), load.what_they_said()
    assert not odd and not said, '\n'.join([*odd[:10], said])


@test
def storms():
    note(f'GUESTLOCK_CRASH_SEED={SEED}')
    disks = make_disks()
    load = Load(disks, SEED)
    nemesis = Nemesis(load, SEED, PACE)
    kills = int(KILLS * TIMES)
    while sum(nemesis.kills.values()) < kills:
        nemesis.rage(min(KILLS_A_STORM, kills - sum(nemesis.kills.values())))
        load.be_quiet()
        end_the_lost()
        with guests_standing_still():
            verdict, content = load.check_logs()
            assert content, verdict
            n_guests, n_locks = compare(disks)
        note(f'after {sum(nemesis.kills.values())} kills: {n_guests} guests, and {n_locks} locks as the service says; ' +
             verdict.strip())
        load.go_on()
    load.be_quiet()
    load.end()
    all_is_gone(disks)
    verdict, content = load.check_logs()
    assert content, verdict
    note(f'grants checked: {verdict.split()[0]}')
    report(load, nemesis)
    assert 'Assertion' not in LOG.read_text(), 'the service says that something cannot be: see its log'


main()
