# SPDX-License-Identifier: LGPL-2.1-or-later
"""polkit as a part that can fail, the defaults of the actions as polkitd applies them to sessions, and the example
rule that is installed."""

import ctypes
import os
import re
import signal
from pathlib import Path

from guestlocktest import (
    NAME, SOURCE, as_uid, at_end, bus, create_guest, disk, equal, fails, has_owner, image, is_locked, main, manager,
    skip, spawn_process, start_guest, temp_dir, test, uid_of)
from polkittest import end_polkit, hanging_polkit, polkit_agent, polkit_rules
from storagetest import must_run

POLKIT = 'org.freedesktop.PolicyKit1'


def needs_password(action='acquire'):
    return fails('InteractiveAuthorizationRequired', contains=f'{NAME}.{action}')


# --- a polkit that does not answer ---

@test
def a_polkit_that_hangs():
    path, alices = image(temp_dir(), user='alice'), create_guest(peer=as_uid('alice'))
    held = start_guest([disk(image(temp_dir(), user='alice'))], peer=as_uid('alice'))
    with hanging_polkit():
        pending = alices.later.RegisterResource(*disk(path))
        # Nobody else is held up, and neither is she in what needs no leave.
        start_guest([disk(image(temp_dir()))]).Shutdown({})
        equal(held.State, 'held')
        held.peer = as_uid('alice')
        held.Release({})
        equal(len(as_uid('bob').manager().ListGuests({})), 2)
        assert not pending.done
        equal(alices.Resources, [])
    pending.result()
    equal(len(alices.Resources), 1)


@test
def a_polkit_that_dies_over_a_question():
    alice = as_uid('alice')
    with hanging_polkit() as pidfd:
        pending = [alice.manager().later.CreateGuest(uuid, 'web', {}) for uuid in (
            '4dea22b3-1d52-d8f3-2516-782e98ab3fa0', '4dea22b3-1d52-d8f3-2516-782e98ab3fa1')]
        # The first question is on its way to it.
        alice.wait_until_taken_up()
        equal(manager().NGuests, 0)
        # Its name is soon another one's, for the next question.
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    with fails('AccessDenied', contains='polkit'):
        pending[0].result()
    pending[1].result()
    assert has_owner(POLKIT)
    equal(manager().NGuests, 1)


@test
def a_polkit_that_dies_over_a_dialog():
    agent, bob = polkit_agent('never'), as_uid('bob')
    bob.interactive = True
    pending = bob.manager().later.CreateGuest('4dea22b3-1d52-d8f3-2516-782e98ab3fa0', 'web', {})
    assert agent.stdout.readline().startswith('begin ')
    end_polkit(signal.SIGKILL)
    with fails('AccessDenied', contains='polkit'):
        pending.result()
    equal(manager().NGuests, 0)


@test
def dialogs_that_are_never_answered():
    """Some people's do not keep others' from appearing, and go with their callers."""
    agent = polkit_agent('never')
    peers = [as_uid(user) for user in ('bob', 'bob', 'bob', 'bob', 'bob')]
    for number, peer in enumerate(peers):
        peer.interactive = True
        call = peer.manager().later.CreateGuest(f'4dea22b3-1d52-d8f3-2516-78200000000{number}', 'web', {})
        if number < 4:
            assert agent.stdout.readline().startswith('begin ')
        else:
            with fails('LimitExceeded', contains='4 times'):
                call.result()
    # Without a dialog he is served as before, and so is everybody else.
    peers[4].interactive = False
    with needs_password():
        create_guest(peer=peers[4])
    create_guest(peer=as_uid('alice'))
    for peer in peers:
        peer.close()
    equal([agent.stdout.readline() for _ in range(4)], ['cancelled\n'] * 4)
    bob = as_uid('bob')
    bob.interactive = True
    bob.manager().later.CreateGuest('4dea22b3-1d52-d8f3-2516-782e98ab3fa0', 'web', {})
    # polkit, which sees for itself that they have left, may take a dialog away twice.
    line = 'cancelled'
    while line.startswith('cancelled'):
        line = agent.stdout.readline()
    assert line.startswith('begin '), line


# --- who sits where ---

class Session:
    """Bob's, of which this process and so every peer of the test is a part; as logind would have it on file."""

    def __init__(self):
        Path('/run/systemd').mkdir(exist_ok=True)
        must_run('mount', '-t', 'tmpfs', '-o', 'mode=755', 'guestlock', '/run/systemd')
        at_end(lambda: must_run('umount', '--lazy', '/run/systemd'))
        for directory in ('sessions', 'users', 'seats', 'machines'):
            Path('/run/systemd', directory).mkdir()
        cgroup, own = temp_dir() / 'cgroup', f'/proc/{os.getpid()}/cgroup'
        scope = f'/user.slice/user-{uid_of("bob")}.slice/session-g1.scope'
        cgroup.write_text(f'1:name=systemd:{scope}\n0::{scope}\n')
        must_run('mount', '--bind', cgroup, own)
        at_end(lambda: must_run('umount', '--lazy', own))
        name = ctypes.c_char_p()
        r = ctypes.CDLL('libsystemd.so.0').sd_pid_get_session(os.getpid(), ctypes.byref(name))
        if r < 0 or name.value != b'g1':
            skip('libsystemd finds no session without control groups')
        # One that has seen the real thing, or nothing, is not asked.
        end_polkit()
        at_end(end_polkit)

    def be(self, active, local):
        uid, state = uid_of('bob'), 'active' if active else 'online'
        seat = 'SEAT=seat0\n' if local else 'REMOTE=1\n'
        Path('/run/systemd/sessions/g1').write_text(
            f'UID={uid}\nUSER=bob\nACTIVE={active:d}\nSTATE={state}\nTYPE=tty\nCLASS=user\n{seat}')
        Path(f'/run/systemd/users/{uid}').write_text(f'NAME=bob\nSTATE={state}\nSESSIONS=g1\n')


def default_of(action):
    """What the installed policy says, by polkit's own reading: for any, inactive and active sessions."""
    said = must_run('pkaction', '--verbose', '--action-id', f'{NAME}.{action}')
    return [re.search(rf'implicit {who}: +(\w+)', said)[1] for who in ('any', 'inactive', 'active')]


@test
def defaults_that_polkit_has_read():
    equal(default_of('inspect'), ['yes', 'yes', 'yes'])
    equal(default_of('acquire'), ['auth_admin', 'auth_admin', 'yes'])
    for action in ('migrate', 'manage', 'revoke'):
        equal(default_of(action), ['auth_admin'] * 3)


@test
def sessions():
    session, roots = Session(), create_guest()
    mine = image(temp_dir(), user='bob')
    session.be(active=True, local=True)
    guest = start_guest([disk(mine)], peer=as_uid('bob'))
    # Only that: others' guests are not his because he sits there.
    with needs_password('manage'):
        as_uid('bob').guest(roots.path).Acquire({})
    for active, local in ((False, True), (True, False), (False, False)):
        session.be(active, local)
        with needs_password():
            create_guest(peer=as_uid('bob'))
        # What he has he may give back from anywhere.
        as_uid('bob').guest(guest.path).Inquire({})
    session.be(active=True, local=True)
    create_guest(peer=as_uid('bob'))


@test
def rules_about_sessions():
    session = Session()
    polkit_rules(f'''polkit.addRule(function(action, subject) {{
        if (action.id == "{NAME}.acquire" && subject.user == "bob")
            return subject.local && !subject.active ? polkit.Result.YES : polkit.Result.NO;
    }});''')
    for active, local in ((False, True), (True, True), (True, False)):
        session.be(active, local)
        if local and not active:
            create_guest(peer=as_uid('bob')).Free({})
        else:
            with fails('AccessDenied'):
                create_guest(peer=as_uid('bob'))


# --- the rule that people copy ---

def install_example(directory):
    """The example as installed, for bob and this directory in the place of alice and hers."""
    text = (SOURCE / 'policy/50-guestlock-example.rules').read_text()
    assert '"/srv/alice/"' in text and '"alice"' in text
    polkit_rules(text.replace('"/srv/alice/"', f'"{directory}/"').replace('"alice"', '"bob"'))


@test
def one_users_directory():
    directory, elsewhere = temp_dir(), temp_dir()
    install_example(directory)
    own, other = image(directory, 'own', 'bob'), image(directory, 'other', 'bob')
    outside = image(elsewhere, 'outside', 'bob')
    # Of a name that begins like the directory's.
    sibling = Path(f'{directory}-beside')
    sibling.mkdir(0o755)
    at_end(sibling.rmdir)
    beside = image(sibling, 'disk', 'bob')
    at_end(beside.unlink)
    (directory / 'link').symlink_to(outside)
    (directory / 'way').symlink_to(elsewhere)
    (elsewhere / 'in').symlink_to(own)
    bob = as_uid('bob')
    guest = create_guest(peer=bob)
    for path in (outside, beside, directory / 'link', directory / 'way/outside',
                 f'{directory}/../{elsewhere.name}/outside', f'{directory}/way/../{elsewhere.name}/outside'):
        with needs_password():
            guest.RegisterResource(*disk(path))
        # One that leads out is enough, wherever in the list it stands.
        for disks in ([own, path], [path, own], [own, path, other]):
            with needs_password():
                start_guest([disk(name) for name in disks], peer=bob)
    equal((guest.Resources, manager().NGuests), ([], 1))
    assert not is_locked(own)
    started = start_guest([disk(elsewhere / 'in'), disk(f'{directory}/./../{directory.name}/other')], peer=bob)
    assert is_locked(own) and is_locked(other)
    started.Shutdown({})
    # It says nothing of anybody else.
    with needs_password():
        create_guest(peer=as_uid('nobody'))


@test
def a_link_that_leads_out_later():
    """Between the answer and the grant: what polkit was asked about is what is taken, or nothing."""
    directory, elsewhere = temp_dir('bob'), temp_dir()
    install_example(directory)
    own, outside = image(directory, 'own', 'bob'), image(elsewhere, 'outside', 'bob')
    link = directory / 'link'
    link.symlink_to(own)
    guest = create_guest(peer=as_uid('bob'))
    guest.RegisterResource(*disk(link))
    link.unlink()
    link.symlink_to(outside)
    with fails('Stale'):
        guest.Acquire({})
    assert not is_locked(outside) and not is_locked(own)


@test
def who_is_not_the_holder_is_asked():
    """The holder fetches what he was granted without a question; no other process of the owner's does."""
    path, process = image(temp_dir('bob'), user='bob'), spawn_process(user='bob')
    path_of = start_guest([disk(path)], options={'owner-uid': uid_of('bob'), 'pid': process.pid,
                                                 'on-lease-lost': 'notify'}).path
    guest = as_uid('bob').guest(path_of)
    for options in ({}, {'pid': process.pid}):
        with needs_password():
            guest.Acquire(options)
        with needs_password():
            guest.AcquireInherit(options)
    # Whose connection has the holder's number: this process.
    own = start_guest([disk(image(temp_dir('bob'), user='bob'))], uuid=None, options={
        'owner-uid': uid_of('bob'), 'pid': os.getpid(), 'on-lease-lost': 'notify'}).path
    guest = as_uid('bob').guest(own)
    guest.Acquire({})
    # Not with another process, and not when there is something to take.
    with needs_password():
        guest.Acquire({'pid': process.pid})
    bus.guest(own).RegisterResource(*disk(image(temp_dir('bob'), 'more.img', 'bob')))
    with needs_password():
        guest.Acquire({})


main()
