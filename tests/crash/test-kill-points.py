# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service is killed at each step of everything that takes or gives back: the call repeated gives the right answer,
what was granted is held, what was not is not, and in the end nothing is left behind."""

import errno
import os

from guestlocktest import (
    bus, create_guest, disk, end_process, equal, image, is_locked, main, manager, note, spawn_process, start_guest,
    temp_dir, test, wait_until)
from killpoints import at_every_step, kills
from storagetest import loop_device, resource
from storm import HOST, OWNER, Disk

UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'


def started(point, paths, process=None, mode='exclusive', **options):
    """A guest that is there before anything is killed; and what its grant was."""
    if process:
        options['pid'] = process.pid
    guest = start_guest([disk(path, mode) for path in paths], options=options)
    return guest, guest.Generation


def ended(point, guest, process, paths, generation):
    """The guest's process ends, and its disks are free."""
    end_process(process)
    wait_until(lambda: not any(map(is_locked, paths)), 'the disks to be free', 30)
    for path in paths:
        point.newer(path, generation)


# --- taking ---

def start_two_disks(point):
    process, paths = spawn_process(), [point.image('a'), point.image('b')]
    resources = [disk(path) for path in paths]
    with point.armed():
        path, generation = point.repeat(lambda: manager().StartGuest(UUID, 'web1', resources, {'pid': process.pid}))
        for disk_path in paths:
            point.promise(disk_path)
    guest = bus.guest(path)
    equal((guest.State, guest.Generation, guest.Pid), ('held', generation, process.pid))
    # Once more, after everything.
    equal(manager().StartGuest(UUID, 'web1', resources, {'pid': process.pid}), (path, generation))
    ended(point, guest, process, paths, generation)


def create_register_acquire(point):
    process, path = spawn_process(), point.image()
    with point.armed():
        object_path = point.repeat(lambda: manager().CreateGuest(UUID, 'web1', {}), 'AlreadyExists')
        guest = bus.guest(object_path or point.repeat(lambda: manager().GetGuest(UUID)))
        point.repeat(lambda: guest.RegisterResource(*disk(path)), 'AlreadyRegistered')
        generation = point.repeat(lambda: guest.Acquire({'pid': process.pid}))
        point.promise(path)
    equal((guest.State, guest.Generation), ('held', generation))
    end_process(process)
    wait_until(lambda: guest.State == 'released', 'the guest to be released', 30)
    guest.Free({})
    point.newer(path, generation)


def device(point):
    """With a claim."""
    path = loop_device(image(temp_dir()))
    point.add(path)
    with point.armed():
        object_path, generation = point.repeat(lambda: manager().StartGuest(UUID, 'web1', [disk(path)], {}))
        point.repeat(lambda: bus.guest(object_path).Shutdown({}), 'UnknownObject')
    # The keeper has a second to close it as well.
    wait_until(lambda: not is_claimed(path), 'the device to be free', 30)
    point.newer(path, generation)


def is_claimed(path):
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return True
    return False


def inherit(point):
    process, path = spawn_process(), point.image()
    guest = create_guest(options={'on-lease-lost': 'notify'})
    guest.RegisterResource(*disk(path))
    with point.armed():
        (generation, _), fds = point.repeat(lambda: guest.with_fds.AcquireInherit({'pid': os.getpid()}))
        fds = fds.steal_fds()
        point.promise(path)
    equal((len(fds), guest.State, resource(guest, path)['kept-by']), (1, 'held', 'holder'))
    guest.Release({})
    assert not is_locked(path)
    guest.SetParameter('name', 'still there')
    for fd in fds:
        os.close(fd)
    end_process(process)
    guest_of_ours_is_freed(guest)
    point.newer(path, generation)


def inherit_and_raise(point):
    """The holder keeps the description that the locks were on before."""
    process, path = spawn_process(), point.image()
    guest = create_guest(options={'on-lease-lost': 'notify'})
    guest.RegisterResource(*disk(path, 'readonly'))
    _, fds = guest.with_fds.AcquireInherit({'pid': os.getpid()})
    fds = fds.steal_fds()
    point.promise(path)
    with point.armed():
        generation = point.repeat(lambda: guest.AcquireResource('disk', str(path), 'exclusive', {}))
    wait_until(lambda: Disk(0, path).locks() == [(False, HOST), (True, OWNER)], 'one lease on the disk')
    guest.Release({})
    assert not is_locked(path)
    for fd in fds:
        os.close(fd)
    end_process(process)
    guest_of_ours_is_freed(guest)
    point.newer(path, generation)


def guest_of_ours_is_freed(guest):
    """Its holder is this process, which goes on: the next one takes its place."""
    process = spawn_process()
    guest.Acquire({'register-only': True, 'pid': process.pid})
    end_process(process)
    wait_until(lambda: guest.Pid == 0, 'the end of the holder')
    guest.Free({})


def plug_and_change(point):
    process, first, path = spawn_process(), point.image('first'), point.image('plugged')
    guest, before = started(point, [first], process)
    point.promise(first)
    generations = []
    with point.armed():
        for mode in ('readonly', 'exclusive', 'shared'):
            generations.append(point.repeat(lambda: guest.AcquireResource('disk', str(path), mode, {})))
            point.promise(path)
            equal(resource_now(point, guest, path)['mode'], mode)
    assert before < generations[0] <= generations[1] <= generations[2], (before, generations)
    ended(point, guest, process, [first, path], max(generations))


def resource_now(point, guest, path):
    return point.repeat(lambda: resource(guest, path))


# --- giving back ---

def unplug(point):
    process, first, path = spawn_process(), point.image('first'), point.image('plugged')
    guest, generation = started(point, [first, path], process)
    point.promise(first)
    with point.armed():
        point.repeat(lambda: guest.ReleaseResource('disk', str(path), {}), 'NoSuchResource')
        assert not is_locked(path)
    equal([entry['name'] for entry in guest.Resources], [str(first)])
    point.newer(path, generation)
    ended(point, guest, process, [first], generation)


def release_and_acquire(point):
    process, path = spawn_process(), point.image()
    guest, before = started(point, [path], process)
    with point.armed():
        state = point.repeat(lambda: guest.Release({}))
        assert not is_locked(path)
        equal(point.repeat(lambda: guest.State), 'released')
        generation = point.repeat(lambda: guest.Acquire({'state': state}))
        point.promise(path)
    assert state and generation > before, (state, before, generation)
    ended(point, guest, process, [path], generation)


def shut_down(point):
    process, path = spawn_process(), point.image()
    guest, generation = started(point, [path], process)
    with point.armed():
        point.repeat(lambda: guest.Shutdown({'kill': True}), 'UnknownObject')
        assert not is_locked(path)
    process.wait(40)
    point.newer(path, generation)


def free(point):
    path = point.image()
    guest = create_guest()
    guest.RegisterResource(*disk(path))
    with point.armed():
        point.repeat(lambda: guest.Free({}), 'UnknownObject')
    equal(manager().ListGuests({}), [])


def guest_exits(point):
    """Nobody calls; who comes next has the service started."""
    process, path = spawn_process(), point.image()
    guest, generation = started(point, [path], process)
    with point.armed():
        end_process(process)
        wait_until(lambda: not point.repeat(lambda: manager().ListGuests({})), 'the guest to be gone', 30)
        assert not is_locked(path)
    point.newer(path, generation)


def revoke(point):
    """With the guest killed for it."""
    process, path = spawn_process(), point.image()
    guest, generation = started(point, [path], process, keep=True)
    with point.armed():
        point.repeat(lambda: guest.Revoke('disk', str(path), 'for a test', {'kill': True}), 'NoSuchResource')
        wait_until(lambda: point.repeat(lambda: guest.State) == 'released', 'the guest to be released', 30)
        assert not is_locked(path)
    process.wait(40)
    guest.Free({})
    point.newer(path, generation)


def parameters(point):
    path = point.image()
    guest, generation = started(point, [path])
    with point.armed():
        point.repeat(lambda: guest.SetParameter('name', 'another'))
        point.repeat(lambda: guest.Restrict({}))
        point.promise(path)
    equal((guest.Name, guest.State, guest.Generation), ('another', 'held', generation))
    guest.Shutdown({})


SCENARIOS = (start_two_disks, create_register_acquire, device, inherit, inherit_and_raise, plug_and_change, unplug, release_and_acquire,
             shut_down, free, guest_exits, revoke, parameters)


def killed_at_each_step_of(scenario, **options):
    def run():
        at_every_step(scenario, **options)
    run.__name__ = scenario.__name__ + ''.join('_' + name for name in options)
    test(run)


for each in SCENARIOS:
    killed_at_each_step_of(each)
for each in (start_two_disks, inherit, release_and_acquire):
    killed_at_each_step_of(each, keeper_too=True)


@test
def all_kills():
    note(f'{sum(kills.values())} kills survived at steps: ' + ', '.join(f'{name} {n}' for name, n in kills.items()))


main()
