# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verbs for tests of guestlock-supervisor, beside those of guestlocktest."""

import os
import re
from pathlib import Path

from guestlocktest import NAME, as_uid, at_end, bus, create_guest, disk, has_owner, spawn_process, wait_until
from processtest import is_alive, stat_of, state_of


def guest_with(*resources, user=None, options=None):
    """A guest of `user` with these registered: paths, or (path, mode)."""
    guest = create_guest(peer=as_uid(user) if user else bus, options=options)
    for entry in resources:
        guest.RegisterResource(*disk(*entry) if isinstance(entry, tuple) else disk(entry))
    guest.user = user
    return guest


def command_line(guest, *command, options=None):
    """The guest's command line, with what GetSupervisorPath and GetSupervisorArgs say before it."""
    return guest.GetSupervisorPath(), *guest.GetSupervisorArgs(options or {}), *command


def supervise(guest, *command, options=None, **popen):
    """Starts the command under the supervisor, as the guest's user. What is left of it ends with the test."""
    if not hasattr(guest, 'settles'):
        guest.settles = at_end(lambda: _settle(guest))
    process = spawn_process(*command_line(guest, *command, options=options), user=getattr(guest, 'user', None), **popen)
    at_end(lambda: kill_all(process.pid))
    return process


def _settle(guest):
    """A service that is ended while it gives something back leaves that to the next one."""
    if has_owner(NAME):
        wait_until(lambda: guest.State in ('new', 'released'), 'the guest to be released', 10)


def kill_all(pid):
    """Whatever runs below that process: it dies with nobody to report to, so the leaves go last."""
    for child in children_of(pid):
        kill_all(child)
        try:
            os.kill(child, 9)
        except ProcessLookupError:
            pass


def wait_for_child(guest):
    """The guest's process, which has been let go, and has loaded its libraries."""
    pids = []
    wait_until(lambda: pids.append(guest.Pid) or pids[-1] != 0, 'the guest to have a process')
    pid = pids[-1]
    wait_until(lambda: (command_of(pid) != 'guestlock-super' and state_of(pid) == 'S') or not is_alive(pid),
               'the guest to be started')
    return pid


def catches(pid, number):
    """Whether it has a handler for that signal."""
    caught = re.search(r'^SigCgt:\s*([0-9a-f]+)', Path(f'/proc/{pid}/status').read_text(), re.M)[1]
    return bool(int(caught, 16) & 1 << number - 1)


def children_of(pid):
    found = []
    for entry in Path('/proc').iterdir():
        fields = stat_of(entry.name) if entry.name.isdigit() else None
        if fields and fields[1] == str(pid) and fields[0] not in 'ZX':
            found.append(int(entry.name))
    return found


def command_of(pid):
    """The name of what it runs."""
    try:
        return Path(f'/proc/{pid}/comm').read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None


def descriptors_of(pid):
    """What each of its descriptors is open on."""
    found = {}
    for entry in Path(f'/proc/{pid}/fd').iterdir():
        try:
            found[int(entry.name)] = entry.stat()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
