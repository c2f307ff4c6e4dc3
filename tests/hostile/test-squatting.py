# SPDX-License-Identifier: LGPL-2.1-or-later
"""A user who wants what is another's: the uuid, the object, the name, the place in the queue, the questions to polkit
and the threads that look at storage. She gets her own, or nothing, and the other notices nothing."""

import os
import time

from guestlocktest import (
    BUSY, GLib, ROOT, Signals, as_uid, bus, configure, create_guest, disk, equal, fails, has_owner, image, is_locked,
    main, manager, start_guest, temp_dir, test, uid_of, wait_until)
from polkittest import polkit_agent, polkit_rules
from floodtest import may_lease
from storagetest import SlowFs

UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
LONG = {'wait-ms': 600000}


def password(action):
    return fails('InteractiveAuthorizationRequired', contains=f'org.guestlock1.{action}')


def waiting(guest):
    pending = guest.later.Acquire(LONG)
    wait_until(lambda: guest.Waiting or pending.done, 'the acquire to wait')
    assert not pending.done
    return pending


def everything_of(guest):
    return guest.get_all(), guest.Resources


# --- uuids, names, objects ---

@test
def uuid_of_another():
    may_lease('bob')
    alice, bob = as_uid('alice'), as_uid('bob')
    path = image(temp_dir(), user='bob')
    # She comes first, with the uuid that root and bob are going to have.
    squatted = create_guest('squatted', uuid=UUID, peer=alice)
    equal(squatted.path, f'{ROOT}/guest/{UUID.replace("-", "_")}_u{uid_of("alice")}')
    for peer in (bob, bus, as_uid('carol')):
        with fails('NoSuchGuest'):
            peer.manager().GetGuest(UUID)
    bobs = start_guest([disk(path)], 'web1', {'keep': True}, uuid=UUID, peer=bob)
    roots = create_guest('db1', uuid=UUID)
    equal(len({squatted.path, bobs.path, roots.path}), 3)
    # Each finds his own, and who has none finds root's.
    for peer, guest in ((alice, squatted), (bob, bobs), (bus, roots), (as_uid('carol'), roots)):
        equal(peer.manager().GetGuest(UUID), guest.path)
        equal(peer.manager().GetGuest(UUID.upper()), guest.path)
    before = everything_of(bobs), everything_of(roots)
    squatted.SetParameter('name', 'web1')
    squatted.Shutdown({'kill': True})
    squatted.Free({})
    equal((everything_of(bobs), everything_of(roots)), before)
    # Without one of her own she finds root's, which is not hers.
    equal(alice.manager().GetGuest(UUID), roots.path)
    with password('manage'):
        alice.guest(roots.path).Free({})


@test
def uuid_of_one_that_starts():
    """A guest that nobody sees yet, since its StartGuest waits, takes nobody's uuid."""
    path = image(temp_dir())
    path.chmod(0o666)
    holder = start_guest([disk(path)], 'holder')
    alice = as_uid('alice')
    hidden = alice.manager().later.StartGuest(UUID, 'hidden', [disk(path)], LONG)
    alice.manager().ListDrivers()
    roots = manager().later.StartGuest(UUID, 'roots', [disk(path)], LONG)
    manager().ListDrivers()
    # Her own second one is refused, root's is not.
    with fails('AlreadyExists'):
        create_guest(uuid=UUID, peer=alice)
    equal([name for _, name, *_ in manager().ListGuests({})], ['holder'])
    alice.close()
    # Since the service hears of that before it hears the next call.
    wait_until(lambda: not has_owner(alice.name), 'alice to have left the bus')
    holder.Shutdown({})
    equal(bus.guest(roots.result()[0]).State, 'held')
    assert not hidden.reply


@test
def paths_of_objects():
    alice, uid = as_uid('alice'), uid_of('alice')
    roots = create_guest('roots', uuid=UUID)
    bobs = create_guest('bobs', {'owner-uid': uid_of('bob')}, uuid=UUID)
    alices = create_guest('alices', uuid=UUID, peer=alice)
    # None of these leads from her guest to another's, or to another's in her name.
    for path in (f'{roots.path}_u0', f'{roots.path}_u{uid}_u0', f'{alices.path}_in', f'{roots.path}_in',
                 f'{roots.path}_u0{uid}', f'{roots.path}_u{uid + (1 << 32)}', f'{bobs.path}_u{uid}'):
        with fails('UnknownObject'):
            alice.guest(path).SetParameter('name', 'mine')
        with fails('UnknownObject'):
            alice.guest(path).get_all()
    for guest in (roots, bobs):
        before = everything_of(guest)
        hers = alice.guest(guest.path)
        # To look is for everybody, to write properties for nobody.
        equal(hers.get_all(), before[0])
        for member in ('Name', 'State', 'OwnerUid', 'Resources'):
            with fails('org.freedesktop.DBus.Error.PropertyReadOnly'):
                alice.call(guest.path, 'org.freedesktop.DBus.Properties', 'Set', GLib.Variant(
                    '(ssv)', ('org.guestlock1.Guest', member, GLib.Variant('s', 'x'))))
        for call in (lambda: hers.SetParameter('uuid', UUID), lambda: hers.SetParameter('on-lease-lost', 'kill'),
                     lambda: hers.Acquire({'register-only': True, 'pid': os.getpid()}), lambda: hers.Release({}),
                     lambda: hers.Inquire({}), lambda: hers.Shutdown({}), lambda: hers.Free({})):
            with password('manage'):
                call()
        with password('revoke'):
            hers.Shutdown({'kill': True})
        equal(everything_of(guest), before)
    objects = alice.call(ROOT, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')
    equal(sorted(objects), sorted(guest.path for guest in (roots, bobs, alices)))


@test
def owner_of_another_uid():
    alice, path = as_uid('alice'), image(temp_dir(), user='alice')
    for owner in (0, uid_of('bob'), 1, 12345):
        with password('manage'):
            create_guest('x', {'owner-uid': owner}, peer=alice)
        with password('manage'):
            start_guest([disk(path)], 'x', {'owner-uid': owner}, peer=alice)
    with fails('InvalidArgs', contains='owner-uid'):
        create_guest('x', {'owner-uid': 0xffffffff}, peer=alice)
    equal(manager().NGuests, 0)
    assert not is_locked(path)
    # Her own is no other's.
    equal(create_guest('x', {'owner-uid': uid_of('alice')}, peer=alice).OwnerUid, uid_of('alice'))


@test
def full_to_her_cap():
    """She has as many guests and as many strings as she may. Bob starts from nothing."""
    may_lease('bob')
    configure('[limits]\nMaxGuestsPerUid=5\nMaxUnboundGuestsPerUid=2\nMaxBytesPerUid=4096\n')
    alice, bob = as_uid('alice'), as_uid('bob')
    for _ in range(5):
        create_guest('n' * 200, peer=alice)
    with fails('LimitExceeded', contains='5'):
        create_guest(peer=alice)
    guests = [create_guest('n' * 200, peer=bob) for _ in range(5)]
    for guest in guests[:2]:
        guest.RegisterResource(*disk(image(temp_dir(), user='bob')))
        guest.Acquire({})
    with fails('LimitExceeded'):
        create_guest(peer=bob)


# --- the queue ---

@test
def place_in_the_queue():
    """Her place is what it is: she cannot have another's, end another's wait, or keep others from what she does not
    wait for."""
    may_lease('bob')
    alice, bob = as_uid('alice'), as_uid('bob')
    directory = temp_dir()
    one, two = (image(directory, name) for name in ('one', 'two'))
    for path in (one, two):
        path.chmod(0o666)
    holder = start_guest([disk(one)], 'holder')
    bobs, alices = create_guest('bobs', peer=bob), create_guest('alices', peer=alice)
    bobs.RegisterResource(*disk(one))
    for path in (one, two):
        alices.RegisterResource(*disk(path))
    bobs_wait, alices_wait = waiting(bobs), waiting(alices)
    hers = alice.guest(bobs.path)
    for call in (lambda: hers.Release({}), lambda: hers.Shutdown({}), lambda: hers.Free({}),
                 lambda: hers.Acquire({'wait-ms': 1})):
        with password('manage'):
            call()
    assert bobs.Waiting and not bobs_wait.done
    # What she wants and nobody has is not kept from who does not wait.
    start_guest([disk(two)], 'short', peer=bob).Shutdown({})
    # Again and again, she is behind him all the same.
    alices.Release({})
    with fails('Cancelled'):
        alices_wait.result()
    alices_wait = waiting(alices)
    holder.Shutdown({})
    equal(bobs_wait.result(), bobs.Generation)
    assert not alices_wait.done
    bobs.Shutdown({})
    alices_wait.result()


# --- polkit, waits and threads together ---

@test
def everything_that_she_may_have():
    """Four dialogs that she never answers, all the waits that she may have, and storage that hangs: bob, who has to ask
    as well, is served meanwhile."""
    may_lease('bob')
    # Nothing of hers ends before bob is through, however long he takes.
    configure('[limits]\nStorageTimeoutSec=600\n')
    slow, alice, bob = SlowFs(), as_uid('alice'), as_uid('bob')
    agent = polkit_agent('never')
    path = image(temp_dir(), user='alice')
    start_guest([disk(path)], 'holder', peer=alice)
    waits, guests = [], [create_guest(f'waits {number}', peer=alice) for number in range(32)]
    for guest in guests:
        guest.RegisterResource(*disk(path))
        waits.append(guest.later.Acquire(LONG))
    wait_until(lambda: all(guest.Waiting for guest in guests), 'all of them to wait', 30)
    another = create_guest(peer=alice)
    another.RegisterResource(*disk(path))
    with fails('LimitExceeded', contains='32'):
        another.Acquire(LONG)
    hanging = [image(slow.below, f'{number}.img', 'alice') for number in range(4)]
    slow.be('hang')
    stuck = [create_guest(f'hangs {number}', peer=alice).later.RegisterResource(*disk(slow.point / name.name))
             for number, name in enumerate(hanging)]
    asking = [as_uid('alice') for _ in range(5)]
    dialogs = []
    for peer in asking:
        peer.interactive = True
        dialogs.append(peer.manager().later.CreateGuest(UUID, 'x', {'owner-uid': 0}))
    for _ in range(4):
        assert agent.stdout.readline().startswith('begin ')
    with fails('LimitExceeded', contains='4'):
        wait_until(lambda: any(dialog.done for dialog in dialogs), 'the fifth dialog to be refused')
        next(dialog for dialog in dialogs if dialog.done).result()

    begin = time.monotonic()
    bobs = image(temp_dir(), user='bob')
    for number in range(20):
        start_guest([disk(bobs)], f'bobs {number}', peer=as_uid('bob')).Shutdown({})
    # Not one of them has waited for anything of hers, which takes minutes.
    took = time.monotonic() - begin
    assert took < 5 * BUSY, f'20 leases of bob took {took:.1f} s'
    # He is asked as well, if he wants to be.
    polkit_rules('')
    bob.interactive = True
    bobs_dialog = bob.manager().later.CreateGuest(UUID, 'bobs', {})
    assert agent.stdout.readline().startswith('begin ')
    bob.close()
    assert agent.stdout.readline() == 'cancelled\n' and not bobs_dialog.reply
    assert not any(call.done for call in waits + stuck)
    signals = Signals()
    slow.be('ok')
    for call in stuck:
        call.result(30)
    signals.nothing_else()


main()
