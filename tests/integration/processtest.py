# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verbs for tests that look at what a process does, beside those of guestlocktest."""

import contextlib
import os
import signal
from pathlib import Path

from guestlocktest import wait_until


def stat_of(pid):
    """The fields of its `stat` from its state on, or None where it is gone."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def state_of(pid):
    """A letter, or None where it is gone."""
    fields = stat_of(pid)
    return fields[0] if fields else None


def is_alive(pid):
    return state_of(pid) not in (None, 'Z', 'X')


def goes_on(pid):
    """It was neither stopped nor ended. (One that has just been started, or has something to do, does not sleep.)"""
    return state_of(pid) in ('R', 'S', 'D')


@contextlib.contextmanager
def standing_still(pid):
    """The process does nothing, with none of its threads, for what is inside, which may end it. Gives a pidfd of it."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
        wait_until(lambda: _stands_still(pid), f'process {pid} to be stopped')
        yield pidfd
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        os.close(pidfd)


def _stands_still(pid):
    """None of its threads does anything; one that has ended does not either."""
    return all(state_of(f'{pid}/task/{thread}') in ('T', 'Z', 'X', None) for thread in os.listdir(f'/proc/{pid}/task'))
