# SPDX-License-Identifier: LGPL-2.1-or-later
"""guestlockctl, command by command: what it prints, how it ends, each option, and by which words a guest is found."""

import os
import re
import signal
import subprocess
from pathlib import Path

from ctltest import (
    CONFLICT, DONE, FAILED, OTHER, THIRD, USAGE, UUID, ctl, equal, expect, spawn_ctl, told,
    wait_for_no_guests)
from guestlocktest import (
    BUSY, Signals, at_end, bus, create_guest, disk, end_process, image, is_locked, main, manager, spawn_process,
    start_guest, temp_dir, test, uid_of, wait_until)
from processtest import state_of

TIME = r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d'


def looks_like(text, *lines):
    """Each line as it stands there, but for what is in << >>, which is a regular expression, and for how many spaces
    keep columns apart."""
    found = [re.sub(' +', ' ', line).strip() for line in text.splitlines() if line.strip()]
    for number, (line, wanted) in enumerate(zip(found, lines)):
        pattern = ''.join(part if n % 2 else re.escape(part) for n, part in enumerate(re.split('<<|>>', wanted)))
        assert re.fullmatch(pattern, line), f'line {number} is {line!r}, and not {wanted!r}, in: {text}'
    equal(len(found), len(lines))


@test
def help_and_version():
    said = expect(DONE, '--help', err='')
    commands = re.findall(r'^  ([a-z]+) .{3,30} ', said.out.partition('Commands:')[2], re.M)
    equal(' '.join(commands), 'list status who run start stop attach detach revoke monitor drivers')
    for command in commands:
        said = expect(DONE, command, '--help', err='')
        assert f'guestlockctl [OPTION…] {command}' in said.out and '--json' in said.out, said.out
    equal(expect(DONE, '--version', err='').out, f'guestlockctl {manager().Version}\n')


@test
def a_guest_comes_and_goes():
    path = image(temp_dir())
    equal(expect(DONE, 'list', err='').out, 'There are no guests.\n')
    said = expect(DONE, 'start', 'web1', '--uuid', UUID.upper(), '--disk', path, err='')
    table = ('RESOURCE TYPE MODE STATE SCOPE KEPT BY SINCE', f'{path} disk exclusive held host keeper <<{TIME}>>')
    looks_like(said.out, f'Guest "web1" ({UUID}) has its leases.', *table,
               f'They are bound to no process, and last until: guestlockctl stop {UUID}')
    assert is_locked(path)
    looks_like(expect(DONE, 'list', err='').out, 'NAME UUID STATE OWNER SINCE', f'web1 {UUID} held root <<{TIME}>>',
               '1 guest.')
    looks_like(expect(DONE, 'list', '--no-legend', err='').out, f'web1 {UUID} held root <<{TIME}>>')
    equal(expect(DONE, 'list', '-q').out, 'web1\n')
    looks_like(expect(DONE, 'status', 'web1', err='').out, f'"web1" ({UUID})', f'State: held since <<{TIME}>>',
               'Owner: root', 'Origin: started', 'Driver: file', 'On lease lost: pause', 'Generation: <<[0-9]{16}>>',
               *table)
    said = expect(DONE, 'stop', 'web1', err='')
    equal(said.out, f'Guest "web1" ({UUID}) has ended, and holds nothing any more.\n')
    equal((manager().NGuests, is_locked(path)), (0, False))
    expect(FAILED, 'stop', 'web1', out='', err='There is no guest "web1".')


@test
def the_service():
    start_guest([disk(image(temp_dir()))])
    looks_like(expect(DONE, 'status', err='').out, f'Version: {manager().Version}', f'Host: {manager().HostName}',
               f'Host id: {manager().HostId}', 'Default driver: file', 'Leases: 1, of 1 guest')
    equal(told('status')['service']['leases'], 1)


@test
def options_of_start():
    directory, process = temp_dir(), spawn_process()
    paths = [image(directory, name) for name in ('a', 'b', 'c', 'comma,mode=shared', 'comma,mode=sideways')]
    said = expect(
        DONE, 'start', 'web1', '-u', UUID, '-d', 'a', '-d', f'{paths[1]},mode=readonly', '-d',
        f'{paths[2]},mode=shared', '-d', f'{paths[3]},mode=exclusive', '--pid', process.pid, '--on-lease-lost',
        'notify', '--require-scope', 'host', '--driver', 'file', '--keep', cwd=directory)
    assert 'bound to no process' not in said.out, said.out
    guest = bus.guest(manager().GetGuest(UUID))
    equal([(entry['name'], entry['mode'], entry['state']) for entry in guest.Resources], [
        (str(paths[n]), mode, 'held') for n, mode in enumerate(('exclusive', 'readonly', 'shared', 'exclusive'))])
    equal((guest.Pid, guest.OnLeaseLost, guest.Driver), (process.pid, 'notify', 'file'))
    expect(USAGE, 'start', 'x', '-d', paths[4], err='and not "sideways"')
    # Kept when it has ended.
    end_process(process)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    equal(expect(DONE, 'stop', '--keep', UUID).out, f'Guest "web1" ({UUID}) has ended, and holds nothing any more.\n')
    equal(guest.State, 'released')
    expect(DONE, 'stop', UUID)
    equal(manager().NGuests, 0)
    # Without --keep, and without disks, it goes with its process.
    process = spawn_process()
    expect(DONE, 'start', 'web2', '-p', process.pid)
    end_process(process)
    wait_for_no_guests()
    expect(FAILED, 'start', 'web3', '--require-scope', 'fenced', '-d', paths[0], err='scope')
    expect(FAILED, 'start', 'web3', '-d', paths[0], '-p', process.pid, err=f'{process.pid}')
    equal(manager().NGuests, 0)


@test
def found_by_name_uuid_and_pid():
    path, child, parent = image(temp_dir()), spawn_process(), spawn_process()
    guest = create_guest('web1', uuid=UUID)
    guest.RegisterResource(*disk(path))
    guest.Acquire({'pid': parent.pid, 'supervisor': True})
    guest.SetChild({'pid': child.pid})
    for word in ('web1', UUID, UUID.upper(), child.pid, parent.pid):
        equal(told('status', word)['guest']['uuid'], UUID)
    said = expect(DONE, 'status', 'web1')
    assert f'Process: {child.pid} (sleep)' in said.out and f'Supervisor: {parent.pid} (sleep)' in said.out, said.out
    for word in ('WEB1', 'web', UUID[:-1], os.getpid(), '0', '4294967296', '-1'):
        expect(FAILED if word != '-1' else USAGE, 'status', word, out='')
    # Several, and one of them unknown.
    create_guest('web2', uuid=OTHER)
    said = expect(DONE, 'status', 'web1', 'web2')
    equal(re.findall(r'^"(\w+)" \(', said.out, re.M), ['web1', 'web2'])
    expect(FAILED, 'status', 'web1', 'nobody', out='"web1"', err='There is no guest "nobody".')


@test
def a_name_that_is_a_number():
    process = spawn_process()
    # The pid of a process that is nobody's guest.
    number = str(os.getpid())
    create_guest(number, uuid=UUID)
    equal(told('status', number)['guest']['uuid'], UUID)
    # A guest that is called what is another's pid, and one that is called what is its own.
    start_guest([], name='other', uuid=OTHER, options={'pid': process.pid})
    equal(told('status', process.pid)['guest']['uuid'], OTHER)
    create_guest(f'{process.pid}', uuid=THIRD)
    expect(FAILED, 'stop', process.pid, out='',
           err=[f'"{process.pid}" is the name of a guest, and the pid of guest "other" ({OTHER}).', 'by its uuid'])
    bus.guest(manager().GetGuest(OTHER)).SetParameter('name', f'{process.pid}')
    bus.guest(manager().GetGuest(THIRD)).Free({})
    equal(told('status', process.pid)['guest']['uuid'], OTHER)


@test
def ambiguous_names():
    for uuid in (UUID, OTHER):
        create_guest('web', uuid=uuid)
    said = expect(FAILED, 'stop', 'web', out='', err='"web" may be any of these guests: ')
    assert f'{UUID} (uid 0)' in said.err and f'{OTHER} (uid 0)' in said.err, said.err
    equal(manager().NGuests, 2)
    equal(sorted(expect(DONE, 'list', '-q').out.split()), [UUID, OTHER])
    expect(DONE, 'stop', UUID)
    expect(DONE, 'stop', 'web')


@test
def guests_of_other_users():
    directory = temp_dir('alice')
    path = image(directory, user='alice')
    expect(DONE, 'start', 'web', '-u', UUID, '-d', path, user='alice')
    for word in ('web', UUID):
        equal(told('status', word, user='bob')['guest']['owner-uid'], uid_of('alice'))
    said = expect(FAILED, 'stop', 'web', user='bob', out='')
    assert 'password' in said.err, said.err
    expect(FAILED, 'stop', 'web', '--no-ask-password', user='bob', err='Leave --no-ask-password out, or do it as root.')
    # One's own comes first, of that name and of that uuid.
    create_guest('web', uuid=UUID)
    equal(told('status', 'web')['guest']['owner-uid'], 0)
    equal(told('status', UUID, user='alice')['guest']['owner-uid'], uid_of('alice'))
    said = expect(FAILED, 'status', UUID, user='carol', out='')
    assert f'(uid {uid_of("alice")})' in said.err and '(uid 0)' in said.err, said.err
    looks_like(expect(DONE, 'list', '--no-legend', user='carol').out, f'web {UUID} new root -',
               f'web {UUID} held alice <<{TIME}>>')
    expect(DONE, 'stop', 'web')
    expect(DONE, 'stop', 'web', user='carol')
    equal(manager().NGuests, 0)


@test
def conflicts():
    directory = temp_dir()
    path, free = image(directory), image(directory, 'free')
    start_guest([disk(path)], name='first', uuid=UUID)
    start_guest([disk(free, 'readonly')], name='second', uuid=OTHER)
    who = f'Disk "{path}" is in use: guest "first" ({UUID}, host {manager().HostName})'
    suggestion = f'Wait for it with --wait. Who has it now says: guestlockctl who {path}\n'
    for command in (['start', 'x', '-d', path], ['start', 'x', '-d', free, '-d', path],
                    ['run', '-q', '-d', path, '--no-backing-chain', '--', 'true']):
        said = expect(CONFLICT, *command, out='', err='Disk "')
        assert said.err.endswith(f'guestlockctl who {command[3] if command[0] == "start" else path}\n'), said.err
    said = expect(CONFLICT, 'attach', 'second', path, out='', err=[who, suggestion])
    said = expect(CONFLICT, 'start', 'x', '-d', path, '-t', '1', out='', err=[
        'Waited as long as was asked, in vain. ' + who, f'guestlockctl who {path}\n'])
    assert '--wait' not in said.err, said.err
    # For whom it waits is asked besides, and may not be known before a second is over.
    waiting = spawn_ctl('start', 'x', '-d', path, '-t', '600', stderr=subprocess.PIPE)
    at_end(waiting.stderr.close)
    assert waiting.stderr.readline().startswith(b'Waiting for guest "first"')
    end_process(waiting)
    expect(CONFLICT, 'attach', 'second', path, '--timeout', '1', out='', err=who)
    equal(told('start', 'x', '-d', path, status=CONFLICT)['error']['code'], 'conflict')
    equal(told('start', 'x', '-d', path, '-t', '1', status=CONFLICT)['error']['code'], 'timeout')
    equal(manager().NGuests, 2)


@test
def attach_and_detach():
    directory = temp_dir()
    paths = [image(directory, name) for name in ('a', 'b')]
    guest = start_guest([disk(paths[0])], name='web1', uuid=UUID)
    modes = lambda: {Path(entry['name']).name: entry['mode'] for entry in guest.Resources}  # noqa: E731
    for _again in range(2):
        said = expect(DONE, 'attach', 'web1', 'b', cwd=directory, err='')
        equal(said.out, f'Guest "web1" ({UUID}) may use "{paths[1]}" now.\n')
        equal(modes(), {'a': 'exclusive', 'b': 'exclusive'})
    expect(DONE, 'attach', 'web1', f'{paths[1]},mode=readonly')
    equal(modes(), {'a': 'exclusive', 'b': 'readonly'})
    equal(expect(DONE, 'detach', 'web1', paths[1], err='').out,
          f'Guest "web1" ({UUID}) does not hold "{paths[1]}" any more.\n')
    equal((modes(), is_locked(paths[1])), ({'a': 'exclusive'}, False))
    expect(FAILED, 'detach', 'web1', paths[1], out='', err=[f'has no disk "{paths[1]}"', 'guestlockctl status web1'])
    # A guest that holds nothing takes nothing more, and that is no success.
    guest.Release({})
    expect(FAILED, 'attach', 'web1', paths[1], out='', err=[
        f'Guest "web1" ({UUID}) is released, and holds nothing: "{paths[1]}" is registered with it, and not taken.',
        'guestlockctl status web1'])
    expect(DONE, 'detach', 'web1', paths[1])
    # What somebody gives back in time.
    guest.Acquire({})
    holder = start_guest([disk(paths[1])], name='holder')
    waiting = spawn_ctl('attach', 'web1', paths[1], '--wait', stdout=subprocess.DEVNULL)
    wait_until(lambda: guest.Waiting, 'the guest to wait')
    assert waiting.poll() is None
    assert ', waits' in ctl('list').out and 'waits for what others hold' in ctl('status', 'web1').out
    holder.Release({})
    equal(waiting.wait(10 * BUSY), DONE)
    equal(modes(), {'a': 'exclusive', 'b': 'exclusive'})


@test
def stop_a_guest_that_runs():
    process = spawn_process()
    start_guest([disk(image(temp_dir()))], name='web1', uuid=UUID, options={'pid': process.pid})
    for option in ([], ['--keep']):
        expect(FAILED, 'stop', 'web1', *option, out='',
               err=[f'{process.pid}', 'End the guest from within, or now: guestlockctl stop --kill web1'])
    equal(process.poll(), None)
    expect(DONE, 'stop', '--kill', 'web1', err='')
    equal(process.wait(10 * BUSY), -signal.SIGKILL)
    wait_for_no_guests()


@test
def revoke():
    directory = temp_dir()
    paths = [image(directory, name) for name in ('a', 'b', 'c')]
    lost = lambda of: [Path(entry['name']).name for entry in of.Resources if entry['state'] == 'lost']  # noqa: E731
    process = spawn_process()
    guest = start_guest(map(disk, paths), name='web1', uuid=UUID, options={'pid': process.pid})
    said = expect(DONE, 'revoke', 'web1', paths[0], 'b', cwd=directory, err='')
    equal(said.out, f'Guest "web1" ({UUID}) has lost what was taken away. Others can have it when its process is '
                    'gone.\n')
    equal((lost(guest), guest.State), (['a', 'b'], 'lost'))
    # Paused, as by default, and in nobody's way to --kill.
    wait_until(lambda: state_of(process.pid) == 'T', 'the process to be stopped')
    expect(FAILED, 'start', 'web1', '-u', UUID, '-d', paths[0], err='guestlockctl stop')
    expect(FAILED, 'detach', 'web1', 'nothing', err='guestlockctl status web1')
    expect(DONE, 'revoke', '-a', '-k', '-r', 'it is over', 'web1', err='')
    equal(process.wait(10 * BUSY), -signal.SIGKILL)
    wait_for_no_guests()
    # With the first one the guest may have ended, and with it the others.
    for _again in range(5):
        process = spawn_process()
        start_guest(map(disk, paths), name='web1', uuid=UUID, options={'pid': process.pid})
        expect(DONE, 'revoke', 'web1', *paths, '--kill', err='')
        assert process.wait(10 * BUSY) in (-signal.SIGTERM, -signal.SIGKILL), process.returncode
        wait_for_no_guests()
    # Of one that has no process.
    guest = start_guest([disk(paths[0])], name='web2', uuid=UUID)
    said = expect(DONE, 'revoke', 'web2', '--all', err='')
    equal(said.out, f'Guest "web2" ({UUID}) has lost what was taken away. It has no process, so others can have it '
                    'now.\n')
    expect(DONE, 'start', 'x', '-d', paths[0])
    expect(DONE, 'stop', 'x')
    expect(FAILED, 'attach', 'web2', paths[1], err='lost')
    expect(DONE, 'stop', 'web2')
    equal(manager().NGuests, 0)
    expect(FAILED, 'revoke', 'web2', '--all', out='', err='There is no guest "web2".')
    # One that has ended, whose writes may still come: somebody answers for it that they do not.
    process = spawn_process()
    guest = start_guest([disk(paths[0])], name='web3', uuid=UUID, options={'pid': process.pid})
    signals = Signals()
    expect(DONE, 'revoke', 'web3', paths[0], '--drained', '--reason', 'I looked')
    equal(signals.expect('LeaseLost')[3]['message'], 'I looked')


@test
def drivers():
    equal(expect(DONE, 'drivers', err='').out,
          'DRIVER CAPABILITIES\nfile   disk lease hotplug shared readonly inherit\n\n'
          'Guests that ask for none get "file".\n')
    for _again in range(2):
        looks_like(expect(DONE, 'drivers', '--load', 'guest-only', '--no-legend', err='').out,
                   'file disk lease hotplug shared readonly inherit', 'guest-only guest-only')
    path = image(temp_dir())
    expect(DONE, 'start', 'web1', '-u', UUID, '--driver', 'guest-only', '-d', path)
    assert not is_locked(path)
    expect(FAILED, 'drivers', '--unload', 'guest-only', out='', err='guest-only')
    expect(DONE, 'stop', 'web1')
    equal(told('drivers', '--unload', 'guest-only')['drivers'],
          [{'name': 'file', 'capabilities': ['disk', 'lease', 'hotplug', 'shared', 'readonly', 'inherit']}])
    expect(FAILED, 'drivers', '--load', 'absent', out='', err='"absent"')
    expect(FAILED, 'drivers', '--load', '../file', out='', err='"../file"')
    expect(FAILED, 'drivers', '--load', 'guest-only', user='alice', out='', err='password')
    expect(FAILED, 'start', 'x', '--driver', 'guest-only', err='Which drivers there are says: guestlockctl drivers')


@test
def json_of_what_was_done():
    path = image(temp_dir())
    guest = told('start', 'web1', '-u', UUID, '-d', path)['guest']
    equal((guest['uuid'], guest['state'], guest['resources'][0]['name']), (UUID, 'held', str(path)))
    equal([one['uuid'] for one in told('list')['guests']], [UUID])
    other = image(path.parent, 'other')
    for command in (['status', 'web1'], ['attach', 'web1', other], ['detach', 'web1', other],
                    ['revoke', 'web1', '--all'], ['stop', 'web1']):
        equal(told(*command)['guest']['uuid'], UUID)
    error = told('stop', 'web1', status=FAILED)['error']
    equal(error, {'code': 'no-such-guest', 'message': 'There is no guest "web1".',
                  'suggestion': 'Which guests there are says: guestlockctl list'})
    # Also where an option of the command comes first.
    equal(told('list', 'x', status=USAGE)['error']['code'], 'usage')


main()
