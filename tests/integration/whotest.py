# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verbs about who is in the way, beside those of guestlocktest."""

import os
import socket

from guestlocktest import at_end, bus, equal, note, start_guest

KEYS = {'guest-uuid': str, 'guest-name': str, 'object': str, 'owner-uid': int, 'host': str, 'pid': int, 'command': str,
        'mode': str, 'name': str, 'since-usec': int, 'driver': str, 'scope': str, 'generation': int, 'via': str}
NEXT, HOST, WRITER = 1 << 62, 1 << 60, (1 << 62) + 2


def who(path, options=None, peer=bus):
    found = peer.manager().WhoHolds('disk', str(path), options or {})
    for entry in found:
        for key, value in entry.items():
            equal(type(value), KEYS[key])
    return found


def only(found):
    assert len(found) == 1, f'one was expected, and it is: {found}'
    return found[0]


def try_it(*resources, uuid='', options=None, peer=bus):
    """TestAcquire's answer."""
    found = peer.manager().TestAcquire(uuid, list(resources), options or {})
    for entry in found:
        for key, value in entry.items():
            equal(type(value), {**KEYS, 'resource': str}[key])
    return found


def would_start(*resources):
    """What Acquire says is what TestAcquire has said."""
    found = try_it(*resources)
    try:
        guest = start_guest(resources, name='trial')
    except Exception as error:
        assert found, f'TestAcquire knew nothing of: {error}'
        for entry in found:
            for part in (entry.get('via'), str(entry.get('pid', '')), entry.get('guest-name'), entry['resource']):
                assert not part or part in error.message, f'no "{part}" in: {error.message}'
        return found
    guest.Shutdown({})
    equal(found, [])
    return found


def tell(what, found):
    """For people who read the report."""
    for entry in found:
        note(f'{what}: ' + ', '.join(f'{key} {entry[key]}' for key in sorted(entry) if key not in ('object', 'name')))


def in_flight(fd):
    """The locks of this descriptor are somebody's whom nobody can see, as another host's are: it is on its way in a
    message that nobody has read. It is closed here."""
    ends = socket.socketpair()
    socket.send_fds(ends[0], [b'x'], [fd])
    os.close(fd)
    at_end(lambda: [end.close() for end in ends])
    return ends
