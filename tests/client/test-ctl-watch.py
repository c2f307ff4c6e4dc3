# SPDX-License-Identifier: LGPL-2.1-or-later
"""guestlockctl who and monitor: whoever has a disk, and all that happens to guests, for people and for programs."""

import fcntl
import json
import os
import re
import select
import signal
import subprocess

from ctltest import (
    DONE, FAILED, INTERRUPT, OTHER, UUID, Terminal, ctl, environment, equal, expect, program_for, spawn_ctl, told)
from guestlocktest import (
    BUSY, at_end, bus, create_guest, disk, end_process, end_service, image, lock, main, manager, spawn_process,
    start_guest, start_service, temp_dir, test, wait_until)
from storagetest import loop_device, start_qemu

TIME = r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d'


# --- who ---

def holders(path):
    """What is said of each, for people and for programs."""
    said = expect(DONE, 'who', path, err='').out
    found = told('who', path)['disks']
    equal([one['path'] for one in found], [str(path)])
    assert said.startswith(f'"{path}" is in use:\n' if found[0]['holders'] else f'"{path}" is not in use.\n'), said
    return said, found[0]['holders']


@test
def who_has_it():
    directory = temp_dir()
    equal(holders(image(directory, 'free'))[1], [])
    # A guest.
    path, process = image(directory, 'guest'), spawn_process()
    start_guest([disk(path)], name='web1', uuid=UUID, options={'pid': process.pid, 'on-lease-lost': 'notify'})
    said, found = holders(path)
    line = rf'^  guest "web1" +{process.pid} +{manager().HostName} +exclusive +{TIME} +{path}$'
    assert re.search(line, said, re.M), said
    equal((found[0]['guest-uuid'], found[0]['pid'], found[0]['name']), (UUID, process.pid, str(path)))
    # By another name of it.
    link = directory / 'link'
    link.symlink_to(path)
    equal(holders(link)[1][0]['guest-uuid'], UUID)
    # A QEMU that nobody manages.
    path = image(directory, 'qemu')
    qemu = start_qemu(path)
    said, found = holders(path)
    assert 'qemu-system' in said and str(qemu.pid) in said, said
    equal(found[0]['pid'], qemu.pid)
    # Somebody who has byte 0 locked, as virtlockd has.
    path = image(directory, 'byte')
    fd = lock(path)
    at_end(lambda: os.close(fd))
    said, found = holders(path)
    assert str(os.getpid()) in said and len(found) == 1, said
    # A loop device.
    path = image(directory, 'loop')
    device = loop_device(path)
    start_guest([disk(device)], name='looped', uuid=OTHER)
    said, found = holders(path)
    assert 'guest "looped"' in said and device.name in json.dumps(found), said


@test
def who_has_several():
    directory = temp_dir()
    free, held = image(directory, 'free'), image(directory, 'held')
    for number in range(3):
        start_guest([disk(held, 'readonly')], name=f'web{number}')
    said = expect(DONE, 'who', 'free', 'held', free, cwd=directory, err='').out
    equal(re.findall(r'^".*" is .*$', said, re.M), [f'"{free}" is not in use.', f'"{held}" is in use:',
                                                   f'"{free}" is not in use.'])
    equal(len(re.findall('guest "web[0-2]" ', said)), 3)
    equal([len(one['holders']) for one in told('who', free, held)['disks']], [0, 3])
    assert re.search(r'^  guest "web', expect(DONE, 'who', held, '--no-legend').out.splitlines()[1])
    # What was found before something went wrong is there, but never as JSON that ends too early.
    said = expect(FAILED, 'who', held, directory / 'missing', err='cannot be opened')
    assert said.out.startswith(f'"{held}" is in use:'), said
    equal(list(told('who', held, directory / 'missing', status=FAILED)), ['error'])
    # One may ask about what one may open, and nothing else.
    held.chmod(0o600)
    expect(FAILED, 'who', held, user='alice', out='', err='permission denied')


# --- monitor ---

class Monitor:
    """A monitor, whose lines come one by one."""

    def __init__(self, *arguments, **options):
        self.process = spawn_ctl('monitor', *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        at_end(self._close)
        self.rest = b''
        if '--json' not in arguments and '--no-legend' not in arguments:
            equal(self.process.stderr.readline(), b'Watching these guests. Ctrl-C ends this.\n' if arguments else
                  b'Watching all guests. Ctrl-C ends this.\n')

    def _close(self):
        self.process.stdout.close()
        self.process.stderr.close()

    def line(self):
        while b'\n' not in self.rest:
            assert select.select([self.process.stdout], [], [], 10 * BUSY)[0], 'it says nothing'
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, f'it has ended with {self.process.wait()}'
            self.rest += data
        line, _newline, self.rest = self.rest.partition(b'\n')
        return line.decode()

    def events(self, *wanted):
        """The next ones are these; gives them."""
        found = [json.loads(self.line()) for _ in wanted]
        equal([event['event'] for event in found], list(wanted))
        assert all(1e15 < event['time-usec'] < 1e16 for event in found)
        return found

    def next(self, n):
        return [json.loads(self.line()) for _ in range(n)]

    def says(self, *wanted):
        for text in wanted:
            line = self.line()
            assert re.match(f'{TIME} ', line) and line.endswith(text), f'{line!r} does not end with {text!r}'

    def end(self, how=signal.SIGINT):
        self.process.send_signal(how)
        return self.process.wait(10 * BUSY)


def ready(monitor_arguments):
    """A monitor that has begun, and has nothing more to say of what was until now."""
    monitor = Monitor(*monitor_arguments)
    wait_until(lambda: create_guest('probe').Free({}) or select.select([monitor.process.stdout], [], [], 0.1)[0],
               'the monitor to listen')
    last = create_guest('last')
    last.Free({})
    while True:
        event = json.loads(monitor.line())
        if event['event'] == 'guest-removed' and event['guest']['object'] == last.path:
            return monitor


@test
def all_events():
    directory, process = temp_dir(), spawn_process()
    path, other = image(directory), image(directory, 'other')
    start_service()
    monitor = ready(['--json'])
    guest = start_guest([disk(path)], name='web1', uuid=UUID, options={'pid': process.pid, 'on-lease-lost': 'notify'})
    added, = seen = monitor.next(1)
    equal((added['event'], added['guest']['uuid']), ('guest-added', UUID))
    # Acquired, and the state, whichever of these is seen of one that is there when it is.
    guest.AcquireResource('disk', str(other), 'exclusive', {})
    while seen[-1]['event'] != 'leases-acquired' or seen[-1]['leases'][0]['name'] != str(other):
        seen.append(json.loads(monitor.line()))
    equal(seen[-1]['leases'], [{'type': 'disk', 'name': str(other), 'mode': 'exclusive'}])
    assert seen[-1]['generation'] > 1e15
    guest.ReleaseResource('disk', str(other), {})
    released, = monitor.events('leases-released')
    equal((released['reason'], released['leases'][0]['name']), ('released', str(other)))
    guest.Revoke('disk', str(path), 'because', {})
    found = sorted(monitor.next(2), key=lambda event: event['event'])
    equal([event['event'] for event in found], ['lease-lost', 'state-changed'])
    equal((found[0]['name'], found[0]['reason'], found[0]['action'], found[0]['message']),
          (str(path), 'revoked', 'notify', 'because'))
    equal(found[1]['guest']['state'], 'lost')
    end_process(process)
    last = []
    while not last or last[-1]['event'] != 'guest-removed':
        last.append(json.loads(monitor.line()))
    equal(monitor.end(), DONE)


@test
def for_people():
    path = image(temp_dir())
    guest = start_guest([disk(path)], name='web1', uuid=UUID)
    create_guest('unwatched', uuid=OTHER)
    monitor = Monitor('web1')
    who = f' "web1" ({UUID}) '
    guest.Release({})
    lines = sorted(monitor.line()[len('2026-11-23 00:00:00'):] for _ in range(2))
    equal(lines, [f'{who}has given back "{path}" (released)', f'{who}is released'])
    bus.guest(manager().GetGuest(OTHER)).Acquire({})
    guest.Acquire({})
    lines = sorted(monitor.line()[len('2026-11-23 00:00:00'):] for _ in range(2))
    equal(lines, [f'{who}holds "{path}" exclusive', f'{who}is held'])
    guest.Release({})
    monitor.line(), monitor.line()
    holder = start_guest([disk(path)], name='holder')
    waiting = guest.later.Acquire({'wait-ms': 20000})
    monitor.says(f'{who}waits for what others hold')
    holder.Release({})
    waiting.result()
    assert f'{who}does not wait any more' in ''.join(monitor.line() for _ in range(3))
    guest.Release({})
    guest.Free({})
    assert f'{who}is gone' in ''.join(monitor.line() for _ in range(3))
    equal(monitor.end(signal.SIGTERM), DONE)


@test
def the_service_ends_and_is_back():
    path = image(temp_dir())
    guest = start_guest([disk(path)], name='web1', uuid=UUID)
    monitor = Monitor()
    end_service(signal.SIGKILL)
    monitor.says('The service has ended. The guests keep their leases, and it is back when somebody calls it.')
    guest.State
    monitor.says('The service is back, and so are the guests.')
    # It still hears.
    guest.Release({})
    assert 'has given back' in ''.join(monitor.line() for _ in range(2))
    equal(monitor.end(), DONE)


@test
def a_guest_that_is_not_there():
    start_guest([], name='web1', uuid=UUID)
    expect(FAILED, 'monitor', 'web1', 'nobody', out='', err='There is no guest "nobody".')


@test
def in_a_terminal():
    guest = start_guest([], name='web1', uuid=UUID)
    terminal = Terminal('monitor', 'web1')
    terminal.wait_for('Watching these guests. Ctrl-C ends this.')
    guest.Release({})
    terminal.wait_for('is released')
    assert terminal.screen.colours
    terminal.type(INTERRUPT)
    equal(terminal.end(), DONE)


@test
def whoever_reads_may_leave():
    guest = start_guest([], name='web1', uuid=UUID)
    program, library = program_for(None)
    # head leaves after a line; the next one finds nobody.
    process = spawn_process('bash', '-c', f'{program} monitor --no-legend web1 | head -n 1; echo ${{PIPESTATUS[*]}}',
                            stdout=subprocess.PIPE, env=environment(library))
    at_end(process.stdout.close)
    fcntl.fcntl(process.stdout, fcntl.F_SETFL, os.O_NONBLOCK)
    said = []

    def ended():
        # Until it listens, and until it finds out.
        guest.Acquire({})
        guest.Release({})
        said.append(process.stdout.read() or b'')
        return process.poll() is not None

    wait_until(ended, 'the monitor to end')
    said.append(process.stdout.read() or b'')
    lines = b''.join(said).decode().splitlines()
    equal((len(lines), lines[-1]), (2, '141 0'))
    # What cannot be written is no reason to go on either.
    process = spawn_ctl('monitor', '--no-legend', 'web1', stdout=open('/dev/full', 'w'))

    def ends():
        guest.Acquire({})
        guest.Release({})
        return process.poll() is not None

    wait_until(ends, 'the monitor to end')
    equal(process.returncode, FAILED)
    assert ctl('list').status == DONE


main()
