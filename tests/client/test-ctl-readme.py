# SPDX-License-Identifier: LGPL-2.1-or-later
"""What README.md shows of guestlockctl, as somebody would type it."""

import os
import re
import signal
from pathlib import Path

from guestlocktest import (
    BUSY, LOG, SOURCE, at_end, bus, end_process, equal, image, is_locked, main, manager, run, spawn_process, temp_dir,
    test, wait_until)

CLI = Path(os.environ['GUESTLOCK_BUILD']) / 'cli'


def block(name, path):
    text = re.search(f'```sh {name}\n(.*?)```', (SOURCE / 'README.md').read_text(), re.S)[1]
    return text.replace('/srv/web1.qcow2', str(path))


def environment(directory):
    """With a QEMU that does nothing."""
    program = directory / 'qemu-system-x86_64'
    program.write_text('#!/bin/sh\nexec sleep infinity\n')
    program.chmod(0o755)
    return os.environ | {'PATH': f'{directory}:{CLI}:{os.environ["PATH"]}'}


@test
def guest_and_a_look_at_it():
    directory = temp_dir()
    path = image(directory)
    env = environment(directory)
    with open(LOG, 'ab') as log:
        shell = spawn_process('bash', '-c', block('readme-run', path), stdout=log, stderr=log, env=env)
    at_end(lambda: end_process(shell, signal.SIGTERM))
    wait_until(lambda: [guest for guest in manager().ListGuests({}) if guest[3]], 'the guest to start')
    (uuid, name, state, pid, owner, guest), = manager().ListGuests({})
    equal((name, state, owner, bus.guest(guest).SupervisorPid), ('web1', 'held', 0, shell.pid))
    assert is_locked(path)
    text = block('readme-look', path)
    assert text.count('guestlockctl ') == 4, text
    result = run('bash', '-e', '-c', text, env=env)
    equal((result.returncode, result.stderr), (0, ''))
    listed, status, who, stopped = (re.split(r'\n(?="|Guest )', result.stdout) + [''])[:4]
    assert re.search(f'^web1 +{uuid} +held +{pid} +root ', listed, re.M), listed
    assert str(path) in status and 'exclusive' in status, status
    assert who.startswith(f'"{path}" is in use:') and 'guest "web1"' in who, who
    assert stopped.startswith('Guest "web1"'), stopped
    equal(shell.wait(10 * BUSY), -signal.SIGKILL)
    equal(manager().ListGuests({}), [])
    assert not is_locked(path)


@test
def leases_by_hand():
    path = image(temp_dir())
    result = run('bash', '-e', '-c', block('readme-start', path), env=environment(temp_dir()))
    equal((result.returncode, result.stderr), (0, ''))
    assert str(path) in result.stdout and 'has ended' in result.stdout, result.stdout
    equal(manager().ListGuests({}), [])
    assert not is_locked(path)


main()
