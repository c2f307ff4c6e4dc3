# SPDX-License-Identifier: LGPL-2.1-or-later
"""AcquireInherit: the holder gets the lock descriptors, and the kernel keeps the locks for as long as he lives."""

import fcntl
import os
import signal
import struct

from gi.repository import GLib

import guestlocktest
from guestlocktest import (
    Signals, as_uid, at_end, disk, end_service, equal, fails, image, is_locked, lock_on, main, restart_service,
    spawn_process, start_guest, start_service, temp_dir, test)
from storagetest import loop_device, resource

OFD_SETLK, FLOCK = 37, 'hhqqi4x'
NEXT = 1 << 62


def inherit(guest, resources=None, **options):
    """What AcquireInherit gives: the generation, and the descriptors, which are ours until the test ends."""
    if resources is not None:
        options['resources'] = GLib.Variant('a(ss)', [('disk', str(path)) for path in resources])
    reply, fds = guest.with_fds.AcquireInherit(options)
    fds = fds.steal_fds() if fds else []
    for fd in fds:
        os.set_inheritable(fd, False)
        at_end(lambda fd=fd: os.close(fd))
    generation, handles = reply
    equal(sorted(handles), list(range(len(fds))))
    return generation, [fds[handle] for handle in handles]


def create_guest(**options):
    """Whose holder is this very script, which nobody is to stop when a lease is lost."""
    return guestlocktest.create_guest(options={'on-lease-lost': 'notify'}, **options)


def is_same_description(fd, path):
    """It can have the lock that nobody else can: it has it already."""
    assert os.path.samestat(os.fstat(fd), os.stat(path))
    try:
        fcntl.fcntl(fd, OFD_SETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
    except BlockingIOError:
        return False
    return True


@test
def locks_outlive_the_service():
    directory = temp_dir()
    paths = [image(directory, f'{number}.img') for number in range(3)]
    guest = create_guest()
    for path in paths:
        guest.RegisterResource(*disk(path))
    generation, fds = inherit(guest, pid=os.getpid())
    equal((guest.State, guest.Generation, len(fds)), ('held', generation, 3))
    for fd, path in zip(fds, paths):
        assert is_same_description(fd, path)
        equal(resource(guest, path)['kept-by'], 'holder')
    end_service(signal.SIGKILL)
    assert all(is_locked(path) for path in paths)
    start_service()
    equal((guest.State, guest.Generation), ('held', generation))
    equal([entry['kept-by'] for entry in guest.Resources], ['holder'] * 3)
    # On the very description that the holder has: what is given back is unlocked, although he has it still.
    guest.ReleaseResource('disk', str(paths[0]), {})
    equal([is_locked(path) for path in paths], [False, True, True])
    guest.Release({})
    assert not any(is_locked(path) for path in paths)


@test
def asked_again():
    path = image(temp_dir())
    guest = create_guest()
    guest.RegisterResource(*disk(path))
    first, [fd] = inherit(guest, pid=os.getpid())
    restart_service()
    again, [other] = inherit(guest, [path], pid=os.getpid())
    equal(first, again)
    assert is_same_description(fd, path) and is_same_description(other, path)


@test
def announced_before_it_is_answered():
    guest = create_guest()
    guest.RegisterResource(*disk(image(temp_dir())))
    guest.Acquire({'pid': os.getpid()})
    signals = Signals(path=guest.path, properties=True)
    inherit(guest)
    equal([(member, arguments[2]) for _, member, arguments in signals.so_far()], [('PropertiesChanged', ['Resources'])])
    inherit(guest)
    equal(signals.so_far(), [])


@test
def some_of_them():
    directory = temp_dir()
    paths = [image(directory, f'{number}.img') for number in range(17)]
    guest = create_guest()
    for path in paths:
        guest.RegisterResource(*disk(path))
    with fails('LimitExceeded', contains='17'):
        inherit(guest)
    equal((guest.State, is_locked(paths[0])), ('new', False))
    with fails('NoSuchResource', contains='/nowhere'):
        inherit(guest, ['/nowhere'])
    with fails('InvalidArgs', contains='twice'):
        inherit(guest, [paths[0], paths[0]])
    equal(guest.State, 'new')
    generation, fds = inherit(guest, [paths[5], paths[2]])
    assert os.path.samestat(os.fstat(fds[0]), os.stat(paths[5])) and os.path.samestat(os.fstat(fds[1]), os.stat(paths[2]))
    assert all(is_locked(path) for path in paths)
    equal(inherit(guest, []), (generation, []))
    # Unbound: nobody's life is bound to it.
    equal(resource(guest, paths[5])['kept-by'] == 'holder', False)


@test
def of_a_user():
    """He gets what he has brought himself, and no descriptor that the service has opened for him."""
    directory = temp_dir('alice')
    path, own, secret = (image(directory, name, 'alice') for name in ('by-path.img', 'own.img', 'roots.img'))
    guest = create_guest(peer=as_uid('alice'))
    guest.RegisterResource(*disk(path))
    fd = os.open(own, os.O_RDWR | os.O_CLOEXEC)
    at_end(lambda: os.close(fd))
    guest.RegisterResourceFd('disk', str(own), fd, 'exclusive', {})
    with fails('AccessDenied', contains=str(path)):
        inherit(guest, [path])
    equal(guest.State, 'new')
    _, fds = inherit(guest, pid=spawn_process(user='alice').pid)
    equal(len(fds), 1)
    assert is_same_description(fds[0], own)
    equal([entry['kept-by'] for entry in guest.Resources][1], 'holder')
    # Nor does anybody get what is hers.
    with fails('InteractiveAuthorizationRequired'):
        as_uid('bob').guest(guest.path).AcquireInherit({})


@test
def options_are_checked():
    guest = create_guest()
    for options in ({'resources': 'x'}, {'resources': GLib.Variant('as', ['x'])}, {'resource': 1},
                    {'resources': GLib.Variant('a(ss)', [('disc', '/x')])},
                    {'resources': GLib.Variant('a(ss)', [('disk', 'x')])}):
        with fails('InvalidArgs'):
            guest.AcquireInherit(options)
    equal(guest.AcquireInherit({})[1], [])


@test
def claims_stay_with_the_service():
    device = loop_device(image(temp_dir()))
    guest = create_guest()
    guest.RegisterResource(*disk(device))
    _, fds = inherit(guest, pid=os.getpid())
    equal(len(fds), 1)
    guest.Release({})
    os.close(os.open(device, os.O_RDONLY | os.O_EXCL))


@test
def raised():
    """A descriptor that is open for reading cannot have a write lock: then the holder has nothing any more."""
    path = image(temp_dir())
    guest = create_guest()
    guest.RegisterResource(*disk(path, 'readonly'))
    inherit(guest, pid=os.getpid())
    equal(resource(guest, path)['kept-by'], 'holder')
    guest.AcquireResource(*disk(path))
    assert resource(guest, path)['kept-by'] != 'holder'
    equal(lock_on(path, 0), 'write')
    _, [fd] = inherit(guest)
    assert is_same_description(fd, path)
    equal(resource(guest, path)['kept-by'], 'holder')


@test
def a_holder_who_unlocks():
    """The service's table still keeps others out."""
    path = image(temp_dir())
    guest = create_guest()
    guest.RegisterResource(*disk(path))
    _, [fd] = inherit(guest, pid=os.getpid())
    fcntl.fcntl(fd, OFD_SETLK, struct.pack(FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
    assert not is_locked(path)
    with fails('Conflict', contains=guest.Uuid):
        start_guest([disk(path)])


main()
