# SPDX-License-Identifier: LGPL-2.1-or-later
"""guestlockctl where something is wrong: how it was called, what it was given, who reads what it says, the service and
the bus. And what it suggests, for each error there is."""

import json
import contextlib
import os
import subprocess
import time
from pathlib import Path

from ctltest import (
    BUILD, CONFLICT, CTL, DONE, FAILED, OTHER, USAGE, UUID, ctl, environment, equal, expect, on_terminal,
    spawn_ctl, told)
from guestlocktest import (
    BUSY, INTERFACES, NAME, ROOT, Peer, at_end, bus, create_guest, disk, end_service, has_owner, image, manager,
    main, run, spawn_process, start_guest, temp_dir, test, wait_until)

# What helps, by the error's name; where there is nothing that does, nothing is said.
SUGGESTIONS = {
    'Conflict': 'Wait for it with --wait. Who has it now says: guestlockctl who PATH',
    'Timeout': 'Who has it now says: guestlockctl who PATH',
    'NoSuchGuest': 'Which guests there are says: guestlockctl list',
    'org.freedesktop.DBus.Error.UnknownObject': 'Which guests there are says: guestlockctl list',
    'NoSuchResource': 'What the guest has says: guestlockctl status GUEST',
    'AlreadyRegistered': 'What the guest has says: guestlockctl status GUEST',
    'BadState': 'What the guest has says: guestlockctl status GUEST',
    'Stale': 'What the guest has says: guestlockctl status GUEST',
    'AlreadyExists': 'See guestlockctl status GUEST; what is over ends with: guestlockctl stop GUEST',
    'LeaseLost': 'End the guest, to start it anew: guestlockctl stop --kill GUEST',
    'GuestRunning': 'End the guest from within, or now: guestlockctl stop --kill GUEST',
    'NoSuchDriver': 'Which drivers there are says: guestlockctl drivers',
    'org.freedesktop.DBus.Error.InteractiveAuthorizationRequired': 'Do it where somebody can be asked, or as root.',
    'LimitExceeded': 'What there is says: guestlockctl list. The limits stand in guestlockd.conf(5).',
    'org.freedesktop.DBus.Error.ServiceUnknown':
        'What is wrong with the installation says: guestlockd --check; see guestlockd(8).',
    'NotSupported': None, 'Cancelled': None, 'NoChild': None, 'DriverInUse': None, 'DriverFailed': None,
    'StorageUnavailable': None, 'org.freedesktop.DBus.Error.InvalidArgs': None,
    'org.freedesktop.DBus.Error.AccessDenied': None,
}


# --- how it was called ---

@test
def called_wrongly():
    path = image(temp_dir())
    for arguments, sentence, command in (
            ([], 'Which command?', ''), (['--'], 'Which command?', ''), (['--json'], 'Which command?', ''),
            (['bogus'], 'There is no command "bogus".', ''), ([''], 'There is no command "".', ''),
            (['--bogus'], 'Unknown option --bogus', ''), (['list', '--bogus'], 'Unknown option --bogus', 'list'),
            (['list', 'x'], 'These are too many arguments for "list": list\n', 'list'),
            (['drivers', 'x'], 'These are too many arguments for "drivers": drivers\n', 'drivers'),
            (['who'], '"who" needs more arguments: who PATH…', 'who'),
            (['run'], '"run" needs more arguments: run -- COMMAND [ARGUMENT…]', 'run'),
            (['run', '--'], '"run" needs more arguments', 'run'), (['start'], '"start" needs more arguments', 'start'),
            (['start', 'a', 'b'], 'These are too many arguments for "start"', 'start'),
            (['stop'], '"stop" needs', 'stop'), (['stop', 'a', 'b'], 'too many', 'stop'),
            (['attach', 'a'], '"attach" needs more arguments: attach GUEST PATH[,mode=MODE]', 'attach'),
            (['detach', 'a', 'b', 'c'], 'too many', 'detach'), (['detach', 'a'], '"detach" needs', 'detach'),
            (['revoke'], '"revoke" needs', 'revoke'),
            (['revoke', 'a'], 'Which disks? Name them, or say --all.', 'revoke'),
            (['revoke', 'a', '-a', path], 'Name disks, or --all of them, but not both.', 'revoke'),
            (['revoke', 'a', '-a', '-k', '--drained'], '--kill is for guests that run, --drained', 'revoke'),
            (['start', 'a', '-d', f'{path},mode=sideways'], 'shared or readonly, and not "sideways"', 'start'),
            (['start', 'a', '-d', f'{path},mode='], 'exclusive, shared or readonly, and not ""', 'start'),
            (['start', 'a', '-d', ''], '"" names no disk.', 'start'),
            (['start', 'a', '-d', ',mode=shared'], '",mode=shared" names no disk.', 'start'),
            (['start', 'a', '-d'], 'Missing argument for -d', 'start'),
            (['start', 'a', '-p', '-1'], '--pid takes the pid of a process.', 'start'),
            (['start', 'a', '-p', 'x'], 'x', 'start'),
            (['start', 'a', '-t', '-1'], '--timeout takes seconds, at most 86400, and not -1.', 'start'),
            (['start', 'a', '-t', '86401'], 'at most 86400, and not 86401.', 'start'),
            (['attach', 'a', path, '-t', 'soon'], 'soon', 'attach'),
            (['start', 'a', '--on-lease-lost', 'panic'], '--on-lease-lost does not know "panic".', 'start'),
            (['start', 'a', '--require-scope', ''], '--require-scope does not know "".', 'start'),
            (['who', ''], '"" names no disk.', 'who'), (['detach', 'a', ''], '"" names no disk.', 'detach'),
            (['attach', 'a', ''], '"" names no disk.', 'attach'),
            (['run', '--', 'true'], 'There is nothing to take.', 'run')):
        said = expect(USAGE, *arguments, out=None if '--json' in arguments else '', err=['guestlockctl: ', sentence])
        assert said.err.endswith(f'\nSee: guestlockctl {command + " " if command else ""}--help\n'), said.err
    # A mistake in the arguments needs no service.
    equal(has_owner(NAME), False)
    error = told('list', 'x', status=USAGE)['error']
    equal((error['code'], error['suggestion']), ('usage', 'See: guestlockctl list --help'))


@test
def options_where_they_may_stand():
    path = image(temp_dir(), '-d')
    start_guest([disk(path)], name='-x', uuid=UUID)
    for command in (['--json', 'status', '--', '-x'], ['status', '--json', '--', '-x'], ['status', '--', '-x'],
                    ['status', UUID, '--json'], ['--', 'status', '--', '-x'], ['-j', 'status', UUID]):
        assert UUID in expect(DONE, *command, err='').out
    # What follows "--" is no option.
    expect(FAILED, 'status', '--', '--json', out='', err='There is no guest "--json".')
    expect(USAGE, 'list', '--', '--json', out='', err='too many arguments')
    said = expect(DONE, 'who', '--', '-d', cwd=path.parent, err='')
    assert f'"{path}" is in use:' in said.out, said.out
    said = expect(CONFLICT, 'start', 'x', '-d', '-d', cwd=path.parent)
    assert said.err.endswith(f'guestlockctl who {path}\n'), said.err
    # The same twice: it is what was said last.
    expect(CONFLICT, 'start', 'x', '-d', path, '-t', '600', '-t', '1', '-u', 'zz', '-u', OTHER)


# --- what it was given ---

@test
def bad_disks():
    directory = temp_dir()
    guest, fifo, missing = create_guest('web1', uuid=UUID), directory / 'fifo', directory / 'missing'
    guest.Acquire({})
    os.mkfifo(fifo)
    long, byte = directory / ('x' * 300), os.fsencode(directory) + b'/\xff'
    Path(os.fsdecode(byte)).touch()
    for path, sentence in ((directory, f'Disk "{directory}" is a directory; only regular files and block devices'),
                           (fifo, f'Disk "{fifo}" is a FIFO'), (missing, f'Disk "{missing}" cannot be opened: no such'),
                           ('missing', f'Disk "{missing}" cannot be opened: no such'), (long, 'cannot be opened: '),
                           ('/dev/null', 'Disk "/dev/null" is a character device'), (byte, 'is not UTF-8'),
                           ('/' + 'x' * 4999, 'The path of 5000 bytes is longer than 4095 bytes.')):
        for command in (['who', path], ['start', 'x', '-d', path], ['attach', 'web1', path],
                        ['run', '-q', '--no-backing-chain', '-d', path, '--', 'true']):
            said = expect(FAILED, *command, out='', cwd=directory, timeout=10)
            if command[0] != 'run':
                assert sentence in said.err, f'{command[0]}: no "{sentence}" in: {said.err}'
            assert said.err.startswith('guestlockctl: '), said.err
            assert len(said.err) < 700 or path == '/' + 'x' * 4999, said.err
        # With its layers looked for, which may take no time either.
        begin = time.monotonic()
        expect(FAILED, 'run', '-q', '-d', path, '--', 'true', out='', cwd=directory, timeout=10)
        assert time.monotonic() - begin < 5 * BUSY, path
    equal(guest.Resources, [])
    equal(manager().NGuests, 1)


@test
def bad_names():
    path = image(temp_dir())
    for arguments, sentence in ((['start', ''], 'The guest name "" is empty.'),
                                (['start', 'x' * 256], 'The guest name of 256 bytes is longer than 255 bytes.'),
                                (['start', 'x' * 100000], 'The guest name of 100000 bytes is longer'),
                                (['start', b'\xff'], 'is not UTF-8'),
                                (['start', 'x', '-u', 'zz'], 'The uuid "zz" is not a uuid of 36 characters.'),
                                (['start', 'x', '-u', ''], 'The uuid "" is'),
                                (['start', 'x', '-u', '0' * 8 + '-0000-0000-0000-' + '0' * 12], 'nil'),
                                (['start', 'x', '-p', '1'], '1'), (['start', 'x', '-p', '4194304'], '4194304'),
                                (['start', 'x', '--driver', '../x'], '"../x"'),
                                (['run', '-q', '-n', '', '-d', path, '--', 'true'], 'The guest name "" is empty.'),
                                (['status', ''], 'There is no guest "".'), (['stop', b'\xff'], 'There is no guest "'),
                                (['status', 'x' * 100000], 'There is no guest "xxx'),
                                (['status', 'x' * 100000, '--json'], 'There is no guest "xxx')):
        said = expect(FAILED, *arguments, err=sentence)
        equal(said.err.splitlines()[0][:14], 'guestlockctl: ')
    equal(manager().NGuests, 0)
    # The longest that may be.
    expect(DONE, 'start', 'ü' * 127, '-u', UUID)
    equal(expect(DONE, 'list', '-q').out, 'ü' * 127 + '\n')
    expect(FAILED, 'start', 'again', '-u', UUID, '-d', path, err=[
        UUID, f'See guestlockctl status {UUID}; what is over ends with: guestlockctl stop {UUID}'])


BAD = 'n\x1b[31m\x1b]0;x\a\u009b5m\u202e\u2028\r\n\x7f'


def is_harmless(text):
    for character in text:
        assert character == '\n' or character.isprintable(), f'{character!r} in: {text!r}'


@test
def names_do_nothing_to_the_terminal():
    directory = temp_dir()
    path = image(directory, BAD)
    guest = start_guest([disk(path)], name=BAD, uuid=UUID)
    for command in (['list'], ['list', '-q'], ['list', '--json'], ['status', UUID], ['status', BAD], ['who', path],
                    ['status', UUID, '--json'], ['attach', UUID, path], ['start', 'x', '-d', path], ['stop', BAD + 'x'],
                    ['start', 'x', '-d', path, '-t', '1'], ['who', path, '--json'], ['start', BAD, '-u', BAD],
                    ['run', '-n', BAD, '-d', path, '--no-backing-chain', '--', 'true'], ['status', '--' + BAD],
                    ['run', '--dry-run', '-n', BAD, '-d', path, '--no-backing-chain', '--', 'true'], [BAD],
                    ['detach', UUID, path], ['revoke', UUID, path, '-r', BAD], ['drivers', '--load', BAD]):
        said = ctl(*command)
        is_harmless(said.out + said.err)
        # On a terminal there is more, but only what we mean.
        terminal = on_terminal(*command, columns=100)
        equal(terminal.screen.unknown, [])
        # Red is for complaints.
        assert not terminal.screen.colours & ({'5'} if terminal.status else {'5', '31'}), terminal.raw
    assert r'n\x1b[31m\x1b]0;x\x07\u{9b}5m\u{202e}\u{2028}\x0d\x0a\x7f' in ctl('status', UUID).out
    equal([one['name'] for one in told('list')['guests']], [BAD])
    # What has such a name is suggested so that a shell takes it.
    suggestion = expect(FAILED, 'detach', UUID, path).err.splitlines()[-1]
    equal(suggestion, f'What the guest has says: guestlockctl status {UUID}')
    guest.SetParameter('name', "it's $(touch x) me")
    suggestion = expect(FAILED, 'detach', "it's $(touch x) me", path).err.splitlines()[-1]
    arguments = suggestion.partition(': guestlockctl ')[2]
    said = run('sh', '-c', f'{CTL} {arguments}', env=environment(BUILD / 'client-lib'), cwd=directory)
    assert said.returncode == DONE and UUID in said.stdout and not (directory / 'x').exists(), said


# --- what it suggests ---

class BrokenService:
    """A service whose every answer is this error."""

    def __init__(self, error):
        self.peer, self.error = Peer(), error if '.' in error else f'{NAME}.Error.{error}'
        self.peer.connection.register_object(ROOT, INTERFACES['Manager'], self._called, None, None)
        self.peer.ask_bus('RequestName', '(su)', NAME, 0)
        at_end(lambda: self.peer.connection.is_closed() or self.peer.close())

    def _called(self, _connection, _sender, _path, _interface, _method, _arguments, invocation):
        invocation.return_dbus_error(self.error, 'It is as it is.')


@test
def suggestions():
    for name, suggestion in SUGGESTIONS.items():
        service = BrokenService(name)
        process = spawn_ctl('drivers', '--json', stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until(lambda: process.poll() is not None, f'guestlockctl to end with {name}')
        out, err = process.communicate()
        equal(process.returncode, CONFLICT if name in ('Conflict', 'Timeout') else FAILED)
        lines = err.decode().splitlines()
        assert lines[0].startswith('guestlockctl: ') and lines[0].endswith('It is as it is.'), lines
        equal(lines[1:], [suggestion] if suggestion else [])
        error = json.loads(out)['error']
        equal((error['message'], error.get('suggestion')), (lines[0].removeprefix('guestlockctl: '), suggestion))
        service.peer.close()


# --- the service, the bus ---

@test
def a_service_that_cannot_be_started():
    service = Path(os.environ['GUESTLOCK_RULES']).parent / 'services/org.guestlock1.service'
    before = service.read_text()

    def put(text):
        service.write_text(text)
        bus.ask_bus('ReloadConfig', '()')

    end_service()
    at_end(lambda: put(before))
    path = image(temp_dir())
    commands = (['list'], ['status'], ['status', 'x'], ['who', path], ['start', 'x', '-d', path], ['stop', 'x'],
                ['attach', 'x', path], ['detach', 'x', path], ['revoke', 'x', path], ['monitor'], ['drivers'],
                ['run', '-q', '-d', path, '--', 'true'])
    for text in (before.replace('Exec=', 'Exec=/nonexistent '), before.replace('Exec=', 'Exec=/bin/false ')):
        put(text)
        for command in commands:
            said = expect(FAILED, *command, out='')
            assert said.err.startswith('guestlockctl: The service guestlock cannot be reached: '), said.err
            assert said.err.endswith('\nWhat is wrong with the installation says: guestlockd --check; see '
                                     'guestlockd(8).\n'), said.err


@test
def a_bus_that_is_not_there():
    path = image(temp_dir())
    for address in ('unix:path=/nonexistent', 'nonsense', ''):
        for command in (['list'], ['monitor'], ['start', 'x', '-d', path], ['run', '-q', '-d', path, '--', 'true']):
            said = expect(FAILED, *command, out='', env={'DBUS_SYSTEM_BUS_ADDRESS': address}) if address else None
            if said:
                assert said.err.startswith('guestlockctl: '), said.err
    said = expect(FAILED, 'list', env={'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=/nonexistent'})
    assert 'guestlockd --check' in said.err, said.err
    # What needs none does not ask for one.
    for arguments, status in ((['--help'], DONE), (['--version'], DONE), (['start', 'x', '-t', '-1'], USAGE)):
        expect(status, *arguments, env={'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=/nonexistent'})


# --- who reads what it says ---

def links_of(process):
    """What its descriptors are; some come and go."""
    links = []
    for entry in Path(f'/proc/{process.pid}/fd').iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(entry))
    return links


@test
def nobody_reads():
    start_guest([], name='web1')
    shell = lambda text: run(  # noqa: E731
        'bash', '-c', text, env=environment(BUILD / 'client-lib', ctl=str(CTL)))
    for command in ('list', 'list -q', 'list --json', 'status', 'status web1', 'drivers', 'drivers --json', '--help',
                    '--version', 'status web1 --json', 'who /etc/passwd', 'who --json /etc/passwd'):
        for where in ('>&-', '>/dev/full', '>&- <&-', '<&- >&- 2>&-'):
            said = shell(f'"$ctl" {command} {where}; echo $? >&2') if '2>' not in where else \
                shell(f'"$ctl" {command} {where}; exit $?')
            equal((command, where, (said.stderr or f'{said.returncode}\n')[-2:]), (command, where, '1\n'))
    # What is closed is not what was opened next, the bus.
    process = spawn_process('sh', '-c', f'exec {CTL} monitor <&- >&- 2>&-', env=environment(BUILD / 'client-lib'))
    wait_until(lambda: any(link.startswith('socket:') for link in links_of(process)), 'it to be on the bus')
    equal([os.readlink(f'/proc/{process.pid}/fd/{number}') for number in range(3)], ['/dev/null'] * 3)
    equal(shell('"$ctl" start closed <&- >&- 2>&-; echo $?').stdout, '1\n')
    wait_until(lambda: 'closed' in {name for _, name, *_ in manager().ListGuests({})}, 'the guest to be there')
    equal(shell('"$ctl" list -q <&-').stdout, 'closed\nweb1\n')


main()
