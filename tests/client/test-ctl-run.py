# SPDX-License-Identifier: LGPL-2.1-or-later
"""guestlockctl run, with the real QEMU and with programs that show what they were given: leases, exit statuses, what
goes through to the guest, signals, and what is left when things go wrong in between."""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import time

from ctltest import (
    BUILD, CONFLICT, CTL, DONE, FAILED, INTERRUPT, OTHER, SUSPEND, USAGE, UUID, Terminal, ctl, environment, equal,
    expect, spawn_ctl, wait_for_guest, wait_for_no_guests)
from guestlocktest import (
    BUSY, NAME, Error, at_end, bus, disk, end_process, has_owner, image, is_locked, main, manager, note, run,
    service_pid, start_guest, temp_dir, test, uid_of, wait_until)
from processtest import state_of
from storagetest import QEMU, must_run
from supervisortest import catches, children_of, descriptors_of, kill_all, wait_for_child

# One that boots nothing.
MACHINE = ['-M', 'pc', '-accel', 'tcg', '-m', '16', '-S', '-nodefaults', '-display', 'none']


def qemu(*arguments):
    return ['--', QEMU, *MACHINE, *arguments]


def chain(user=None):
    directory = temp_dir(user)
    layers = [directory / name for name in ('base.qcow2', 'middle.qcow2', 'top.qcow2')]
    must_run('qemu-img', 'create', '-q', '-f', 'qcow2', layers[0], '4M', user=user)
    for below, layer in zip(layers, layers[1:]):
        must_run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', below, '-F', 'qcow2', layer, user=user)
    return layers


def start(*arguments, user=None, **popen):
    """A guest that runs until the test ends; all of it ends then."""
    process = spawn_ctl('run', '-u', UUID, *arguments, user=user, **{'stderr': subprocess.DEVNULL} | popen)
    at_end(lambda: settle(process))
    return process


def settle(process):
    kill_all(process.pid)
    end_process(process)
    if has_owner(NAME):
        wait_until(lambda: UUID not in [one[0] for one in manager().ListGuests({})], 'the guest to be gone')


def running(process, user=None):
    """The guest, when its program runs."""
    wait_until(lambda: process.poll() is not None or any(one[3] for one in manager().ListGuests({}) if one[0] == UUID),
               'the guest to run', 10)
    assert process.poll() is None, f'it ended with {process.returncode}'
    return wait_for_guest(UUID, 'held')


def leases(guest):
    return {os.path.basename(entry['name']): (entry['mode'], entry['kept-by']) for entry in guest.Resources
            if entry['state'] == 'held'}


# --- QEMU ---

def disks_of_qemu(user):
    layers = chain(user)
    own = image(layers[0].parent, 'data.raw', user=user)
    for arguments, wanted in (
            (['-hda', layers[2]], {'top.qcow2': 'exclusive', 'middle.qcow2': 'readonly', 'base.qcow2': 'readonly'}),
            (['-drive', f'file={own},format=raw,if=virtio'], {'data.raw': 'exclusive'}),
            (['-drive', f'file={own},format=raw,if=virtio,readonly=on'], {'data.raw': 'readonly'}),
            (['-blockdev', f'driver=qcow2,node-name=top,file.driver=file,file.filename={layers[2]}',
              '-device', 'virtio-blk-pci,drive=top', '-drive', f'file={own},format=raw,if=virtio'],
             {'top.qcow2': 'exclusive', 'middle.qcow2': 'readonly', 'base.qcow2': 'readonly',
              'data.raw': 'exclusive'})):
        process = start('-q', *qemu(*map(str, arguments)), user=user)
        guest = running(process)
        equal(leases(guest), {name: (mode, 'holder') for name, mode in wanted.items()})
        equal((guest.SupervisorPid, guest.OwnerUid, guest.Name), (process.pid, uid_of(user) if user else 0, QEMU))
        equal(children_of(process.pid), [guest.Pid])
        # QEMU ends well on SIGTERM, when it has got so far.
        wait_until(lambda: catches(guest.Pid, signal.SIGTERM), 'QEMU to be ready')
        process.send_signal(signal.SIGTERM)
        equal(process.wait(20 * BUSY), DONE)
        wait_for_no_guests()
        assert not any(is_locked(layer) for layer in layers)


@test
def disks_of_qemu_as_root():
    disks_of_qemu(None)


@test
def disks_of_qemu_as_alice():
    disks_of_qemu('alice')


@test
def what_it_shows():
    layers = chain()
    process = start(*qemu('-name', 'web1', '-hda', str(layers[2])), stderr=subprocess.PIPE, text=True)
    at_end(process.stderr.close)
    lines = [re.sub(' +', ' ', process.stderr.readline()).strip() for _ in range(5)]
    equal(lines[0], f'Guest "web1" ({UUID}) is to have:')
    equal([line.split()[:2] for line in lines[1:]], [['DISK', 'MODE'], [str(layers[2]), 'exclusive'],
                                                    [str(layers[1]), 'readonly'], [str(layers[0]), 'readonly']])
    equal(running(process).Name, 'web1')


@test
def a_dry_run():
    layers = chain()
    command = ['run', '--dry-run', *qemu('-hda', str(layers[2]))]
    said = expect(DONE, *command, out='', err='Nobody is in the way.')
    assert re.search(f'^  {layers[2]} +exclusive +-hda$', said.err, re.M), said.err
    data = json.loads(ctl('--json', *command).out)
    modes = [(one['path'], one['mode']) for one in data['disks']]
    equal((modes, data['obstacles']), ([(str(layers[2]), 'exclusive'), (str(layers[1]), 'readonly'),
                                        (str(layers[0]), 'readonly')], []))
    start_guest([disk(layers[0])], name='other', uuid=OTHER)
    expect(CONFLICT, *command, out='', err=['Somebody is in the way:', 'guest "other"'])
    data = json.loads(ctl('--json', *command).out)
    equal([(one['resource'], one['guest-uuid']) for one in data['obstacles']], [(str(layers[0]), OTHER)])
    equal([one[0] for one in manager().ListGuests({})], [OTHER])


@test
def a_conflict_before_anything_is_started():
    layers, mark = chain(), temp_dir() / 'mark'
    start_guest([disk(layers[0])], name='other', uuid=OTHER)
    expect(CONFLICT, 'run', '-q', *qemu('-hda', str(layers[2]), '-pidfile', str(mark)), out='',
           err=f'Disk "{layers[0]}" is in use: guest "other"')
    equal((mark.exists(), [one[0] for one in manager().ListGuests({})]), (False, [OTHER]))
    assert not is_locked(layers[2])


@test
def it_waits_for_the_other_to_end():
    layers = chain()
    first = spawn_ctl('run', '-q', '-u', OTHER, *qemu('-hda', str(layers[2])), stderr=subprocess.DEVNULL)
    at_end(lambda: settle(first))
    other = wait_for_guest(OTHER, 'held')
    wait_until(lambda: other.Pid, 'the first to run')
    second = start('-q', '--wait', *qemu('-hda', str(layers[2])), stderr=subprocess.PIPE)
    at_end(second.stderr.close)
    equal(second.stderr.readline().decode(),
          f'Waiting for guest "{QEMU}" (pid {other.Pid}, host {manager().HostName}).\n')
    equal(children_of(second.pid), [])
    wait_until(lambda: catches(other.Pid, signal.SIGTERM), 'QEMU to be ready')
    first.send_signal(signal.SIGTERM)
    equal(first.wait(20 * BUSY), DONE)
    running(second)


@test
def options_of_the_plan():
    layers = chain()
    own = image(layers[0].parent, 'data.raw')
    qemu_line = qemu('-name', 'guest=its-name,debug-threads=on', '-uuid', OTHER, '-hda', str(layers[2]))
    for options, modes in (
            (['-d', f'{layers[2]},mode=readonly'],
             {'top.qcow2': 'readonly', 'middle.qcow2': 'readonly', 'base.qcow2': 'readonly'}),
            (['--no-backing-chain'], {'top.qcow2': 'exclusive'}),
            (['--no-backing-chain', '-d', f'{own},mode=shared'], {'top.qcow2': 'exclusive', 'data.raw': 'shared'}),
            (['--no-scan', '-d', own], {'data.raw': 'exclusive'})):
        data = json.loads(ctl('--json', 'run', '--dry-run', *options, *qemu_line).out)
        equal({os.path.basename(one['path']): one['mode'] for one in data['disks']}, modes)
        # Not even the name is read then.
        scanned = '--no-scan' not in options
        equal((data['name'], data['uuid'] == OTHER), ('its-name' if scanned else QEMU, scanned))
    data = json.loads(ctl('--json', 'run', '--dry-run', '-n', 'mine', '-u', UUID, *qemu_line).out)
    equal((data['name'], data['uuid']), ('mine', UUID))


@test
def a_layer_that_alice_may_not_read():
    layers = chain('alice')
    layers[0].chmod(0o600)
    os.chown(layers[0], 0, 0)
    said = expect(FAILED, 'run', '-q', *qemu('-hda', str(layers[2])), user='alice', out='')
    assert str(layers[0]) in said.err and 'ermission denied' in said.err, said.err
    equal(manager().NGuests, 0)


# --- how it ends ---

def program(text, *options, path=None, **more):
    path = path or image(temp_dir())
    return ctl('run', '-q', '--no-backing-chain', '-d', path, *options, '--', 'sh', '-c', text, **more)


@test
def exit_statuses():
    for text, status in (('exit 0', 0), ('exit 7', 7), ('exit 1', 1), ('exit 3', 3), ('kill -TERM $$', -signal.SIGTERM),
                         ('kill -KILL $$', -signal.SIGKILL), ('kill -INT $$', -signal.SIGINT)):
        equal(program(text).status, status)
    path = image(temp_dir())
    options = ['run', '-q', '--no-backing-chain', '-d', path, '--']
    expect(126, *options, '/etc/passwd', err='"/etc/passwd" cannot be run')
    expect(127, *options, '/nonexistent', err='"/nonexistent" cannot be run')
    expect(127, *options, 'no-such-program', err='"no-such-program" cannot be run')
    expect(USAGE, *options)
    wait_for_no_guests()


# --- what goes through ---

@test
def streams_and_environment():
    path = image(temp_dir())
    said = program('cat; echo "$COLOUR $0" >&2; pwd', path=path, input='a\n\tb', env={'COLOUR': 'red'}, cwd='/usr')
    equal((said.out, said.err), ('a\n\tb/usr\n', 'red sh\n'))
    # Signals are as they were before us, whatever the libraries do with them.
    shell = lambda before: run('sh', '-c', f'{before} {CTL} run -q --no-backing-chain -d {path} -- '  # noqa: E731
                               'grep -E "^Sig(Blk|Ign)" /proc/self/status', env=environment(BUILD / 'client-lib'))
    equal(shell('').stdout.split()[1::2], ['0' * 16] * 2)
    equal(shell("trap '' PIPE;").stdout.split()[1::2], ['0' * 16, f'{1 << signal.SIGPIPE - 1:016x}'])
    # Arguments as they are, options too.
    said = ctl('run', '-q', '--no-backing-chain', '-d', path, '--', 'printf', '%s|', '-q', '--', 'a b', '', '*')
    equal(said.out, '-q|--|a b||*|')
    # It needs no "--" where the command is no option.
    equal(ctl('run', '-q', '--no-backing-chain', '-d', path, 'echo', '-n', 'x').out, 'x')


@test
def descriptors():
    paths = [image(directory) for directory in (temp_dir(), temp_dir())]
    process = start('-q', '--no-backing-chain', '-d', paths[0], '-d', paths[1], '--', 'sleep', '1000')
    # Before its exec it has all that the supervisor has.
    found = descriptors_of(wait_for_child(running(process)))
    locks = sorted((one.st_dev, one.st_ino) for number, one in found.items() if number > 2)
    equal(locks, sorted((path.stat().st_dev, path.stat().st_ino) for path in paths))
    # Nor has the supervisor what was open for the plan: its disks, the bus, and what it needs itself.
    inodes = [(one.st_dev, one.st_ino) for one in descriptors_of(process.pid).values()]
    for path in paths:
        assert inodes.count((path.stat().st_dev, path.stat().st_ino)) <= 2, inodes


# --- signals, terminals ---

@test
def signals_reach_the_guest():
    path = image(temp_dir())
    process = start('-q', '--no-backing-chain', '-d', path, '--', 'sh', '-c',
                    'trap "echo term" TERM; trap "echo usr1" USR1; trap "echo bye; exit 5" HUP; echo ready; '
                    'while :; do sleep 0.05; done', stdout=subprocess.PIPE, text=True)
    at_end(process.stdout.close)
    equal(process.stdout.readline(), 'ready\n')
    for number, word in ((signal.SIGTERM, 'term\n'), (signal.SIGUSR1, 'usr1\n'), (signal.SIGHUP, 'bye\n')):
        process.send_signal(number)
        equal(process.stdout.readline(), word)
    equal(process.wait(20 * BUSY), 5)


@test
def ctrl_c_comes_once():
    path = image(temp_dir())
    terminal = Terminal('run', '-q', '--no-backing-chain', '-d', path, '--', 'python3', '-c', '''
import signal, time
n = []
signal.signal(signal.SIGINT, lambda *_: n.append(1))
print("ready", flush=True)
while not n: time.sleep(0.01)
time.sleep(0.5)
print("got", len(n), flush=True)''')
    at_end(lambda: settle(terminal.process))
    terminal.wait_for('ready')
    terminal.type(INTERRUPT)
    equal(terminal.end(), DONE)
    assert 'got 1' in terminal.text, terminal.text


@test
def stopped_and_continued_by_a_shell():
    path = image(temp_dir())
    terminal = Terminal('--norc', '--noprofile', '-i', program=['/bin/bash'], env={'PS1': '$ '})
    at_end(lambda: kill_all(terminal.pid))
    command = shlex.join(map(str, [CTL, 'run', '-q', '-u', UUID, '--no-backing-chain', '-d', path, '--', 'cat']))
    terminal.type(f'{command}\n')
    guest = wait_for_guest(UUID, 'held')
    wait_until(lambda: guest.Pid, 'the guest to run')
    # With a space, so that no path has it.
    terminal.type('one line\n')
    wait_until(lambda: terminal.text.count('one line') == 2, 'cat to answer')
    terminal.type(SUSPEND)
    terminal.wait_for('Stopped')
    pid = guest.Pid
    # Each of them stops by itself, and the shell waits for the supervisor alone.
    wait_until(lambda: state_of(pid) == 'T', 'the guest to be stopped')
    equal((guest.State, is_locked(path)), ('held', True))
    wait_until(lambda: terminal.text.endswith('\n$'), 'the prompt')
    terminal.type('fg\n')
    wait_until(lambda: state_of(pid) == 'S', 'the guest to go on')
    terminal.type('two lines\n')
    wait_until(lambda: terminal.text.count('two lines') == 2, 'cat to answer')
    terminal.type(INTERRUPT)
    # What is typed before it has come to that is forgotten.
    wait_for_no_guests()
    wait_until(lambda: terminal.text.endswith('\n$'), 'the prompt')
    terminal.type('echo status $?\n')
    terminal.wait_for('status 130')
    terminal.type('exit\n')
    terminal.end()


# --- in between ---

def owner():
    try:
        return service_pid()
    except Error:
        return None


def kill_service():
    """This one: whoever needs it may have the next one started before we look."""
    pid = owner()
    if pid:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: owner() != pid, 'the service to be gone')


@test
def the_service_is_killed_meanwhile():
    """It runs, or fails and says so; and nothing is left."""
    path = image(temp_dir())
    delays = random.Random(1)
    outcomes = []
    for attempt in range(20):
        process = spawn_ctl('run', '-q', '--no-backing-chain', '-d', path, '--', 'echo', 'it runs',
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(delays.uniform(0, 0.06))
        kill_service()
        out, err = process.communicate(timeout=20 * BUSY)
        if process.returncode == DONE:
            equal(out, b'it runs\n')
        else:
            assert out in (b'', b'it runs\n') and err.count(b'guestlock') >= 1, (process.returncode, out, err)
        outcomes.append(process.returncode)
        wait_for_no_guests()
        assert not is_locked(path)
    note(f'of {len(outcomes)}, {outcomes.count(DONE)} ran; the others ended with {sorted(set(outcomes) - {DONE})}')


@test
def an_image_that_is_swapped_while_it_waits():
    """What was opened is what is leased, and kept: QEMU gets no other by the path."""
    path = image(temp_dir())
    other = image(path.parent, 'other')
    holder = start_guest([disk(path)], name='holder', uuid=OTHER)
    process = start('-q', '--wait', '--no-backing-chain', '-d', path, '--', 'sleep', '1000', stderr=subprocess.PIPE)
    at_end(process.stderr.close)
    assert b'Waiting' in process.stderr.readline()
    other.rename(path)
    holder.Release({})
    guests = lambda: [bus.guest(one[5]) for one in manager().ListGuests({}) if one[0] == UUID]  # noqa: E731
    wait_until(lambda: process.poll() is not None or any(map(leases, guests())), 'it to run or to end', 10)
    if process.poll() is None:
        guest = running(process)
        assert guest.Resources[0]['path-moved'] or not is_locked(path)
    else:
        equal(process.returncode, FAILED)
        note(process.stderr.read().decode().strip())


main()
