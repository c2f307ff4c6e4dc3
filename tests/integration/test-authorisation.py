# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what, with the real polkitd: its defaults, rules and dialogs, other people's guests, processes
and files. rules/ lets alice lease for her own guests and carol manage everybody's; bob has to ask."""

import json
import os
import subprocess

from guestlocktest import (
    NAME, Fd, GLib, Signals, as_uid, at_end, bus, create_guest, disk, end_process, equal, fails, has_owner, image,
    is_locked, main, manager, spawn_process, start_guest, temp_dir, test, uid_of, wait_until)
from polkittest import end_polkit, polkit_agent, polkit_rules, remove_polkit

UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
POLKIT = 'org.freedesktop.PolicyKit1'


def needs_password(action):
    return fails('InteractiveAuthorizationRequired', contains=f'{NAME}.{action}')


def rule(condition, result='YES', action='acquire'):
    polkit_rules(f'''polkit.addRule(function(action, subject) {{
        if (action.id == "{NAME}.{action}" && ({condition})) return polkit.Result.{result};
    }});''')


def nothing_changed(n_guests=0):
    equal((manager().NGuests, manager().NLeases), (n_guests, 0))


def dialog(agent):
    """The next dialog that appears: its action and its text."""
    kind, action, rest = agent.stdout.readline().split(' ', 2)
    equal(kind, 'begin')
    return action.removeprefix(f'{NAME}.'), json.JSONDecoder().raw_decode(rest)[0]


def no_dialog(agent):
    end_process(agent)
    equal(agent.stdout.read(), '')


# --- defaults and rules ---

@test
def denied_by_default():
    bob, path = as_uid('bob'), image(temp_dir(), user='bob')
    guest = create_guest(uuid=UUID)
    with needs_password('acquire'):
        create_guest(peer=bob)
    with needs_password('acquire'):
        start_guest([disk(path)], peer=bob)
    nothing_changed(1)
    assert not is_locked(path)
    # Looking is for everybody.
    equal(bob.manager().GetGuest(UUID), guest.path)
    equal(len(bob.manager().ListGuests({})), 1)
    equal(bob.guest(guest.path).State, 'new')
    equal(bob.guest(guest.path).Resources, [])


@test
def a_rule_says_no():
    rule('subject.user == "alice"', 'NO')
    alice = as_uid('alice')
    alice.interactive = True
    with fails('AccessDenied', contains=f'{NAME}.acquire'):
        create_guest(peer=alice)
    nothing_changed()


@test
def details_that_a_rule_sees():
    directory = temp_dir()
    path = image(directory, user='bob')
    (directory / 'link').symlink_to(path)
    details = {'guest-uuid': UUID, 'guest-name': 'web1', 'owner-uid': uid_of('bob')}
    shown = details | {
        'resource-type': 'disk', 'resource': path, 'resource-given': directory / 'link', 'mode': 'shared'}
    keys = ['guest-uuid', 'guest-name', 'owner-uid', 'resource-type', 'resource', 'resource-given', 'mode', 'uri']

    def only_with(expected):
        values = {key: json.dumps(str(expected[key])) if key in expected else 'undefined' for key in keys}
        rule(' && '.join(f'action.lookup("{key}") === {value}' for key, value in values.items()))
    def bobs():
        # A connection is not asked again for what it was granted.
        return as_uid('bob').guest(guest.path)
    link = directory / 'link'
    only_with(details)
    guest = create_guest('web1', uuid=UUID, peer=as_uid('bob'))
    for call in (bobs().RegisterResource, bobs().AcquireResource):
        with needs_password('acquire'):
            call(*disk(link, 'shared'))
    equal(guest.Resources, [])
    only_with(shown)
    bobs().RegisterResource(*disk(link, 'shared'))
    with needs_password('acquire'):
        bobs().Acquire({})
    only_with(details)
    bobs().Acquire({})
    # To give back needs no leave.
    bobs().ReleaseResource('disk', str(link), {})
    only_with(shown)
    bobs().AcquireResource(*disk(link, 'shared'))
    bobs().Shutdown({})
    bobs().Free({})
    start_guest([disk(link, 'shared')], 'web1', uuid=UUID, peer=as_uid('bob'))


@test
def disks_under_one_directory():
    directory, elsewhere = temp_dir(), temp_dir()
    (directory / 'sub').mkdir()
    inside, deeper = image(directory, user='bob'), image(directory / 'sub', user='bob')
    outside, beside = image(elsewhere, user='bob'), image(temp_dir(), user='bob')
    (directory / 'out').symlink_to(outside)
    (directory / 'way').symlink_to(elsewhere)
    (elsewhere / 'in').symlink_to(inside)
    rule(f'action.lookup("resource") === undefined || action.lookup("resource").indexOf("{directory}/") == 0')
    guest = create_guest(peer=as_uid('bob'))
    for path in (outside, directory / 'out', directory / 'way/disk.img', beside,
                 f'{directory}/../{elsewhere.name}/disk.img', f'{directory}/sub/../../{elsewhere.name}/disk.img',
                 f'{directory}/./..//{elsewhere.name}/disk.img'):
        with needs_password('acquire'):
            guest.RegisterResource(*disk(path))
        with needs_password('acquire'):
            start_guest([disk(inside), disk(path)], peer=guest.peer)
    equal(guest.Resources, [])
    equal(manager().NGuests, 1)
    guest.RegisterResource(*disk(deeper))
    guest.RegisterResource(*disk(elsewhere / 'in'))
    guest.Acquire({})
    assert is_locked(inside) and is_locked(deeper) and not is_locked(outside)
    # A descriptor of it has no path to lie about.
    fd = os.open(outside, os.O_RDWR)
    at_end(lambda: os.close(fd))
    with needs_password('acquire'):
        guest.AcquireResourceFd('disk', str(directory / 'disk'), fd, 'exclusive', {})
    assert not is_locked(outside)


# --- dialogs ---

@test
def dialog_granted():
    agent, bob = polkit_agent('grant'), as_uid('bob')
    with needs_password('acquire'):
        create_guest(peer=bob)
    bob.interactive = True
    guest = create_guest('web1', peer=bob)
    action, message = dialog(agent)
    equal(action, 'acquire')
    assert message.endswith('"web1"'), message
    # One disk granted is not every disk granted.
    path, other = (image(temp_dir(), user='bob') for _ in range(2))
    guest.RegisterResource(*disk(path))
    equal(dialog(agent)[0], 'acquire')
    bob.interactive = False
    with needs_password('acquire'):
        guest.RegisterResource(*disk(other))
    # What this connection was granted it is not asked again; another one of the same user is.
    guest.Acquire({})
    guest.ReleaseResource('disk', str(path), {})
    guest.AcquireResource(*disk(path))
    with needs_password('acquire'):
        as_uid('bob').guest(guest.path).Acquire({})
    no_dialog(agent)


@test
def one_dialog_for_all():
    agent, bob = polkit_agent('grant'), as_uid('bob')
    bob.interactive = True
    paths = [image(temp_dir(), user='bob') for _ in range(3)]
    # A process of root's is part of it.
    guest = start_guest([disk(path) for path in paths], options={'pid': spawn_process().pid}, peer=bob)
    equal(dialog(agent)[0], 'manage')
    equal(guest.State, 'held')
    bob.interactive = False
    guest.Release({})
    guest.ReleaseResource('disk', str(paths[0]), {})
    guest.RegisterResource(*disk(paths[0]))
    no_dialog(agent)
    # What is asked in it is known to rules as well.
    rule(f'action.lookup("resources") === "{paths[1]}, {paths[2]}" && action.lookup("resource") === "{paths[1]}"')
    bob = as_uid('bob')
    bob.interactive = True
    start_guest([disk(path) for path in paths[1:]], peer=bob)
    with fails('AccessDenied'):
        start_guest([disk(path) for path in paths[:2]], peer=bob)


@test
def dialog_cancelled():
    agent, bob = polkit_agent('cancel'), as_uid('bob')
    bob.interactive = True
    with fails('AccessDenied'):
        create_guest(peer=bob)
    dialog(agent)
    nothing_changed()


@test
def nobody_to_ask():
    bob = as_uid('bob')
    bob.interactive = True
    with fails('AccessDenied'):
        create_guest(peer=bob)
    nothing_changed()


@test
def dialog_goes_with_its_caller():
    agent, bob = polkit_agent('never'), as_uid('bob')
    bob.interactive = True
    bob.manager().later.CreateGuest(UUID, 'web1', {})
    dialog(agent)
    # Meanwhile everybody else is served.
    alices = create_guest(peer=as_uid('alice'))
    alices.Free({})
    bob.close()
    equal(agent.stdout.readline(), 'cancelled\n')
    nothing_changed()


@test
def calls_keep_their_order():
    """Each of alice's acquires is held up by a question to polkit, and none of her releases is."""
    path = image(temp_dir(), user='alice')
    guest = create_guest(peer=as_uid('alice'))
    guest.RegisterResource(*disk(path))
    signals = Signals()
    pending = []
    for _ in range(10):
        pending += [guest.later.Acquire({}), guest.later.Release({})]
    results = [call.result() for call in pending]
    equal([member for _, member, _ in signals.until_now()], ['LeasesAcquired', 'LeasesReleased'] * 10)
    generations = results[::2]
    equal(generations, sorted(set(generations)))


# --- without polkit ---

@test
def polkit_killed():
    alice = as_uid('alice')
    create_guest(peer=alice)
    assert has_owner(POLKIT)
    end_polkit()
    # The bus starts another one.
    create_guest(peer=as_uid('alice'))
    with needs_password('acquire'):
        create_guest(peer=as_uid('bob'))


@test
def no_polkit():
    path = image(temp_dir(), user='alice')
    alice = as_uid('alice')
    guest = create_guest(peer=alice)
    remove_polkit()
    for interactive in (False, True):
        alice.interactive = interactive
        with fails('AccessDenied', contains='only root'):
            guest.RegisterResource(*disk(path))
        with fails('AccessDenied', contains='only root'):
            create_guest(peer=as_uid('carol'))
    equal((guest.Resources, guest.State), ([], 'new'))
    # To look and to give up needs nobody's leave.
    equal(guest.Inquire({}), '')
    guest.Free({})
    # Root needs none at all, also for another's process.
    start_guest([disk(path)], options={'owner-uid': uid_of('alice'), 'pid': spawn_process(user='bob').pid})


# --- other people's guests and processes ---

@test
def guests_of_others():
    path = image(temp_dir(), user='alice')
    path.chmod(0o666)
    alices = start_guest([disk(path)], peer=as_uid('alice'))
    roots, another = create_guest(), image(temp_dir(), 'another')
    another.chmod(0o666)
    for owned, other in ((alices, as_uid('bob')), (roots, as_uid('alice'))):
        guest = other.guest(owned.path)
        for call in (lambda: guest.SetParameter('name', 'mine'), lambda: guest.RegisterResource(*disk(another)),
                     lambda: guest.Acquire({}), lambda: guest.Inquire({}), lambda: guest.Release({}),
                     lambda: guest.AcquireResource(*disk(path)), lambda: guest.ReleaseResource('disk', str(path), {}),
                     lambda: guest.SetChild({'pid': os.getpid()}), lambda: guest.GetChild({}),
                     lambda: guest.Shutdown({}), lambda: guest.Free({})):
            with needs_password('manage'):
                call()
    equal((alices.State, alices.Name, len(alices.Resources)), ('held', 'guest', 1))
    equal((roots.State, roots.Name, roots.Resources), ('new', 'guest', []))


@test
def manager_of_guests():
    path = image(temp_dir(), user='alice')
    alices = create_guest(peer=as_uid('alice'))
    carol = as_uid('carol')
    guest = carol.guest(alices.path)
    # The disk is opened with carol's permissions, not with the owner's.
    with fails('AccessDenied', contains=str(path)):
        guest.RegisterResource(*disk(path))
    path.chmod(0o666)
    guest.RegisterResource(*disk(path))
    guest.Acquire({})
    equal(guest.Resources[0]['registered-by'], uid_of('carol'))
    guest.Release({})
    # To kill takes more.
    process = spawn_process(user='alice')
    guest.Acquire({'pid': process.pid})
    with needs_password('revoke'):
        guest.Shutdown({'kill': True})
    equal((alices.State, process.poll()), ('held', None))
    alices.Shutdown({'kill': True})
    equal(process.wait(30), -9)


@test
def owners_to_be():
    for user in ('alice', 'bob'):
        with needs_password('manage'):
            create_guest(peer=as_uid(user), options={'owner-uid': 0})
    guest = create_guest(peer=as_uid('carol'), options={'owner-uid': uid_of('bob')})
    equal(guest.OwnerUid, uid_of('bob'))
    # It is his now: what he gives back is his own business, what he takes is still asked.
    bobs = as_uid('bob').guest(guest.path)
    bobs.SetParameter('name', 'mine')
    with needs_password('acquire'):
        bobs.Acquire({})


@test
def processes_of_others():
    path, alice = image(temp_dir(), user='alice'), as_uid('alice')
    own, roots, bobs = spawn_process(user='alice'), spawn_process(), spawn_process(user='bob')
    # What was started by root, or can become root again, is not alice's alone.
    mixed = [spawn_process('/usr/bin/python3', '-c',
                           f'import os, time; os.setresuid{uids}; print("ready", flush=True); time.sleep(1000)',
                           stdout=subprocess.PIPE)
             for uids in ((uid_of('alice'), uid_of('alice'), 0), (0, uid_of('alice'), uid_of('alice')))]
    for process in mixed:
        process.stdout.readline()
    guest = create_guest(peer=alice)
    guest.RegisterResource(*disk(path))
    for process in (roots, bobs, *mixed):
        pidfd = os.pidfd_open(process.pid)
        at_end(lambda pidfd=pidfd: os.close(pidfd))
        for options in ({'pid': process.pid}, {'pidfd': Fd(pidfd)}):
            with needs_password('manage'):
                guest.Acquire(options)
            with needs_password('manage'):
                guest.SetChild(options)
            with needs_password('manage'):
                start_guest([], options=options, peer=alice)
    equal((guest.State, guest.Pid, manager().NGuests), ('new', 0, 1))
    guest.Acquire({'pid': own.pid})
    equal(guest.Pid, own.pid)
    # carol may, for alice's guest and her own.
    start_guest([], options={'pid': roots.pid}, peer=as_uid('carol'))
    start_guest([], options={'pid': bobs.pid, 'owner-uid': uid_of('alice')}, peer=as_uid('carol'))


# --- permissions of files ---

@test
def files_of_others():
    directory, alice = temp_dir(), as_uid('alice')
    own, secret, public = image(directory, 'own', 'alice'), image(directory, 'secret'), image(directory, 'public')
    secret.chmod(0o600)
    closed = temp_dir()
    hidden = image(closed, user='alice')
    closed.chmod(0o700)
    guest = create_guest(peer=alice)
    for path, mode in ((secret, 'exclusive'), (secret, 'readonly'), (public, 'exclusive'), (public, 'shared'),
                       (hidden, 'readonly')):
        with fails('AccessDenied', contains=str(path)):
            guest.RegisterResource(*disk(path, mode))
        with fails('AccessDenied', contains=str(path)):
            start_guest([disk(own), disk(path, mode)], peer=alice)
    equal((guest.Resources, manager().NGuests), ([], 1))
    guest.RegisterResource(*disk(own))
    guest.RegisterResource(*disk(public, 'readonly'))
    guest.Acquire({})
    # The same through a lease file, and when a lease is raised.
    with fails('AccessDenied', contains=str(secret)):
        guest.RegisterResource('lease', 'key', 'exclusive', {'path': str(secret), 'offset': GLib.Variant('t', 1)})
    with fails('AccessDenied', contains=str(public)):
        guest.AcquireResource(*disk(public, 'exclusive'))
    equal([resource['mode'] for resource in guest.Resources], ['exclusive', 'readonly'])
    assert not is_locked(secret) and not is_locked(hidden)


@test
def permissions_are_looked_at_again():
    path, alice = image(temp_dir(), user='alice'), as_uid('alice')
    guest = create_guest(peer=alice)
    guest.RegisterResource(*disk(path))
    os.chown(path, 0, 0)
    with fails('AccessDenied', contains=str(path)):
        guest.Acquire({})
    # Root acquires for her, and it is opened as her who registered it.
    with fails('AccessDenied', contains=str(path)):
        bus.guest(guest.path).Acquire({})
    assert not is_locked(path)


@test
def groups_of_the_caller():
    path, group = image(temp_dir()), uid_of('bob')
    os.chown(path, 0, group)
    path.chmod(0o660)
    with fails('AccessDenied'):
        start_guest([disk(path)], peer=as_uid('alice'))
    start_guest([disk(path)], peer=as_uid('alice', groups=[group]))


@test
def a_descriptor_is_a_permission():
    directory, alice = temp_dir(), as_uid('alice')
    secret = image(directory)
    secret.chmod(0o600)
    guest = create_guest(peer=alice)
    for flags, mode in ((os.O_RDONLY, 'readonly'), (os.O_RDWR, 'exclusive')):
        fd = os.open(secret, flags)
        at_end(lambda fd=fd: os.close(fd))
        guest.RegisterResourceFd('disk', '/vda', fd, mode, {})
        guest.Acquire({})
        assert is_locked(secret)
        guest.ReleaseResource('disk', '/vda', {})
        # And no more of one than it has.
        if mode == 'readonly':
            with fails('AccessDenied'):
                guest.AcquireResourceFd('disk', '/vda', fd, 'exclusive', {})
    wait_until(lambda: not is_locked(secret), 'the lock to go')


main()
