# SPDX-License-Identifier: LGPL-2.1-or-later
"""Storage that hangs stalls its own guests and nobody else's, and what comes too late is undone."""

import os
import signal
import statistics
import time

from gi.repository import GLib

from guestlocktest import (
    NAME, Signals, configure, create_guest, disk, end_process, equal, fails, has_owner, image, is_locked, main, manager,
    note, restart_service, run, service_pid, spawn_process, start_guest, start_service, temp_dir, test, wait_until)
from storagetest import SlowFs, holder, loop_device, mounted_ext4, must_run, resource

TIMEOUT = 2.0
# So long that much can be done before it is over, also where many other things are done.
LONG = 30


def hanging_mount(patience=TIMEOUT):
    """A healthy one so far, and a service that loses its patience soon."""
    configure(f'[limits]\nStorageTimeoutSec={patience:.0f}\n')
    return SlowFs()


class ends_in_time:
    """What is inside takes as long as the service has patience (and what this machine takes), not for ever."""

    def __enter__(self):
        self.begin = time.monotonic()
        return self

    def __exit__(self, *error):
        self.took = time.monotonic() - self.begin
        if error[0] is None:
            assert TIMEOUT * 0.9 < self.took < TIMEOUT * 15, f'took {self.took:.2f} s'


def serve_others(directory, until):
    """Starts and ends guests on healthy storage until something is so, and gives how long each has taken."""
    path, took = image(directory, 'healthy.img'), []
    while not until():
        begin = time.monotonic()
        start_guest([disk(path)], name='healthy').Shutdown({})
        took.append(time.monotonic() - begin)
    note(f'meanwhile {len(took)} guests were served, the slowest in {max(took, default=0) * 1000:.0f} ms')
    return took


def forget_caches(device, point):
    """Has the file system read what it needs from the device anew."""
    # What the service has looked at may be closed on a thread.
    wait_until(lambda: run('umount', str(point)).returncode == 0, f'{point} to be unmounted')
    must_run('blockdev', '--flushbufs', device)
    must_run('mount', device, point)


@test
def register_on_a_mount_that_hangs():
    storage, healthy = hanging_mount(), temp_dir()
    path = storage.point / image(storage.below).name
    guest = create_guest('stalled')
    start_guest([disk(image(healthy))]).Shutdown({})
    storage.be('hang')
    with ends_in_time():
        pending = guest.later.RegisterResource(*disk(path))
        serve_others(healthy, lambda: pending.done)
    with fails('StorageUnavailable', contains=str(path)):
        pending.result()
    equal(guest.Resources, [])
    storage.be('ok')
    guest.RegisterResource(*disk(path))
    guest.Acquire({})
    equal(resource(guest, path)['scope'], 'mount')


def links_to(storage, path, healthy):
    """A symbolic link on healthy storage, and a way through one and back."""
    (storage.below / 'sub').mkdir()
    links = [healthy / 'link', healthy / 'way' / path.name, healthy / 'way' / 'sub' / '..' / path.name]
    links[0].symlink_to(storage.point / path.name)
    (healthy / 'way').symlink_to(storage.point)
    return links


@test
def others_are_served_meanwhile():
    """As fast as when nothing hangs. The two take turns, so that what else this machine does slows both."""
    storage, healthy = hanging_mount(LONG), temp_dir()
    path = image(storage.below)
    stalled = [storage.point / path.name, *links_to(storage, path, healthy)]
    meanwhile, usual = [], []
    for _ in range(10):
        guests = [create_guest('stalled') for _ in stalled]
        storage.be('hang')
        pending = [guest.later.RegisterResource(*disk(name)) for guest, name in zip(guests, stalled)]
        meanwhile += serve_others(healthy, turns(10))
        assert not any(call.done for call in pending)
        storage.be('ok')
        for call, guest in zip(pending, guests):
            call.result()
            guest.Free({})
        usual += serve_others(healthy, turns(10))
    # Neither are all of them slower, nor is one now and then held up for long; moments of other load are in both.
    assert statistics.quantiles(meanwhile)[0] < 3 * statistics.median(usual) + 0.002, (meanwhile, usual)
    assert statistics.mean(meanwhile) < 3 * statistics.mean(usual) + 0.05, (meanwhile, usual)


def turns(n):
    """For serve_others(): until it has served so many."""
    left = iter(range(n))
    return lambda: next(left, None) is None


@test
def acquire_on_a_mount_that_hangs():
    storage = hanging_mount()
    path = storage.point / image(storage.below).name
    guest, late = create_guest('early'), create_guest('late')
    for one in (guest, late):
        one.RegisterResource(*disk(path))
    storage.be('hang')
    with ends_in_time(), fails('StorageUnavailable', contains=str(path)):
        guest.Acquire({})
    equal((guest.State, resource(guest, path)['state']), ('new', 'registered'))
    # Nobody knows yet who has it; whoever wants it now hears why.
    with ends_in_time(), fails('StorageUnavailable', contains='has not answered for 2 s'):
        late.Acquire({})
    signals = Signals()
    storage.be('ok')
    # The one that came too late is undone, and nobody hears of it.
    equal(late.Acquire({'wait-ms': 60000}), late.Generation)
    equal((guest.State, late.State), ('new', 'held'))
    equal(signals.expect('LeasesAcquired', late.path)[1], [('disk', str(path), 'exclusive')])
    signals.nothing_else()


@test
def late_success_is_undone_on_healthy_storage_too():
    """Of a set of which a part hangs, the rest is locked meanwhile, and not any more when the hanging is over."""
    storage, healthy = hanging_mount(), image(temp_dir())
    path = storage.point / image(storage.below).name
    guest = create_guest()
    guest.RegisterResource(*disk(path))
    guest.RegisterResource(*disk(healthy))
    storage.be('hang')
    with ends_in_time(), fails('StorageUnavailable', contains=str(path)):
        guest.Acquire({})
    equal((guest.State, manager().NLeases), ('new', 0))
    storage.be('ok')
    wait_until(lambda: not is_locked(healthy), 'the lock to be given back')
    equal((guest.State, resource(guest, healthy)['state']), ('new', 'registered'))
    start_guest([disk(healthy), disk(path)])


@test
def late_success_is_undone_on_a_loop_device():
    """Whose storage hangs, while the file system on it is as any other and has real locks."""
    storage = hanging_mount()
    device = loop_device(storage.point / image(storage.below, size=16 << 20).name)
    point = mounted_ext4(device)
    path = image(point)
    guest = create_guest()
    guest.RegisterResource(*disk(path))
    forget_caches(device, point)
    storage.be('hang')
    with ends_in_time(), fails('StorageUnavailable', contains=str(path)):
        guest.Acquire({})
    storage.be('ok')
    # Which cannot be had while a description of the guest's has it locked.
    other = start_guest([disk(path)], options={'wait-ms': 60000})
    equal((guest.State, resource(guest, path)['state']), ('new', 'registered'))
    assert is_locked(path)
    other.Shutdown({})
    assert not is_locked(path)


@test
def link_on_healthy_storage():
    """A symbolic link, and a way through it and back, stall nobody but who follows it."""
    storage, healthy = hanging_mount(), temp_dir()
    links = links_to(storage, image(storage.below), healthy)
    guests = [create_guest(f'stalled{number}') for number in range(len(links))]
    storage.be('hang')
    pending = [guest.later.RegisterResource(*disk(link)) for guest, link in zip(guests, links)]
    serve_others(healthy, lambda: all(call.done for call in pending))
    for call, link in zip(pending, links):
        with fails('StorageUnavailable', contains=str(link)):
            call.result()


@test
def give_back_on_a_mount_that_hangs():
    storage = hanging_mount()
    paths = [storage.point / image(storage.below, name).name for name in ('one', 'two')]
    first, second = [start_guest([disk(path)], name=path.name, options={'keep': True}) for path in paths]
    storage.be('hang')
    calls = [first.later.Release({}), second.later.Shutdown({})]
    serve_others(temp_dir(), lambda: all(call.done for call in calls))
    for call in calls:
        with fails('StorageUnavailable'):
            call.result()
    assert {first.State, second.State} <= {'held', 'released'}
    storage.be('ok')
    # They may be repeated.
    first.Release({})
    second.Shutdown({})
    equal((first.State, second.State), ('released', 'released'))
    start_guest([disk(path) for path in paths])


@test
def guest_that_dies_on_a_mount_that_hangs():
    storage = hanging_mount()
    path = storage.point / image(storage.below).name
    process = spawn_process()
    guest = start_guest([disk(path)], name='dying', options={'pid': process.pid, 'keep': True})
    signals = Signals(path=guest.path)
    storage.be('hang')
    end_process(process)
    wait_until(lambda: guest.Pid == 0, 'the service to see that the guest has exited')
    end = time.monotonic() + TIMEOUT * 1.2
    serve_others(temp_dir(), lambda: time.monotonic() > end)
    storage.be('ok')
    equal(signals.expect('LeasesReleased'), ('guest-exited', [('disk', str(path))]))
    start_guest([disk(path)])


@test
def service_is_restarted_while_storage_hangs():
    """Its process cannot go before the storage answers; its name and what it had locked elsewhere do."""
    storage, healthy = hanging_mount(), temp_dir()
    path, process = image(healthy), spawn_process()
    guest = start_guest([disk(path)], options={'pid': process.pid})
    stalled = create_guest('stalled')
    hanging = storage.point / image(storage.below).name
    storage.be('hang')
    with fails('StorageUnavailable'):
        stalled.RegisterResource(*disk(hanging))
    before = service_pid()
    os.kill(before, signal.SIGTERM)
    wait_until(lambda: not has_owner(NAME), 'the name of the service to be free')
    assert start_service() != before
    equal((guest.State, guest.Origin, guest.Pid), ('held', 'adopted', process.pid))
    assert is_locked(path)
    with fails('Conflict', contains=holder(guest, path)):
        start_guest([disk(path)])


@test
def lockspace_directory_that_hangs():
    """No disk can be leased, and nothing else is stalled: what needs no lock file is granted and given back."""
    storage, healthy = SlowFs(), temp_dir()
    (storage.below / 'lockspace').mkdir(0o700)

    def patient(seconds):
        configure(f'[guestlock]\nLockspaceDirectory={storage.point}/lockspace\n'
                  f'[limits]\nStorageTimeoutSec={seconds:.0f}\n')
    patient(LONG)
    path, leases = image(healthy), image(healthy, 'leases')
    of_leases = create_guest('of-leases')
    of_leases.RegisterResource('lease', 'a', 'exclusive', {'path': str(leases), 'offset': GLib.Variant('t', 4096)})
    stalled = create_guest('stalled')
    stalled.RegisterResource(*disk(path))
    storage.be('hang')
    pending = stalled.later.Acquire({})
    for _ in range(50):
        of_leases.Acquire({})
        of_leases.Release({})
    assert not pending.done
    storage.be('ok')
    # Now that it can be seen: locks on FUSE are none to be relied on.
    with fails('StorageUnavailable', contains=['lockspace', 'FUSE']):
        pending.result()
    patient(TIMEOUT)
    restart_service()
    equal(stalled.State, 'new')
    storage.be('hang')
    with ends_in_time(), fails('StorageUnavailable', contains=str(path)):
        stalled.Acquire({})
    equal(stalled.State, 'new')
    assert not is_locked(path)
    storage.be('ok')
    with fails('StorageUnavailable', contains=['lockspace', 'FUSE']):
        stalled.Acquire({})


main()
