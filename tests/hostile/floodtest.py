# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verbs for tests in which somebody sends very much, beside those of guestlocktest: connections without a library,
processes that flood, and a service that answers at once, which shows what the bus and the machine take by themselves.
"""

import contextlib
import os
import statistics
import subprocess
import time
from pathlib import Path

from guestlocktest import (
    PATIENCE, RULES, Gio, at_end, bus, disk, end_process, equal, image, service_pid, skip, spawn_process, start_guest,
    temp_dir)
from polkittest import polkit_rules
from rawbus import RawPeer, write_calls

ECHO = 'org.guestlock.Echo'
UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'


def raw_peer(user):
    peer = RawPeer(user)
    at_end(peer.close)
    return peer


def start_echo():
    """The service that answers at once, under the name ECHO."""
    program = Path(os.environ['GUESTLOCK_BUILD']) / 'tests/hostile/echo'
    if not program.exists():
        skip(f'{program} was not built')
    policy = RULES.parent / 'policy/echo.conf'
    policy.write_text(f'''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
        "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
        <busconfig>
          <policy user="root"><allow own="{ECHO}"/></policy>
          <policy context="default"><allow send_destination="{ECHO}"/></policy>
        </busconfig>''')
    at_end(lambda: (policy.unlink(), bus.ask_bus('ReloadConfig', '()')))
    bus.ask_bus('ReloadConfig', '()')
    echo = spawn_process(str(program), ECHO, stdout=subprocess.PIPE)
    assert echo.stdout.readline() == b'ready\n', 'the echo did not start'
    return echo


@contextlib.contextmanager
def flood(user, n_connections, calls, at_once):
    """Somebody floods while what is inside goes on; see flooder.py."""
    process = spawn_process('/usr/bin/python3', str(Path(__file__).with_name('flooder.py')), user, str(n_connections),
                            str(at_once), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(write_calls(calls))
    process.stdin.close()
    assert process.stdout.readline() == b'ready\n', 'the flooder did not start'
    try:
        yield process
        assert process.poll() is None, 'the flooder has ended'
    finally:
        end_process(process)


def may_lease(user):
    polkit_rules(f'''polkit.addRule(function(action, subject) {{
        if (action.id == "org.guestlock1.acquire" && subject.user == "{user}") return polkit.Result.YES;
    }});''')


def rss_kib(pid):
    return int(Path(f'/proc/{pid}/status').read_text().partition('VmRSS:')[2].split()[0])


def is_served(pid):
    """The same service answers, and leases can be had."""
    start_guest([disk(image(temp_dir()))]).Shutdown({})
    equal(service_pid(), pid)


def has_not_grown(pid, before, by_kib):
    """The address sanitizer keeps what was freed, to see who uses it, so that its service does grow; of what is not
    freed at all it tells when the service ends."""
    if b'__asan_init' not in Path(f'/proc/{pid}/exe').read_bytes():
        now = rss_kib(pid)
        assert now < before + by_kib * PATIENCE, f'the service has grown from {before} to {now} KiB'


class Latency:
    """Of what an honest user does, in ms."""

    def __init__(self, action, number):
        self.times = sorted(self.take(action) for _ in range(number))

    @staticmethod
    def take(action):
        begin = time.monotonic()
        action()
        return (time.monotonic() - begin) * 1000

    @property
    def p99(self):
        return self.times[len(self.times) * 99 // 100]

    def __str__(self):
        return f'{statistics.median(self.times):.1f}/{self.p99:.1f}'


class Honest:
    """A user who has a lease on his own disk and gives it back, again and again."""

    def __init__(self, peer, user):
        self.peer, self.path = peer, image(temp_dir(), user=user)

    def lease(self):
        start_guest([disk(self.path)], uuid=UUID, peer=self.peer).Shutdown({})

    def echo_twice(self):
        """As many calls as that, of a service that does nothing."""
        for _ in range(2):
            self.peer.connection.call_sync(ECHO, '/', 'org.freedesktop.DBus.Peer', 'Ping', None, None,
                                           Gio.DBusCallFlags.NONE, 20000, None)
