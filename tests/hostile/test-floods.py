# SPDX-License-Identifier: LGPL-2.1-or-later
"""A user who sends far more than anybody can want, and an honest one who wants a lease meanwhile.

All share one dbus-daemon, which has one thread, and the machine's processors, and in the row of messages that wait in
it for the service the honest one's stand behind the flood's. So what he is delayed by is compared with what he would
be delayed by if the service took no time at all: with his lease while the same flood goes to a service that answers
at once, and with as many calls of that service. The test prints, as median/99th percentile in ms: alone; the lease
with the flood elsewhere; two calls of the flooded echo; the lease with the flood here.
"""

import statistics

from guestlocktest import (
    NAME, PATIENCE, ROOT, GLib, as_uid, create_guest, main, note, service_pid, start_service, test, wait_until)
from floodtest import ECHO, UUID, Honest, Latency, flood, has_not_grown, is_served, may_lease, rss_kib, start_echo
from rawbus import message

SAMPLES = 200
# Of one connection; the bus allows 128.
AT_ONCE = 100
# How much longer than the floor the honest one may wait.
RATIO = 3
# A 99th percentile of so few is two or three events, and whatever else the machine does makes some. So it is measured
# several times, by turns, and the middle one of the ratios counts; all are printed. Where so few speak against it, it
# is the middle one of many.
FEW, MANY = 3, 15


def created(number=0):
    return GLib.Variant('(ssa{sv})', (f'00000000-0000-4000-8000-{number:012}', 'flood', {}))


def measure_round(honest, user, connections, calls):
    """The three latencies, and how much larger the last one's 99th percentile is than the larger of the others'."""
    with flood(user, connections, calls(ECHO), AT_ONCE):
        elsewhere, echo = Latency(honest.lease, SAMPLES), Latency(honest.echo_twice, SAMPLES)
    with flood(user, connections, calls(NAME), AT_ONCE):
        here = Latency(honest.lease, SAMPLES)
    wait_until(lambda: Latency(honest.lease, 1).p99 < 1000, 'the flood to be over', 30)
    return here.p99 / max(elsewhere.p99, echo.p99), f'elsewhere {elsewhere}, echo {echo}, here {here}'


def measure(what, path, interface, member, body=None, connections=1, user='alice', guests=0):
    may_lease('bob')
    start_service()
    start_echo()
    honest, pid = Honest(as_uid('bob'), 'bob'), service_pid()
    for _ in range(guests):
        create_guest('n' * 100)
    # polkit has been asked about him.
    Latency(honest.lease, 10)
    before = rss_kib(pid)

    def calls(destination):
        return [message(path, interface, member, body, destination)]
    note(f'{what}: alone {Latency(honest.lease, SAMPLES)}')
    ratios = []
    for rounds in FEW, MANY:
        while len(ratios) < rounds:
            ratio, latencies = measure_round(honest, user, connections, calls)
            note(f'{what}: {latencies} ms; {ratio:.2f} of the floor')
            ratios.append(ratio)
        if statistics.median(ratios) <= RATIO * PATIENCE:
            break
    note(f'{what}: memory {before} to {rss_kib(pid)} KiB')
    assert statistics.median(ratios) <= RATIO * PATIENCE, ratios
    has_not_grown(pid, before, 32768)
    is_served(pid)


# --- how long the honest one waits ---

@test
def calls_that_need_nothing():
    measure('Ping, 100 at once', ROOT, 'org.freedesktop.DBus.Peer', 'Ping')


@test
def calls_that_are_refused():
    measure('CreateGuest again and again, 100 at once', ROOT, f'{NAME}.Manager', 'CreateGuest', created())


@test
def leases():
    body = GLib.Variant('(ssa(sssa{sv})a{sv})', (UUID, 'x', [('disk', '/etc/passwd', 'readonly', {})], {}))
    measure('StartGuest, 100 at once', ROOT, f'{NAME}.Manager', 'StartGuest', body)


@test
def questions_to_polkit():
    """Of somebody who may do nothing, so that each call is another question."""
    measure('CreateGuest of one who may not, 100 at once', ROOT, f'{NAME}.Manager', 'CreateGuest', created(),
            user='daemon')


@test
def lists():
    """The longer one call takes, the longer is the row in which the honest one's would stand."""
    measure('GetManagedObjects of 30 guests, 100 at once', ROOT, 'org.freedesktop.DBus.ObjectManager',
            'GetManagedObjects', guests=30)


@test
def many_connections():
    measure('GetGuest, 4 connections of 100 at once', ROOT, f'{NAME}.Manager', 'GetGuest',
            GLib.Variant('(s)', (UUID,)), connections=4)


main()
