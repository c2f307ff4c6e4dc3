# SPDX-License-Identifier: LGPL-2.1-or-later
"""What guestlockctl prints with --json, held to docs/guestlockctl.schema.json: every command, guests in each state."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from guestlocktest import (
    BUSY, SOURCE, at_end, bus, configure, create_guest, disk, end_process, end_service, equal, image, lock, main,
    manager, restart_service, run, spawn_process, start_guest, temp_dir, test, wait_until)

try:
    from jsonschema import Draft202012Validator, validators
except ImportError:
    print('1..0 # SKIP python3-jsonschema is missing (tools/install-deps --all installs it)')
    sys.exit(0)

BUILD = Path(os.environ['GUESTLOCK_BUILD'])
CTL = str(BUILD / 'cli/guestlockctl')
SCHEMA = json.loads((SOURCE / 'docs/guestlockctl.schema.json').read_text())
UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
met, met_members = set(), set()


def follow(validator, target, instance, schema):
    errors = list(Draft202012Validator.VALIDATORS['$ref'](validator, target, instance, schema))
    if not errors:
        met.add(target.rpartition('/')[2])
    yield from errors


def look_at_members(validator, properties, instance, schema):
    yield from Draft202012Validator.VALIDATORS['properties'](validator, properties, instance, schema)
    met_members.update((id(properties), name) for name in set(properties) & set(instance))


Validator = validators.extend(Draft202012Validator, {'$ref': follow, 'properties': look_at_members})


def is_valid(document, kind):
    """By the definition of that name, and by no other."""
    Validator({'$ref': f'#/$defs/{kind}', '$defs': SCHEMA['$defs']}).validate(document)
    Draft202012Validator(SCHEMA).validate(document)
    return document


def documents(text):
    decoder, found = json.JSONDecoder(), []
    while text.strip():
        document, end = decoder.raw_decode(text.lstrip())
        found.append(document)
        text = text.lstrip()[end:]
    return found


def for_users():
    """The program where every user can read it, who need not be able to read this tree."""
    directory = temp_dir()
    for name in ('cli/guestlockctl', 'client-lib/libguestlock.so.1'):
        Path(shutil.copy(BUILD / name, directory)).chmod(0o755)
    return str(directory / 'guestlockctl'), {**os.environ, 'LD_LIBRARY_PATH': str(directory)}


def ctl_all(kinds, *arguments, status=0, user=None):
    """What it prints, each document of its kind."""
    program, environment = for_users() if user else (CTL, os.environ)
    result = run(program, '--json', *map(str, arguments), user=user, env=environment)
    equal((result.returncode, bool(result.stderr)), (status, bool(status)))
    printed = documents(result.stdout)
    equal(len(printed), len(kinds))
    return [is_valid(document, kind)[kind] if kind in ('guest', 'service', 'error') else is_valid(document, kind)
            for document, kind in zip(printed, kinds)]


def ctl(kind, *arguments, **more):
    return ctl_all([kind], *arguments, **more)[0]


def error(code, *arguments, status=1, **more):
    said = ctl('error', *arguments, status=status, **more)
    equal(said['code'], code)
    return said


@test
def schema():
    Draft202012Validator.check_schema(SCHEMA)

    def closed(node):
        """Nothing may be printed that is not described."""
        if isinstance(node, dict):
            assert node.get('type') != 'object' or node['additionalProperties'] is False, node
            assert set(node.get('required', ())) <= set(node.get('properties', ())), node
            for entry in node.values():
                closed(entry)
        elif isinstance(node, list):
            for entry in node:
                closed(entry)
    closed(SCHEMA)


@test
def nothing():
    equal(ctl('list', 'list'), {'guests': []})
    equal((ctl('service', 'status')['guests'], ctl('drivers', 'drivers')['drivers'][0]['name']), (0, 'file'))
    equal(ctl('who', 'who', image(temp_dir()))['disks'][0]['holders'], [])


@test
def life_of_a_guest():
    directory, process = temp_dir(), spawn_process()
    path, base, other = image(directory), image(directory, 'base'), image(directory, 'other')
    started = ctl('guest', 'start', 'my guest', '--uuid', UUID, f'--pid={process.pid}', '--on-lease-lost=notify',
                  '--keep', '--disk', path, '--disk', f'{base},mode=readonly')
    equal((started['state'], started['pid'], started['on-lease-lost']), ('held', process.pid, 'notify'))
    equal([(entry['name'], entry['mode'], entry['state'], entry['scope']) for entry in started['resources']],
          [(str(path), 'exclusive', 'held', 'host'), (str(base), 'readonly', 'held', 'host')])
    equal(ctl('guest', 'status', 'my guest'), started)
    equal(ctl('list', 'list')['guests'], [{key: started[key] for key in started if key != 'resources'}])
    equal(ctl('service', 'status')['leases'], 2)
    equal([entry['name'] for entry in ctl('guest', 'attach', UUID, f'{other},mode=shared')['resources']],
          [str(path), str(base), str(other)])
    ctl('guest', 'detach', process.pid, other)
    holder = ctl('who', 'who', path, other)['disks'][0]['holders'][0]
    equal((holder['guest-uuid'], holder['guest-name'], holder['mode'], holder['pid']),
          (UUID, 'my guest', 'exclusive', process.pid))
    equal(error('guest-running', 'stop', UUID)['suggestion'].rpartition(': ')[2], f'guestlockctl stop --kill {UUID}')
    equal(ctl('guest', 'stop', '--kill', '--keep', 'my guest')['state'], 'released')
    assert 'pid' not in ctl('guest', 'status', 'my guest')
    equal(ctl('guest', 'stop', 'my guest')['state'], 'gone')


@test
def guests_in_each_state():
    directory, process = temp_dir(), spawn_process()
    path, other = image(directory), image(directory, 'other')
    create_guest('new', {'id': 7}).RegisterResource(*disk(path))
    holder = start_guest([disk(path)], 'holder', {'pid': process.pid, 'on-lease-lost': 'notify'})
    waiting = create_guest('waiting')
    waiting.RegisterResource(*disk(path, 'shared'))
    waiting.later.Acquire({'wait-ms': 60000})
    wait_until(lambda: waiting.Waiting, 'the guest to wait')
    start_guest([disk(other)], 'released', {'keep': True}).Release({})
    states = {guest['name']: (guest['state'], guest['waiting']) for guest in ctl('list', 'list')['guests']}
    equal(states, {'new': ('new', False), 'holder': ('held', False), 'waiting': ('new', True),
                   'released': ('released', False)})
    equal([guest['resources'][0]['state'] for guest in ctl_all(['guest'] * 4, 'status', *sorted(states))],
          ['held', 'registered', 'registered', 'registered'])
    ctl('guest', 'revoke', 'holder', path, '--reason', 'because')
    lost = ctl('guest', 'status', 'holder')
    equal((lost['state'], lost['resources'][0]['state']), ('lost', 'lost'))
    path.rename(directory / 'moved')
    path.touch()
    restart_service()
    adopted = ctl('guest', 'status', 'holder')
    equal((adopted['state'], adopted['origin'], adopted['resources'][0]['path-moved']), ('lost', 'adopted', True))
    end_process(process)
    wait_until(lambda: manager().NLeases == 0, 'the end of the guest')
    assert holder.path not in [guest['object'] for guest in ctl('list', 'list')['guests'] if guest['state'] == 'held']


@test
def guest_that_drains():
    directory = temp_dir()
    path, process = image(directory), spawn_process()
    start_guest([disk(path)], 'web1', {'pid': process.pid})
    writer = lock(path, 201)
    at_end(lambda: os.close(writer))
    end_process(process)

    def drains():
        return 'held-open-by' in ctl('guest', 'status', 'web1')['resources'][0]
    wait_until(drains, 'somebody to be found who keeps the lease', 10)
    equal(ctl('guest', 'status', 'web1')['resources'][0]['state'], 'draining')
    assert [entry for entry in ctl('who', 'who', path)['disks'][0]['holders'] if 'via' in entry]


@test
def what_a_run_would_take():
    directory = temp_dir()
    path, base = directory / 'top.qcow2', directory / 'base.qcow2'
    equal(run('qemu-img', 'create', '-q', '-f', 'qcow2', str(base), '1M').returncode, 0)
    equal(run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', str(path)).returncode, 0)
    qemu = 'qemu-system-x86_64', '-name', 'web1', '-uuid', UUID, '-hda', str(path), '-hdb', 'nbd://nowhere'
    plan = ctl('dry-run', 'run', '--dry-run', '--', *qemu)
    equal((plan['name'], plan['uuid'], len(plan['remarks']), plan['obstacles']), ('web1', UUID, 1, []))
    equal([(entry['path'], entry['mode']) for entry in plan['disks']],
          [(str(path), 'exclusive'), (str(base), 'readonly')])
    process = spawn_process()
    start_guest([disk(base)], 'holder', {'pid': process.pid})
    result = run(CTL, '--json', 'run', '--dry-run', '--', *qemu)
    equal(result.returncode, 3)
    obstacle, = is_valid(json.loads(result.stdout), 'dry-run')['obstacles']
    equal((obstacle['resource'], obstacle['guest-name']), (str(base), 'holder'))
    error('conflict', 'run', '--', *qemu, status=3)


@test
def run_prints_nothing_of_its_own():
    path = image(temp_dir())
    process = spawn_process(CTL, '--json', 'run', '--disk', str(path), '--', 'sh', '-c', 'echo {}; read line',
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    at_end(process.stdin.close)
    at_end(process.stdout.close)
    equal(process.stdout.readline(), '{}\n')
    equal(ctl('guest', 'status', process.pid)['supervisor-pid'], process.pid)
    process.stdin.close()
    equal((process.stdout.read(), process.wait(10 * BUSY)), ('', 1))


@test
def errors():
    directory = temp_dir()
    path = image(directory)
    start_guest([disk(path)], 'web1', uuid=UUID)
    start_guest([], 'twin')
    start_guest([], 'twin')
    equal(error('no-such-guest', 'stop', 'nobody')['suggestion'], 'Which guests there are says: guestlockctl list')
    error('conflict', 'start', 'web2', '--disk', path, status=3)
    error('timeout', 'start', 'web2', '--disk', path, '--timeout=1', status=3)
    error('already-exists', 'start', 'web2', '--uuid', UUID)
    error('invalid-args', 'status', 'twin')
    error('no-such-resource', 'detach', 'web1', '/srv/nothing')
    error('storage-unavailable', 'who', directory / 'nothing')
    error('storage-unavailable', 'start', 'web2', '--disk', image(directory, 'other'), '--require-scope=fenced')
    error('no-such-driver', 'drivers', '--load', 'nosuch')
    error('not-supported', 'drivers', '--unload', 'file')
    secret = image(directory, 'secret')
    secret.chmod(0o600)
    error('access-denied', 'start', 'web2', '--disk', secret, user='alice')
    error('access-denied', 'start', 'web2', user='bob')
    assert error('interactive-authorization-required', '--no-ask-password', 'start', 'web2', user='bob')['suggestion']
    for arguments in (['nonsense'], ['who'], ['list', '--nonsense'], ['start', 'x', '--disk=/a,mode=y'],
                      ['start', 'x', '--timeout=-1'], ['revoke', 'web1']):
        error('usage', *arguments, status=2)
    equal(ctl('guest', 'revoke', 'web1', '--all')['state'], 'lost')
    # What was found before it is printed as well.
    equal(ctl_all(['guest', 'error'], 'status', 'web1', 'nobody', status=1)[0]['name'], 'web1')
    # Whatever a shell passes on.
    assert '\ufffd' in error('no-such-guest', 'status', b'a\xff'.decode(errors='surrogateescape'))['message']
    configure('nonsense\n')
    end_service()
    error('unavailable', 'list')


class Monitor:
    """guestlockctl monitor, and what it has said, of one guest."""

    def __init__(self, *arguments):
        self.process = spawn_process(CTL, 'monitor', '--json', *arguments, stdout=subprocess.PIPE)
        at_end(self.process.stdout.close)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = b''

    def read(self):
        self.text += self.process.stdout.read() or b''
        return [json.loads(line) for line in self.text.decode().splitlines(True) if line.endswith('\n')]

    def until(self, kind, count=1):
        """The last one of this kind, when there are so many; all are valid, each by its own definition."""
        wait_until(lambda: [entry['event'] for entry in self.read()].count(kind) >= count, f'the event {kind}')
        for entry in self.read():
            is_valid(entry, f'event-{entry["event"]}')
        return [entry for entry in self.read() if entry['event'] == kind][count - 1]


@test
def events():
    directory, process = temp_dir(), spawn_process()
    path, other = image(directory), image(directory, 'other')
    watched = create_guest('first')
    monitor = Monitor()
    # It says nothing when it begins: what comes first shows that it listens.
    wait_until(lambda: create_guest('tick').Free({}) or monitor.read(), 'the monitor to listen')
    guest = start_guest([disk(path), disk(other, 'readonly')], 'web1', {'pid': process.pid, 'on-lease-lost': 'notify'})
    taken = monitor.until('leases-acquired')
    equal((taken['guest']['uuid'], [(lease['name'], lease.get('mode')) for lease in taken['leases']]),
          (guest.Uuid, [(str(path), 'exclusive'), (str(other), 'readonly')]))
    watched.RegisterResource(*disk(path))
    watched.later.Acquire({'wait-ms': 60000})
    assert monitor.until('waiting-changed')['guest']['waiting']
    guest.Revoke('disk', str(path), 'because', {})
    lost = monitor.until('lease-lost')
    equal((lost['name'], lost['reason'], lost['action'], lost['message']), (str(path), 'revoked', 'notify', 'because'))
    equal(monitor.until('state-changed')['guest']['state'], 'lost')
    guest.Revoke('disk', str(other), 'because', {'kill': True})
    equal(monitor.until('lease-lost', 2)['action'], 'kill')
    process.wait(10 * BUSY)
    equal(monitor.until('leases-released')['reason'], 'guest-exited')
    monitor.until('waiting-changed', 2)
    equal(monitor.until('leases-acquired', 2)['guest']['name'], 'first')
    end_service(signal.SIGKILL)
    monitor.until('service-ended')
    equal(bus.guest(watched.path).State, 'held')
    monitor.until('service-started')
    watched.Shutdown({})
    watched.Free({})
    monitor.until('guest-added')
    monitor.until('guest-removed')
    monitor.process.send_signal(signal.SIGINT)
    equal(monitor.process.wait(10 * BUSY), 0)


def members_of(node, found):
    """Each member that is described, as (where, name)."""
    if isinstance(node, dict):
        if node.get('type') == 'object':
            found |= {(id(node['properties']), name) for name in node['properties']}
        for entry in node.values():
            members_of(entry, found)
    elif isinstance(node, list):
        for entry in node:
            members_of(entry, found)
    return found


# With those alone that were named there is nothing to compare.
if not sys.argv[1:]:
    @test
    def all_that_is_described_was_met():
        equal(sorted(set(SCHEMA['$defs']) - met - {'event'}), [])
        equal({name for _, name in members_of(SCHEMA['$defs'], set()) - met_members}, set())


main()
