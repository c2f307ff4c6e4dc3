# SPDX-License-Identifier: LGPL-2.1-or-later
"""A second kill while the service comes back; and the keeper killed at each step of what the service does, which goes on
without it."""

import os
import signal

from guestlocktest import (
    RUNTIME_DIR, create_guest, disk, end_process, end_service, equal, image, is_locked, main,
    manager, note, spawn_process, start_guest, start_service, temp_dir, test, wait_until)
from killpoints import KEEPER, at_every_step, kills
from storagetest import loop_device
from tables import kept


def inherited(point, process, path):
    """Its holder is this process, and has the lock."""
    guest = create_guest('inherited', {'on-lease-lost': 'notify'})
    guest.RegisterResource(*disk(path))
    _, fds = guest.with_fds.AcquireInherit({'pid': os.getpid()})
    return guest, fds.steal_fds()


def end_inherited(guest, fds, process):
    guest.Release({})
    for fd in fds:
        os.close(fd)
    # This process goes on: another one takes its place.
    guest.Acquire({'register-only': True, 'pid': process.pid})
    end_process(process)
    wait_until(lambda: guest.Pid == 0, 'the end of the holder')
    guest.Free({})


def everything_of(guests):
    """But for what the keeper has, which is looked at there: it may be slow, and then the service says so."""
    return [(guest.State, guest.Generation, guest.Pid,
             [entry | {'kept-by': entry['kept-by'] == 'holder'} for entry in guest.Resources]) for guest in guests]


def comes_back(point):
    """With guests of every kind: one that lives, one without a process, one that has inherited, a device, one that died
    meanwhile, and a state file that is half written."""
    paths = [point.image(name) for name in ('kept', 'unbound', 'inherited', 'dead')]
    device = loop_device(image(temp_dir()))
    point.add(device)
    process, dead, substitute = spawn_process(), spawn_process(), spawn_process()
    guests = [start_guest([disk(paths[0]), disk(device)], 'kept', {'pid': process.pid}),
              start_guest([disk(paths[1], 'shared')], 'unbound')]
    heir, fds = inherited(point, substitute, paths[2])
    guests.append(heir)
    start_guest([disk(paths[3])], 'dead', {'pid': dead.pid})
    before, held = everything_of(guests), [*paths[:3], device]
    end_service(signal.SIGKILL)
    end_process(dead)
    (RUNTIME_DIR / 'guests/.tmp-half').write_text('half')
    for path in held:
        point.promise(path)
    with point.armed():
        point.repeat(start_service)
        point.repeat(lambda: manager().ListGuests({}))
        wait_until(lambda: point.repeat(lambda: manager().NLeases) == 4, 'the dead one to be released', 30)
    equal(everything_of(guests), before)
    wait_until(lambda: kept(point.disks) >= {0, 1, 4}, 'a keeper to have what no holder has', 30)
    equal([path.name for path in (RUNTIME_DIR / 'guests').iterdir() if path.name.startswith('.')], [])
    assert all(map(is_locked, held)) and not is_locked(paths[3])
    end_inherited(heir, fds, substitute)
    end_process(process)
    guests[1].Shutdown({})
    wait_until(lambda: not any(map(is_locked, held)), 'the disks to be free', 30)
    point.newer(paths[3], before[0][1])


def keeper_dies(point):
    """The service notices, answers as ever, and has another one keep everything."""
    paths, process = [point.image(name) for name in ('first', 'plugged')], spawn_process()
    with point.armed():
        guest = start_guest([disk(paths[0])], options={'pid': process.pid})
        for mode in ('readonly', 'exclusive', 'shared'):
            guest.AcquireResource('disk', str(paths[1]), mode, {})
        generation = guest.Generation
    assert all(map(is_locked, paths))
    wait_until(lambda: kept(point.disks) == {0, 1}, 'a keeper to have both', 30)
    end_service(signal.SIGKILL)
    assert all(map(is_locked, paths)), 'what was granted is not locked any more'
    equal((guest.State, guest.Generation), ('held', generation))
    with point.armed():
        guest.ReleaseResource('disk', str(paths[1]), {})
        assert not is_locked(paths[1])
        end_process(process)
        wait_until(lambda: not is_locked(paths[0]), 'the disk to be free', 30)
    wait_until(lambda: not kept(point.disks), 'the keeper to have nothing', 30)
    for path in paths:
        point.newer(path, generation)


def keeper_dies_while_the_service_comes_back(point):
    path, process = point.image(), spawn_process()
    guest = start_guest([disk(path)], options={'pid': process.pid})
    before = everything_of([guest])[0][:3]
    end_service(signal.SIGKILL)
    with point.armed():
        start_service()
        equal(everything_of([guest])[0][:3], before)
    wait_until(lambda: kept(point.disks) == {0}, 'a keeper to have it', 30)
    assert is_locked(path)
    end_process(process)
    wait_until(lambda: not is_locked(path), 'the disk to be free', 30)
    point.newer(path, before[1])


@test
def service_that_comes_back():
    at_every_step(comes_back)


@test
def service_that_comes_back_without_its_keeper():
    at_every_step(comes_back, keeper_too=True)


@test
def keeper():
    at_every_step(keeper_dies, KEEPER)


@test
def keeper_while_the_service_comes_back():
    at_every_step(keeper_dies_while_the_service_comes_back, KEEPER)


@test
def all_kills():
    note(f'{sum(kills.values())} kills survived at steps: ' + ', '.join(f'{name} {n}' for name, n in kills.items()))


main()
