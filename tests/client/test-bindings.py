# SPDX-License-Identifier: LGPL-2.1-or-later
"""libguestlock in Python: what README shows, other users, and polkit's questions."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from guestlocktest import (
    SOURCE, at_end, bus, equal, image, is_locked, main, manager, polkit_agent, spawn_process, temp_dir, test, uid_of,
    wait_until)

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
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


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
