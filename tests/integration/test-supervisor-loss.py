# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest below guestlock-supervisor loses a lock. While the service lives that is the service's business; while it does
not, the supervisor finds the loss and acts on it."""

import ctypes
import fcntl
import os
import signal
import struct
import subprocess

from gi.repository import GLib

from guestlocktest import (
    NAME, Error, Signals, as_uid, at_end, bus, disk, end_keeper, end_service, equal, has_owner, image, lock, lock_on,
    main, start_guest, start_service, temp_dir, test, wait_until)
from processtest import is_alive, state_of
from supervisortest import descriptors_of, guest_with, supervise, wait_for_child

OFD_SETLK, FLOCK = 37, 'hhqqi4x'


def lock_fd_of(process, path):
    """A copy of its lock descriptor."""
    inode = path.stat().st_ino
    number = next(number for number, entry in descriptors_of(process.pid).items() if entry.st_ino == inode)
    pidfd = os.pidfd_open(process.pid)
    fd = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, number, 0)
    os.close(pidfd)
    assert fd >= 0, 'pidfd_getfd'
    return fd


def unlock(fd):
    fcntl.fcntl(fd, OFD_SETLK, struct.pack(FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
    os.close(fd)


def lose_without_service(process, path, taken):
    """While there is no service; gives what ends the loss."""
    fd = lock_fd_of(process, path)
    end_service(signal.SIGKILL)
    end_keeper()
    unlock(fd)
    if taken:
        held = lock(path)
        at_end(lambda: os.close(held))


def started(action, user='alice', **popen):
    path = image(temp_dir(user), 'disk.img', user)
    guest = guest_with(path, user=user, options={'on-lease-lost': 'notify'})
    process = supervise(guest, 'sleep', 'infinity', stderr=subprocess.PIPE, **popen)
    child = wait_for_child(guest)
    # Changed while it runs; it hears that before it hears of the service's end.
    guest.SetParameter('on-lease-lost', action)
    return guest, path, process, child


@test
def lost_without_service_and_paused():
    guest, path, process, child = started('pause')
    lose_without_service(process, path, taken=True)
    wait_until(lambda: state_of(child) == 'T', 'the guest to be stopped')
    assert not has_owner(NAME), 'the supervisor has started the service'
    said = process.stderr.readline().decode()
    assert str(path) in said and 'somebody else has it' in said, said
    signals = Signals()
    start_service()
    equal(signals.expect('LeaseLost', guest.path)[2], 'taken')
    equal((guest.State, state_of(child)), ('lost', 'T'))
    guest.Shutdown({'kill': True})
    equal(process.wait(30), -9)


@test
def lost_without_service_and_killed():
    guest, path, process, child = started('kill', user=None)
    lose_without_service(process, path, taken=True)
    equal(process.wait(30), -9)
    assert not is_alive(child)
    start_service()
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


@test
def changed_while_it_waits():
    """What counts is what is said when the guest begins to run."""
    path = image(temp_dir('alice'), 'disk.img', 'alice')
    other = start_guest([disk(path)], 'other')
    guest = guest_with(path, user='alice', options={'on-lease-lost': 'notify'})
    process = supervise(guest, 'sleep', 'infinity', options={'wait-ms': 60000}, stderr=subprocess.DEVNULL)
    wait_until(lambda: guest.Waiting, 'the supervisor to wait')
    guest.SetParameter('on-lease-lost', 'kill')
    other.Shutdown({})
    wait_for_child(guest)
    lose_without_service(process, path, taken=True)
    equal(process.wait(30), -9)


@test
def lost_without_service_and_notified():
    guest, path, process, child = started('notify')
    lose_without_service(process, path, taken=True)
    said = process.stderr.readline().decode()
    assert str(path) in said and 'nothing is done' in said, said
    equal(state_of(child), 'S')


@test
def unlocked_without_service():
    """Nobody had it: the service takes it again, and the guest goes on."""
    guest, path, process, child = started('pause')
    lose_without_service(process, path, taken=False)
    wait_until(lambda: state_of(child) == 'T', 'the guest to be stopped', 10)
    assert 'its lock is gone' in process.stderr.readline().decode()
    start_service()
    wait_until(lambda: state_of(child) == 'S', 'the guest to go on')
    equal((guest.State, lock_on(path, 0)), ('held', 'write'))


@test
def unplugged_before():
    """What was given back, or is locked otherwise, while the service lived is no loss."""
    directory = temp_dir('alice')
    paths = [image(directory, f'{number}.img', 'alice') for number in range(4)]
    guest = guest_with(paths[0], paths[1], (paths[2], 'readonly'), paths[3], user='alice',
                       options={'on-lease-lost': 'notify'})
    process = supervise(guest, 'sleep', 'infinity', stderr=subprocess.PIPE)
    child = wait_for_child(guest)
    fd = lock_fd_of(process, paths[3])
    guest.ReleaseResource('disk', str(paths[1]), {})
    guest.AcquireResource(*disk(paths[0], 'shared'))
    guest.AcquireResource(*disk(paths[2]))
    end_service(signal.SIGKILL)
    os.close(lock(paths[1]))
    # What it still has it looks after. When it finds the one gone, it has looked at the others as often.
    unlock(fd)
    said = process.stderr.readline().decode()
    assert str(paths[3]) in said and 'its lock is gone' in said, said
    lose_without_service(process, paths[0], taken=True)
    said = process.stderr.readline().decode()
    assert str(paths[0]) in said and 'somebody else has it' in said, said
    equal((process.poll(), state_of(child)), (None, 'S'))


@test
def lost_with_service():
    """Then the service acts, and the supervisor says what was lost."""
    for kill in (False, True):
        guest, path, process, child = started('pause')
        bus.guest(guest.path).Revoke('disk', str(path), 'test', {'kill': kill})
        said = process.stderr.readline().decode()
        assert str(path) in said and 'revoked' in said, said
        if kill:
            equal(process.wait(30), -15)
        else:
            wait_until(lambda: state_of(child) == 'T', 'the guest to be stopped')
            equal(process.poll(), None)
            guest.Acquire({})
            wait_until(lambda: state_of(child) == 'S', 'the guest to go on')


def name_of(pid):
    for name in bus.ask_bus('ListNames', '()'):
        try:
            if name.startswith(':') and bus.ask_bus('GetConnectionUnixProcessID', '(s)', name) == pid:
                return name
        except Error:
            # It has left meanwhile.
            continue
    raise AssertionError(f'process {pid} is not on the bus')


@test
def forged_signals():
    """Only the service's word counts."""
    guest, path, process, child = started('kill')
    liar = as_uid('alice')
    destination = name_of(process.pid)
    for member, body in (('LeasesReleased', GLib.Variant('(sa(ss))', ('released', [('disk', str(path))]))),
                         ('LeaseLost', GLib.Variant('(sssa{sv})', ('disk', str(path), 'taken', {})))):
        liar.connection.emit_signal(destination, guest.path, 'org.guestlock1.Guest', member, body)
    liar.ask_bus('GetId', '()')
    lose_without_service(process, path, taken=True)
    equal(process.wait(30), -9)
    assert 'taken' not in process.stderr.read().decode()


main()
