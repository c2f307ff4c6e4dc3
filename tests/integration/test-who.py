# SPDX-License-Identifier: LGPL-2.1-or-later
"""WhoHolds: who has a disk, a lease or a guest, whatever he is; and that Acquire says the same of them."""

import fcntl
import os
import time

from guestlocktest import (
    GLib, as_uid, at_end, bus, configure, create_guest, disk, end_process, equal, fails, image, lock, main, manager,
    note, restart_service, spawn_process, start_guest, temp_dir, test, uid_of, wait_until)
from libvirttest import Libvirt, USER, lock_file, with_lockspace
from storagetest import loop_device, mounted_ext4, start_qemu
from whotest import HOST, WRITER, in_flight, only, tell, try_it, who, would_start


# --- guests of our own ---

@test
def a_guest_of_ours():
    directory, process = temp_dir(), spawn_process()
    path, link = image(directory), directory / 'link'
    link.symlink_to(path)
    equal(who(path), [])
    before = time.time() * 1e6
    guest = start_guest([disk(link)], name='web1', options={'pid': process.pid, 'on-lease-lost': 'notify'})
    entry = only(who(path))
    assert before - 1e6 < entry.pop('since-usec') < time.time() * 1e6
    equal(entry, {
        'guest-uuid': guest.Uuid, 'guest-name': 'web1', 'object': guest.path, 'owner-uid': 0,
        'host': manager().HostName, 'pid': process.pid, 'mode': 'exclusive', 'name': str(link), 'driver': 'file',
        'scope': 'host', 'generation': guest.Generation})
    equal(bus.guest(entry['object']).State, 'held')
    with fails('Conflict', contains=[
            f'Disk "{path}" is in use: guest "web1" ({guest.Uuid}, pid {process.pid}, host {manager().HostName}) '
            f'holds it as "{link}", exclusive, since ']):
        start_guest([disk(path)])
    equal(only(would_start(disk(path)))['resource'], str(path))


@test
def all_of_them_and_for_what():
    path = image(temp_dir())
    guests = [start_guest([disk(path, 'readonly')], name=f'web{n}') for n in range(5)]
    equal({entry['guest-name'] for entry in who(path)}, {guest.Name for guest in guests})
    equal(len(who(path, {'mode': 'shared'})), 5)
    equal(who(path, {'mode': 'readonly'}), [])
    equal(len(would_start(disk(path))), 5)
    equal(would_start(disk(path, 'readonly')), [])
    # An unknown mode, and what is no option.
    for options in ({'mode': 'write'}, {'wait-ms': 1}, {'mode': 7}):
        with fails('InvalidArgs'):
            who(path, options)


@test
def who_only_waits_is_in_nobodys_way():
    path = image(temp_dir())
    start_guest([disk(path)], name='first')
    second = create_guest('second')
    second.RegisterResource(*disk(path))
    second.later.Acquire({'wait-ms': 60000})
    wait_until(lambda: second.Waiting, 'the guest to wait')
    equal(only(who(path))['guest-name'], 'first')
    equal(only(try_it(disk(path)))['guest-name'], 'first')
    equal(only(try_it(uuid=second.Uuid))['guest-name'], 'first')


@test
def what_is_lost_and_what_is_draining():
    directory, process = temp_dir(), spawn_process()
    lost, drains = image(directory, 'lost'), image(directory, 'drains')
    guest = start_guest([disk(lost)], name='web1', options={'pid': process.pid, 'on-lease-lost': 'notify'})
    guest.Revoke('disk', str(lost), 'because', {})
    entry = only(who(lost))
    equal((entry['guest-name'], entry['via']), ('web1', 'it has lost the lease, and its process still lives'))
    tell('a lost lease', [entry])
    would_start(disk(lost))
    other = spawn_process()
    guest = start_guest([disk(drains)], name='web2', options={'pid': other.pid})
    # Somebody else still writes what the guest has given him.
    fd = lock(drains, 100, 201, kind='read')
    at_end(lambda: os.close(fd))
    end_process(other)
    wait_until(lambda: guest.Resources[0]['state'] == 'draining', 'the guest to drain')
    entry = [entry for entry in who(drains) if entry.get('guest-name') == 'web2'][0]
    assert entry['via'].startswith('its process has ended, but '), entry
    tell('a draining lease', [entry])


@test
def leases_and_guests():
    path, other = image(temp_dir()), image(temp_dir())
    options = {'path': str(path), 'offset': GLib.Variant('t', 7)}
    lease = ('lease', 'key', 'exclusive', options)
    equal(manager().WhoHolds('lease', 'key', options), [])
    guest = start_guest([lease], name='web1')
    equal(only(manager().WhoHolds('lease', 'other', options))['name'], 'key')
    equal(manager().WhoHolds('lease', 'key', {**options, 'offset': GLib.Variant('t', 8)}), [])
    fd = lock(other, 7)
    at_end(lambda: os.close(fd))
    entry = only(manager().WhoHolds('lease', 'key', {**options, 'path': str(other)}))
    equal((entry['pid'], entry['via']), (os.getpid(), 'it has locked byte 7 of the lease file'))
    entry = only(manager().WhoHolds('guest', guest.Uuid.upper(), {}))
    equal((entry['object'], entry['via']), (guest.path, 'it exists, in state held'))
    equal(manager().WhoHolds('guest', '00000000-0000-4000-8000-000000000001', {}), [])
    alices = create_guest('alices', uuid=guest.Uuid, peer=as_uid('alice'))
    equal({entry['owner-uid'] for entry in manager().WhoHolds('guest', guest.Uuid, {})}, {0, uid_of('alice')})
    alices.Free({})
    for name in ('', 'x', '00000000-0000-0000-0000-000000000000'):
        with fails('InvalidArgs'):
            manager().WhoHolds('guest', name, {})
    with fails('InvalidArgs'):
        manager().WhoHolds('network', '/x', {})


@test
def after_a_restart_of_the_service():
    """Whoever keeps the locks meanwhile is not named as somebody else."""
    path, process = image(temp_dir()), spawn_process()
    guest = start_guest([disk(path)], name='web1', options={'pid': process.pid, 'on-lease-lost': 'notify'})
    guest.with_fds.AcquireInherit({})
    equal(only(who(path))['guest-name'], 'web1')
    restart_service()
    equal(only(who(path))['guest-name'], 'web1')


# --- others ---

@test
def a_qemu_that_nobody_manages():
    directory = temp_dir()
    for use, mode, kept_out in (('writer', 'exclusive', {'exclusive', 'shared', 'readonly'}),
                                ('reader', 'readonly', {'exclusive', 'shared'}),
                                ('shared', 'shared', {'exclusive', 'readonly'})):
        path = image(directory, use)
        qemu = start_qemu(path, use)
        for wanted in ('exclusive', 'shared', 'readonly'):
            found = [entry for entry in who(path, {'mode': wanted}) if 'hinders no lease' not in entry['via']]
            equal(bool(found), wanted in kept_out)
            equal(bool(try_it(disk(path, wanted))), wanted in kept_out)
        entry = only(who(path))
        equal((entry['pid'], entry['command'], entry['mode']), (qemu.pid, 'qemu-system-x86_64', mode))
        assert 'a running QEMU has the image open' in entry['via'], entry
        tell(f'a bare QEMU, {use}', [entry])
        # For a guest that has a process, it is that.
        equal(try_it(disk(path, mode), options={'pid': qemu.pid}), [])
    found = would_start(*(disk(directory / use) for use in ('writer', 'reader', 'shared')))
    equal([entry['resource'] for entry in found], [str(directory / use) for use in ('writer', 'reader', 'shared')])


@test
def a_qemu_of_a_guest_of_ours():
    path = image(temp_dir())
    qemu = start_qemu(path)
    guest = start_guest([disk(path)], name='web1', options={'pid': qemu.pid})
    equal(only(who(path))['guest-name'], 'web1')
    equal(only(try_it(disk(path)))['pid'], qemu.pid)
    equal(try_it(uuid=guest.Uuid), [])


@test
def virtlockd():
    libvirt = Libvirt()
    path = image(temp_dir(user=USER), user=USER)
    libvirt.define('web1', path)
    libvirt.start('web1')
    found = {entry['command']: entry for entry in who(path)}
    equal(set(found), {'virtlockd', 'qemu-system-x86_64'})
    entry = found['virtlockd']
    equal((entry['pid'], entry['mode'], entry['via']),
          (libvirt.virtlockd.pid, 'exclusive', 'virtlockd has locked byte 0'))
    tell('virtlockd', [entry])
    equal(len(would_start(disk(path))), 2)
    libvirt.destroy('web1')
    # It sees by itself that QEMU has gone.
    wait_until(lambda: who(path) == [], 'virtlockd to let go')


@test
def virtlockd_in_a_lockspace_directory():
    libvirt, path = with_lockspace(), image(temp_dir())
    libvirt.define('web1', path)
    libvirt.start('web1')
    entry = [entry for entry in who(path) if entry['command'] == 'virtlockd'][0]
    equal(entry['pid'], libvirt.virtlockd.pid)
    assert 'virtlockd has locked byte 0' in entry['via'] and str(libvirt.lockspace) in entry['via'], entry
    tell('virtlockd, by its lock file', [entry])
    libvirt.destroy('web1')
    wait_until(lambda: not lock_file(libvirt, path).exists(), 'virtlockd to let go')
    # Nor is any lock file made by asking.
    equal(who(path), [])
    equal(list(libvirt.lockspace.iterdir()), [])


@test
def other_hosts():
    path = image(temp_dir())
    for number in (77, 4000000077):
        in_flight(lock(path, 0, WRITER, HOST + number, kind='read'))
    found = who(path)
    equal([entry['via'] for entry in sorted(found, key=lambda entry: len(entry['via']))],
          ['a lease of guestlock host number 77', 'a lease of guestlock host number 4000000077'])
    tell('another host', found)
    equal(who(path, {'mode': 'shared'}), [])
    equal(len(would_start(disk(path))), 2)
    # Somebody who says nothing of himself.
    other = image(temp_dir())
    in_flight(lock(other, 0))
    entry = only(who(other))
    equal(entry, {'via': 'byte 0 is locked by a process that cannot be seen from here'})
    tell('a process of another host', [entry])


@test
def another_host_and_its_record():
    """In a lockspace directory, whose record says what the lock does not."""
    lockspace, path = temp_dir() / 'lockspace', image(temp_dir())
    lockspace.mkdir(0o700)
    configure(f'[guestlock]\nHostName=kvm1\nLockspaceDirectory={lockspace}\n')
    guest = start_guest([disk(path)], name='web1')
    equal(only(who(path))['guest-name'], 'web1')
    guest.Shutdown({})
    record = next(lockspace.glob('*.guestlock'))
    text = record.read_text()
    number = [line for line in text.splitlines() if line.startswith('host-number=')][0]
    record.write_text(text.replace(number, 'host-number=99').replace('kvm1', 'kvm9').replace('web1', 'db1'))
    in_flight(lock(record.with_suffix(''), 0, HOST + 99, kind='read'))
    entry = only(who(path))
    equal((entry['host'], entry['guest-name'], entry['name'], entry['mode']), ('kvm9', 'db1', str(path), 'exclusive'))
    assert 'object' not in entry and 'the record in the lockspace directory' in entry['via'], entry
    tell('another host with a record', [entry])
    would_start(disk(path))


@test
def other_programs():
    path, whole = image(temp_dir()), image(temp_dir())
    file = open(whole, 'r+b')
    at_end(file.close)
    fcntl.lockf(file, fcntl.LOCK_EX)
    entry = only(who(whole))
    equal((entry['pid'], entry['via']), (os.getpid(), 'it has locked the whole file'))
    tell('a program with a lock on all of the file', [entry])
    would_start(disk(whole))
    fd = lock(path, 5000)
    at_end(lambda: os.close(fd))
    entry = only(who(path))
    equal((entry['pid'], entry['via']), (os.getpid(), 'it has locked byte 5000 of it, which hinders no lease'))
    tell('a program with another lock', [entry])
    equal(would_start(disk(path)), [])


@test
def very_many_locks():
    """Whoever can open a file can lock as many bytes of it as he likes, in the hosts' place too."""
    path = image(temp_dir())
    fd = lock(path, 0, *(HOST + 2 * n for n in range(3000)), kind='read')
    at_end(lambda: os.close(fd))
    begin = time.monotonic()
    entry = only([entry for entry in who(path) if 'pid' in entry])
    equal(entry['pid'], os.getpid())
    assert len(who(path)) < 100
    took = time.monotonic() - begin
    note(f'3000 locks: {took / 2 * 1000:.0f} ms')
    assert took < 20, took


# --- block devices ---

@test
def devices_that_the_host_uses():
    directory = temp_dir()
    backing = image(directory, size=16 << 20)
    device = loop_device(backing)
    entry = only(who(device))
    # Nobody can see whether it is claimed: it is named, and is in nobody's way.
    equal((entry['pid'], entry['via']), (os.getpid(), 'it has the device open, and may have claimed it'))
    tell('a program with a device open', [entry])
    equal(would_start(disk(device)), [])
    equal([entry['via'] for entry in who(backing)], [f'{device.name} is backed by it'])
    point = mounted_ext4(device)
    assert f'it is mounted on "{point}"' in [entry['via'] for entry in who(device)]
    tell('a mounted device', [entry for entry in who(device) if 'pid' not in entry])
    found = who(backing)
    equal([entry['via'] for entry in found],
          [f'the device {device.name}, which shares storage with it, is mounted on "{point}"'])
    tell('the file of a mounted loop device', found)
    equal([entry['via'] for entry in would_start(disk(device))], [f'it is mounted on "{point}"'])


@test
def a_device_of_a_guest():
    """The claim that the service itself has is not somebody's."""
    device = loop_device(image(temp_dir(), size=16 << 20))
    node = temp_dir() / 'node'
    os.mknod(node, 0o60600, device.stat().st_rdev)
    start_guest([disk(device)], name='web1')
    for name in (device, node):
        equal([entry['name'] for entry in who(name) if 'guest-name' in entry], [str(device)])
        equal(only(would_start(disk(name)))['guest-name'], 'web1')


main()
