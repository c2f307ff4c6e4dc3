# SPDX-License-Identifier: LGPL-2.1-or-later
"""busctl and gdbus as clients: what README shows, the names of errors, and introspection, which has to say what
introspection/ says."""

import os
import re
import signal
import subprocess

from guestlocktest import (
    INTERFACES, LOG, NAME, ROOT, SOURCE, Gio, Signals, at_end, bus, create_guest, disk, equal, image, main, manager,
    run, spawn_process, start_guest, temp_dir, test, uid_of, wait_until)

UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
PATH = f'{ROOT}/guest/{UUID.replace("-", "_")}'
OTHER, ANOTHER = '00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002'
FLAGS = {'const': 'const', 'invalidates': 'emits-invalidation', 'false': '-', None: 'emits-change'}


def busctl(*arguments, user=None):
    return run('busctl', '--system', '--no-pager', *map(str, arguments), user=user)


def gdbus(command, path, *arguments, user=None):
    return run('gdbus', command, '--system', '--dest', NAME, '--object-path', path, *map(str, arguments), user=user)


def call(path, member, *arguments, user=None):
    interface = 'Manager' if path == ROOT else 'Guest'
    return gdbus('call', path, '--method', f'{NAME}.{interface}.{member}', *arguments, user=user)


def readme_block(name, **replacements):
    text = re.search(f'```sh {name}\n(.*?)```', (SOURCE / 'README.md').read_text(), re.S)[1]
    for old, new in replacements.values():
        assert old in text, f'{old} is not in README.md'
        text = text.replace(old, str(new))
    return text


def annotation(member, name):
    return {note.key: note.value for note in member.annotations}.get(name)


# --- README ---

@test
def lease_in_five_lines():
    path, signals = image(temp_dir()), Signals()
    text = readme_block('readme-lease', disk=('/srv/web1.qcow2', path))
    equal(len(text.splitlines()), 5)
    result = run('bash', '-e', '-c', text)
    equal((result.returncode, result.stderr), (0, ''))
    started, resources = result.stdout.splitlines()
    assert re.fullmatch(f'ot "{PATH}" [0-9]+', started), started
    assert resources.startswith('aa{sv} 1 ') and f'"name" s "{path}"' in resources and '"state" s "held"' in resources
    equal([member for _, member, _ in signals.until_now()],
          ['InterfacesAdded', 'LeasesAcquired', 'LeasesReleased', 'InterfacesRemoved'])


@test
def who_has_it():
    directory = temp_dir()
    path, base = image(directory), image(directory, 'base')
    guest = start_guest([disk(path), disk(base, 'readonly')], name='web1')
    variables = ''.join(line for line in readme_block('readme-lease').splitlines(True) if line.startswith('manager='))
    text = variables + readme_block('readme-who', disk=('/srv/web1.qcow2', path), base=('/srv/base.qcow2', base))
    result = run('bash', '-e', '-c', text)
    equal((result.returncode, result.stderr), (0, ''))
    for line in result.stdout.splitlines():
        assert line.startswith('aa{sv} 1 ') and f'"guest-uuid" s "{guest.Uuid}"' in line, line


@test
def guest_in_a_shell():
    directory = temp_dir()
    path, program = image(directory), directory / 'qemu-system-x86_64'
    program.write_text('#!/bin/sh\nexec sleep infinity\n')
    program.chmod(0o755)
    variables = ''.join(line for line in readme_block('readme-lease').splitlines(True) if line.startswith('manager='))
    text = variables + readme_block('readme-guest', disk=('/srv/web1.qcow2', path),
                                    fifo=('/run/web1.go', directory / 'go'))
    with open(LOG, 'ab') as log:
        subprocess.run(['bash', '-c', text], check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=120,
                       env=os.environ | {'PATH': f'{directory}:{os.environ["PATH"]}'})
    guest, signals = bus.guest(manager().GetGuest(UUID)), Signals()
    pidfd = os.pidfd_open(guest.Pid)
    at_end(lambda: os.close(pidfd))
    ended = []

    def end():
        if not ended:
            ended.append(signal.pidfd_send_signal(pidfd, signal.SIGKILL))
    at_end(end)
    # The pid that has the lease is QEMU's.
    wait_until(lambda: os.readlink(f'/proc/{guest.Pid}/exe').endswith('sleep'), 'the guest to start')
    equal(guest.State, 'held')
    end()
    equal(signals.expect('LeasesReleased')[0], 'guest-exited')


@test
def guest_below_a_supervisor():
    directory = temp_dir()
    path, program, started = image(directory), directory / 'qemu-system-x86_64', directory / 'started'
    program.write_text(f'#!/bin/sh\necho $* >{started}\nexec sleep infinity\n')
    program.chmod(0o755)
    variables = ''.join(line for line in readme_block('readme-lease').splitlines(True) if '=' in line.split()[0])
    text = readme_block('readme-supervisor').replace('/srv/web1.qcow2', str(path))
    equal(text.count(str(path)), 2)
    with open(LOG, 'ab') as log:
        shell = spawn_process('bash', '-e', '-c', variables + text.replace('"$supervisor"', 'exec "$supervisor"'),
                              stdout=log, stderr=log, env=os.environ | {'PATH': f'{directory}:{os.environ["PATH"]}'})
    wait_until(started.exists, 'the guest to start')
    guest = bus.guest(manager().GetGuest(UUID))
    equal((guest.State, guest.SupervisorPid, guest.Resources[0]['kept-by']), ('held', shell.pid, 'holder'))
    shell.terminate()
    equal(shell.wait(30), -15)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


# --- calls ---

@test
def a_life_with_busctl():
    directory, process = temp_dir(), spawn_process()
    path, second = image(directory), image(directory, 'second')
    on_guest = NAME, PATH, f'{NAME}.Guest'

    def ask(*arguments):
        result = busctl(*arguments)
        equal((result.returncode, result.stderr), (0, ''))
        return result.stdout.strip()
    equal(ask('call', NAME, ROOT, f'{NAME}.Manager', 'CreateGuest', 'ssa{sv}', UUID, 'web1', 2, 'id', 'u', 7,
              'on-lease-lost', 's', 'kill'), f'o "{PATH}"')
    equal(ask('get-property', *on_guest, 'Name', 'Id', 'OnLeaseLost', 'State').splitlines(),
          ['s "web1"', 'u 7', 's "kill"', 's "new"'])
    equal(ask('call', *on_guest, 'RegisterResource', 'sssa{sv}', 'disk', path, 'exclusive', 0), '')
    generation = ask('call', *on_guest, 'Acquire', 'a{sv}', 2, 'pid', 'u', process.pid, 'wait-ms', 'u', 1000)
    equal(generation, f't {bus.guest(PATH).Generation}')
    equal(ask('call', NAME, ROOT, f'{NAME}.Manager', 'GetGuestByPID', 'u', process.pid), f'o "{PATH}"')
    equal(ask('call', NAME, ROOT, f'{NAME}.Manager', 'ListGuests', 'a{sv}', 0),
          f'a(sssuuo) 1 "{UUID}" "web1" "held" {process.pid} 0 "{PATH}"')
    ask('call', *on_guest, 'SetParameter', 'sv', 'name', 's', 'web2')
    ask('call', *on_guest, 'AcquireResource', 'sssa{sv}', 'disk', second, 'shared', 0)
    ask('call', *on_guest, 'ReleaseResource', 'ssa{sv}', 'disk', second, 0)
    state = ask('call', *on_guest, 'Release', 'a{sv}', 0)
    ask('call', *on_guest, 'Acquire', 'a{sv}', 1, 'state', 's', state.partition(' ')[2].strip('"'))
    ask('call', *on_guest, 'Shutdown', 'a{sv}', 1, 'kill', 'b', 'true')
    equal(process.wait(30), -9)
    ask('call', *on_guest, 'Free', 'a{sv}', 0)
    equal(manager().NGuests, 0)


@test
def names_of_errors():
    directory, process = temp_dir(), spawn_process()
    path, other, bobs = image(directory), image(directory, 'other'), image(directory, 'bobs', 'bob')
    holder = start_guest([disk(path)], 'holder', {'pid': process.pid}, uuid=UUID)
    guest = create_guest(uuid=OTHER)
    guest.RegisterResource(*disk(path))
    alices = create_guest(options={'owner-uid': uid_of('alice')})
    old = start_guest([disk(other)], options={'keep': True})
    state = old.Release({})
    other.write_text('changed')
    lost = f'{ROOT}/guest/{OTHER.replace("-", "_")}_u1'

    def own(name):
        return f'{NAME}.Error.{name}'

    def common(name):
        return f'org.freedesktop.DBus.Error.{name}'
    for name, words, *arguments in (
            (own('Conflict'), '"holder"', guest.path, 'Acquire', {}),
            (own('BadState'), 'held', holder.path, 'Free', {}),
            (own('NoSuchGuest'), 'guest', ROOT, 'GetGuest', ANOTHER),
            (own('NoSuchResource'), str(other), guest.path, 'ReleaseResource', 'disk', other, {}),
            (own('AlreadyExists'), PATH, ROOT, 'CreateGuest', UUID, 'again', {}),
            (own('AlreadyRegistered'), str(path), guest.path, 'RegisterResource', 'disk', path, 'shared', {}),
            (own('Timeout'), '"holder"', guest.path, 'Acquire', "{'wait-ms': <uint32 10>}"),
            (own('Stale'), str(other), old.path, 'Acquire', f"{{'state': <'{state}'>}}"),
            (own('GuestRunning'), str(process.pid), holder.path, 'Shutdown', {}),
            (own('NoChild'), 'process', guest.path, 'GetChild', {}),
            (own('NoSuchDriver'), 'nosuch', ROOT, 'CreateGuest', ANOTHER, 'x', "{'driver': <'nosuch'>}"),
            (own('StorageUnavailable'), '/absent', guest.path, 'RegisterResource', 'disk', '/absent', 'shared', {}),
            (common('InvalidArgs'), 'relative', guest.path, 'RegisterResource', 'disk', 'relative', 'shared', {}),
            (common('InvalidArgs'), 'panic', guest.path, 'SetParameter', 'on-lease-lost', "<'panic'>"),
            (common('AccessDenied'), 'bobs', alices.path, 'RegisterResource', 'disk', bobs, 'shared', {}),
            (common('InteractiveAuthorizationRequired'), f'{NAME}.acquire', ROOT, 'CreateGuest', ANOTHER, 'x', {}),
            (common('UnknownObject'), lost, lost, 'Free', {})):
        user = {'AccessDenied': 'alice', 'InteractiveAuthorizationRequired': 'bob'}.get(name.rpartition('.')[2])
        result = call(*arguments, user=user)
        equal((result.returncode, result.stdout), (1, ''))
        assert result.stderr.startswith(f'Error: GDBus.Error:{name}: ') and words in result.stderr, \
            f'{name}: {result.stderr}'
    # busctl shows the sentence alone.
    result = busctl('call', NAME, guest.path, f'{NAME}.Guest', 'Acquire', 'a{sv}', 0)
    equal(result.returncode, 1)
    who = f'guest "holder" ({UUID}, pid {process.pid}'
    assert result.stderr.startswith(f'Call failed: Disk "{path}" is in use: {who}'), result.stderr


@test
def signals_as_gdbus_shows_them():
    path = image(temp_dir())
    manager().ListDrivers()
    monitor = spawn_process('gdbus', 'monitor', '--system', '--dest', NAME, stdout=subprocess.PIPE, text=True)
    # It says these when it listens; the second one when it knows who the service is.
    for text in ('Monitoring signals', f'The name {NAME} is owned'):
        assert text in monitor.stdout.readline()
    guest = start_guest([disk(path)], uuid=UUID)
    guest.Shutdown({})
    lines = []
    while not lines or 'InterfacesRemoved' not in lines[-1]:
        lines.append(monitor.stdout.readline())
        assert lines[-1], lines
    for wanted in (f"{NAME}.Guest.LeasesAcquired (uint64 ", f"[('disk', '{path}', 'exclusive')]",
                   f"{NAME}.Guest.LeasesReleased ('shutdown', [('disk', '{path}')])"):
        equal(len([line for line in lines if wanted in line]), 1)


# --- introspection ---

def documented(info):
    """Each member of an interface of introspection/, as busctl introspect shows it."""
    def signature(arguments):
        return ''.join(argument.signature for argument in arguments) or '-'
    members = {(method.name, 'method', signature(method.in_args), signature(method.out_args), '-')
               for method in info.methods}
    members |= {(event.name, 'signal', signature(event.args), '-', '-') for event in info.signals}
    return members | {(value.name, 'property', value.signature, None,
                       FLAGS[annotation(value, 'org.freedesktop.DBus.Property.EmitsChangedSignal')])
                      for value in info.properties}


@test
def introspection_by_busctl():
    guest = create_guest()
    for path, info in ((ROOT, INTERFACES['Manager']), (guest.path, INTERFACES['Guest'])):
        result = busctl('introspect', NAME, path, info.name)
        equal((result.returncode, result.stderr), (0, ''))
        shown = set()
        for line in result.stdout.splitlines()[1:]:
            name, kind, signature, *value, flags = line.split()
            if kind != 'interface':
                shown.add((name.removeprefix('.'), kind, signature, None if kind == 'property' else value[0], flags))
        equal(shown, documented(info))


@test
def introspection_by_gdbus():
    guest = create_guest()
    for path, info in ((ROOT, INTERFACES['Manager']), (guest.path, INTERFACES['Guest'])):
        result = gdbus('introspect', path, '--xml')
        equal((result.returncode, result.stderr), (0, ''))
        live = Gio.DBusNodeInfo.new_for_xml(result.stdout).lookup_interface(info.name)
        equal(documented(live), documented(info))
        for kind, lists in (('methods', ('in_args', 'out_args')), ('signals', ('args',))):
            equal({member.name: [[one.name for one in getattr(member, of)] for of in lists]
                   for member in getattr(live, kind)},
                  {member.name: [[one.name for one in getattr(member, of)] for of in lists]
                   for member in getattr(info, kind)})
        equal({value.name: annotation(value, 'org.freedesktop.systemd1.Explicit') for value in live.properties},
              {value.name: annotation(value, 'org.freedesktop.systemd1.Explicit') for value in info.properties})


@test
def tree_of_objects():
    guests = {create_guest().path for _ in range(3)} | {create_guest(options={'owner-uid': 1}).path}
    equal(set(busctl('tree', '--list', NAME).stdout.split()), guests | {'/', '/org', ROOT, f'{ROOT}/guest'})
    text = gdbus('introspect', ROOT, '--recurse', '--only-properties').stdout
    equal(set(re.findall(r'node (\S+) ', text)), guests | {ROOT, f'{ROOT}/guest'})
    assert 'org.freedesktop.DBus.ObjectManager' in gdbus('introspect', ROOT).stdout


main()
