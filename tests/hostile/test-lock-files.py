# SPDX-License-Identifier: LGPL-2.1-or-later
"""What alice can do to the images and lease files of others: truncate, replace, remove, forge, and lock what the
protocol locks. Who may open a file may lock it: that keeps others out as long as she lives, never lets a second writer
in, and her process is named."""

import fcntl
import os
import signal
import subprocess
import uuid

from guestlocktest import (
    Error, GLib, Signals, as_uid, at_end, bus, configure, create_guest, disk, end_keeper, end_process, end_service,
    equal, fails, image, is_locked, lock_on, main, manager, restart_service, run, spawn_process, start_guest,
    start_service, temp_dir, test, wait_until)
from processtest import goes_on, state_of
from storagetest import loop_device, mounted_ext4
from filetest import (
    MODES, NEXT, has_open, lock_byte, opened, opened_as, outcome, secret, service_access, wait_for_keeper)

READER, WRITER, HOST, QEMU_WRITES, QEMU_NO_WRITER = NEXT + 1, NEXT + 2, 1 << 60, 101, 201
# What keeps root's acquire in each mode out, of what a reader can lock.
IN_THE_WAY = {0: {'exclusive'}, NEXT: {'exclusive', 'shared'}, READER: {'shared'}, WRITER: {'readonly'},
              QEMU_NO_WRITER: {'exclusive', 'shared'}, QEMU_WRITES: {'exclusive', 'readonly'}, 100: set(), 150: set(),
              HOST: set(), HOST + 12345: set(), 300: set(), 1 << 61: set(), NEXT - 1: set()}


def refused_for(path, *words):
    """Nobody gets the disk, with these words once the service has looked who it is that may still write."""
    def says_so():
        try:
            start_guest([disk(path)])
        except Error as error:
            assert error.name.endswith('.Conflict'), error
            return all(word in error.message for word in words)
        raise AssertionError('it was granted')
    wait_until(says_so, f'the service to say {words}', 30)


# --- locks ---

@test
def byte_by_byte():
    """A read lock is all that somebody gets who may only read."""
    # So many are asked for at once, of one storage.
    configure('[limits]\nStorageTimeoutSec=600\n')
    images = {byte: secret(mode=0o644) for byte in IN_THE_WAY}
    holders = {byte: has_open(path, locks=[byte])[0] for byte, path in images.items()}

    def start_all(mode):
        pending = {byte: manager().later.StartGuest(str(uuid.uuid4()), 'guest', [disk(path, mode)], {})
                   for byte, path in images.items()}
        wait_until(lambda: all(one.done for one in pending.values()), 'all to be answered', 30)
        return pending
    for mode in MODES:
        for byte, one in start_all(mode).items():
            if mode in IN_THE_WAY[byte]:
                with fails('Conflict', contains=[str(images[byte]), f'(pid {holders[byte].pid})']):
                    one.result()
            else:
                bus.guest(one.result()[0]).Shutdown({})
    # It ends with her process.
    for holder in holders.values():
        end_process(holder)
    for one in start_all('exclusive').values():
        one.result()


@test
def among_many_others():
    """She has a thousand locks, and the one that is in the way is not hidden by them."""
    path = secret(mode=0o644)
    holder, _ = has_open(path, locks=[*range(300, 3300, 2), NEXT])
    with fails('Conflict', contains=[str(path), f'(pid {holder.pid})']):
        start_guest([disk(path)])


@test
def writer_locks():
    """Who may write to it needs no lock to do harm; with one he is named."""
    configure('[limits]\nStorageTimeoutSec=600\n')
    directory, pending = temp_dir('alice'), {}
    for number, (bytes_, modes) in enumerate((
            ([0], MODES), ([NEXT], MODES), ([QEMU_WRITES, QEMU_NO_WRITER], MODES),
            ([READER, WRITER], ('shared', 'readonly')))):
        for mode in modes:
            path = image(directory, f'{number}-{mode}', 'alice')
            lock_byte(opened(path), *bytes_)
            pending[path] = manager().later.StartGuest(str(uuid.uuid4()), 'guest', [disk(path, mode)], {})
    for path, one in pending.items():
        with fails('Conflict', contains=[str(path), f'pid {os.getpid()}']):
            one.result(30)
    # The whole file, which stops QEMU as well.
    path = image(directory, user='alice')
    fcntl.lockf(opened(path), fcntl.LOCK_EX | fcntl.LOCK_NB)
    for mode in MODES:
        with fails('Conflict', contains=[str(path), f'pid {os.getpid()}', 'whole file']):
            start_guest([disk(path, mode)])


@test
def locks_during_a_lease():
    """What she locks while root's guest has it takes nothing from that guest."""
    path, process = secret(mode=0o644), spawn_process()
    guest = start_guest([disk(path)], options={'pid': process.pid, 'keep': True})
    signals = Signals()
    holder, _ = has_open(path, locks=[NEXT, READER, WRITER, 300])
    equal((guest.State, lock_on(path, 0)), ('held', 'write'))
    # Only a change of the mode needs them again.
    with fails('Conflict', contains=f'(pid {holder.pid})'):
        guest.AcquireResource(*disk(path, 'shared'))
    equal((guest.State, guest.Resources[0]['mode'], lock_on(path, 0)), ('held', 'exclusive', 'write'))
    signals.nothing_else()
    # Nor is the end of the guest held up by her having it open.
    end_process(process)
    equal(signals.expect('LeasesReleased', guest.path)[0], 'guest-exited')
    equal(lock_on(path, 0), None)


@test
def qemus_locks_at_the_end_of_a_guest():
    """They are what a dead QEMU's writes under way are known by: the disk stays blocked, which is safe, until she
    ends; and she is named."""
    path, process = secret(mode=0o644), spawn_process()
    guest = start_guest([disk(path)], options={'pid': process.pid, 'keep': True})
    holder, _ = has_open(path, locks=[150])
    signals = Signals()
    end_process(process)
    wait_until(lambda: guest.Resources[0]['state'] == 'draining', 'the guest to end')
    refused_for(path, f'process {holder.pid}')
    end_process(holder)
    equal(signals.expect('LeasesReleased', guest.path, 30)[0], 'guest-exited')
    start_guest([disk(path)])


@test
def kept_open_where_nobody_sees_it():
    """A descriptor on its way through a socket belongs to no process. It could be a dead guest's that still writes, and
    is taken for that: the disk stays blocked, which is safe, until she lets it go; and nobody can say that it is she.
    """
    path, process = secret(mode=0o644), spawn_process()
    guest = start_guest([disk(path)], options={'pid': process.pid, 'keep': True})
    holder = spawn_process('/usr/bin/python3', '-c', '''
import os, signal, socket, sys
ends, fd = socket.socketpair(), os.open(sys.argv[1], os.O_RDONLY)
socket.send_fds(ends[0], [b'x'], [fd])
os.close(fd)
print('ready', flush=True)
signal.pause()''', str(path), user='alice', stdout=subprocess.PIPE, text=True)
    equal(holder.stdout.readline(), 'ready\n')
    signals = Signals()
    end_process(process)
    wait_until(lambda: guest.Resources[0]['state'] == 'draining', 'the guest to end')
    refused_for(path, guest.Uuid, 'the kernel still has it open')
    end_process(holder)
    equal(signals.expect('LeasesReleased', guest.path, 30)[0], 'guest-exited')
    start_guest([disk(path)])


@test
def lease_of_the_kernels():
    """An owner may have the kernel ask him before others open his file; nobody waits for him."""
    path = image(temp_dir('alice'), user='alice')
    holder = spawn_process('/usr/bin/python3', '-c', '''
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('ready', flush=True)
signal.pause()''', str(path), user='alice', stdout=subprocess.PIPE, text=True)
    equal(holder.stdout.readline(), 'ready\n')
    for mode in MODES:
        with fails('StorageUnavailable', contains=str(path)):
            start_guest([disk(path, mode)])
    start_guest([disk(image(temp_dir()))])
    end_process(holder)
    start_guest([disk(path)])


# --- the file itself ---

@test
def truncated_grown_and_forged():
    """An image says nothing to the service but by its locks and its inode."""
    alice, bob = as_uid('alice'), as_uid('carol')
    directory, process = temp_dir('alice'), spawn_process(user='carol')
    path = image(directory, user='alice')
    path.chmod(0o666)
    guest = start_guest([disk(path)], options={'pid': process.pid, 'keep': True}, peer=bob)
    signals = Signals()
    for change in (lambda: os.truncate(path, 0), lambda: os.truncate(path, 1 << 40),
                   lambda: path.write_bytes(b'guestlock1;host=x;guest=y' * 1000), lambda: os.truncate(path, 1)):
        change()
        with fails('Conflict', contains=guest.Uuid):
            start_guest([disk(path)], peer=alice)
        guest.Inquire({})
    equal((guest.State, lock_on(path, 0)), ('held', 'write'))
    signals.nothing_else()
    # That it is not what it was is what a state string tells its owner.
    state = guest.Release({})
    path.write_text('changed')
    with fails('Stale', contains=str(path)):
        guest.Acquire({'state': state})


@test
def removed_replaced_and_linked():
    """In a directory of alice's somebody else's lease stays with the file, wherever its name goes."""
    alice = as_uid('alice')
    directory, process = temp_dir('alice'), spawn_process()
    path = image(directory)
    path.chmod(0o666)
    guest = start_guest([disk(path)], options={'pid': process.pid, 'keep': True})
    signals, fd = Signals(), opened(path, os.O_RDONLY)
    os.link(path, directory / 'link')
    path.unlink()
    with fails('Conflict', contains=guest.Uuid):
        start_guest([disk(directory / 'link')], peer=alice)
    # Another file by the old name is another disk.
    hers = start_guest([disk(image(directory, user='alice'))], peer=alice)
    equal((guest.State, hers.State, lock_on(f'/proc/self/fd/{fd}', 0)), ('held', 'held', 'write'))
    signals.so_far()
    # A service that starts now keeps root's lease where it was, and does not take hers for it.
    restart_service()
    equal((guest.State, hers.State, guest.Resources[0]['path-moved']), ('held', 'held', True))
    with fails('Conflict', contains=guest.Uuid):
        start_guest([disk(directory / 'link')], peer=alice)
    hers.Shutdown({})
    assert goes_on(process.pid)


@test
def immutable_and_append_only():
    path = image(mounted_ext4(loop_device(image(temp_dir(), size=16 << 20))), user='alice')
    at_end(lambda: run('chattr', '-i', '-a', str(path)))
    alice, guest = as_uid('alice'), None
    for flag in ('+i', '+a'):
        run('chattr', '-i', '-a', str(path))
        guest = create_guest(peer=alice)
        guest.RegisterResource(*disk(path))
        equal(run('chattr', flag, str(path)).returncode, 0)
        with fails('AccessDenied', contains=str(path)):
            guest.Acquire({})
        equal((guest.State, manager().NLeases), ('new', 0))
        start_guest([disk(path, 'readonly')], peer=alice).Shutdown({})


@test
def lease_file_of_alices():
    """A lease file is hers alone to spoil: each region is a byte, and no other byte means anything there."""
    alice = as_uid('alice')
    path = image(temp_dir('alice'), user='alice')

    def region(key, offset):
        return 'lease', key, 'exclusive', {'path': str(path), 'offset': GLib.Variant('t', offset)}
    fd = opened(path)
    lock_byte(fd, 0, 100, 201, NEXT, READER, WRITER, HOST, 4095, 4097)
    guest = start_guest([region('key', 4096)], peer=alice)
    equal(lock_on(path, 4096), 'write')
    for change in (lambda: os.truncate(path, 0), lambda: path.write_text('4096'), path.unlink):
        change()
        equal(guest.State, 'held')
    image(path.parent, path.name, 'alice')
    lock_byte(opened(path), 8192)
    with fails('Conflict', contains=f'pid {os.getpid()}'):
        start_guest([region('another', 8192)], peer=alice)


# --- leases that are made to fail ---

def lost_while_the_service_starts(path, user='alice', **options):
    """Has a guest of root's hold the disk, and somebody else lock it while service and keeper are gone."""
    process = spawn_process()
    guest = start_guest([disk(path)], options={'pid': process.pid, 'keep': True} | options)
    end_service(signal.SIGKILL)
    end_keeper()
    holder, _ = has_open(path, locks=[0], user=user)
    signals = Signals()
    start_service()
    return guest, process, holder, signals


@test
def roots_lock_taken_by_a_reader():
    """Where nobody keeps the locks who may read root's image can take them. That is announced, and root's guest is
    paused: nothing but the process of that very guest, and only as its owner said."""
    path, bystander = secret(mode=0o644), spawn_process(user='alice')
    guest, process, holder, signals = lost_while_the_service_starts(path)
    *_, reason, details = signals.expect('LeaseLost', guest.path)
    equal((reason, details['action']), ('taken', 'pause'))
    assert f'pid {holder.pid}' in details['message'], details
    wait_until(lambda: state_of(process.pid) == 'T', 'the process to be stopped', 30)
    assert goes_on(holder.pid) and goes_on(bystander.pid)
    # She has gained nothing: the disk is still root's.
    with fails('Conflict', contains=guest.Uuid):
        start_guest([disk(path, 'readonly')], peer=as_uid('alice'))
    end_process(holder)
    guest.Acquire({})
    wait_until(lambda: goes_on(process.pid), 'the process to go on', 30)
    equal((guest.State, lock_on(path, 0)), ('held', 'write'))


@test
def private_images_are_not_lost():
    """Where she may not read it, the start of a service gives her nothing."""
    path, process = secret(), spawn_process()
    guest = start_guest([disk(path)], options={'pid': process.pid, 'keep': True})
    end_service(signal.SIGKILL)
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        try:
            raise AssertionError(f'alice has opened it: {opened_as("alice", path, flags)}')
        except PermissionError:
            pass
    start_service()
    equal((guest.State, goes_on(process.pid), lock_on(path, 0)), ('held', True, 'write'))


@test
def her_own_guest_is_hers_to_lose():
    """With each action, and with processes of everybody's around: what it hits is hers."""
    for action in ('pause', 'kill', 'notify'):
        alice, path = as_uid('alice'), image(temp_dir('alice'), user='alice')
        process, others = spawn_process(user='alice'), [spawn_process(user=user) for user in ('alice', 'bob', None)]
        guest = start_guest([disk(path)], options={'pid': process.pid, 'keep': True, 'on-lease-lost': action},
                            peer=alice)
        end_service(signal.SIGKILL)
        end_keeper()
        holder, _ = has_open(path, os.O_RDWR, locks=[0])
        signals = Signals()
        start_service()
        equal(signals.expect('LeaseLost', guest.path)[3]['action'], action)
        if action == 'kill':
            equal(process.wait(40), -9)
        elif action == 'pause':
            wait_until(lambda: state_of(process.pid) == 'T', 'the process to be stopped', 30)
        else:
            assert goes_on(process.pid)
        assert all(goes_on(other.pid) for other in (*others, holder))
        for other in (process, holder):
            end_process(other)


@test
def kept_while_the_service_is_away():
    path = secret(mode=0o644)
    guest = start_guest([disk(path)], options={'pid': spawn_process().pid, 'keep': True})
    wait_for_keeper(path)
    end_service(signal.SIGKILL)
    try:
        has_open(path, locks=[0], user='alice')
    except AssertionError as refusal:
        assert 'cannot open or lock' in str(refusal), refusal
    else:
        raise AssertionError('alice has the lock')
    start_service()
    equal((guest.State, lock_on(path, 0)), ('held', 'write'))


# --- state strings ---

@test
def state_strings():
    """They prove that nobody had it meanwhile, and open nothing."""
    alice = as_uid('alice')
    path, roots = image(temp_dir('alice'), user='alice'), secret()
    other = start_guest([disk(roots)], 'root', {'keep': True})
    guest = start_guest([disk(path)], 'hers', {'keep': True}, peer=alice)
    state, others = guest.Release({}), other.Release({})
    head, _, entry = state.rpartition(';r=')
    node, inode, inode_generation, generation, look = entry.split(',')
    foreign = others.rpartition(';r=')[2]

    def made_of(*parts):
        return f'{head};r={",".join(parts)}'
    for error, forged in (
            ('Stale', others), ('Stale', f'{head};r={foreign}'), ('Stale', head),
            ('Stale', made_of(node, inode, inode_generation, '0', look)),
            ('Stale', made_of(node, inode, inode_generation, generation, 'x' * 11)),
            ('Stale', made_of(node, inode + '1', inode_generation, generation, look)),
            ('Stale', state.replace(guest.Uuid, other.Uuid)), ('Stale', state.replace('host=', 'host=x')),
            ('InvalidArgs', state + ';'), ('InvalidArgs', state + ';r='), ('InvalidArgs', ';' + state),
            ('InvalidArgs', made_of(node, inode, inode_generation, 'E' * 20, look)),
            ('InvalidArgs', made_of(node, inode, inode_generation, '-1', look)),
            ('InvalidArgs', made_of(node, inode, inode_generation, generation, 'x' * 12)),
            ('InvalidArgs', state.replace('guestlock1', 'guestlock2')), ('InvalidArgs', state * 2),
            ('InvalidArgs', state + f';r={entry}' * 2000), ('InvalidArgs', f'<state>{state}</state>'),
            ('InvalidArgs', '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/shadow">]><a>&a;</a>'),
            ('InvalidArgs', state + ';\u00e4=\u2028'), ('InvalidArgs', '\u0661' + state), ('InvalidArgs', '%s%n' * 100),
            ('InvalidArgs', state + '\n'), ('InvalidArgs', '../../etc/passwd'), ('InvalidArgs', ' ')):
        equal((forged[:200], outcome(guest.Acquire, {'state': forged})), (forged[:200], error))
        wait_until(lambda: not is_locked(path), 'what was taken to be given back')
        equal((guest.State, service_access(roots)), ('released', []))
    # One of the future is a lie to herself: it gets her what she gets without any.
    guest.Acquire({'state': made_of(node, inode, inode_generation, 'E' * 10, look)})
    equal((lock_on(path, 0), service_access(roots)), ('write', []))


main()
