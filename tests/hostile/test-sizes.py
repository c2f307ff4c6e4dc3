# SPDX-License-Identifier: LGPL-2.1-or-later
"""Objects that grow as far as the limits let them, and beyond what a message can hold: whatever is asked for then is
given or refused, and the service stays on the bus."""

import os
import uuid
from pathlib import Path

from guestlocktest import (
    NAME, ROOT, GLib, Signals, as_uid, bus, configure, create_guest, disk, equal, fails, image, main, manager, note,
    service_pid, start_guest, start_service, temp_dir, test, wait_until)
from floodtest import raw_peer
from rawbus import message

GUESTS = f'{ROOT}/guest'
MIB = 1024 * 1024
# The default of dbus-daemon for a system bus: it throws off who sends more.
MAX_MESSAGE = 32 * MIB


def long_name(path, length=4095):
    """Another name of this file, that long."""
    directory, file = str(path.parent), path.name
    spare = length - len(directory) - 1 - len(file)
    return f'{directory}/' + './' * (spare // 2) + ('/' if spare % 2 else '') + file


def reply_to(path, interface, member, body=None):
    """The reply as it came, since to take it apart would take long."""
    reply = bus.connection.call_sync(NAME, path, interface, member, body, None, 0, 240000, None)
    return reply.get_child_value(0), reply.get_size()


def managed_objects():
    return reply_to(ROOT, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')


def introspection():
    return reply_to(GUESTS, 'org.freedesktop.DBus.Introspectable', 'Introspect')


def is_sanitized():
    return b'__asan_init' in (Path(os.environ['GUESTLOCK_BUILD']) / 'service/guestlockd').read_bytes()


def list_guests():
    return reply_to(ROOT, f'{NAME}.Manager', 'ListGuests', GLib.Variant('(a{sv})', ({},)))


def create_guests(number, name):
    """Very many, which with a reply to each one would take long."""
    peer, wanted = raw_peer('root'), manager().NGuests + number
    for _ in range(number):
        peer.send(message(ROOT, f'{NAME}.Manager', 'CreateGuest',
                          GLib.Variant('(ssa{sv})', (str(uuid.uuid4()), name, {})), reply=False))
    wait_until(lambda: manager().NGuests == wanted, f'{wanted} guests', 60)


def too_long(path, interface, member, body=None):
    with fails('LimitExceeded', contains='MiB'):
        bus.call(path, interface, member, body, timeout=60)


@test
def as_many_guests_as_there_may_be():
    start_service()
    pid, name, number = service_pid(), 'n' * 255, 16384
    create_guests(number, name)
    equal(manager().NGuests, number)
    with fails('LimitExceeded', contains='MaxGuests'):
        create_guest()
    objects, objects_size = managed_objects()
    guests, guests_size = list_guests()
    text, text_size = introspection()
    equal((objects.n_children(), guests.n_children(), text.get_string().count('<node name=')), (number,) * 3)
    note(f'{number} guests with names of 255 bytes: GetManagedObjects {objects_size / MIB:.1f} MiB, '
         f'ListGuests {guests_size / MIB:.1f} MiB, Introspect {text_size / MIB:.1f} MiB')
    # What service/bus/size.c reckons with. (Framing offsets, which the bus's own encoding has not, are small.)
    assert objects_size / number < 704 + len(name) + len('file') and text_size / number < 80
    # Anybody may look, also if it is much.
    equal(len(as_uid('bob').call(GUESTS, 'org.freedesktop.DBus.Introspectable', 'Introspect')), text_size - 1)
    equal(service_pid(), pid)


@test
def more_than_a_message_holds():
    configure('[limits]\nMaxStringBytes=4096\n')
    start_service()
    pid = service_pid()
    create_guests(6600, 'n' * 4096)
    _, size = managed_objects()
    assert size < MAX_MESSAGE
    create_guests(300, 'n' * 4096)
    too_long(ROOT, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')
    equal(list_guests()[0].n_children(), 6900)
    create_guests(900, 'n' * 4096)
    too_long(ROOT, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')
    too_long(ROOT, f'{NAME}.Manager', 'ListGuests', GLib.Variant('(a{sv})', ({},)))
    # One by one all is to be had.
    guest = create_guest('one more')
    equal(guest.get_all()['Name'], 'one more')
    guest.Free({})
    equal((manager().NGuests, service_pid()), (7800, pid))


@test
def one_guest_with_very_much():
    configure('[limits]\nMaxStringBytes=4096\nMaxResourcesPerGuest=1024\nMaxBytesPerGuest=1048576\n'
              'StorageTimeoutSec=600\n')
    directory = temp_dir()
    path = image(directory)
    start_service()
    pid, signals = service_pid(), Signals()
    keys = [f'{number:04}' + 'k' * 996 for number in range(1024)]
    leases = [('lease', key, 'exclusive', {'path': str(path), 'offset': GLib.Variant('t', 1000 + number)})
              for number, key in enumerate(keys)]
    guest = start_guest(leases, 'n' * 4096, {'keep': True})
    acquired = [arguments for _, member, arguments in signals.until_now() if member == 'LeasesAcquired']
    equal([name for _, name, _ in acquired[0][1]], keys)
    equal([resource['name'] for resource in guest.Resources], keys)
    size = len(guest.Inquire({}))
    assert 0 < size <= 4096, size
    with fails('Conflict'):
        start_guest(leases)
    assert len(guest.Release({})) <= 4096
    equal(len(signals.until_now()[-1][2][1]), 1024)
    guest.Free({})
    # The same in paths.
    names = [long_name(image(directory, f'{number}.img')) for number in range(256)]
    guest = start_guest([disk(name) for name in names], options={'keep': True})
    equal([resource['name'] for resource in guest.Resources], names)
    # What the state string has no room for is not proven.
    state = guest.Release({})
    assert len(state) <= 4096
    with fails('Stale'):
        guest.Acquire({'state': state})
    guest.Acquire({})
    with fails('LimitExceeded', contains='1048576'):
        guest.AcquireResource(*disk(long_name(image(directory, 'another'))))
    equal(service_pid(), pid)


@test
def very_many_in_the_way():
    # All of them are asked for at once, of one storage.
    configure('[limits]\nMaxStringBytes=4096\nStorageTimeoutSec=600\n')
    path = image(temp_dir())
    # Sanitized it takes minutes to have so many; that the sentence is cut short shows with fewer.
    name, number = long_name(path), 500 if is_sanitized() else 1700
    # While it starts, a connection may have only some calls wait.
    equal(manager().NLeases, 0)
    pid, peer = service_pid(), raw_peer('root')
    for _ in range(number):
        peer.send(message(ROOT, f'{NAME}.Manager', 'StartGuest', GLib.Variant(
            '(ssa(sssa{sv})a{sv})', (str(uuid.uuid4()), '\x01' * 4096, [disk(name, 'readonly')], {})), reply=False))
    wait_until(lambda: manager().NLeases == number, 'all the readers', 60)
    # Each of them would need 20 kB in the message, which would have 34 MB (of 1700).
    try:
        start_guest([disk(path)])
        raise AssertionError('it was granted')
    except Exception as error:
        equal(getattr(error, 'name', error), f'{NAME}.Error.Conflict')
        assert 60000 < len(error.message) < 100000 and ' others.' in error.message[-20:], error.message[-100:]
    with fails('Timeout'):
        start_guest([disk(path)], options={'wait-ms': 10})
    equal(service_pid(), pid)


main()
