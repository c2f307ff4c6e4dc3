# SPDX-License-Identifier: LGPL-2.1-or-later
"""Descriptors of a guest's locks and images that are with somebody who has no business with them: who it is, is found
and said; what the guest left behind keeps its lease for as long as it could write, and an administrator can end that.
"""

import os
import signal
import socket
import subprocess
import time

import guestlocktest
from guestlocktest import (
    LOG, Signals, as_uid, at_end, configure, disk, end_keeper, end_process, end_service, equal, fails, image, is_locked,
    main, restart_service, spawn_process, start_guest, start_service, temp_dir, test, wait_until)
from storagetest import loop_device, resource

SETLK = '''
import fcntl, os, socket, struct, sys, time
def lock(fd):
    for byte in (100, 101, 201):
        fcntl.fcntl(fd, 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
'''
# Takes the descriptors that come over its standard input, and keeps them.
RECEIVER = SETLK + '''
_, fds, _, _ = socket.recv_fds(socket.socket(fileno=0), 1, 16)
print(len(fds), flush=True)
time.sleep(1000)
'''
# Opens an image as QEMU does, and has a child that has inherited it.
FORKS = SETLK + '''
fd = os.open(sys.argv[1], os.O_RDWR)
lock(fd)
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(1000)
'''
# The same, and sends the descriptor over its standard input, where it stays.
SENDS = SETLK + '''
fd = os.open(sys.argv[1], os.O_RDWR)
lock(fd)
socket.send_fds(socket.socket(fileno=0), [b'.'], [fd])
print('sent', flush=True)
time.sleep(1000)
'''


def python(script, *arguments, **options):
    return spawn_process('/usr/bin/python3', '-c', script, *map(str, arguments), stdout=subprocess.PIPE, text=True,
                         **options)


def pass_on(fd, user=None):
    """A process that has nothing to do with anything gets a copy of the descriptor."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = python(RECEIVER, stdin=theirs, user=user)
        socket.send_fds(ours, [b'.'], [fd])
        equal(process.stdout.readline(), '1\n')
    return process


def end_pid(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def inherited(path, pid):
    """A guest, and the descriptor of its lock, which is ours until the test ends."""
    guest = guestlocktest.create_guest('web1', {'on-lease-lost': 'notify'})
    guest.RegisterResource(*disk(path))
    _, fds = guest.with_fds.AcquireInherit({'pid': pid})
    [fd] = fds.steal_fds()
    os.set_inheritable(fd, False)
    return guest, fd


def held_open_by(guest, path):
    return resource(guest, path).get('held-open-by')


def named(process, name='python3'):
    return f'process {getattr(process, "pid", process)} ({name})'


class Log:
    """What the service logs from now on."""

    def __init__(self):
        self.begin = LOG.stat().st_size

    def lines(self, *texts):
        lines = LOG.read_bytes()[self.begin:].decode(errors='replace').splitlines()
        return [line for line in lines if all(text in line for text in texts)]


def checked():
    """A service that looks after its leases every second."""
    configure('[guestlock]\nCheckIntervalSec=1\n')


# --- of guests that run ---

def check_is_reported_once(user):
    checked()
    log, holder, path = Log(), spawn_process(), image(temp_dir())
    guest, fd = inherited(path, holder.pid)
    signals = Signals(path=guest.path, properties=True)
    stranger = pass_on(fd, user)
    os.close(fd)
    # A check that came meanwhile has found this very process too.
    found = f"{named(stranger)} has its lock's descriptor open"
    wait_until(lambda: held_open_by(guest, path) == found, 'the check to find it, and nobody else')
    # Announced, without the value, as every change of Resources.
    assert any(arguments[2] == ['Resources'] for _, _, arguments in signals.until_now())
    time.sleep(2.2)
    [line] = log.lines('"web1"', str(path), f'ending: {named(stranger)}')
    assert 'unlock' in line, line
    equal(guest.State, 'held')
    end_process(stranger)
    wait_until(lambda: not held_open_by(guest, path), 'the check to see that it is gone')
    equal(guest.State, 'held')


@test
def passed_to_another_process():
    check_is_reported_once(user=None)


@test
def passed_to_a_process_of_another_user():
    check_is_reported_once(user='alice')


@test
def passed_on_of_a_block_device():
    """An exclusive claim is never handed out, but the descriptor with the locks of a device is."""
    checked()
    holder, device = spawn_process(), loop_device(image(temp_dir(on_disk=True)))
    guest, fd = inherited(device, holder.pid)
    stranger = pass_on(fd)
    os.close(fd)
    wait_until(lambda: named(stranger) in (held_open_by(guest, device) or ''), 'the check to find it')


@test
def who_has_it_by_right_is_not_reported():
    """The service, the keeper, the holder, and what descends from any; and another guest with the same shared disk."""
    path, strangers = image(temp_dir()), image(temp_dir())
    ours, theirs = socket.socketpair()
    # The descriptor goes to a shell, and from there to a child.
    with ours, theirs:
        holder = spawn_process('/usr/bin/python3', '-c', RECEIVER.replace('print', 'os.set_inheritable(fds[0], True)\n'
                               'import subprocess\nsubprocess.Popen(["sleep", "1000"], close_fds=False)\nprint'),
                               stdin=theirs, stdout=subprocess.PIPE, text=True, process_group=0)
        at_end(lambda: os.killpg(holder.pid, signal.SIGKILL))
        guest, fd = inherited(path, holder.pid)
        socket.send_fds(ours, [b'.'], [fd])
        equal(holder.stdout.readline(), '1\n')
    os.close(fd)
    shared = image(temp_dir(), 'shared.img')
    both = [start_guest([disk(shared, 'shared')], name=name, options={'pid': spawn_process().pid})
            for name in ('a', 'b')]
    # One that is not, so that it is known when all have been looked at.
    other, fd = inherited(strangers, spawn_process().pid)
    stranger = pass_on(fd)
    os.close(fd)
    # Only now: until here this very process had the descriptors.
    checked()
    log = Log()
    restart_service()
    wait_until(lambda: held_open_by(other, strangers), 'the check to find the other')
    equal([held_open_by(guest, path)] + [held_open_by(one, shared) for one in both], [None] * 3)
    end_process(stranger)
    wait_until(lambda: not held_open_by(other, strangers), 'another check')
    equal([held_open_by(guest, path)] + [held_open_by(one, shared) for one in both], [None] * 3)
    equal([line for line in log.lines('descriptor open') if str(strangers) not in line], [])


# --- of guests that have ended ---

@test
def lock_does_not_outlive_the_guest():
    """Its own description is unlocked, whoever has copies: they are no writers, and keep nothing."""
    path = image(temp_dir())
    ours, theirs = socket.socketpair()
    at_end(ours.close)
    at_end(theirs.close)
    holder = spawn_process()
    guest, fd = inherited(path, holder.pid)
    stranger = pass_on(fd)
    socket.send_fds(theirs, [b'.'], [fd])  # and one that nobody takes
    os.close(fd)
    signals = Signals(path=guest.path)
    end_process(holder)
    equal(signals.expect('LeasesReleased')[0], 'guest-exited')
    assert stranger.poll() is None and not is_locked(path)
    start_guest([disk(path)])


@test
def image_is_left_to_a_child():
    """It has the image open, with QEMU's locks: it may write, so the lease does not end, not even by Revoke."""
    log, path = Log(), image(temp_dir(on_disk=True))
    process = python(FORKS, path)
    child = int(process.stdout.readline())
    at_end(lambda: end_pid(child))
    guest = start_guest([disk(path)], name='web1', options={'pid': process.pid, 'keep': True})
    end_process(process)
    wait_until(lambda: held_open_by(guest, path), 'the audit')
    equal((resource(guest, path)['state'], held_open_by(guest, path)),
          ('draining', f"{named(child)} still has the image open, with QEMU's locks on it"))
    [line] = log.lines('Guest "web1": Its lease on', 'cannot end', named(child))
    with fails('Conflict', contains=['its process has ended', named(child)]):
        start_guest([disk(path)])
    with fails('GuestRunning', contains=['web1', str(path), named(child)]):
        guest.Revoke('disk', str(path), 'I want it', {'drained': True})
    with fails('GuestRunning', contains=named(child)):
        guest.Revoke('', '', 'I want it', {'drained': True, 'kill': True})
    time.sleep(0.1)
    equal(resource(guest, path)['state'], 'draining')
    end_pid(child)
    wait_until(lambda: guest.State == 'released', 'the lease to end')
    equal(held_open_by(guest, path), None)
    start_guest([disk(path)])


@test
def image_is_on_its_way_in_a_socket():
    """No process has it, and somebody may yet take it out and write: it is said, and ends when the socket is gone."""
    path = image(temp_dir(on_disk=True))
    guest, end = in_flight(path)
    assert 'no visible process' in held_open_by(guest, path) and 'socket' in held_open_by(guest, path)
    equal(resource(guest, path)['state'], 'draining')
    end()
    wait_until(lambda: guest.State == 'released', 'the lease to end')


def in_flight(path, **options):
    ours, theirs = socket.socketpair()
    at_end(ours.close)
    process = python(SENDS, path, stdin=theirs)
    theirs.close()
    equal(process.stdout.readline(), 'sent\n')
    guest = start_guest([disk(path)], name='web1', options={'pid': process.pid, 'keep': True} | options)
    end_process(process)
    wait_until(lambda: held_open_by(guest, path), 'the audit')
    return guest, ours.close


@test
def an_administrator_ends_it():
    log, path = Log(), image(temp_dir(on_disk=True))
    guest, _ = in_flight(path)
    signals = Signals(path=guest.path)
    with fails('InteractiveAuthorizationRequired'):
        as_uid('bob').guest(guest.path).Revoke('disk', str(path), 'mine', {'drained': True})
    guest.Revoke('disk', str(path), 'once more', {'kill': True})
    time.sleep(0.1)
    equal(resource(guest, path)['state'], 'draining')
    guest.Revoke('disk', str(path), 'nothing writes there', {'drained': True})
    equal(signals.expect('LeasesReleased'), ('guest-exited', [('disk', str(path))]))
    equal(guest.State, 'released')
    [line] = log.lines('"web1"', 'was revoked', 'nothing writes there')
    assert not is_locked(path)
    # QEMU's locks are still there, and are seen.
    with fails('Conflict'):
        start_guest([disk(path)])


@test
def everybody_of_ours_is_killed():
    """Then a copy of the lock's descriptor is what keeps the disk from others: they are told who it is."""
    path = image(temp_dir())
    holder = spawn_process()
    guest, fd = inherited(path, holder.pid)
    stranger = pass_on(fd, 'alice')
    os.close(fd)
    end_service(signal.SIGKILL)
    end_keeper()
    end_process(holder)
    assert is_locked(path)
    start_service()
    wait_until(lambda: guest.State == 'released', 'the guest to be seen to be gone')
    with fails('Conflict', contains=f'program "python3" (pid {stranger.pid})'):
        start_guest([disk(path)])
    end_process(stranger)
    start_guest([disk(path)])


main()
