# SPDX-License-Identifier: LGPL-2.1-or-later
"""guestlockctl in a terminal: how wide, which colours, the line that says for whom it waits, and how a wait is given
up."""

import os
import re
import signal
import subprocess
import time

from ctltest import (
    CONFLICT, DONE, INTERRUPT, OTHER, THIRD, UUID, Terminal, Waiter, ctl, equal, expect, on_terminal, spawn_ctl,
    wait_for_guest, wait_for_no_guests)
from guestlocktest import (
    BUSY, at_end, bus, create_guest, disk, image, is_locked, main, manager, spawn_process, start_guest, temp_dir,
    test, wait_until)

TIME = r'\d+:\d\d'


def tables(terminal):
    """The lines of tables: headings, and what follows them as far indented."""
    found, indent = [], None
    for line in terminal.text.splitlines():
        heading = re.match(r'( *)[A-Z]+( |$)', line)
        if heading:
            indent = heading[1]
        elif not line.startswith(indent or '!') or not line[len(indent):].strip():
            indent = None
        if indent is not None:
            found.append(line)
    return found


# --- width and colour ---

@test
def tables_fit_the_terminal():
    directory = temp_dir()
    long = image(directory, 'a-long-name-of-a-disk-that-has-its-number-at-the-end-' + 'x' * 60 + '-0001.qcow2')
    wide = image(directory, '二' * 40 + '.img')
    start_guest([disk(long), disk(wide)], name='a-guest-with-a-name-that-is-longer-than-most-of-them-number-0001',
                uuid=UUID)
    start_guest([], name='名' * 60, uuid=OTHER)
    create_guest('short', uuid=THIRD)
    for columns in (40, 80, 200):
        for command in (['list'], ['status', UUID], ['who', long, wide], ['drivers'],
                        ['run', '--dry-run', '-d', long, '--no-backing-chain', '--', 'true']):
            terminal = on_terminal(*command, columns=columns)
            lines = tables(terminal)
            assert lines and not set(lines) & set(terminal.screen.wrapped), f'{columns}: {terminal.text}'
            assert all(line not in terminal.screen.wrapped for line in lines), terminal.text
        shown = on_terminal('list', columns=columns).text.splitlines()
        # All guests, each with its state, and what tells it from the others: the ends of what is cut are there.
        for name, uuid, state in (('a-gu', UUID, 'held'), ('名名', OTHER, 'held'), ('short', THIRD, 'new')):
            line = [line for line in shown if line.startswith(name)]
            assert len(line) == 1 and state in line[0] and uuid[:4] in line[0] and uuid[-4:] in line[0], shown
        assert any('0001 ' in line for line in shown), shown
        # A uuid is whole where there is room for it.
        equal(all(uuid in '\n'.join(shown) for uuid in (UUID, OTHER, THIRD)), columns >= 80)
        shown = on_terminal('status', UUID, columns=columns).text
        for end in (r'1\.qcow2', r'二\.img'):
            assert re.search(f'^  /run.*{end} +disk exclusive held', shown, re.M), shown
    # A wider one shows all, and so does what is no terminal.
    for text in (on_terminal('status', UUID, columns=400).text, ctl('status', UUID).out):
        assert str(long) in text and str(wide) in text and 'KEPT BY' in text and '…' not in text, text
    # Without a table nothing has to fit.
    expect(DONE, 'list', '-q', env={'COLUMNS': '20'})


@test
def a_column_for_each_width():
    path = image(temp_dir())
    start_guest([disk(path)], name='web1', uuid=UUID, options={'pid': spawn_process().pid})
    for columns, heading in ((40, 'NAME UUID STATE PID'), (59, 'NAME UUID STATE PID OWNER'),
                             (80, 'NAME UUID STATE PID OWNER SINCE'), (200, 'NAME UUID STATE PID OWNER SINCE')):
        lines = on_terminal('list', columns=columns).text.splitlines()
        equal(lines[0].split(), heading.split())
        equal(UUID in lines[1], columns > 56)
    for columns in range(1, 40):
        # Nothing breaks where nothing can be shown.
        terminal = on_terminal('list', columns=columns)
        equal((terminal.status, terminal.screen.unknown), (DONE, []))


@test
def how_a_conflict_came_about_wraps():
    path = image(temp_dir())
    other = path.parent / 'other-name'
    other.symlink_to(path)
    holder = spawn_process('python3', '-c', f'''
import fcntl, os, struct, time
fd = os.open({str(path)!r}, os.O_RDWR)
fcntl.fcntl(fd, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 1, 0))
print('locked', flush=True)
time.sleep(1000)''', stdout=subprocess.PIPE)
    at_end(holder.stdout.close)
    equal(holder.stdout.readline(), b'locked\n')
    for columns in (60, 100):
        terminal = on_terminal('who', other, columns=columns)
        lines = tables(terminal)
        assert not set(lines) & set(terminal.screen.wrapped), terminal.text
        assert 'python3' in terminal.text and str(holder.pid) in terminal.text and 'HOW' in lines[0], terminal.text
        # Each word of it.
        how = ''.join(line[lines[0].index('HOW'):] for line in lines[1:])
        whole = ''.join(re.sub(r'\s', '', word) for word in ctl('who', other).out.splitlines()[2:])
        assert re.sub(r'\s', '', how) in whole, f'{how!r} is not in {whole!r}'


@test
def colour_on_a_terminal_only():
    start_guest([], name='web1', uuid=UUID)
    for command in (['list'], ['status', UUID], ['drivers'], ['who', '/etc/passwd']):
        assert on_terminal(*command).screen.colours, f'no colours: {command}'
        for env in ({'NO_COLOR': '1'}, {'TERM': 'dumb'}):
            terminal = on_terminal(*command, env=env)
            equal(('\x1b' in terminal.raw, bool(terminal.text)), (False, True))
        assert on_terminal(*command, env={'NO_COLOR': ''}).screen.colours
        assert '\x1b' not in ctl(*command).out
    assert '31' in on_terminal('status', 'nobody').screen.colours
    # Each stream for itself.
    assert '\x1b' not in ctl('status', 'nobody').err
    terminal = on_terminal('list', stdout=subprocess.DEVNULL)
    equal(terminal.raw, '')
    terminal = Terminal('status', 'nobody', stdout=subprocess.DEVNULL)
    terminal.end()
    assert '31' in terminal.screen.colours
    assert not on_terminal('list', '--json').screen.colours


# --- waiting ---

def a_waiting(command, holder_name='first', columns=80, path=None, **options):
    """Somebody who holds a disk, and this command, which waits for it, in a terminal."""
    path = path or image(temp_dir())
    holder = start_guest([disk(path)], name=holder_name, uuid=OTHER)
    terminal = Terminal(*[path if word == 'PATH' else word for word in command], columns=columns, **options)
    return holder, path, terminal


START = ['start', 'web1', '-u', UUID, '--wait', '-d', 'PATH']
RUN = ['run', '-q', '-u', UUID, '--wait', '--no-backing-chain', '-d', 'PATH', '--', 'sh', '-c',
       'echo it runs; exec sleep 1000']


@test
def the_line_while_it_waits():
    begin = time.monotonic()
    holder, path, terminal = a_waiting(START)
    line = f'Waiting for guest "first" (host {manager().HostName})  '
    drawn = lambda: re.findall(re.escape(line) + r'(\d+:\d\d)', terminal.read().raw)  # noqa: E731
    wait_until(lambda: len(set(drawn())) > 2, 'it to count', 10)
    # In the same line. Where others take the processor, it may leave a second out.
    seen = drawn()
    equal(seen, sorted(seen, key=lambda text: [int(part) for part in text.split(':')]))
    equal([text for text in terminal.screen.text.splitlines() if text.strip()], [line + seen[-1]])
    assert '33' in terminal.screen.colours
    holder.Release({})
    equal(terminal.end(), DONE)
    # Nothing is left of it.
    assert 'Waiting' not in terminal.text and terminal.text.startswith(f'Guest "web1" ({UUID}) has its leases.\n'), \
        terminal.text
    # Each second, not more often.
    assert len(re.findall('\rWaiting|\r\x1b\\[33mWaiting', terminal.raw)) < time.monotonic() - begin + 2


@test
def who_is_in_the_way_may_change():
    holder, path, terminal = a_waiting(START)
    terminal.wait_for('Waiting for guest "first"')
    holder.Shutdown({})
    next_one = None
    try:
        next_one = start_guest([disk(path)], name='second', options={'wait-ms': 1})
    except Exception:
        pass
    # Whoever waited longer was first.
    equal((next_one, terminal.end()), (None, DONE))
    equal(wait_for_guest(UUID).State, 'held')


@test
def long_names_stay_on_one_line():
    for name, columns in (('x' * 255, 20), ('x' * 255, 80), ('二' * 85, 40), ('e\u0301' * 80, 40),
                          ('n\x1b[31m\n\u202e' * 10, 40)):
        holder, _path, terminal = a_waiting(START, name, columns)
        terminal.wait_for(re.compile(r'^Waiting for .*  \d+:\d\d$' if columns > 20 else '^Wait'))
        wait_until(lambda: len(re.findall('\r', terminal.read().raw)) > 2, 'it to be drawn again')
        equal((terminal.screen.wrapped, terminal.screen.unknown), ([], []))
        equal(len(terminal.text.splitlines()), 1)
        assert '…' in terminal.text
        terminal.end(signal.SIGKILL)
        holder.Shutdown({})
        wait_for_no_guests()


@test
def without_a_terminal_it_is_said_once():
    path = image(temp_dir())
    holder = start_guest([disk(path)], name='first')
    waiting = spawn_ctl('start', 'web1', '--wait', '-d', path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    equal(waiting.stderr.readline().decode(), f'Waiting for guest "first" (host {manager().HostName}).\n')
    time.sleep(2.5)
    equal(waiting.poll(), None)
    holder.Release({})
    out, err = waiting.communicate(timeout=10 * BUSY)
    equal((waiting.returncode, err), (DONE, b''))
    assert b'Waiting' not in out
    # What is granted at once is not waited for.
    assert 'Waiting' not in expect(DONE, 'attach', 'web1', image(path.parent, 'free'), '--wait').err


@test
def what_does_not_come_in_time():
    holder, path, terminal = a_waiting([*START[:-3], '-t', '2', '-d', 'PATH'])
    equal(terminal.end(), CONFLICT)
    assert terminal.text.startswith('guestlockctl: Waited as long as was asked, in vain. Disk'), terminal.text
    wait_until(lambda: manager().NGuests == 1, 'the other guest to be alone')


# --- giving a wait up ---

def is_there(uuid):
    return uuid in [guest[0] for guest in manager().ListGuests({})]


def gives_its_place_back(command, how, attach_to=None):
    path = image(temp_dir())
    if attach_to:
        start_guest([disk(image(path.parent, 'own'))], name='own', uuid=UUID)
    holder, path, terminal = a_waiting(command, path=path)
    terminal.wait_for('Waiting for guest "first"')
    behind = Waiter(path)
    if how == signal.SIGINT:
        terminal.type(INTERRUPT)
        equal(terminal.end(), -signal.SIGINT)
    else:
        equal(terminal.end(how), -how)
    assert 'guestlockctl:' not in terminal.text and 'Waiting' not in terminal.text, terminal.text
    # The guest that was being made is gone; one that was there is as before.
    wait_until(lambda: is_there(UUID) == bool(attach_to), 'the guest to be gone')
    assert behind.still_waits()
    if attach_to:
        guest = bus.guest(manager().GetGuest(UUID))
        wait_until(lambda: not guest.Waiting, 'the guest to wait no more')
        equal((guest.State, len(guest.Resources)), ('held', 1))
    holder.Release({})
    behind.wait()
    assert is_locked(path)


for _name, _command in (('start', START), ('run', RUN), ('attach', ['attach', 'own', 'PATH', '--wait'])):
    for _how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        def _test(command=_command, how=_how, name=_name):
            gives_its_place_back(command, how, name == 'attach')
        _test.__name__ = f'{_how.name}_while_{_name}_waits'
        test(_test)


@test
def killed_while_run_waits():
    """Nobody tidies up then, and nothing is left: the guest is not there before it has its leases."""
    holder, path, terminal = a_waiting(RUN)
    terminal.wait_for('Waiting for guest "first"')
    behind = Waiter(path)
    equal(terminal.end(signal.SIGKILL), -signal.SIGKILL)
    assert behind.still_waits()
    equal(is_there(UUID), False)
    holder.Release({})
    behind.wait()
    equal(is_there(UUID), False)
    assert 'it runs' not in terminal.text


@test
def the_terminal_goes_while_it_waits():
    holder, path, terminal = a_waiting(RUN)
    terminal.wait_for('Waiting for guest "first"')
    os.close(terminal.slave)
    os.close(terminal.master)
    terminal.master, terminal.slave = os.openpty()
    equal(terminal.process.wait(10 * BUSY), -signal.SIGHUP)
    wait_until(lambda: not is_there(UUID), 'the guest to be gone')
    equal(holder.State, 'held')


@test
def granted_while_run_waits():
    holder, path, terminal = a_waiting(RUN)
    terminal.wait_for('Waiting for guest "first"')
    holder.Release({})
    terminal.wait_for('it runs')
    assert 'Waiting' not in terminal.text, terminal.text
    guest = wait_for_guest(UUID, 'held')
    equal(guest.SupervisorPid, terminal.pid)
    terminal.type(INTERRUPT)
    equal(terminal.end(), -signal.SIGINT)
    wait_until(lambda: not is_there(UUID), 'the guest to be gone')


main()
