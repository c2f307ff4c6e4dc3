# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's life over the bus: every method, what each does to state, kernel locks and properties, and the
signals that go out before the reply."""

import os
import re
import time

from guestlocktest import (
    ROOT, Fd, GLib, Signals, at_end, bus, create_guest, disk, end_process, equal, fails, image, is_locked,
    keeper_is_ready, lock_on, main, manager, spawn_process, start_guest, temp_dir, test, uid_of, wait_until)

GUEST = 'org.guestlock1.Guest'
UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
OTHER = '00000000-0000-4000-8000-000000000001'
NEXT = 1 << 62
LEASE_KEYS = {'generation', 'scope', 'scope-reason', 'since-usec', 'kept-by'}
RESOURCE_KEYS = {'type', 'name', 'mode', 'state', 'driver', 'registered-by', 'path-moved'}


def states(guest):
    return {os.path.basename(resource['name']): (resource['mode'], resource['state']) for resource in guest.Resources}


def locks(*paths):
    return [lock_on(path, 0) for path in paths]


def until_end(fd):
    at_end(lambda: os.close(fd))
    return fd


def opened(path, flags=os.O_RDWR):
    return until_end(os.open(path, flags | os.O_CLOEXEC))


def pidfd(process):
    return until_end(os.pidfd_open(process.pid))


def acquired(guest, generation, *leases):
    return guest.path, 'LeasesAcquired', (generation, [(kind, str(name), mode) for kind, name, mode in leases])


def released(guest, reason, *names):
    return guest.path, 'LeasesReleased', (reason, [('disk', str(name)) for name in names])


def changed(guest, values, *invalidated):
    return guest.path, 'PropertiesChanged', (GUEST, values, list(invalidated))


# --- taking and giving back ---

@test
def acquire_and_release():
    keeper_is_ready()
    directory, process = temp_dir(), spawn_process()
    one, two = image(directory, 'one'), image(directory, 'two')
    guest = create_guest()
    guest.RegisterResource(*disk(one))
    guest.RegisterResource(*disk(two, 'readonly'))
    equal(states(guest), {'one': ('exclusive', 'registered'), 'two': ('readonly', 'registered')})
    equal([set(resource) for resource in guest.Resources], [RESOURCE_KEYS] * 2)
    equal(locks(one, two), [None, None])
    with fails('AlreadyRegistered', contains=str(one)):
        guest.RegisterResource(*disk(one))

    signals, before = Signals(), time.time_ns() // 1000
    generation = guest.Acquire({'pid': process.pid})
    equal(signals.so_far(), [acquired(guest, generation, ('disk', one, 'exclusive'), ('disk', two, 'readonly'))])
    equal((guest.State, guest.Pid, guest.Generation), ('held', process.pid, generation))
    assert before <= guest.AcquiredAt <= time.time_ns() // 1000
    assert generation >= before, 'a generation is at least the clock'
    equal(states(guest), {'one': ('exclusive', 'held'), 'two': ('readonly', 'held')})
    for resource in guest.Resources:
        equal(set(resource), RESOURCE_KEYS | LEASE_KEYS)
        equal((resource['scope'], resource['kept-by'], resource['generation'], resource['registered-by']),
              ('host', 'keeper', generation, 0))
    equal(locks(one, two), ['write', 'read'])
    assert not is_locked(one, NEXT) and not is_locked(one, 100), 'more is locked than has to be'
    equal(manager().NLeases, 2)

    equal(guest.Acquire({'pid': process.pid}), generation)
    equal(guest.Acquire({}), generation)
    signals.nothing_else()
    state = guest.Release({})
    equal(signals.so_far(), [released(guest, 'released', one, two)])
    equal((guest.State, guest.Pid, guest.Generation), ('released', process.pid, generation))
    equal(states(guest), {'one': ('exclusive', 'registered'), 'two': ('readonly', 'registered')})
    equal(locks(one, two), [None, None])
    equal(manager().NLeases, 0)
    equal((guest.Release({}), guest.Inquire({})), (state, state))
    signals.nothing_else()
    assert guest.Acquire({}) > generation


@test
def signals_in_order():
    directory, process = temp_dir(), spawn_process()
    path = image(directory)
    signals = Signals(properties=True)
    guest = create_guest('web1')
    (added_path, added, (added_guest, interfaces)), = signals.so_far()
    equal((added_path, added, added_guest), (ROOT, 'InterfacesAdded', guest.path))
    equal((interfaces[GUEST]['Name'], interfaces[GUEST]['State']), ('web1', 'new'))
    assert 'Resources' not in interfaces[GUEST]

    guest.RegisterResource(*disk(path))
    equal(signals.so_far(), [changed(guest, {}, 'Resources')])
    generation = guest.Acquire({'pid': process.pid})
    equal(signals.so_far(), [
        acquired(guest, generation, disk(path)[:3]),
        changed(guest, {'State': 'held', 'Pid': process.pid, 'Generation': generation,
                        'AcquiredAt': guest.AcquiredAt}, 'Resources')])
    guest.Release({})
    equal(signals.so_far(), [released(guest, 'released', path), changed(guest, {'State': 'released'}, 'Resources')])
    end_process(process)
    wait_until(lambda: signals.seen, 'the end of the process')
    equal(signals.so_far(), [changed(guest, {'Pid': 0})])
    guest.Free({})
    (removed_path, removed, (removed_guest, interfaces)), = signals.so_far()
    equal((removed_path, removed, removed_guest), (ROOT, 'InterfacesRemoved', guest.path))
    assert GUEST in interfaces
    signals.nothing_else()


@test
def modes_beside_each_other():
    directory = temp_dir()
    path = image(directory)
    together = {('shared', 'shared'), ('readonly', 'readonly')}
    for held in ('exclusive', 'shared', 'readonly'):
        holder = start_guest([disk(path, held)], 'holder')
        for asked in ('exclusive', 'shared', 'readonly'):
            if (held, asked) in together:
                start_guest([disk(path, asked)], 'second').Shutdown({})
            else:
                with fails('Conflict', contains=['"holder"', held, str(path)]):
                    start_guest([disk(path, asked)], 'second')
        equal(lock_on(path, 0), 'write' if held == 'exclusive' else 'read')
        holder.Shutdown({})
    equal(lock_on(path, 0), None)


@test
def other_names_of_one_image():
    directory = temp_dir()
    path = image(directory)
    (directory / 'symlink').symlink_to(path)
    os.link(path, directory / 'hardlink')
    process = spawn_process()
    guest = start_guest([disk(path)], 'web1', {'pid': process.pid}, uuid=UUID)
    for other in ('symlink', 'hardlink', '../' + directory.name + '/./disk.img'):
        with fails('Conflict', contains=[f'"{directory}/{other}"', '"web1"', UUID, f'pid {process.pid}', str(path)]):
            start_guest([disk(f'{directory}/{other}')], uuid=OTHER)
    # Within one guest it is one lease.
    with fails('AlreadyRegistered', contains=[str(path), 'symlink']):
        guest.RegisterResource(*disk(directory / 'symlink'))
    equal(guest.AcquireResource(*disk(directory / 'symlink')), guest.Generation)
    equal(len(guest.Resources), 1)


@test
def a_lease_is_not_for_what_the_path_leads_to_later():
    directory = temp_dir()
    link, other = directory / 'link', image(directory, 'other')
    link.symlink_to(image(directory))
    guest = create_guest()
    guest.RegisterResource(*disk(link))
    link.unlink()
    link.symlink_to(other)
    with fails('Stale', contains=str(link)):
        guest.Acquire({})
    equal((guest.State, locks(other, directory / 'disk.img')), ('new', [None, None]))


# --- descriptors, lease files ---

@test
def descriptors():
    directory = temp_dir()
    path, second = image(directory), image(directory, 'second')
    guest = create_guest()
    with fails('AccessDenied', contains='read-only'):
        guest.RegisterResourceFd('disk', '/vda', opened(path, os.O_RDONLY), 'exclusive', {})
    pipe = [until_end(fd) for fd in os.pipe()]
    for fd in (opened(path, os.O_PATH), opened(path, os.O_WRONLY), opened(directory, os.O_RDONLY), *pipe):
        with fails('InvalidArgs'):
            guest.RegisterResourceFd('disk', '/vda', fd, 'readonly', {})
    equal(guest.Resources, [])
    guest.RegisterResourceFd('disk', '/vda', opened(path), 'exclusive', {})
    guest.Acquire({})
    equal(states(guest), {'vda': ('exclusive', 'held')})
    equal(lock_on(path, 0), 'write')
    with fails('Conflict', contains=[str(path), '/vda']):
        start_guest([disk(path)])

    signals = Signals()
    generation = guest.AcquireResourceFd('disk', '/vdb', opened(second, os.O_RDONLY), 'readonly', {})
    equal(signals.so_far(), [acquired(guest, generation, ('disk', '/vdb', 'readonly'))])
    equal(guest.AcquireResourceFd('disk', '/vdb', opened(second, os.O_RDONLY), 'readonly', {}), generation)
    signals.nothing_else()
    with fails('AccessDenied'):
        guest.AcquireResourceFd('disk', '/vdb', opened(second, os.O_RDONLY), 'exclusive', {})
    equal(lock_on(second, 0), 'read')
    guest.ReleaseResource('disk', '/vdb', {})
    equal(locks(path, second), ['write', None])


@test
def an_image_without_a_name():
    directory = temp_dir()
    path = image(directory)
    fd = opened(path)
    path.unlink()
    guest = create_guest()
    guest.RegisterResourceFd('disk', '/scratch', fd, 'exclusive', {})
    guest.Acquire({})
    other = create_guest()
    other.RegisterResourceFd('disk', '/scratch', fd, 'exclusive', {})
    with fails('Conflict'):
        other.Acquire({})


@test
def bytes_of_a_lease_file():
    directory = temp_dir()
    path = image(directory, 'leases')

    def at(offset):
        return {'path': str(path), 'offset': GLib.Variant('t', offset)}
    guest = create_guest()
    guest.RegisterResource('lease', 'one', 'exclusive', at(4096))
    guest.RegisterResource('lease', 'two', 'exclusive', at(8192))
    guest.Acquire({})
    equal([lock_on(path, byte) for byte in (0, 4096, 4097, 8192, NEXT)], [None, 'write', None, 'write', None])
    with fails('Conflict', contains='"other key"'):
        start_guest([('lease', 'other key', 'shared', at(4096))])
    start_guest([('lease', 'other key', 'exclusive', at(4097))])
    equal(guest.AcquireResource('lease', 'three', 'shared', at(1)), guest.Generation)
    equal(lock_on(path, 1), 'read')
    guest.ReleaseResource('lease', 'one', {})
    equal([lock_on(path, byte) for byte in (4096, 8192)], [None, 'write'])

    guest = create_guest()
    for offset in (0, 100, 299, 1 << 60, (1 << 64) - 1):
        with fails('InvalidArgs', contains=str(offset)):
            guest.RegisterResource('lease', 'k', 'exclusive', at(offset))
    for options in ({'offset': GLib.Variant('t', 1)}, {'path': str(path)}):
        with fails('InvalidArgs', contains=({'path', 'offset'} - set(options)).pop()):
            guest.RegisterResource('lease', 'k', 'exclusive', options)
    fd = opened(path)
    with fails('InvalidArgs', contains='path'):
        guest.RegisterResourceFd('lease', 'k', fd, 'exclusive', at(12288))
    guest.RegisterResourceFd('lease', 'k', fd, 'exclusive', {'offset': GLib.Variant('t', 12288)})
    guest.Acquire({})
    equal(lock_on(path, 12288), 'write')


# --- processes ---

@test
def holder_by_pidfd():
    path, process = image(temp_dir()), spawn_process()
    guest = start_guest([disk(path)], options={'pidfd': Fd(pidfd(process))})
    equal(guest.Pid, process.pid)
    # By pid it is the same one.
    equal(guest.Acquire({'pid': process.pid}), guest.Generation)
    with fails('InvalidArgs', contains=['pid', 'pidfd']):
        guest.Acquire({'pid': process.pid, 'pidfd': Fd(pidfd(process))})
    with fails('InvalidArgs', contains='not a pidfd'):
        guest.Acquire({'pidfd': Fd(opened(path))})
    with fails('BadState', contains=['held', str(process.pid)]):
        guest.Acquire({'pid': spawn_process().pid})
    equal(guest.Pid, process.pid)


@test
def without_a_holder():
    path = image(temp_dir())
    guest = start_guest([disk(path)], options={'keep': True})
    equal((guest.State, guest.Pid, lock_on(path, 0)), ('held', 0, 'write'))
    # One that comes later bounds the leases from then on.
    process = spawn_process()
    equal(guest.Acquire({'pid': process.pid}), guest.Generation)
    equal(guest.Pid, process.pid)
    signals = Signals()
    end_process(process)
    equal(signals.expect('LeasesReleased', guest.path), ('guest-exited', [('disk', str(path))]))


@test
def register_only():
    path, process = image(temp_dir()), spawn_process()
    guest = create_guest()
    guest.RegisterResource(*disk(path))
    with fails('InvalidArgs', contains='pid'):
        guest.Acquire({'register-only': True})
    equal(guest.Acquire({'register-only': True, 'pid': process.pid}), 0)
    equal((guest.State, guest.Pid, lock_on(path, 0)), ('new', process.pid, None))
    equal(manager().GetGuestByPID(process.pid), guest.path)
    guest.Acquire({})
    equal((guest.State, guest.Pid, lock_on(path, 0)), ('held', process.pid, 'write'))
    equal(guest.Acquire({'register-only': True, 'pid': process.pid}), guest.Generation)
    with fails('BadState', contains='held'):
        guest.Acquire({'register-only': True, 'pid': spawn_process().pid})


@test
def supervisor_and_child():
    path, supervisor, child = image(temp_dir()), spawn_process(), spawn_process()
    guest = start_guest([disk(path)], options={'pid': supervisor.pid, 'supervisor': True, 'keep': True})
    equal((guest.Pid, guest.SupervisorPid), (0, supervisor.pid))
    with fails('NoChild'):
        guest.GetChild({})
    begin = time.monotonic()
    with fails('NoChild'):
        guest.GetChild({'wait-ms': 50})
    assert time.monotonic() - begin >= 0.05
    pending = guest.later.GetChild({'wait-ms': 60000})
    wait_until(lambda: guest.Waiting, 'GetChild to wait')
    for options in ({}, {'colour': 'red'}, {'pid': 'x'}):
        with fails('InvalidArgs'):
            guest.SetChild(options)
    guest.SetChild({'pid': child.pid})
    equal(pending.result(), child.pid)
    equal(guest.Waiting, False)
    guest.SetChild({'pidfd': Fd(pidfd(child)), 'orphan': 'keep'})
    with fails('AlreadyExists', contains=str(child.pid)):
        guest.SetChild({'pid': spawn_process().pid})
    equal((guest.GetChild({}), guest.Pid, guest.SupervisorPid), (child.pid, child.pid, supervisor.pid))
    equal({manager().GetGuestByPID(process.pid) for process in (supervisor, child)}, {guest.path})

    # The leases last until both are gone.
    signals = Signals()
    end_process(supervisor)
    wait_until(lambda: guest.SupervisorPid == 0, 'the end of the supervisor')
    equal((guest.State, lock_on(path, 0)), ('held', 'write'))
    signals.nothing_else()
    end_process(child)
    equal(signals.expect('LeasesReleased', guest.path)[0], 'guest-exited')
    equal((guest.State, guest.Pid, lock_on(path, 0)), ('released', 0, None))
    with fails('NoSuchGuest'):
        manager().GetGuestByPID(child.pid)


@test
def one_process_of_two_guests():
    process = spawn_process()
    for name in ('one', 'two'):
        start_guest([], name, {'pid': process.pid})
    with fails('InvalidArgs', contains=str(process.pid)):
        manager().GetGuestByPID(process.pid)


# --- StartGuest ---

@test
def start_repeated():
    directory, process = temp_dir(), spawn_process()
    path, other = image(directory), image(directory, 'other')
    options = {'pid': process.pid, 'keep': True}
    signals = Signals()
    first = manager().StartGuest(UUID, 'web1', [disk(path)], options)
    guest = bus.guest(first[0])
    equal([member for _, member, _ in signals.so_far()], ['InterfacesAdded', 'LeasesAcquired'])
    equal(manager().StartGuest(UUID.upper(), 'web1', [disk(path)], options), first)
    for resources, changed_options in (
            ([disk(path), disk(other)], {}), ([], {}), ([disk(path, 'readonly')], {}), ([disk(other)], {}),
            ([disk(path)], {'pid': spawn_process().pid})):
        with fails('AlreadyExists', contains=[UUID, 'held']):
            manager().StartGuest(UUID, 'web1', resources, options | changed_options)
    signals.nothing_else()
    equal((guest.State, guest.Generation, lock_on(other, 0)), ('held', first[1], None))

    # A released one is used again, for whatever resources.
    end_process(process)
    signals.expect('LeasesReleased', guest.path)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    path_again, generation = manager().StartGuest(UUID, 'web2', [disk(other)], {})
    equal(path_again, guest.path)
    assert generation > first[1]
    equal((guest.Name, guest.State, guest.Pid, list(states(guest))), ('web2', 'held', 0, ['other']))
    equal(locks(path, other), [None, 'write'])
    with fails('InvalidArgs', contains='register-only'):
        start_guest([], options={'register-only': True})


@test
def start_leaves_nothing_behind():
    directory = temp_dir()
    taken, free = image(directory, 'taken'), image(directory, 'free')
    start_guest([disk(taken)], 'holder')
    signals = Signals(properties=True)
    for resources, error in (
            ([disk(free), disk(taken)], 'Conflict'), ([disk(free), disk(directory / 'absent')], 'StorageUnavailable'),
            ([disk(free), disk(free)], 'AlreadyRegistered'), ([disk(free), disk(directory)], 'InvalidArgs')):
        with fails(error):
            start_guest(resources, uuid=UUID)
        assert not is_locked(free)
        equal(manager().NGuests, 1)
        with fails('NoSuchGuest'):
            manager().GetGuest(UUID)
    signals.nothing_else()


@test
def transient_object():
    path, process = image(temp_dir()), spawn_process()
    guest = start_guest([disk(path)], options={'pid': process.pid})
    signals = Signals()
    end_process(process)
    equal(signals.expect('LeasesReleased', guest.path), ('guest-exited', [('disk', str(path))]))
    equal(signals.expect('InterfacesRemoved')[0], guest.path)
    with fails('UnknownObject'):
        guest.Inquire({})
    equal((manager().NGuests, manager().NLeases, lock_on(path, 0)), (0, 0, None))
    # Shut down, it goes as well, and with keep it does not.
    guest = start_guest([disk(path)])
    guest.Shutdown({})
    equal([member for _, member, _ in signals.so_far()],
          ['InterfacesAdded', 'LeasesAcquired', 'LeasesReleased', 'InterfacesRemoved'])
    kept = start_guest([disk(path)], options={'keep': True})
    kept.Shutdown({})
    equal(kept.State, 'released')


# --- state strings ---

@test
def state_string():
    path = image(temp_dir())
    guest = create_guest(uuid=UUID)
    equal(guest.Inquire({}), '')
    equal(guest.Release({}), '')
    guest.RegisterResource(*disk(path))
    guest.Acquire({})
    inquired = guest.Inquire({})
    assert re.fullmatch(r'[A-Za-z0-9;,=:._-]{1,4096}', inquired), inquired
    assert UUID in inquired
    equal(guest.Release({}), inquired)
    guest.Acquire({'state': inquired})
    # Another reader in between has changed nothing.
    state = guest.Release({})
    start_guest([disk(path, 'readonly')]).Shutdown({})
    guest.Acquire({'state': state})
    # The guest itself wrote.
    path.write_text('more')
    guest.Acquire({'state': guest.Release({})})
    with fails('InvalidArgs'):
        guest.Acquire({'state': 'no such state'})
    equal(guest.State, 'held')


@test
def outdated_state_string():
    path = image(temp_dir())
    guest = start_guest([disk(path)], uuid=UUID, options={'keep': True})

    def stale(state):
        with fails('Stale', contains=str(path)):
            guest.Acquire({'state': state})
        equal(guest.State, 'released')
        # That the image was changed is seen only once it is locked.
        wait_until(lambda: not is_locked(path), 'the lock to be given back')
        guest.Acquire({})
    # Another guest had it, and perhaps wrote.
    state = guest.Release({})
    start_guest([disk(path)], uuid=OTHER).Shutdown({})
    stale(state)
    # Somebody who asked nobody wrote.
    state = guest.Release({})
    path.write_text('changed')
    stale(state)
    # It is of an earlier life.
    guest.Release({})
    stale(state)
    # It is another guest's.
    guest.Release({})
    other = start_guest([disk(path)], uuid=OTHER, options={'keep': True})
    state = other.Release({})
    with fails('Stale'):
        guest.Acquire({'state': state})


@test
def state_string_of_many():
    directory = temp_dir()
    guest = start_guest([disk(image(directory, f'{i}.img')) for i in range(64)])
    state = guest.Inquire({})
    assert len(state) <= 4096, len(state)


# --- hotplug ---

@test
def plug_and_unplug():
    directory = temp_dir()
    path, second = image(directory), image(directory, 'second')
    guest = create_guest()
    with fails('BadState', contains='new'):
        guest.AcquireResource(*disk(path))
    equal(guest.Resources, [])
    guest.RegisterResource(*disk(path))
    guest.Acquire({})
    signals = Signals()
    generation = guest.AcquireResource(*disk(second))
    equal(signals.so_far(), [acquired(guest, generation, disk(second)[:3])])
    equal(guest.Generation, generation)
    equal(guest.AcquireResource(*disk(second)), generation)
    signals.nothing_else()
    equal(locks(path, second), ['write', 'write'])
    guest.ReleaseResource('disk', str(second), {})
    equal(signals.so_far(), [released(guest, 'released', second)])
    equal((states(guest), lock_on(second, 0)), ({'disk.img': ('exclusive', 'held')}, None))
    with fails('NoSuchResource', contains=str(second)):
        guest.ReleaseResource('disk', str(second), {})
    with fails('NoSuchResource'):
        guest.ReleaseResource('lease', str(path), {})

    # What others hold is not plugged, and nothing of the attempt stays.
    start_guest([disk(second)], 'holder')
    signals.so_far()
    with fails('Conflict', contains='"holder"'):
        guest.AcquireResource(*disk(second))
    equal((len(guest.Resources), guest.State), (1, 'held'))
    # Released, it is only registered.
    guest.Release({})
    guest.AcquireResource(*disk(image(directory, 'third')))
    equal(states(guest), {'disk.img': ('exclusive', 'registered'), 'third': ('exclusive', 'registered')})
    guest.Acquire({})
    equal(locks(path, directory / 'third'), ['write', 'write'])


@test
def register_while_held():
    directory = temp_dir()
    path, second = image(directory), image(directory, 'second')
    guest = start_guest([disk(path)])
    guest.RegisterResource(*disk(second))
    equal((guest.State, locks(path, second)), ('held', ['write', None]))
    signals, before = Signals(), guest.Generation
    generation = guest.Acquire({})
    assert generation > before
    equal(signals.so_far(), [acquired(guest, generation, disk(second)[:3])])
    equal(locks(path, second), ['write', 'write'])
    # Unplugged without ever having been taken: nothing ended.
    guest.RegisterResource(*disk(image(directory, 'third')))
    guest.ReleaseResource('disk', f'{directory}/third', {})
    signals.nothing_else()


@test
def raise_and_lower():
    path = image(temp_dir())
    guest = start_guest([disk(path, 'readonly')])
    signals = Signals()
    for mode, kernel in (('exclusive', 'write'), ('shared', 'read'), ('readonly', 'read'), ('shared', 'read'),
                         ('exclusive', 'write'), ('readonly', 'read')):
        generation = guest.AcquireResource(*disk(path, mode))
        equal(signals.so_far(), [acquired(guest, generation, disk(path, mode)[:3])])
        equal((states(guest), lock_on(path, 0)), ({'disk.img': (mode, 'held')}, kernel))
        equal(guest.Generation, generation)
    reader = start_guest([disk(path, 'readonly')], 'reader')
    for mode in ('exclusive', 'shared'):
        with fails('Conflict', contains='"reader"'):
            guest.AcquireResource(*disk(path, mode))
        equal((states(guest), lock_on(path, 0)), ({'disk.img': ('readonly', 'held')}, 'read'))
    reader.Shutdown({})
    guest.AcquireResource(*disk(path, 'exclusive'))


# --- the end ---

@test
def shutdown():
    path, process = image(temp_dir()), spawn_process()
    guest = start_guest([disk(path)], options={'pid': process.pid, 'keep': True})
    with fails('GuestRunning', contains=str(process.pid)):
        guest.Shutdown({})
    equal((guest.State, process.poll(), lock_on(path, 0)), ('held', None, 'write'))
    signals = Signals()
    guest.Shutdown({'kill': True})
    equal(signals.so_far(), [released(guest, 'shutdown', path)])
    equal((guest.State, guest.Pid, lock_on(path, 0)), ('released', 0, None))
    equal(process.wait(5), -9)
    guest.Shutdown({})
    guest.Shutdown({'kill': True})
    signals.nothing_else()
    # Without a process there is nothing to wait for.
    guest.Acquire({})
    signals.so_far()
    guest.Shutdown({})
    equal(signals.so_far(), [released(guest, 'shutdown', path)])


@test
def shutdown_ends_supervisor_and_child_of_another_user():
    supervisor, child = spawn_process(user='alice'), spawn_process(user='alice')
    guest = start_guest([disk(image(temp_dir()))], options={
        'owner-uid': uid_of('alice'), 'pid': supervisor.pid, 'supervisor': True, 'keep': True})
    guest.SetChild({'pid': child.pid})
    guest.Shutdown({'kill': True})
    equal([process.wait(5) for process in (supervisor, child)], [-9, -9])
    equal((guest.State, guest.Pid, guest.SupervisorPid), ('released', 0, 0))


@test
def free():
    path, process = image(temp_dir()), spawn_process()
    guest = start_guest([disk(path)], options={'pid': process.pid})
    with fails('BadState', contains=['held', 'Release']):
        guest.Free({})
    guest.Release({})
    with fails('GuestRunning', contains=str(process.pid)):
        guest.Free({})
    end_process(process)
    # Made without keep, it goes by itself now.
    wait_until(lambda: manager().NGuests == 0, 'the guest to go')
    guest = create_guest()
    guest.RegisterResource(*disk(path))
    guest.Free({})
    with fails('UnknownObject'):
        guest.Free({})
    with fails('UnknownObject'):
        assert guest.State


@test
def set_parameter():
    guest = create_guest('one', uuid=UUID)
    signals = Signals(properties=True)
    for key, value, name in (('name', 'two', 'Name'), ('id', 7, 'Id'), ('on-lease-lost', 'notify', 'OnLeaseLost')):
        guest.SetParameter(key, value)
        equal(signals.so_far(), [changed(guest, {name: value})])
        guest.SetParameter(key, value)
        equal(getattr(guest, name), value)
    guest.SetParameter('uuid', UUID.upper())
    signals.nothing_else()
    for key, value in (('name', ''), ('name', 'n' * 256), ('name', 7), ('id', 'x'), ('on-lease-lost', 'panic'),
                       ('uuid', OTHER), ('uuid', 'x'), ('colour', 'red'), ('', '')):
        with fails('InvalidArgs'):
            guest.SetParameter(key, value)
    equal((guest.Name, guest.Id, guest.OnLeaseLost, guest.Uuid), ('two', 7, 'notify', UUID))
    signals.nothing_else()


main()
