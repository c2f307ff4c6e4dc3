# SPDX-License-Identifier: LGPL-2.1-or-later
"""Leases that are lost while the service runs: taken away by an administrator, unlocked or replaced behind its back; what
is done to the guest, who is kept out and for how long, and how it gets them back."""

import ctypes
import fcntl
import os
import signal
import struct
import time
from pathlib import Path

from guestlocktest import (
    LOG, GLib, Signals, as_uid, at_end, bus, configure, create_guest, disk, end_process, equal, fails, image,
    is_locked, lock, lock_on, main, manager, restart_service, service_pid, spawn_process, start_guest, temp_dir, test,
    wait_until)
from polkittest import polkit_rules
from processtest import goes_on, standing_still, state_of
from storagetest import SlowFs, loop_device, resource

UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
_PIDFD_GETFD = 438
_OFD_SETLK = 37
INTERVAL = 1.0


def checked():
    """A service that looks after its leases every second."""
    configure('[guestlock]\nCheckIntervalSec=1\n')


def held_by(process, *resources, **options):
    return start_guest([entry if isinstance(entry, tuple) else disk(entry) for entry in resources],
                       options={'pid': process.pid, 'keep': True} | options)


def locked_descriptors(path):
    """The numbers of the service's descriptors of this file that have locks."""
    found, pid = [], service_pid()
    for number in os.listdir(f'/proc/{pid}/fd'):
        try:
            link = os.readlink(f'/proc/{pid}/fd/{number}')
            info = Path(f'/proc/{pid}/fdinfo/{number}').read_text()
        except FileNotFoundError:
            continue
        # By name: to look at it would hang where its storage does.
        if link == str(path) and 'lock:' in info:
            found.append(int(number))
    return found


def unlock_some(numbers):
    """As somebody does who was given copies of these descriptors of the service: the locks are gone for every copy."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(service_pid())
    for number in numbers:
        fd = libc.syscall(_PIDFD_GETFD, pidfd, number, 0)
        assert fd >= 0, os.strerror(ctypes.get_errno())
        fcntl.fcntl(fd, _OFD_SETLK, struct.pack('hhqqi4x', fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
        os.close(fd)
    os.close(pidfd)


def unlock_behind_its_back(path):
    unlock_some(locked_descriptors(path))


def two_checks():
    time.sleep(2.2 * INTERVAL)


# --- the check ---

@test
def unlocked_by_another_process():
    checked()
    directory, process = temp_dir(), spawn_process()
    path, other = image(directory), image(directory, 'other')
    guest, signals = held_by(process, path, other), Signals()
    signals.so_far()
    begin = time.monotonic()
    unlock_behind_its_back(path)
    equal((lock_on(path, 0), lock_on(other, 0)), (None, 'write'))
    kind, name, reason, details = signals.expect('LeaseLost', guest.path)
    # By default it would be a minute.
    assert time.monotonic() - begin < 15 * INTERVAL
    equal((kind, name, reason, details['action'], details['remaining-usec']),
          ('disk', str(path), 'storage-lost', 'pause', 0))
    wait_until(lambda: state_of(process.pid) == 'T', 'the process to be stopped')
    equal((guest.State, resource(guest, path)['state'], resource(guest, other)['state']), ('lost', 'lost', 'held'))
    # It is not taken again behind anybody's back, and is announced once.
    two_checks()
    equal(lock_on(path, 0), None)
    signals.nothing_else()
    # Nobody wrote to it: it can be had again.
    generation = guest.Acquire({})
    equal((guest.State, guest.Generation, lock_on(path, 0)), ('held', generation, 'write'))
    wait_until(lambda: state_of(process.pid) == 'S', 'the process to go on')
    signals.expect('LeasesAcquired', guest.path)
    two_checks()
    signals.nothing_else()


@test
def taken_by_a_stranger():
    checked()
    path, process = image(temp_dir()), spawn_process()
    guest, signals = held_by(process, path, **{'on-lease-lost': 'notify'}), Signals()
    signals.so_far()
    # A check in between would find that nobody has it.
    with standing_still(service_pid()):
        unlock_behind_its_back(path)
        stranger = lock(path)
    at_end(lambda: os.close(stranger))
    _, name, reason, details = signals.expect('LeaseLost', guest.path)
    equal((name, reason, details['action'], goes_on(process.pid)), (str(path), 'taken', 'notify', True))
    assert str(os.getpid()) in details['message'], details
    with fails('LeaseLost', contains=str(os.getpid())):
        guest.Acquire({})
    assert '(taken)' in LOG.read_text()


@test
def killed_on_a_loss():
    checked()
    path, process = image(temp_dir()), spawn_process()
    guest, signals = held_by(process, path, **{'on-lease-lost': 'kill'}), Signals()
    unlock_behind_its_back(path)
    equal(signals.expect('LeaseLost', guest.path)[3]['remaining-usec'], 0)
    # At once: what it has in memory must not go to a disk that it has lost.
    equal(process.wait(30), -signal.SIGKILL)
    equal(signals.expect('LeasesReleased', guest.path)[0], 'guest-exited')


@test
def every_mode_and_type():
    """Another guest's locks on the same image do not pass for this one's."""
    checked()
    directory = temp_dir()
    path, leases = image(directory), image(directory, 'leases')
    offset = lambda n: {'path': str(leases), 'offset': GLib.Variant('t', n)}  # noqa: E731
    for mode in ('readonly', 'shared'):
        first = held_by(spawn_process(), disk(path, mode), ('lease', 'one', mode, offset(4096)))
        ours = set(locked_descriptors(path) + locked_descriptors(leases))
        second = held_by(spawn_process(), disk(path, mode), ('lease', 'two', 'exclusive', offset(4097)))
        signals = Signals()
        two_checks()
        signals.nothing_else()
        unlock_some(ours)
        lost = {signals.expect('LeaseLost', first.path)[1] for _ in range(2)}
        equal((lost, second.State), ({str(path), 'one'}, 'held'))
        for guest in (first, second):
            guest.Shutdown({'kill': True})


@test
def healthy_leases_stay():
    """On files and devices, by path and by descriptor, of several users: nothing is found, nothing changes."""
    checked()
    directory, mine = temp_dir(), temp_dir(user='alice')
    device = loop_device(image(directory, 'device'))
    alice = as_uid('alice')
    secret = image(directory, 'secret')
    with open(secret, 'r+b') as file:
        passed = create_guest(peer=alice)
        passed.RegisterResourceFd('disk', '/vda', file.fileno(), 'exclusive', {})
        passed.Acquire({})
    guests = [held_by(spawn_process(), device), passed,
              start_guest([disk(image(mine, 'own', 'alice'))], 'own', {'keep': True}, peer=alice)]
    before, signals = [guest.Resources for guest in guests], Signals(properties=True)
    signals.so_far()
    mine.chmod(0)
    os.chown(mine, 0, 0)
    two_checks()
    signals.nothing_else()
    equal([guest.Resources for guest in guests], before)
    mine.chmod(0o755)


@test
def renamed_image():
    checked()
    directory, process = temp_dir(), spawn_process()
    path = image(directory)
    guest, signals = held_by(process, path), Signals()
    signals.so_far()
    path.rename(directory / 'moved')
    two_checks()
    # Nothing is there: that is no answer.
    equal(resource(guest, path)['path-moved'], False)
    image(directory)
    wait_until(lambda: resource(guest, path)['path-moved'], 'the check')
    two_checks()
    equal((guest.State, goes_on(process.pid), lock_on(directory / 'moved', 0)), ('held', True, 'write'))
    equal(LOG.read_text().count('leads to something else than what the guest has leased'), 1)
    (directory / 'moved').rename(path)
    wait_until(lambda: not resource(guest, path)['path-moved'], 'the check')
    signals.nothing_else()


@test
def replaced_lease_file():
    checked()
    directory, process = temp_dir(), spawn_process()
    path = image(directory, 'leases')
    guest = held_by(process, ('lease', 'key', 'exclusive', {'path': str(path), 'offset': GLib.Variant('t', 4096)}))
    signals = Signals()
    new = image(directory, 'new')
    stranger = lock(new, 4096)
    at_end(lambda: os.close(stranger))
    new.rename(path)
    kind, name, reason, details = signals.expect('LeaseLost', guest.path)
    equal((kind, name, reason), ('lease', 'key', 'replaced'))
    wait_until(lambda: state_of(process.pid) == 'T', 'the process to be stopped')
    assert 'replaced' in details['message'], details


@test
def replaced_lockspace_file():
    directory, process, lockspace = temp_dir(), spawn_process(), temp_dir()
    lockspace.chmod(0o700)
    configure(f'[guestlock]\nCheckIntervalSec=1\nLockspaceDirectory={lockspace}\n')
    path = image(directory)
    guest, signals = held_by(process, path), Signals()
    entry, = (entry for entry in lockspace.iterdir() if entry.suffix != '.guestlock')
    signals.so_far()
    # Removed, or replaced by one that nobody has: we have that then.
    entry.unlink()
    # It is there before it is locked.
    wait_until(lambda: entry.exists() and lock_on(entry, 0) == 'write', 'the lock file to be made and locked again')
    image(lockspace, 'new').rename(entry)
    wait_until(lambda: lock_on(entry, 0) == 'write', 'the new lock file to be locked')
    two_checks()
    signals.nothing_else()
    equal((guest.State, len(locked_descriptors(entry))), ('held', 1))
    # Somebody has the new one.
    image(lockspace, 'new')
    stranger = lock(lockspace / 'new')
    (lockspace / 'new').rename(entry)
    _, name, reason, details = signals.expect('LeaseLost', guest.path)
    equal((name, reason), (str(path), 'replaced'))
    assert str(os.getpid()) in details['message'], details
    os.close(stranger)
    end_process(process)
    equal(signals.expect('LeasesReleased', guest.path)[0], 'guest-exited')
    start_guest([disk(path)]).Shutdown({})


@test
def unlocked_lockspace_file():
    directory, lockspace = temp_dir(), temp_dir()
    lockspace.chmod(0o700)
    configure(f'[guestlock]\nCheckIntervalSec=1\nLockspaceDirectory={lockspace}\n')
    guest, signals = held_by(spawn_process(), image(directory)), Signals()
    entry, = (entry for entry in lockspace.iterdir() if entry.suffix != '.guestlock')
    unlock_behind_its_back(entry)
    equal(signals.expect('LeaseLost', guest.path)[2], 'storage-lost')


@test
def hung_mount_disturbs_nobody():
    configure('[guestlock]\nCheckIntervalSec=1\n[limits]\nStorageTimeoutSec=30\n')
    storage, directory, process = SlowFs(), temp_dir(), spawn_process()
    slow = storage.point / image(storage.below).name
    path = image(directory)
    stalled, guest = held_by(spawn_process(), slow), held_by(process, path)
    signals = Signals()
    storage.be('hang')
    two_checks()
    begin = time.monotonic()
    start_guest([disk(image(directory, 'more'))]).Shutdown({})
    with fails('Conflict', contains='holds it'):
        start_guest([disk(path)])
    # Behind what hangs it would be refused after half a minute.
    assert time.monotonic() - begin < 20
    signals.so_far()
    unlock_behind_its_back(path)
    equal(signals.expect('LeaseLost', guest.path)[1], str(path))
    equal(stalled.State, 'held')
    storage.be('ok')
    two_checks()
    signals.nothing_else()
    equal(stalled.State, 'held')


# --- Revoke ---

@test
def revoked():
    directory, process = temp_dir(), spawn_process()
    path, other = image(directory), image(directory, 'other')
    guest, signals = held_by(process, path, other), Signals()
    guest.Revoke('disk', str(path), 'The disk moves to another host.', {})
    kind, name, reason, details = signals.expect('LeaseLost', guest.path)
    equal((kind, name, reason, details), ('disk', str(path), 'revoked', {
        'action': 'pause', 'remaining-usec': 0, 'message': 'The disk moves to another host.'}))
    wait_until(lambda: state_of(process.pid) == 'T', 'the process to be stopped')
    signals.nothing_else()
    # A process that is stopped can go on: everybody is kept out, strangers too.
    with fails('Conflict', contains=[str(process.pid), 'lost']):
        start_guest([disk(path)])
    assert is_locked(path)
    guest.Revoke('disk', str(path), 'once more', {})
    signals.nothing_else()
    # It wrote to it itself meanwhile, which does not matter.
    path.write_text('written by the guest')
    guest.Acquire({})
    equal(guest.State, 'held')
    wait_until(lambda: state_of(process.pid) == 'S', 'the process to go on')
    equal(signals.expect('LeasesAcquired', guest.path)[1], [('disk', str(path), 'exclusive')])

    guest.Revoke('', '', 'all of it', {})
    equal({signals.expect('LeaseLost', guest.path)[1] for _ in range(2)}, {str(path), str(other)})
    end_process(process)
    equal(signals.expect('LeasesReleased', guest.path)[0], 'guest-exited')
    equal((is_locked(path), is_locked(other)), (False, False))
    start_guest([disk(path), disk(other)])


@test
def revoked_with_kill():
    """Whoever waits gets the disk when the guest is gone."""
    directory, process = temp_dir(), spawn_process()
    path = image(directory)
    guest = held_by(process, path)
    signals = Signals(path=guest.path)
    heir = create_guest('heir')
    heir.RegisterResource(*disk(path))
    pending = heir.later.Acquire({'wait-ms': 20000})
    wait_until(lambda: heir.Waiting, 'the heir to wait')
    guest.Revoke('', '', 'The heir needs it.', {'kill': True})
    equal(signals.expect('LeaseLost', guest.path)[3]['remaining-usec'], 5000000)
    equal(process.wait(30), -signal.SIGTERM)
    assert pending.result(10) == heir.Generation
    equal((guest.State, heir.State), ('released', 'held'))


@test
def deaf_to_sigterm():
    path = image(temp_dir())
    process = spawn_process('sh', '-c', 'trap "" TERM; echo; while :; do sleep 0.1; done', stdout=-1)
    process.stdout.readline()
    guest = held_by(process, path)
    begin = time.monotonic()
    guest.Revoke('disk', str(path), 'now', {'kill': True})
    with fails('LeaseLost', contains='being ended'):
        guest.Acquire({})
    equal(process.wait(30), -signal.SIGKILL)
    # Five seconds after SIGTERM; what is more is room for a loaded machine.
    assert 4.5 < time.monotonic() - begin < 20
    wait_until(lambda: guest.State == 'released', 'the end of the guest')


@test
def revoked_without_a_process():
    path = image(temp_dir())
    guest = start_guest([disk(path)], options={'keep': True})
    guest.Revoke('disk', str(path), 'nobody knows whose it is', {})
    equal(guest.State, 'lost')
    other = create_guest('other')
    other.RegisterResource(*disk(path))
    other.Acquire({'wait-ms': 30000})
    restart_service()
    equal((guest.State, other.State), ('lost', 'held'))
    with fails('LeaseLost', contains='"other"'):
        guest.Acquire({})
    other.Shutdown({})
    start_guest([disk(path)]).Shutdown({})


@test
def who_may_revoke():
    path = image(temp_dir(), user='alice')
    alice, carol = as_uid('alice'), as_uid('carol')
    process = spawn_process(user='alice')
    guest = start_guest([disk(path)], 'web1', {'pid': process.pid, 'keep': True}, UUID, alice)
    for peer in (alice, carol):
        with fails('InteractiveAuthorizationRequired', contains='revoke'):
            peer.guest(guest.path).Revoke('', '', 'mine', {})
    with fails('NoSuchResource', contains='/nothing'):
        bus.guest(guest.path).Revoke('disk', '/nothing', 'why not', {})
    with fails('InvalidArgs', contains='control'):
        bus.guest(guest.path).Revoke('', '', 'two\nlines', {})
    with fails('InvalidArgs'):
        bus.guest(guest.path).Revoke('disk', '', 'half', {})
    equal(guest.State, 'held')
    polkit_rules(f'''polkit.addRule(function(action, subject) {{
        if (action.id == "org.guestlock1.revoke" && subject.user == "carol" &&
            action.lookup("resource") == "{path}" && action.lookup("guest-uuid") == "{UUID}")
            return polkit.Result.YES;
    }});''')
    with fails('InteractiveAuthorizationRequired'):
        carol.guest(guest.path).Revoke('', '', 'everything', {})
    carol.guest(guest.path).Revoke('disk', str(path), 'this one', {})
    equal(guest.State, 'lost')
    # A signal goes out as the owner.
    wait_until(lambda: state_of(process.pid) == 'T', 'the process to be stopped')


# --- after a restart ---

@test
def stopped_across_a_restart():
    """What was stopped before is continued after: its lock was let go in between, but nobody wrote."""
    path, process = image(temp_dir()), spawn_process()
    guest = held_by(process, path)
    guest.Revoke('', '', 'for a moment', {})
    wait_until(lambda: state_of(process.pid) == 'T', 'the process to be stopped')
    restart_service()
    equal(guest.State, 'lost')
    with fails('Conflict', contains=str(process.pid)):
        start_guest([disk(path)])
    guest.Acquire({})
    wait_until(lambda: state_of(process.pid) == 'S', 'the process to go on')


@test
def attached():
    path, process = image(temp_dir(), user='alice'), spawn_process(user='alice')
    alice = as_uid('alice')
    guest = start_guest([disk(path)], options={'pid': process.pid, 'keep': True}, uuid=UUID, peer=alice)
    restart_service()
    attach = alice.manager().AttachGuest
    equal([attach(UUID, {}), attach(UUID.upper(), {'pid': process.pid})], [guest.path] * 2)
    for pid in (os.getpid(), 0, 4194304):
        with fails('Stale', contains=str(pid)):
            attach(UUID, {'pid': pid})
    with fails('NoSuchGuest'):
        manager().AttachGuest(UUID, {})
    end_process(process)
    wait_until(lambda: guest.State == 'released', 'the end of the guest')
    with fails('Stale'):
        attach(UUID, {'pid': process.pid})
    with fails('BadState', contains='released'):
        attach(UUID, {})


@test
def restricted():
    directory = temp_dir(user='alice')
    path, another = image(directory, user='alice'), image(directory, 'another', 'alice')
    alice, carol = as_uid('alice'), as_uid('carol')
    process = spawn_process(user='alice')
    guest = start_guest([disk(path)], 'web1', {'pid': process.pid, 'keep': True}, UUID, alice)
    guest.Restrict({})
    guest.Restrict({})
    restart_service()
    for call in (lambda: guest.Release({}), lambda: guest.Acquire({}), lambda: guest.SetChild({'pid': process.pid}),
                 lambda: guest.AcquireResource(*disk(another)), lambda: guest.RegisterResource(*disk(another)),
                 lambda: guest.ReleaseResource('disk', str(path), {})):
        with fails('InteractiveAuthorizationRequired', contains='manage'):
            call()
    equal((guest.State, guest.Inquire({})[:10], guest.GetChild({})), ('held', 'guestlock1', process.pid))
    guest.SetParameter('id', 5)
    # Who may manage may.
    os.chown(another, -1, -1)
    another.chmod(0o666)
    carol.guest(guest.path).AcquireResource(*disk(another))
    carol.guest(guest.path).ReleaseResource('disk', str(another), {})
    # Its owner may end it, and not begin again with it.
    end_process(process)
    wait_until(lambda: guest.State == 'released', 'the end of the guest')
    with fails('InteractiveAuthorizationRequired', contains='manage'):
        start_guest([disk(path)], 'web1', {}, UUID, alice)
    guest.Shutdown({})
    guest.Free({})
    start_guest([disk(path)], 'web1', {}, UUID, alice).Shutdown({})


main()
