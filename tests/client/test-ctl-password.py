# SPDX-License-Identifier: LGPL-2.1-or-later
"""guestlockctl asks for a password: polkit's own agent on the terminal, PAM behind it, and a user whose password is
known, in the test's namespaces alone."""

import os
import shlex
import signal
import time

from ctltest import (
    DONE, FAILED, INTERRUPT, UUID, Terminal, equal, expect, processes_called, program_for, wait_for_no_guests)
from guestlocktest import bus, disk, image, is_locked, main, manager, run, skip, start_guest, temp_dir, test, wait_until
from polkittest import polkit_rules
from storagetest import mount, must_run

PASSWORD = 'cuckoo'
AGENT = 'pkttyagent'
PAM = '''auth required pam_unix.so nodelay
account required pam_unix.so
'''


def with_a_password():
    """Whoever has to ask is asked for carol's password; gives bob's disk."""
    if run('sh', '-c', f'command -v {AGENT}').returncode:
        skip(f'{AGENT} is missing (tools/install-deps --all installs it)')
    directory = temp_dir()
    directory.joinpath('pam.d').mkdir()
    directory.joinpath('pam.d/polkit-1').write_text(PAM)
    secret = must_run('perl', '-e', 'print crypt($ARGV[0], q($6$guestlock$))', PASSWORD)
    directory.joinpath('shadow').write_text(f'root:*:19000:0:99999:7:::\ncarol:{secret}:19000:0:99999:7:::\n')
    directory.joinpath('shadow').chmod(0o600)
    mount('--bind', directory / 'pam.d', '/etc/pam.d')
    mount('--bind', directory / 'shadow', '/etc/shadow')
    polkit_rules('polkit.addAdminRule(function() { return ["unix-user:carol"]; });')
    return image(temp_dir('bob'), user='bob')


def asking(*arguments, user='bob', **options):
    """A command in a terminal, that asks for the password."""
    terminal = Terminal(*arguments, user=user, **options)
    terminal.wait_for('Password:')
    wait_until(lambda: not terminal.has_echo(), 'the echo to be off')
    return terminal


def nothing_is_left(terminal):
    wait_until(lambda: not (processes_called(AGENT) or processes_called('polkit-agent-helper-1')), 'the agent to end')
    assert terminal.has_echo(), 'the echo is off'
    assert PASSWORD not in terminal.raw, 'the password is on the screen'


@test
def the_right_one():
    path = with_a_password()
    terminal = asking('start', 'web1', '-u', UUID, '-d', path)
    for part in ('AUTHENTICATING FOR org.guestlock1.acquire', 'carol'):
        assert part in terminal.text, terminal.text
    equal(manager().NGuests, 0)
    terminal.type(f'{PASSWORD}\n')
    equal(terminal.end(), DONE)
    assert f'Guest "web1" ({UUID}) has its leases.' in terminal.text, terminal.text
    assert is_locked(path)
    nothing_is_left(terminal)
    # No line of another kind was drawn over the question.
    assert 'Waiting' not in terminal.raw
    # For another command it is asked again: nothing is kept.
    terminal = asking('attach', 'web1', image(path.parent, 'other', user='bob'))
    terminal.type(f'{PASSWORD}\n')
    equal(terminal.end(), DONE)
    nothing_is_left(terminal)


@test
def the_wrong_one():
    path = with_a_password()
    terminal = asking('start', 'web1', '-d', path)
    terminal.type('sparrow\n')
    equal(terminal.end(), FAILED)
    equal(terminal.text.splitlines()[-1], 'guestlockctl: The authorisation was refused (org.guestlock1.acquire).')
    nothing_is_left(terminal)
    equal((manager().NGuests, is_locked(path)), (0, False))


def given_up(how):
    path = with_a_password()
    terminal = asking('start', 'web1', '-d', path)
    if how == signal.SIGINT:
        terminal.type(INTERRUPT)
        equal(terminal.end(), -signal.SIGINT)
    else:
        equal(terminal.end(how), -how)
    nothing_is_left(terminal)
    equal((manager().NGuests, is_locked(path)), (0, False))


for _how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    def _test(how=_how):
        given_up(how)
    _test.__name__ = f'{_how.name}_while_it_asks'
    test(_test)


@test
def interrupted_with_its_agent():
    """Ctrl-C ends the agent as well, and what nobody answers is refused: it was Ctrl-C all the same."""
    path = with_a_password()
    terminal = asking('start', 'web1', '-d', path)
    os.kill(terminal.pid, signal.SIGSTOP)
    terminal.type(INTERRUPT)
    wait_until(lambda: not processes_called(AGENT), 'the agent to end')
    time.sleep(0.5)
    os.kill(terminal.pid, signal.SIGCONT)
    equal(terminal.end(), -signal.SIGINT)
    nothing_is_left(terminal)
    equal((manager().NGuests, is_locked(path)), (0, False))


def below_a_shell(*command):
    """One that outlives it, and so does the session."""
    program, _library = program_for('bob')
    line = shlex.join(map(str, [program, *command]))
    return asking('-c', f"trap : INT; {line}; echo over $?; trap '' INT; sleep 1000", program=['/bin/sh'])


@test
def killed_while_it_asks():
    """Below a shell, as usual: with the leader of a session the kernel would end all of it."""
    path = with_a_password()
    terminal = below_a_shell('start', 'web1', '-d', path)
    for pid in processes_called('guestlockctl'):
        os.kill(pid, signal.SIGKILL)
    terminal.wait_for('over')
    nothing_is_left(terminal)
    equal((manager().NGuests, is_locked(path)), (0, False))


def given_up_by(*command):
    """A command that does not wait for others, at Ctrl-C."""
    terminal = below_a_shell(*command)
    terminal.type(INTERRUPT)
    terminal.wait_for('over 130')
    nothing_is_left(terminal)


@test
def each_command_that_asks():
    path = with_a_password()
    start = ('start', 'web1', '-u', UUID, '-d', path)
    expect(DONE, *start)
    other = image(path.parent, 'other', user='bob')
    for command in (('stop', 'web1'), ('attach', 'web1', other), ('detach', 'web1', path), ('revoke', 'web1', '--all'),
                    ('drivers', '--load', 'guest-only')):
        given_up_by(*command)
    equal(manager().NGuests, 1)


@test
def a_question_before_a_wait():
    """The line of a wait does not overwrite the question; it comes after that."""
    path = with_a_password()
    start_guest([disk(path)], name='holder')
    terminal = asking('start', 'web1', '-u', UUID, '--wait', '-d', path)
    time.sleep(2)
    assert terminal.text.endswith('Password:'), terminal.text
    # Nor does it where the agent has not come to turning the echo off.
    terminal.set_echo(True)
    time.sleep(1.5)
    assert terminal.text.endswith('Password:'), terminal.text
    terminal.set_echo(False)
    terminal.type(f'{PASSWORD}\n')
    terminal.wait_for('Waiting for guest "holder"')
    terminal.type(INTERRUPT)
    equal(terminal.end(), -signal.SIGINT)
    nothing_is_left(terminal)
    equal(manager().NGuests, 1)


@test
def run_asks_before_it_runs():
    path = with_a_password()
    terminal = asking('run', '-q', '--no-backing-chain', '-d', path, '--', 'echo', 'it runs')
    terminal.type('sparrow\n')
    equal(terminal.end(), FAILED)
    assert 'it runs' not in terminal.text
    nothing_is_left(terminal)
    wait_for_no_guests()


@test
def run_asks_once():
    """For the guest and all its disks; the supervisor fetches what was granted, and is not asked again."""
    path = with_a_password()
    other = image(temp_dir('bob'), user='bob')
    terminal = asking('run', '-q', '--no-backing-chain', '-u', UUID, '-d', path, '-d', other, '--',
                      'sh', '-c', 'echo it runs; read line; exit 7')
    terminal.type(f'{PASSWORD}\n')
    terminal.wait_for('it runs')
    equal(terminal.text.count('Password:'), 1)
    guest = bus.guest(manager().ListGuests({})[0][5])
    equal([(entry['name'], entry['state'], entry['kept-by']) for entry in guest.Resources],
          [(str(path), 'held', 'holder'), (str(other), 'held', 'holder')])
    terminal.type('\n')
    equal(terminal.end(), 7)
    nothing_is_left(terminal)
    wait_for_no_guests()


@test
def where_nobody_is_to_be_asked():
    path = with_a_password()
    # Told not to.
    terminal = Terminal('start', 'web1', '-d', path, '--no-ask-password', user='bob')
    equal(terminal.end(), FAILED)
    assert 'Password' not in terminal.text and 'Leave --no-ask-password out' in terminal.text, terminal.text
    # Root, whom polkit asks nothing.
    terminal = Terminal('start', 'web1', '-u', UUID, '-d', path)
    equal(terminal.end(), DONE)
    assert 'Password' not in terminal.text
    # No terminal to ask on.
    expect(FAILED, 'stop', 'web1', user='bob', out='', err='guestlockctl: This needs a password, and polkit')
    # Commands that need no leave start no agent.
    terminal = Terminal('list', user='bob', env={'PATH': '/nonexistent'})
    equal(terminal.end(), DONE)
    # One that is not there is no reason to hang.
    terminal = Terminal('stop', 'web1', user='bob', env={'PATH': '/nonexistent'})
    equal(terminal.end(), FAILED)
    assert 'This needs a password' in terminal.text, terminal.text


main()
