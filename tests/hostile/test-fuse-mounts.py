# SPDX-License-Identifier: LGPL-2.1-or-later
"""File systems of alice's own, which answer what she likes, and when. On her mount the kernel keeps everybody else
out, the service included; where the administrator lets users allow others, she is believed about her own files alone.
"""

import contextlib
import errno
import os
import subprocess
import time
from pathlib import Path

from guestlocktest import (
    as_uid, configure, create_guest, disk, equal, fails, image, lock_on, main, restart_service, service_pid,
    spawn_process, start_guest, temp_dir, test, wait_until)
from filetest import (
    MODES, NEXT, Attacker, HostileFs, Watch, has_open, in_user_namespace, let_users_mount, outcome, passed_by, secret,
    service_access)
from storagetest import loop_device, test_program

# So much longer than any answer takes, also on a machine that is busy, that whoever has waited for the storage shows;
# and for what does wait.
TIMEOUT, SHORT_TIMEOUT = 30, 4


def hostile_fs(timeout=TIMEOUT):
    configure(f'[limits]\nStorageTimeoutSec={timeout}\n')
    return HostileFs(allow_other=True)


def served(directory, timeout=TIMEOUT):
    """Somebody else is, and has not waited for the storage that hangs."""
    begin = time.monotonic()
    start_guest([disk(image(directory, 'served.img'))]).Shutdown({})
    took = time.monotonic() - begin
    assert took < timeout, f'took {took:.2f} s'


def threads_that_hang():
    """Those of the service that wait for a FUSE file system's answer."""
    number = 0
    for task in Path(f'/proc/{service_pid()}/task').iterdir():
        # Threads come and go.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            number += 'request_wait_answer' in (task / 'wchan').read_text()
    return number


@test
def mount_that_is_hers_alone():
    """Nothing that she does there reaches the service, hanging least of all."""
    configure(f'[limits]\nStorageTimeoutSec={TIMEOUT}\n')
    storage, alice, path = HostileFs(), Attacker(), secret()
    (alice.directory / 'link').symlink_to(storage.point / 'x')
    watch = Watch(path)
    for what in ({}, {'type': 'symlink', 'target': path}, {'type': 'block', 'device': 0x0100}, {'hang': 'all'}):
        storage.be(**what)
        begin = time.monotonic()
        for given in (storage.point / 'x', storage.point, storage.point / 'x/y', alice.directory / 'link'):
            for mode in MODES:
                equal((given, alice.gets(given, mode)), (given, {'AccessDenied'}))
        assert time.monotonic() - begin < TIMEOUT, 'the service has waited for it'
    watch.nothing()
    # Her descriptor is not to be opened anew by anybody else either.
    storage.be()
    holder = has_open(storage.point / 'x', os.O_RDWR)
    with fails('AccessDenied', contains='/vda'):
        alice.new.RegisterResourceFd('disk', '/vda', passed_by(*holder), 'exclusive', {})
    served(temp_dir())
    alice.has_nothing_else()


@test
def mount_in_a_namespace_of_hers():
    """There she may allow others without asking anybody; those are the others of her namespace."""
    alice, directory = Attacker(), temp_dir('alice')
    (directory / 'control').write_text('')
    let_users_mount()
    program = test_program('hostile-fs', 'hostile')
    process = in_user_namespace(f'mkdir {directory}/mnt',
                                then=f'exec {program} {directory}/control {directory}/mnt allow_other')
    hers = f'/proc/{process.pid}/root{directory}/mnt/x'
    equal(alice.gets(hers, 'readonly'), {'InvalidArgs'})
    equal(alice.gets(directory / 'mnt/x', 'readonly'), {'StorageUnavailable'})
    holder = spawn_process('nsenter', '--target', str(process.pid), '--user', '--mount', '--preserve-credentials', 'sh',
                           '-c', f'exec 5<>{directory}/mnt/x; echo; exec sleep infinity', user='alice',
                           stdout=subprocess.PIPE)
    equal(holder.stdout.readline(), b'\n')
    with fails('AccessDenied', contains='/vda'):
        alice.new.RegisterResourceFd('disk', '/vda', passed_by(holder, 5), 'exclusive', {})
    alice.has_nothing_else()


# --- where she may allow others ---

@test
def what_it_says_it_is():
    """Symlinks into root's places, device nodes, kinds that change from look to look, errors of her choice."""
    storage, alice, path = hostile_fs(), Attacker(), secret()
    device = loop_device(image(temp_dir(on_disk=True)))
    given, watch = storage.point / 'x', Watch(path)
    for what, errors in (
            ({'type': 'directory'}, {'InvalidArgs'}), ({'type': 'fifo'}, {'InvalidArgs'}),
            ({'type': 'socket'}, {'InvalidArgs'}), ({'type': 'char', 'device': 0x010a}, {'InvalidArgs'}),
            ({'type': 'block', 'device': device.stat().st_rdev}, {'AccessDenied'}),
            ({'type': 'symlink', 'target': path}, {'AccessDenied'}),
            ({'type': 'symlink', 'target': f'/proc/self/root{path}'}, {'InvalidArgs'}),
            ({'type': 'symlink', 'target': '/proc/self/maps'}, {'InvalidArgs'}),
            ({'type': 'symlink', 'target': given}, {'InvalidArgs'}),
            ({'type': 'symlink', 'target': ''}, {'InvalidArgs'}),
            ({'type': 'symlink', 'target': '/' + 'x/' * 200 + 'x'}, {'StorageUnavailable'}),
            ({'look': errno.ELOOP}, {'InvalidArgs'}), ({'look': errno.EACCES}, {'AccessDenied'}),
            ({'look': errno.EIO}, {'StorageUnavailable'}), ({'look': errno.ENAMETOOLONG}, {'InvalidArgs'}),
            ({'look': errno.EXDEV}, {'StorageUnavailable', 'InvalidArgs', 'AccessDenied'}),
            ({'look': errno.EAGAIN}, {'StorageUnavailable'}), ({'look': errno.ESTALE}, {'StorageUnavailable'})):
        storage.be(**what)
        for mode in MODES:
            got = alice.gets(given, mode)
            assert got and got <= errors, (what, mode, got)
    watch.nothing()
    equal(service_access(path), [])
    alice.has_nothing_else()
    # Anything at all, as long as it is an answer.
    storage.be(type='flip')
    for _ in range(30):
        for mode in MODES:
            outcome(alice.held.AcquireResource, *disk(given, mode))
            outcome(alice.held.ReleaseResource, 'disk', str(given), {})
    watch.nothing()
    served(temp_dir())


@test
def what_it_becomes_before_the_grant():
    storage, path = hostile_fs(), secret()
    watch, given = Watch(path), storage.point / 'x'
    for what, errors in (
            ({'type': 'symlink', 'target': path}, {'Stale'}), ({'type': 'directory'}, {'Stale'}),
            ({'type': 'fifo'}, {'Stale'}), ({'type': 'char', 'device': 0x010a}, {'Stale'}),
            ({'type': 'block', 'device': 0x0100}, {'Stale'}), ({'inode': 7}, {'Stale'}),
            ({'inode': path.stat().st_ino}, {'Stale'}),
            ({'look': errno.ELOOP}, {'InvalidArgs'}), ({'open': errno.ELOOP}, {'InvalidArgs'}),
            ({'open': errno.EACCES}, {'AccessDenied'}), ({'open': errno.EIO}, {'StorageUnavailable'})):
        for mode in ('exclusive', 'readonly'):
            storage.be()
            alice = Attacker()
            alice.new.RegisterResource(*disk(given, mode))
            storage.be(**what)
            got = outcome(alice.new.Acquire, {})
            assert got in errors, (what, mode, got)
            equal((alice.new.State, service_access(path)), ('new', []))
            alice.held.Shutdown({})
    watch.nothing()


@test
def lies_about_size_and_number():
    """Her file is leased with the scope of her mount, and not taken for another by the number that she gives it."""
    storage, alice, path = hostile_fs(), Attacker(), secret(mode=0o644)
    given = storage.point / 'x'
    storage.be(inode=path.stat().st_ino)
    guest = start_guest([disk(given)], options={'keep': True}, peer=alice.peer)
    equal(guest.Resources[0]['scope'], 'mount')
    start_guest([disk(path)]).Shutdown({})
    for size in (0, 1 << 20, (1 << 63) - 1):
        storage.be(inode=path.stat().st_ino, size=size)
        guest.Inquire({})
        state = guest.Release({})
        assert outcome(guest.Acquire, {'state': state}) in ('', 'Stale'), size
        guest.Acquire({})
    guest.Shutdown({})
    with fails('StorageUnavailable', contains='scope'):
        start_guest([disk(given)], options={'require-scope': 'host'}, peer=alice.peer)


@test
def requests_that_hang():
    storage, alice, healthy = hostile_fs(SHORT_TIMEOUT), Attacker(), temp_dir()
    storage.be()
    given = storage.point / 'x'
    alice.new.RegisterResource(*disk(given))
    (alice.directory / 'link').symlink_to(given)
    for hang in ('look', 'open'):
        storage.be(hang=hang)
        pending = [alice.new.later.Acquire({}), alice.held.later.AcquireResource(*disk(alice.directory / 'link'))]
        served(healthy, SHORT_TIMEOUT)
        for one in pending:
            with fails('StorageUnavailable'):
                one.result(30)
        # Her own disk elsewhere is not in that.
        equal((alice.held.State, lock_on(alice.own, 0)), ('held', 'write'))
        storage.be()
        wait_until(lambda: outcome(alice.new.Release, {}) == '', 'what came too late to be undone', 30)
    # However many she sends there, she keeps one thread.
    storage.be(hang='all')
    guests = [create_guest(peer=alice.peer) for _ in range(20)]
    pending = [guest.later.RegisterResource(*disk(storage.point / f'{number}'))
               for number, guest in enumerate(guests)]
    served(healthy, SHORT_TIMEOUT)
    for one in pending:
        with fails('StorageUnavailable'):
            one.result(30)
    equal(threads_that_hang(), 1)
    guests[0].RegisterResource(*disk(image(alice.directory, 'more.img', 'alice')))
    served(healthy, SHORT_TIMEOUT)
    start_guest([disk(image(temp_dir('carol'), user='carol'))], peer=as_uid('carol'))


@test
def number_of_roots_image():
    """Who is in the way of root is found by the numbers of what processes have open; hers must not be asked about."""
    storage, path = hostile_fs(), secret(mode=0o644)
    storage.be(inode=path.stat().st_ino)
    has_open(storage.point / 'x')
    holder, _ = has_open(path, locks=[NEXT])
    storage.be(inode=path.stat().st_ino, hang='all')
    with fails('Conflict', contains=f'(pid {holder.pid})'):
        start_guest([disk(path)])
    served(path.parent)


@test
def command_line_that_hangs():
    """Who is in the way is named; with his words on a file system that does not answer he is all the same."""
    storage, path = hostile_fs(), secret(mode=0o644)
    holder, _ = has_open(path, locks=[NEXT], words_on=storage.point / 'x')
    storage.be(hang='read')
    with fails('Conflict', contains=f'(pid {holder.pid})'):
        start_guest([disk(path)])
    served(path.parent)


@test
def service_that_starts_meanwhile():
    """What hangs at a start holds it up as long as it has patience with storage, and nothing is lost by that."""
    storage, alice, healthy = hostile_fs(SHORT_TIMEOUT), Attacker(), temp_dir()
    guest = start_guest([disk(image(healthy))], options={'keep': True})
    alice.held.AcquireResource(*disk(storage.point / 'x'))
    storage.be(hang='all')
    begin = time.monotonic()
    restart_service()
    equal((guest.State, alice.held.State), ('held', 'held'))
    assert time.monotonic() - begin < 60
    served(healthy, SHORT_TIMEOUT)


main()
