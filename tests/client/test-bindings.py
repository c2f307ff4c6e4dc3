# SPDX-License-Identifier: LGPL-2.1-or-later
"""libguestlock in Python: what README shows, the supervisor, leases that do not end, other users, and polkit's
questions."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

from guestlocktest import (
    SOURCE, at_end, bus, configure, end_process, equal, gi, image, is_locked, main, manager, spawn_process, temp_dir,
    test, uid_of, wait_until)
from polkittest import polkit_agent

gi.require_version('Guestlock', '1.0')
from gi.repository import GLib, Guestlock  # noqa: E402

LIBRARY = Path(os.environ['GUESTLOCK_BUILD']) / 'client-lib'
UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
# Begins when it is told to, says what it got, and keeps its connection until its input ends.
CLIENT = '''
import sys
import gi
gi.require_version('Guestlock', '1.0')
from gi.repository import GLib, Guestlock
uuid, path, interactive = sys.argv[1:]
manager = Guestlock.Manager.new_sync(None)
manager.set_interactive(interactive == 'yes')
sys.stdin.readline()
request = Guestlock.Request.new()
request.add_disk(path, Guestlock.Mode.EXCLUSIVE)
try:
    guest = manager.start_guest_sync(uuid, 'web1', request, None)
    print(guest.get_state().value_nick, guest.get_owner_uid(), flush=True)
except GLib.Error as error:
    print(Guestlock.Error(error.code).value_nick, error.message, flush=True)
sys.stdin.read()
'''


def client(user, path, interactive=False):
    """A program of another user's, who need not be able to read this tree."""
    directory = temp_dir()
    shutil.copy(LIBRARY / 'libguestlock.so.1', directory)
    shutil.copy(LIBRARY / 'Guestlock-1.0.typelib', directory)
    for file in directory.iterdir():
        file.chmod(0o755)
    process = spawn_process(
        '/usr/bin/python3', '-c', CLIENT, UUID, str(path), 'yes' if interactive else 'no', user=user, cwd='/',
        env=os.environ | {'LD_LIBRARY_PATH': str(directory), 'GI_TYPELIB_PATH': str(directory)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    at_end(process.stdin.close)
    at_end(process.stdout.close)
    return process


def answer_of(process):
    process.stdin.write('\n')
    process.stdin.flush()
    answer = process.stdout.readline().strip()
    # Or it would have the service started again in the next test.
    process.stdin.close()
    process.wait()
    return answer


@test
def python_of_readme():
    path, process = image(temp_dir()), spawn_process()
    text = re.search('```python\n(.*?)```', (SOURCE / 'README.md').read_text(), re.S)[1]
    assert '/srv/web1.qcow2' in text
    text = f'pid = {process.pid}\n' + text.replace('/srv/web1.qcow2', str(path)) + '\nprint(guest.get_state().value_nick)\n'
    answer = subprocess.run(['/usr/bin/python3', '-c', text], stdout=subprocess.PIPE, text=True, check=True)
    equal(answer.stdout, 'held\n')
    guest = bus.guest(manager().GetGuest(UUID))
    equal((guest.State, guest.Pid), ('held', process.pid))


RUNNER = '''
import sys
import gi
gi.require_version('Guestlock', '1.0')
from gi.repository import Guestlock
request = Guestlock.Request.new()
request.add_disk(sys.argv[2], Guestlock.Mode.EXCLUSIVE)
manager = Guestlock.Manager.new_sync(None)
command = ['sh', '-c', 'echo it runs; read line; exit 7']
guest, process = manager.run_guest_sync(sys.argv[1], 'web1', request, command, None)
process.wait(None)
print('ended with', process.get_exit_status(), flush=True)
'''


@test
def run_below_the_supervisor():
    path = image(temp_dir())
    process = spawn_process('/usr/bin/python3', '-c', RUNNER, UUID, str(path), stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)
    at_end(process.stdin.close)
    at_end(process.stdout.close)
    equal(process.stdout.readline(), 'it runs\n')
    guest = bus.guest(manager().GetGuest(UUID))
    equal((guest.State, Path(f'/proc/{guest.SupervisorPid}/comm').read_text().strip()[:15], guest.Pid != 0),
          ('held', 'guestlock-super', True))
    assert is_locked(path)
    process.stdin.write('\n')
    process.stdin.flush()
    equal(process.stdout.readline(), 'ended with 7\n')
    process.wait()  # or it would have the service started again in the next test
    wait_until(lambda: manager().NGuests == 0, 'the guest to go')


def exclusively(path, process=None):
    request = Guestlock.Request.new()
    request.add_disk(str(path), Guestlock.Mode.EXCLUSIVE)
    request.set_pid(process.pid if process else 0)
    request.set_on_lease_lost(Guestlock.Action.NOTIFY)
    request.set_keep(True)
    return request


@test
def command_below_the_supervisor():
    path = image(temp_dir())
    guest = Guestlock.Manager.new_sync(None).create_guest_sync(UUID, 'web1', exclusively(path), None)
    command = guest.get_supervisor_command_sync(100, True, ['sh', '-c', 'echo $0; read line', 'a b'], None)
    process = spawn_process(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    at_end(process.stdin.close)
    at_end(process.stdout.close)
    equal(process.stdout.readline(), 'a b\n')
    guest.refresh_sync(None)
    equal((guest.get_state(), guest.get_supervisor_pid()), (Guestlock.State.HELD, process.pid))
    assert is_locked(path)
    # The guest goes on without it.
    end_process(process)
    wait_until(lambda: guest.refresh_sync(None) and guest.get_supervisor_pid() == 0, 'its supervisor to be gone')
    equal(guest.get_state(), Guestlock.State.HELD)
    guest.shutdown_sync(Guestlock.ShutdownFlags.KILL, None)


@test
def disks_that_are_open():
    """What is leased is what was opened, whatever the name leads to now; and however many there are."""
    for number in (1, 17):
        directory, process, request = temp_dir(), spawn_process(), Guestlock.Request.new()
        paths = [image(directory, f'{index}.img') for index in range(number)]
        for path in paths:
            request.add_resource(Guestlock.Resource.open_disk(str(path), Guestlock.Mode.EXCLUSIVE))
        aside = directory / 'aside'
        paths[0].rename(aside)
        image(directory, '0.img')
        request.set_pid(process.pid)
        request.set_on_lease_lost(Guestlock.Action.NOTIFY)
        guest = Guestlock.Manager.new_sync(None).start_guest_sync(UUID, 'web1', request, None)
        equal([(entry.get_name(), entry.get_state()) for entry in guest.list_resources_sync(None)],
              [(str(path), Guestlock.ResourceState.HELD) for path in paths])
        equal([is_locked(path) for path in (aside, *paths)], [True, False] + [True] * (number - 1))
        end_process(process)
        # It was started, and goes with what it was started for.
        wait_until(lambda: manager().NGuests == 0, 'the guest to go')
    message = fails_with(Guestlock.Error.STORAGE_UNAVAILABLE, Guestlock.Resource.open_disk, '/nowhere/a.img',
                         Guestlock.Mode.EXCLUSIVE)
    assert '"/nowhere/a.img"' in message, message


# Has an image open as QEMU has, and lets go of it into a socket, where it stays.
SENDER = '''
import fcntl, os, socket, struct, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
for byte in (100, 101, 201):
    fcntl.fcntl(fd, 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
socket.send_fds(socket.socket(fileno=0), [b'.'], [fd])
print('sent', flush=True)
time.sleep(1000)
'''


def fails_with(code, function, *arguments):
    try:
        function(*arguments)
    except GLib.Error as error:
        assert error.matches(Guestlock.Error.quark(), code), f'{error.domain} {error.code}: {error.message}'
        return error.message
    raise AssertionError('it succeeded')


@test
def lease_that_does_not_end():
    """Until somebody answers for it that nothing writes any more."""
    path = image(temp_dir(on_disk=True))
    ours, theirs = socket.socketpair()
    at_end(ours.close)
    process = spawn_process('/usr/bin/python3', '-c', SENDER, str(path), stdin=theirs, stdout=subprocess.PIPE, text=True)
    theirs.close()
    at_end(process.stdout.close)
    equal(process.stdout.readline(), 'sent\n')
    library = Guestlock.Manager.new_sync(None)
    guest = library.start_guest_sync(UUID, 'web1', exclusively(path, process), None)
    equal(guest.list_resources_sync(None)[0].get_held_open_by(), None)
    end_process(process)
    wait_until(lambda: guest.list_resources_sync(None)[0].get_held_open_by(), 'it to be noticed')
    [resource] = guest.list_resources_sync(None)
    equal(resource.get_state(), Guestlock.ResourceState.DRAINING)
    assert 'no visible process' in resource.get_held_open_by(), resource.get_held_open_by()
    ours_of = [obstacle for obstacle in library.who_holds_sync(Guestlock.ResourceType.DISK, str(path), None)
               if obstacle.get_guest_uuid()]
    equal([obstacle.get_object_path() for obstacle in ours_of], [guest.get_object_path()])
    assert 'its process has ended' in ours_of[0].get_via(), ours_of[0].get_via()
    revoke = (Guestlock.ResourceType.DISK, str(path), 'nothing writes there')
    guest.revoke_sync(*revoke, Guestlock.RevokeFlags.KILL, None)
    equal(guest.list_resources_sync(None)[0].get_state(), Guestlock.ResourceState.DRAINING)
    guest.revoke_sync(*revoke, Guestlock.RevokeFlags.DRAINED, None)
    wait_until(lambda: guest.refresh_sync(None) and guest.get_state() == Guestlock.State.RELEASED, 'the lease to end')
    fails_with(Guestlock.Error.NO_SUCH_RESOURCE, guest.revoke_sync, *revoke, Guestlock.RevokeFlags.DRAINED, None)


@test
def lock_that_somebody_else_has():
    configure('[guestlock]\nCheckIntervalSec=1\n')
    holder, path = spawn_process(), image(temp_dir())
    guest = Guestlock.Manager.new_sync(None).start_guest_sync(UUID, 'web1', exclusively(path, holder), None)
    locks, _generation = guest.acquire_inherit_sync(None, None)
    at_end(lambda: [os.close(fd) for fd in locks.steal_fds()])
    wait_until(lambda: guest.list_resources_sync(None)[0].get_held_open_by(), 'the check to find it')
    text = guest.list_resources_sync(None)[0].get_held_open_by()
    assert f'process {os.getpid()} (' in text, text


@test
def guests_of_users():
    directory = temp_dir()
    equal(answer_of(client('alice', image(directory, 'own', 'alice'))), f'held {uid_of("alice")}')
    equal([entry[2:5] for entry in manager().ListGuests({})], [('held', 0, uid_of('alice'))])
    answer = answer_of(client('carol', image(directory, 'roots')))
    assert answer.startswith('access-denied ') and 'roots' in answer, answer


@test
def password_that_nobody_is_asked_for():
    answer = answer_of(client('bob', image(temp_dir(), user='bob')))
    assert answer.startswith('interactive-authorization-required '), answer
    equal(manager().NGuests, 0)


@test
def password_that_somebody_gives():
    process = client('bob', image(temp_dir(), user='bob'), interactive=True)
    polkit_agent('grant', process.pid)
    equal(answer_of(process), f'held {uid_of("bob")}')
    equal([entry[2:5] for entry in manager().ListGuests({})], [('held', 0, uid_of('bob'))])


main()
