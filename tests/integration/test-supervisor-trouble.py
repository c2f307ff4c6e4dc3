# SPDX-License-Identifier: LGPL-2.1-or-later
"""guestlock-supervisor when things go wrong: no guest runs without its leases, whatever is refused, and whatever is
killed at whichever moment."""

import os
import random
import signal
import subprocess
import time

from guestlocktest import (
    SOURCE, at_end, disk, end_process, end_service, equal, fails, image, is_locked, main, note, restart_service, run,
    start_guest, temp_dir, test, wait_until)
from processtest import is_alive
from storagetest import resource, start_qemu
from supervisortest import children_of, command_line, guest_with, supervise, wait_for_child


def refused(guest, *options, command=('touch', '/nonexistent/x'), status=125, contains=()):
    """The supervisor does not get so far as to start anything; gives what it says."""
    program, *arguments = command_line(guest)
    result = run(program, *arguments[:-1], *options, '--', *command, user=guest.user)
    equal((result.returncode, result.stdout), (status, ''))
    for text in [contains] if isinstance(contains, str) else contains:
        assert text in result.stderr, f'expected "{text}" in: {result.stderr}'
    equal(result.stderr.count('\n'), 1)


# --- what is not to be had ---

@test
def conflict():
    path, marker = image(temp_dir('alice'), 'disk.img', 'alice'), temp_dir('alice') / 'marker'
    other = start_guest([disk(path)], 'other')
    guest = guest_with(path, user='alice')
    touch = ('touch', str(marker))
    refused(guest, command=touch, status=124, contains=[str(path), 'guest "other"', other.Uuid])
    begin = time.monotonic()
    refused(guest, '--wait-ms=300', command=touch, status=124, contains=[str(path), 'guest "other"'])
    assert time.monotonic() - begin >= 0.3
    equal((guest.State, guest.SupervisorPid, guest.Pid, marker.exists()), ('new', 0, 0, False))
    # One that waits gets it.
    process = supervise(guest, *touch, options={'wait-ms': 60000})
    wait_until(lambda: guest.Waiting, 'the supervisor to wait')
    equal(marker.exists(), False)
    other.Shutdown({})
    equal((process.wait(30), marker.exists()), (0, True))


@test
def unmanaged_qemu():
    """The guest does not run yet, so whichever QEMU has the disk is not its own."""
    path = image(temp_dir())
    qemu = start_qemu(path)
    guest = guest_with(path)
    refused(guest, status=124, contains=[str(path), f'pid {qemu.pid}'])
    equal(guest.State, 'new')


@test
def ended_while_it_waits():
    path = image(temp_dir())
    start_guest([disk(path)])
    guest = guest_with(path)
    process = supervise(guest, 'true', options={'wait-ms': 60000})
    wait_until(lambda: guest.Waiting, 'the supervisor to wait')
    process.terminate()
    equal(process.wait(30), -15)
    wait_until(lambda: not guest.Waiting and guest.SupervisorPid == 0, 'the end of the wait')


@test
def disks_that_cannot_be_had():
    directory = temp_dir('alice')
    path, secret = image(directory, 'disk.img', 'alice'), image(directory, 'secret.img')
    guest = guest_with(path, user='alice')
    os.chown(path, 0, 0)
    refused(guest, contains=[str(path), 'Permission denied'])
    path.unlink()
    refused(guest, contains=[str(path), 'No such file'])
    path.symlink_to(secret)
    refused(guest, contains=[str(path), 'Permission denied'])
    path.unlink()
    os.mkfifo(path)
    os.chown(path, 61001, 61001)
    refused(guest, contains=str(path))
    equal((guest.State, resource(guest, path)['state']), ('new', 'registered'))


@test
def guests_that_are_not_there():
    guest = guest_with(user='alice')
    theirs = guest_with()
    program = guest.GetSupervisorPath()
    for path, text in ((guest.path + 'x', 'Unknown object'), (theirs.path, 'password')):
        result = run(program, f'--guest={path}', '--', 'true', user='alice')
        equal(result.returncode, 125)
        assert text in result.stderr, result.stderr
    equal((theirs.State, theirs.SupervisorPid), ('new', 0))


@test
def wrong_arguments():
    guest = guest_with()
    refused(guest, command=(), contains='command line is missing')
    refused(guest, '--orphan=eat', contains='"eat"')
    refused(guest, '--wait-ms=x', contains='"x"')
    refused(guest, '--colour', contains='"--colour"')
    program = guest.GetSupervisorPath()
    equal(run(program).returncode, 125)
    assert run(program, '--help').stdout.startswith('Usage: ')
    equal(run(program, '--version').returncode, 0)


@test
def without_a_bus():
    guest = guest_with()
    result = run(*command_line(guest, 'true'), env=os.environ | {'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=/nonexistent'})
    equal(result.returncode, 125)
    assert 'cannot be called' in result.stderr, result.stderr


BUS_GOES = '''
disk=$GUESTLOCK_TMP/disk.img path=/org/guestlock1/guest/4dea22b3_1d52_d8f3_2516_782e98ab3fa0
call() { busctl call org.guestlock1 "$@"; }
truncate -s 1M $disk
call /org/guestlock1 org.guestlock1.Manager CreateGuest 'ssa{sv}' 4dea22b3-1d52-d8f3-2516-782e98ab3fa0 web1 0
call $path org.guestlock1.Guest RegisterResource 'sssa{sv}' disk $disk exclusive 0
"$SUPERVISOR" --guest=$path -- sh -c 'touch $GUESTLOCK_TMP/runs; exec sleep infinity' &
supervisor=$!
state() { busctl get-property org.guestlock1 $path org.guestlock1.Guest State; }
# It is held before all that the supervisor needs the bus for is done.
until [ -e $GUESTLOCK_TMP/runs ]; do sleep 0.01; done
[ "$(state)" = 's "held"' ] || exit 1
bus=$(busctl call org.freedesktop.DBus / org.freedesktop.DBus GetConnectionUnixProcessID s org.freedesktop.DBus)
kill -9 ${bus#u }
sleep 1.5
rm /run/dbus/system_bus_socket
dbus-daemon --config-file=/run/dbus/guestlock/system.conf --nofork --nopidfile --nosyslog &
until state; do sleep 0.05; done
# It hears again what is released, and closes its descriptor.
until busctl list | grep -q guestlock-super; do sleep 0.05; done
call $path org.guestlock1.Guest ReleaseResource 'ssa{sv}' disk $disk 0
while ls -l /proc/$supervisor/fd | grep -q disk.img; do sleep 0.05; done
kill $supervisor
wait $supervisor || echo "status $?"
'''


@test
def bus_goes():
    """And comes back: neither the guest nor the supervisor minds."""
    result = run(str(SOURCE / 'tools/private-bus'), '--no-polkit', '--', 'bash', '-c', BUS_GOES,
                 env=os.environ | {'SUPERVISOR': guest_with().GetSupervisorPath()})
    equal((result.returncode, result.stdout.splitlines()[-2:]), (0, ['s "held"', 'status 143']))


@test
def without_stdio():
    """No lock becomes a guest's standard output."""
    path = image(temp_dir())
    guest = guest_with(path)
    process = supervise(guest, 'sleep', 'infinity', preexec_fn=lambda: [os.close(fd) for fd in range(3)], stdin=None)
    child = wait_for_child(guest)
    equal({os.readlink(f'/proc/{child}/fd/{fd}') for fd in range(3)}, {'/dev/null'})
    end_process(process)


# --- registering anew ---

@test
def registered_by_descriptor_instead():
    directory = temp_dir('alice')
    path, other = (image(directory, name, 'alice') for name in ('disk.img', 'other.img'))
    guest = guest_with(path, (other, 'readonly'), user='alice')
    fd, read_only = os.open(path, os.O_RDWR), os.open(path, os.O_RDONLY)
    at_end(lambda: [os.close(each) for each in (fd, read_only)])
    with fails('AlreadyRegistered', contains=str(path)):
        guest.RegisterResourceFd('disk', str(path), fd, 'exclusive', {})
    for _ in range(2):
        guest.RegisterResourceFd('disk', str(path), fd, 'exclusive', {'replace': True})
    with fails('AlreadyRegistered', contains=[str(path), str(other)]):
        guest.RegisterResourceFd('disk', str(other), fd, 'exclusive', {'replace': True})
    with fails('AccessDenied'):
        guest.RegisterResourceFd('disk', str(path), read_only, 'exclusive', {'replace': True})
    for method in (guest.RegisterResource, guest.AcquireResource):
        with fails('InvalidArgs', contains='replace'):
            method('disk', str(path), 'exclusive', {'replace': True})
    before = guest.Resources
    restart_service()
    equal((guest.Resources, [entry['name'] for entry in before]), (before, [str(path), str(other)]))
    equal(len(guest.with_fds.AcquireInherit({})[1].steal_fds()), 1)
    with fails('AlreadyRegistered', contains='held'):
        guest.RegisterResourceFd('disk', str(path), fd, 'exclusive', {'replace': True})


# --- somebody is killed while it starts ---

def starts(user, n):
    """Starts of guests, each as it is at some moment before it runs (about), and the file that says that it does. The
    first one is not disturbed, and shows how long that takes."""
    directory, longest = temp_dir(user), None
    for number in range(n + 1):
        path, log = image(directory, f'{number}.img', user), directory / f'{number}.log'
        guest = guest_with(*[path] + [image(directory, f'{number}-{more}.img', user) for more in range(17)], user=user)
        program = f'echo $$ >{log}.new; mv {log}.new {log}; exec sleep infinity'
        begin = time.monotonic()
        process = supervise(guest, 'sh', '-c', program, stderr=subprocess.DEVNULL)
        if longest is None:
            wait_until(log.exists, 'the guest to run')
            took = time.monotonic() - begin
            # One that was held up says little of the others.
            longest = min(1.2 * took, 2)
            end_process(process, signal.SIGTERM)
            continue
        moment = begin + random.uniform(0, longest)
        while time.monotonic() < moment:
            time.sleep(0.0005)
        yield guest, process, path, log
    note(f'a start takes {took * 1000:.0f} ms')


@test
def service_is_killed_while_it_starts():
    for user in ('alice', None):
        for guest, process, path, log in starts(user, 10):
            end_service(signal.SIGKILL)
            wait_until(log.exists, 'the guest to run', 20)
            pid = int(log.read_text())
            equal((guest.State, guest.Pid, guest.SupervisorPid, process.poll()), ('held', pid, process.pid, None))
            equal({(entry['state'], entry['kept-by']) for entry in guest.Resources}, {('held', 'holder')})
            end_process(process, signal.SIGTERM)
            wait_until(lambda: guest.State == 'released', 'the guest to be released')


@test
def supervisor_is_killed_while_it_starts():
    ran = 0
    for guest, process, path, log in starts('alice', 20):
        end_process(process)
        # What it asked for last may still be under way, and takes a lock until it is noticed that nobody wants it.
        wait_until(lambda: (guest.State in ('new', 'released') and guest.SupervisorPid == 0 and not is_locked(path)
                            and {(entry['state']) for entry in guest.Resources} == {'registered'}),
                   'the guest to be released')
        ran += log.exists()
        assert not children_of(process.pid)
        if log.exists():
            pid = int(log.read_text())
            wait_until(lambda: not is_alive(pid), 'the guest to be killed')
        # Nothing of what is to be leased was forgotten: it is started again as it is.
        equal(len(guest.Resources), 18)
    note(f'{ran} of 20 guests ran before their supervisor was killed')


main()
