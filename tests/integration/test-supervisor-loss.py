# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest below guestlock-supervisor loses a lock. While the service lives that is the service's business; while it does
not, the supervisor finds the loss and acts on it."""

import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import time

from gi.repository import GLib

from guestlocktest import (
    NAME, Signals, as_uid, at_end, bus, disk, end_keeper, end_service, equal, has_owner, image, lock, lock_on, main,
    start_service, temp_dir, test, wait_until)
from supervisortest import descriptors_of, guest_with, is_alive, state_of, supervise, wait_for_child

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


def lose_without_service(process, path, taken):
    """While there is no service; gives what ends the loss."""
    fd = lock_fd_of(process, path)
    end_service(signal.SIGKILL)
    end_keeper()
    fcntl.fcntl(fd, OFD_SETLK, struct.pack(FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
    os.close(fd)
    if taken:
        held = lock(path)
        at_end(lambda: os.close(held))


def started(action, user='alice', **popen):
    path = image(temp_dir(user), 'disk.img', user)
    guest = guest_with(path, user=user, options={'on-lease-lost': 'notify'})
    process = supervise(guest, 'sleep', 'infinity', stderr=subprocess.PIPE, **popen)
    child = wait_for_child(guest)
    # Changed while it runs, so that it is known to have heard.
    guest.SetParameter('on-lease-lost', action)
    time.sleep(0.1)
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
    equal(process.wait(5), -9)


@test
def lost_without_service_and_killed():
    guest, path, process, child = started('kill', user=None)
    lose_without_service(process, path, taken=True)
    equal(process.wait(10), -9)
    assert not is_alive(child)
    start_service()
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


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
    paths = [image(directory, f'{number}.img', 'alice') for number in range(3)]
    guest = guest_with(paths[0], paths[1], (paths[2], 'readonly'), user='alice', options={'on-lease-lost': 'kill'})
    process = supervise(guest, 'sleep', 'infinity')
    child = wait_for_child(guest)
    guest.ReleaseResource('disk', str(paths[1]), {})
    guest.AcquireResource(*disk(paths[0], 'shared'))
    guest.AcquireResource(*disk(paths[2]))
    end_service(signal.SIGKILL)
    os.close(lock(paths[1]))
    time.sleep(4.5)
    equal((process.poll(), state_of(child)), (None, 'S'))
    # What it still has it looks after.
    lose_without_service(process, paths[0], taken=True)
    equal(process.wait(10), -9)


@test
def lost_with_service():
    """Then the service acts, and the supervisor says what was lost."""
    for kill in (False, True):
        guest, path, process, child = started('pause')
        bus.guest(guest.path).Revoke('disk', str(path), 'test', {'kill': kill})
        said = process.stderr.readline().decode()
        assert str(path) in said and 'revoked' in said, said
        if kill:
            equal(process.wait(10), -15)
        else:
            wait_until(lambda: state_of(child) == 'T', 'the guest to be stopped')
            equal(process.poll(), None)
            guest.Acquire({})
            wait_until(lambda: state_of(child) == 'S', 'the guest to go on')


@test
def forged_signals():
    """Only the service's word counts."""
    guest, path, process, child = started('kill')
    liar = as_uid('alice')
    destination = next(name for name in bus.ask_bus('ListNames', '()') if name.startswith(':') and
                       bus.ask_bus('GetConnectionUnixProcessID', '(s)', name) == process.pid)
    for member, body in (('LeasesReleased', GLib.Variant('(sa(ss))', ('released', [('disk', str(path))]))),
                         ('LeaseLost', GLib.Variant('(sssa{sv})', ('disk', str(path), 'taken', {})))):
        liar.connection.emit_signal(destination, guest.path, 'org.guestlock1.Guest', member, body)
    liar.ask_bus('GetId', '()')
    lose_without_service(process, path, taken=True)
    equal(process.wait(10), -9)
    assert 'taken' not in process.stderr.read().decode()


main()
