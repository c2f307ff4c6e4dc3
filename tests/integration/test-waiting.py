# SPDX-License-Identifier: LGPL-2.1-or-later
"""Acquires that wait: in what order they are served, how they end, that they hold nothing meanwhile and keep
nobody else from anything; and that a refused one has taken none of its disks."""

import os
import time

from guestlocktest import (
    Error, Peer, Signals, as_uid, at_end, bus, configure, create_guest, disk, end_process, equal, fails, has_owner,
    image, is_locked, lock, main, manager, spawn_process, start_guest, temp_dir, test, wait_until)

LONG = {'wait-ms': 60000}


def guest_of(*disks, name='guest', peer=bus):
    guest = create_guest(name, peer=peer)
    for one in disks:
        guest.RegisterResource(*one)
    return guest


def waiting(guest, options=None):
    """An acquire of this guest that waits by the time this returns."""
    pending = guest.later.Acquire(LONG | (options or {}))
    wait_until(lambda: guest.Waiting or pending.done, 'the acquire to wait')
    assert not pending.done
    return pending


def foreign_lock(path, *bytes_, **kind):
    """Somebody else's, until what this gives is called or the test ends."""
    fds = [lock(path, *bytes_, **kind)]

    def unlock():
        while fds:
            os.close(fds.pop())
    at_end(unlock)
    return unlock


# --- who gets it, and when ---

@test
def first_come_first_served():
    path = image(temp_dir())
    holder = start_guest([disk(path)], 'holder')
    guests = [guest_of(disk(path), name=f'guest {number}') for number in range(5)]
    pending = [waiting(guest) for guest in guests]
    for number, guest in enumerate(guests):
        equal([call.done for call in pending], [index < number for index in range(5)])
        (holder if number == 0 else guests[number - 1]).Release({})
        equal(pending[number].result(), guest.Generation)
        equal((guest.State, guest.Waiting), ('held', False))
    generations = [guest.Generation for guest in guests]
    equal(generations, sorted(generations))


@test
def those_who_come_later_do_not_overtake():
    path = image(temp_dir())
    reader = start_guest([disk(path, 'readonly')], 'reader')
    writer = guest_of(disk(path))
    first = waiting(writer)
    # Another reader could have it now, and could for ever.
    second = waiting(guest_of(disk(path, 'readonly')))
    reader.Release({})
    first.result()
    assert not second.done
    writer.Release({})
    second.result()


@test
def readers_together():
    path = image(temp_dir())
    writer = start_guest([disk(path)], 'writer')
    pending = [waiting(guest_of(disk(path, 'readonly'))) for _ in range(3)]
    writer.Release({})
    for call in pending:
        call.result()


@test
def opposite_order():
    """Two guests that want the same two disks, each named in the other's order, both come to have them."""
    directory = temp_dir()
    one, two = image(directory, 'one'), image(directory, 'two')
    holders = [start_guest([disk(path)], 'holder') for path in (one, two)]
    guests = [guest_of(disk(one), disk(two)), guest_of(disk(two), disk(one))]
    pending = [waiting(guest) for guest in guests]
    holders[0].Release({})
    # One of its two disks is free now, and whoever waits has not taken it.
    time.sleep(0.02)
    assert not is_locked(one) and not any(call.done for call in pending)
    holders[1].Release({})
    pending[0].result()
    assert not pending[1].done
    guests[0].Release({})
    pending[1].result()
    assert is_locked(one) and is_locked(two)


@test
def not_overlapping():
    """Whoever waits for one disk keeps nobody from another."""
    directory = temp_dir()
    one, two, three = (image(directory, name) for name in ('one', 'two', 'three'))
    holder = start_guest([disk(one)], 'holder')
    first = waiting(guest_of(disk(one)))
    guest_of(disk(two)).Acquire(LONG)
    # Even one that the other wants: it may take what is free if it does not wait itself.
    both = waiting(guest_of(disk(one), disk(three)))
    short = start_guest([disk(three)])
    short.Shutdown({})
    holder.Release({})
    first.result()
    assert not both.done


@test
def after_a_guest_exits():
    path, process = image(temp_dir()), spawn_process()
    start_guest([disk(path)], options={'pid': process.pid})
    pending = waiting(guest_of(disk(path)))
    end_process(process)
    pending.result()


@test
def plugged_and_started():
    path, other = image(temp_dir()), image(temp_dir())
    holder = start_guest([disk(path)], 'holder')
    plugging = start_guest([disk(other)], 'plugging')
    plug = plugging.later.AcquireResource('disk', str(path), 'exclusive', LONG)
    wait_until(lambda: plugging.Waiting, 'the plug to wait')
    start = manager().later.StartGuest('4dea22b3-1d52-d8f3-2516-782e98ab3fa0', 'started', [disk(path)], LONG)
    # Nobody sees it before it has succeeded.
    manager().ListDrivers()
    equal(manager().NGuests, 2)
    holder.Release({})
    equal(plug.result(), plugging.Generation)
    assert not start.done
    plugging.ReleaseResource('disk', str(path), {})
    equal(bus.guest(start.result()[0]).State, 'held')


@test
def foreign_holder():
    """One that is no guest of ours: nobody tells when it goes, so it is looked at again and again."""
    directory = temp_dir()
    path, free = image(directory), image(directory, 'free')
    unlock = foreign_lock(path)
    guest = guest_of(disk(free), disk(path))
    pending = waiting(guest)
    time.sleep(0.3)
    assert not pending.done and not is_locked(free)
    unlock()
    pending.result()
    assert is_locked(free) and is_locked(path)


# --- how a wait ends ---

@test
def timeout():
    path = image(temp_dir())
    start_guest([disk(path)], 'holder')
    guest, signals = guest_of(disk(path)), Signals()
    begin = time.monotonic()
    with fails('Timeout', contains=['"holder"', str(path)]):
        guest.Acquire({'wait-ms': 100})
    assert time.monotonic() - begin >= 0.1
    signals.nothing_else()
    equal((guest.State, guest.Waiting, manager().NLeases), ('new', False, 1))
    for beyond in (86400001, 4294967295):
        with fails('InvalidArgs', contains='wait-ms'):
            guest.Acquire({'wait-ms': beyond})


@test
def timeout_of_one_in_front():
    path = image(temp_dir())
    holder = start_guest([disk(path, 'readonly')], 'reader')
    writer, reader = guest_of(disk(path)), guest_of(disk(path, 'readonly'))
    # For as long as it takes on this machine until the second one waits as well.
    for wait in (100, 1000, 20000):
        first = writer.later.Acquire({'wait-ms': wait})
        wait_until(lambda: writer.Waiting or first.done, 'the writer to wait')
        second = reader.later.Acquire(LONG)
        wait_until(lambda: reader.Waiting or second.done, 'the reader to wait')
        if not second.done:
            break
        assert first.done, 'the reader has overtaken the writer'
        reader.Release({})
    else:
        raise AssertionError('the two never waited at the same time')
    with fails('Timeout'):
        first.result()
    # Nobody is in front of it any more.
    second.result()
    equal(holder.State, 'held')


@test
def ended_by_other_calls():
    path = image(temp_dir())
    holder = start_guest([disk(path)], 'holder')
    for end in (lambda guest: guest.Release({}), lambda guest: guest.Shutdown({}), lambda guest: guest.Free({})):
        guest, behind = guest_of(disk(path)), guest_of(disk(path))
        pending, next_one = waiting(guest), waiting(behind)
        end(guest)
        with fails('Cancelled'):
            pending.result()
        # Its place in the queue is gone with it.
        holder.Release({})
        next_one.result()
        behind.Release({})
        holder.Acquire({})
    equal([state for _, name, state, *_ in manager().ListGuests({}) if name == 'holder'], ['held'])


@test
def caller_leaves():
    path = image(temp_dir())
    holder = start_guest([disk(path)], 'holder')
    caller = Peer()
    guest, behind = guest_of(disk(path)), guest_of(disk(path))
    waiting(caller.guest(guest.path))
    pending = waiting(behind)
    signals = Signals()
    caller.close()
    wait_until(lambda: not guest.Waiting, 'the wait to end')
    equal(guest.State, 'new')
    holder.Release({})
    pending.result()
    equal([(path, member) for path, member, _ in signals.so_far()],
          [(holder.path, 'LeasesReleased'), (behind.path, 'LeasesAcquired')])
    # What it had been granted before stays.
    caller = Peer()
    kept = start_guest([disk(image(temp_dir()))], peer=caller)
    caller.close()
    wait_until(lambda: not has_owner(caller.name), 'the bus to notice')
    equal(bus.guest(kept.path).State, 'held')


@test
def caller_leaves_a_start():
    path, caller = image(temp_dir()), Peer()
    holder = start_guest([disk(path)], 'holder')
    caller.manager().later.StartGuest('4dea22b3-1d52-d8f3-2516-782e98ab3fa0', 'never', [disk(path)], LONG)
    # It has been taken up: this comes behind it.
    caller.manager().ListDrivers()
    caller.close()
    wait_until(lambda: not has_owner(caller.name), 'the bus to notice')
    pending = waiting(guest_of(disk(path)))
    holder.Release({})
    pending.result()
    equal(sorted(name for _, name, *_ in manager().ListGuests({})), ['guest', 'holder'])


# --- meanwhile ---

@test
def delays_no_other_call():
    directory = temp_dir()
    path, other = image(directory), image(directory, 'other')
    start_guest([disk(path)], 'holder')
    unlock = foreign_lock(other)
    guest = guest_of(disk(path), disk(other))
    pending = waiting(guest)
    # Of the same guest over the same connection: it can be looked at, named and given more to take.
    equal((guest.State, guest.Inquire({})), ('new', ''))
    guest.SetParameter('name', 'patient')
    guest.RegisterResource(*disk(image(directory, 'third')))
    # Of another guest.
    start_guest([disk(image(directory, 'fourth'))]).Shutdown({})
    assert not pending.done
    unlock()
    equal((guest.Waiting, guest.State), (True, 'new'))


@test
def changes_no_state():
    path = image(temp_dir())
    start_guest([disk(path)], 'holder')
    guest = guest_of(disk(path))
    signals = Signals(path=guest.path, properties=True)
    pending = waiting(guest)
    equal([(member, arguments[1]) for _, member, arguments in signals.so_far()],
          [('PropertiesChanged', {'Waiting': True})])
    equal((guest.State, guest.Resources[0]['state'], guest.Generation), ('new', 'registered', 0))
    guest.Release({})
    with fails('Cancelled'):
        pending.result()
    equal([(member, arguments[1]) for _, member, arguments in signals.so_far()],
          [('PropertiesChanged', {'Waiting': False})])


@test
def how_many_may_wait():
    configure('[limits]\nMaxWaitingPerUid=2\n')
    path = image(temp_dir(), user='alice')
    start_guest([disk(path)], 'holder')
    alice = as_uid('alice')
    for _ in range(2):
        waiting(guest_of(disk(path), peer=alice))
    with fails('LimitExceeded', contains='2'):
        guest_of(disk(path), peer=alice).Acquire(LONG)
    # Root may.
    for _ in range(3):
        waiting(guest_of(disk(path)))


# --- all or nothing ---

@test
def a_refusal_takes_nothing():
    """A second process tries each disk's byte 0: none but those that others hold is locked."""
    directory = temp_dir()
    paths = [image(directory, f'{number}.img') for number in range(6)]
    holder = start_guest([disk(paths[2])], 'holder')
    foreign_lock(paths[4])
    signals = Signals()
    wanted = [disk(path) for path in paths]
    guest = guest_of(*wanted)
    # A conflict in the service's own table, and one that only the kernel knows of.
    for subset, named in ((wanted, '"holder"'), (wanted[:2] + wanted[3:], str(os.getpid()))):
        with fails('Conflict', contains=named):
            start_guest(subset)
        equal([is_locked(path) for path in paths], [False, False, True, False, True, False])
    with fails('Conflict'):
        guest.Acquire({})
    with fails('Timeout'):
        guest.Acquire({'wait-ms': 50})
    equal([is_locked(path) for path in paths], [False, False, True, False, True, False])
    equal({resource['state'] for resource in guest.Resources}, {'registered'})
    equal((guest.State, manager().NLeases), ('new', 1))
    # One that has some keeps those, and gets no more.
    having = start_guest([disk(paths[0])])
    for path in paths[1:]:
        having.RegisterResource(*disk(path))
    with fails('Conflict'):
        having.Acquire({})
    equal([is_locked(path) for path in paths], [True, False, True, False, True, False])
    equal([resource['state'] for resource in having.Resources], ['held'] + ['registered'] * 5)
    holder.Release({})
    equal(manager().NLeases, 1)
    assert not [member for path, member, _ in signals.so_far() if path == guest.path and member != 'InterfacesAdded']


@test
def everybody_in_the_way_is_named():
    directory = temp_dir()
    one, two, three = (image(directory, name) for name in ('one', 'two', 'three'))
    process = spawn_process()
    start_guest([disk(one)], 'first', {'pid': process.pid})
    start_guest([disk(two, 'readonly')], 'second')
    start_guest([disk(two, 'readonly')], 'third')
    with fails('Conflict', contains=['"first"', f'pid {process.pid}', '"second"', '"third"', str(one), str(two)]):
        start_guest([disk(one), disk(two), disk(three)])
    foreign_lock(three, kind='read')
    with fails('Conflict', contains=[str(os.getpid()), str(three)]):
        start_guest([disk(three)])


@test
def unmanaged_qemu():
    """Whoever has QEMU's locks on it is in the way of a guest without a process of its own."""
    path = image(temp_dir())
    unlock = foreign_lock(path, 100, 101, 201, kind='read')
    begin = time.monotonic()
    with fails('Conflict', contains=['QEMU', str(os.getpid())]):
        start_guest([disk(path)])
    # After a second's patience, as qemu-img is brief.
    assert 0.9 < time.monotonic() - begin
    assert not is_locked(path)
    # A guest that runs already may be that QEMU.
    start_guest([disk(path)], options={'pid': spawn_process().pid}).Release({})
    for _ in range(20):
        guest, begin = guest_of(disk(path)), time.monotonic()
        pending = guest.later.Acquire({})
        time.sleep(0.1)
        done = pending.done
        unlock()
        if time.monotonic() - begin < 0.9:
            break
        # Its second may have been over by then: that was no try.
        try:
            pending.result()
            guest.Release({})
        except Error:
            pass
        unlock = foreign_lock(path, 100, 101, 201, kind='read')
    assert not done
    pending.result()


main()
