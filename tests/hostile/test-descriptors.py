# SPDX-License-Identifier: LGPL-2.1-or-later
"""alice passes descriptors: of what is no disk, with less access than she asks for, of what changes afterwards. What
she could only read the service never has open for writing, which its own descriptors show."""

import ctypes
import fcntl
import os
import socket

from guestlocktest import (
    as_uid, at_end, create_guest, disk, equal, fails, image, lock_on, main, manager, restart_service, spawn_process,
    start_guest, temp_dir, test)
from filetest import (
    MODES, WRITABLE, Attacker, Watch, lock_byte, n_descriptors, opened, opened_as, outcome, secret, service_access,
    wait_for_keeper)

libc = ctypes.CDLL(None, use_errno=True)


def kept(fd):
    assert fd >= 0, os.strerror(ctypes.get_errno())
    at_end(lambda: os.close(fd))
    return fd


def gets(alice, fd, mode):
    """What a descriptor gets alice, at registration and at hotplug."""
    return {outcome(alice.new.RegisterResourceFd, 'disk', '/vda', fd, mode, {}),
            outcome(alice.held.AcquireResourceFd, 'disk', '/vda', fd, mode, {})}


# --- what is no disk ---

def things():
    """Descriptors of all kinds, each with its name."""
    directory = temp_dir()
    os.mkfifo(directory / 'fifo')
    ends, pipe, pty = socket.socketpair(), os.pipe(), os.openpty()
    process = spawn_process(user='alice')
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / 'socket'))
    for end in (*ends, listener):
        at_end(end.close)
    for fd in (*pipe, *pty):
        kept(fd)
    return {
        'directory': opened(directory, os.O_RDONLY), 'FIFO': opened(directory / 'fifo'), 'pipe': pipe[0],
        "a pipe's other end": pipe[1], 'socket': ends[0].fileno(), 'listening socket': listener.fileno(),
        'socket in the file system': opened(directory / 'socket', os.O_PATH), 'terminal': pty[1],
        'pseudo terminal': pty[0], '/dev/null': opened('/dev/null'), '/dev/zero': opened('/dev/zero'),
        'pidfd': kept(os.pidfd_open(process.pid)), 'eventfd': kept(os.eventfd(0)),
        'epoll': kept(libc.epoll_create1(0)), 'timerfd': kept(libc.timerfd_create(1, 0)),
        'inotify': kept(libc.inotify_init()), 'mount namespace': opened('/proc/self/ns/mnt', os.O_RDONLY),
        '/proc': opened('/proc/self/status', os.O_RDONLY), '/proc for writing': opened('/proc/self/oom_score_adj'),
        '/sys': opened('/sys/kernel/uevent_seqnum', os.O_RDONLY),
        'memory of a process': opened(f'/proc/{process.pid}/mem'),
    }


@test
def what_is_no_disk():
    alice, descriptors = Attacker(), things()
    # What the start of the service has open for a moment may be among them.
    before = n_descriptors()
    for name, fd in descriptors.items():
        # One that cannot be written to is refused for that, where writing is wanted.
        for mode in WRITABLE:
            assert gets(alice, fd, mode) in ({'InvalidArgs'}, {'AccessDenied'}), name
        equal((name, gets(alice, fd, 'readonly')), (name, {'InvalidArgs'}))
    assert n_descriptors() <= before, (n_descriptors(), before)
    alice.has_nothing_else()


@test
def descriptors_without_access():
    """O_PATH proves nothing: anybody gets it of any file whose directory he may search."""
    alice, path = Attacker(), secret()
    watch = Watch(path)
    for name, flags in (('nothing', os.O_PATH), ('nothing, of the link', os.O_PATH | os.O_NOFOLLOW)):
        fd = opened_as('alice', path, flags)
        for mode in MODES:
            equal((name, gets(alice, fd, mode)), (name, {'InvalidArgs'}))
    # Access mode 3 opens for ioctl() alone.
    for flags in (os.O_WRONLY, os.O_WRONLY | os.O_APPEND, 3):
        fd = opened_as('alice', alice.own, flags)
        for mode in MODES:
            equal(gets(alice, fd, mode), {'InvalidArgs'})
    watch.nothing()
    alice.has_nothing_else()


# --- files that are nobody else's ---

@test
def files_without_a_name():
    """Memory, temporary files, deleted ones: regular files, leased as any other, and nobody else is hurt by that."""
    directory = temp_dir('alice')
    memory = kept(os.memfd_create('disk', os.MFD_ALLOW_SEALING))
    sealed = kept(os.memfd_create('sealed', os.MFD_ALLOW_SEALING))
    os.truncate(sealed, 4096)
    fcntl.fcntl(sealed, 1033, 0xf)
    unnamed = kept(os.open(directory, os.O_TMPFILE | os.O_RDWR))
    deleted = opened(image(directory, 'deleted.img', 'alice'))
    (directory / 'deleted.img').unlink()
    append = opened_as('alice', image(directory, 'append.img', 'alice'), os.O_RDWR | os.O_APPEND)
    guest = create_guest(peer=as_uid('alice'))
    for name, fd in (('memory', memory), ('sealed', sealed), ('unnamed', unnamed), ('deleted', deleted),
                     ('append', append)):
        guest.RegisterResourceFd('disk', f'/{name}', fd, 'exclusive', {})
    guest.Acquire({})
    equal([(resource['state'], resource['scope']) for resource in guest.Resources], [('held', 'host')] * 5)
    for fd in (memory, unnamed, deleted, append):
        equal(lock_on(f'/proc/self/fd/{fd}', 0), 'write')
    # What cannot be found again after a restart keeps its place, and its guest goes on.
    restart_service()
    equal((guest.State, len(guest.Resources)), ('held', 5))
    equal(lock_on(f'/proc/self/fd/{append}', 0), 'write')
    guest.Release({})
    guest.Free({})
    equal(manager().NLeases, 0)


@test
def deleted_file_and_one_that_took_its_name():
    """After a restart the name "…/disk.img (deleted)" may lead to something, and that is not the disk."""
    alice, directory = as_uid('alice'), temp_dir('alice')
    path, victim = image(directory, user='alice'), secret(mode=0o644)
    fd = opened(path)
    path.unlink()
    guest = create_guest(peer=alice)
    guest.RegisterResourceFd('disk', '/vda', fd, 'exclusive', {})
    guest.Acquire({})
    (directory / 'disk.img (deleted)').symlink_to(victim)
    watch = Watch(victim)
    restart_service()
    watch.nothing()
    equal((guest.State, service_access(victim)), ('held', []))
    start_guest([disk(victim)])


# --- no more access than the descriptor has ---

def only_read(guest, path):
    # The state first: a service that has just started answers when it has everything back.
    expected = {'read'} if guest.State == 'held' else set()
    equal(set(service_access(path)) - {'path'}, expected)


@test
def read_only_descriptors():
    """alice may read root's file, and nothing makes the service open it for writing."""
    alice, path = Attacker(), secret(mode=0o644)
    fd = opened_as('alice', path, os.O_RDONLY)
    for guest, method in ((alice.new, 'RegisterResourceFd'), (alice.held, 'AcquireResourceFd')):
        for mode in WRITABLE:
            with fails('AccessDenied', contains='/vda'):
                getattr(guest, method)('disk', '/vda', fd, mode, {})
            equal(service_access(path), [])
    guest = alice.new
    guest.RegisterResourceFd('disk', '/vda', fd, 'readonly', {})
    only_read(guest, path)
    guest.Acquire({})
    only_read(guest, path)
    (alice.directory / 'link').symlink_to(path)
    for round in range(2):
        for mode in WRITABLE:
            for raise_ in (lambda: guest.AcquireResourceFd('disk', '/vda', fd, mode, {}),
                           lambda: guest.AcquireResourceFd('disk', str(path), fd, mode, {}),
                           lambda: guest.AcquireResource(*disk(path, mode)),
                           lambda: guest.AcquireResource(*disk(alice.directory / 'link', mode))):
                with fails('AccessDenied'):
                    raise_()
                only_read(guest, path)
        state = guest.Release({})
        for mode in WRITABLE:
            with fails('AccessDenied'):
                guest.AcquireResourceFd('disk', '/vda', fd, mode, {})
        guest.Acquire({'state': state})
        only_read(guest, path)
        # And again, when the service has it from its state file.
        restart_service()
        only_read(guest, path)


@test
def what_was_registered_counts():
    """Her own file, passed read-only: that she may write to it by its name does not make that descriptor more."""
    alice = Attacker()
    path = image(alice.directory, 'passed.img', 'alice')
    alice.new.RegisterResourceFd('disk', '/vda', opened_as('alice', path, os.O_RDONLY), 'readonly', {})
    alice.new.Acquire({})
    for mode in WRITABLE:
        with fails('AccessDenied', contains='read-only descriptor'):
            alice.new.AcquireResource(*disk(path, mode))
        only_read(alice.new, path)


@test
def flags_that_change_afterwards():
    """The description is alice's: what she does to it is hers to bear."""
    alice, path = Attacker(), secret(mode=0o644)
    fd = opened_as('alice', path, os.O_RDONLY)
    alice.new.RegisterResourceFd('disk', '/vda', fd, 'readonly', {})
    # The access mode is not among what can be changed; nor is the number that she has of use to the service.
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_RDWR | os.O_APPEND | os.O_NONBLOCK)
    other = secret(mode=0o644)
    replacement = os.open(other, os.O_RDWR)
    os.dup2(replacement, fd)
    os.close(replacement)
    watch = Watch(other)
    alice.new.Acquire({})
    only_read(alice.new, path)
    watch.nothing()
    equal(service_access(other), [])


@test
def descriptor_that_root_made_for_her():
    """A writable one is the permission, also where the file's mode gives her none; a name is not."""
    path = secret()
    guest = create_guest(peer=as_uid('alice'))
    guest.RegisterResourceFd('disk', '/vda', opened(path), 'readonly', {})
    guest.Acquire({})
    only_read(guest, path)
    for mode in MODES:
        with fails('AccessDenied'):
            guest.AcquireResource(*disk(path, mode))
    guest.AcquireResourceFd('disk', '/vda', opened(path), 'exclusive', {})
    equal(set(service_access(path)), {'path', 'write'})
    # A new guest of hers has nothing of it.
    with fails('AccessDenied'):
        start_guest([disk(path, 'readonly')], peer=guest.peer)


@test
def locks_on_a_descriptor_that_was_passed():
    """They stay hers: the service neither keeps nor drops them, and closing it is the end of them."""
    alice, path = as_uid('alice'), image(temp_dir('alice'), user='alice')
    fd = os.open(path, os.O_RDWR)
    lock_byte(fd, 0)
    guest = create_guest(peer=alice)
    guest.RegisterResourceFd('disk', '/vda', fd, 'exclusive', {})
    with fails('Conflict', contains=str(os.getpid())):
        guest.Acquire({})
    equal(lock_on(path, 0), 'write')
    os.close(fd)
    equal(lock_on(path, 0), None)
    guest.Acquire({})


# --- a path that is looked at with root's eyes ---

@test
def what_is_behind_a_symlink_is_not_told():
    """After a restart the service looks for what came as a descriptor where it was, as root. alice, who puts a symlink
    there, does not hear from that what exists where she may not look."""
    closed = temp_dir()
    path = secret(closed)
    closed.chmod(0o700)
    told = []
    for target in (path, closed / 'absent', closed):
        directory = temp_dir('alice')
        own = image(directory, user='alice')
        fd = opened(own)
        guest = create_guest(peer=as_uid('alice'))
        guest.RegisterResourceFd('disk', '/vda', fd, 'exclusive', {})
        guest.Acquire({})
        wait_for_keeper(own)
        own.unlink()
        own.symlink_to(target)
        watch = Watch(path)
        restart_service()
        watch.nothing()
        resource, = guest.Resources
        told.append({key: resource[key] for key in ('state', 'scope', 'scope-reason', 'path-moved')})
        told[-1]['scope-reason'] = told[-1]['scope-reason'].replace(str(directory), '')
    equal(told[1:], [told[0]] * 2)


main()
