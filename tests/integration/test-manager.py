# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Manager object: its properties, making and finding guests, and what it refuses."""

import socket
import uuid

from guestlocktest import (
    INTERFACES, ROOT, GLib, as_uid, bus, create_guest, disk, equal, fails, image, main, manager, spawn_process,
    start_guest, temp_dir, test, uid_of)

UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
PATH = f'{ROOT}/guest/{UUID.replace("-", "_")}'


def managed_objects():
    return bus.call(ROOT, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')


@test
def properties():
    assert manager().Version.count('.') == 2
    equal(manager().HostName, socket.gethostname())
    assert manager().HostId
    equal(manager().DefaultDriver, 'file')
    equal(manager().NGuests, 0)
    equal(manager().NLeases, 0)
    equal(sorted(manager().get_all()), ['DefaultDriver', 'HostId', 'HostName', 'NGuests', 'NLeases', 'Version'])


@test
def drivers():
    drivers = dict(manager().ListDrivers())
    assert {'disk', 'lease', 'hotplug', 'shared', 'readonly'} <= set(drivers['file']), drivers


@test
def no_guests_at_first():
    equal(manager().ListGuests({}), [])
    equal(managed_objects(), {})
    with fails('NoSuchGuest', contains=UUID):
        manager().GetGuest(UUID)


@test
def a_guest_comes_and_goes():
    guest = create_guest('web1', uuid=UUID, options={'id': 7, 'on-lease-lost': 'kill'})
    equal(guest.path, PATH)
    equal(manager().GetGuest(UUID), PATH)
    equal(manager().ListGuests({}), [(UUID, 'web1', 'new', 0, 0, PATH)])
    equal(manager().NGuests, 1)
    expected = {
        'Uuid': UUID, 'Name': 'web1', 'Id': 7, 'OwnerUid': 0, 'Origin': 'started', 'State': 'new', 'Driver': 'file',
        'Waiting': False, 'Pid': 0, 'SupervisorPid': 0, 'OnLeaseLost': 'kill', 'Generation': 0, 'AcquiredAt': 0}
    equal(guest.get_all(), expected)
    equal(managed_objects()[PATH]['org.guestlock1.Guest'], expected)
    guest.Free({})
    equal(manager().ListGuests({}), [])
    with fails('UnknownObject'):
        guest.Free({})


@test
def objects_describe_themselves():
    guest = create_guest()
    for target in (manager(), guest):
        live = target.introspect().lookup_interface(target.info.name)
        for kind in ('methods', 'signals', 'properties'):
            equal(sorted(member.name for member in getattr(live, kind)),
                  sorted(member.name for member in getattr(target.info, kind)))


@test
def start_in_one_call():
    directory, process = temp_dir(), spawn_process()
    guest = start_guest([disk(image(directory))], name='web1', uuid=UUID, options={'pid': process.pid})
    equal((guest.State, guest.Pid), ('held', process.pid))
    equal(manager().NLeases, 1)
    equal(manager().GetGuestByPID(process.pid), guest.path)


@test
def nothing_stays_of_a_start_that_fails():
    directory = temp_dir()
    with fails('StorageUnavailable', contains='absent.img'):
        start_guest([disk(image(directory)), disk(directory / 'absent.img')])
    equal(manager().ListGuests({}), [])
    equal(manager().NLeases, 0)


@test
def pid_of_nobody():
    with fails('NoSuchGuest'):
        manager().GetGuestByPID(spawn_process().pid)


@test
def uuid_is_checked():
    equal(create_guest(uuid=UUID.upper()).path, PATH)
    with fails('AlreadyExists', contains=['new', PATH]):
        create_guest(uuid=UUID)
    for bad in ('', 'x', UUID[:-1], UUID + '0', UUID.replace('-', '_'), '{' + UUID[1:], str(uuid.UUID(int=0))):
        with fails('InvalidArgs'):
            create_guest(uuid=bad)


@test
def name_is_checked():
    create_guest('n' * 255)
    for bad in ('', 'n' * 256):
        with fails('InvalidArgs'):
            create_guest(bad)


@test
def options_are_checked():
    for options, named in (
            ({'colour': 'red'}, 'colour'),
            ({'id': 'seven'}, 'id'),
            ({'driver': 7}, 'driver'),
            ({'owner-uid': GLib.Variant('i', -1)}, 'owner-uid'),
            ({'on-lease-lost': 'panic'}, 'panic'),
            ({'require-scope': 'galaxy'}, 'galaxy')):
        with fails('InvalidArgs', contains=named):
            create_guest(options=options)
    with fails('NoSuchDriver', contains='nosuch'):
        create_guest(options={'driver': 'nosuch'})
    with fails('InvalidArgs', contains='colour'):
        manager().ListGuests({'colour': 'red'})
    equal(manager().NGuests, 0)


@test
def arguments_of_other_types():
    for member in INTERFACES['Manager'].methods:
        if member.in_args:
            with fails('InvalidArgs'):
                manager().call(member.name, GLib.Variant('(ay)', (b'?',)))
    with fails('UnknownMethod'):
        manager().call('NoSuchMethod', None)


@test
def guests_of_other_users():
    alice, carol = as_uid('alice'), as_uid('carol')
    own = create_guest('web1', uuid=UUID, peer=alice)
    equal(own.path, f'{PATH}_u{uid_of("alice")}')
    equal(own.OwnerUid, uid_of('alice'))
    # Each user's guests are known by uuid to that user; to all others those of root are.
    roots = create_guest('web1', uuid=UUID)
    equal(roots.path, PATH)
    equal(alice.manager().GetGuest(UUID), own.path)
    equal(carol.manager().GetGuest(UUID), roots.path)
    # polkit would let her if an administrator gave a password.
    with fails('InteractiveAuthorizationRequired'):
        create_guest(peer=alice, options={'owner-uid': 0})
    given = create_guest(peer=carol, options={'owner-uid': uid_of('alice')})
    equal(given.OwnerUid, uid_of('alice'))


main()
