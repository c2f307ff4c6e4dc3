# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verbs for tests of who may do what, beside those of guestlocktest: polkit's rules, its dialogs, and a polkitd that is
ill.
"""

import contextlib
import itertools
import os
import re
import signal
import subprocess
from pathlib import Path

from guestlocktest import (
    BUSY, NAME, RULES, Gio, GLib, as_uid, at_end, bus, connect_as, create_guest, end_owner, has_owner, spawn_process,
    wait_for_starts, wait_until)
from processtest import standing_still

_rules_made = itertools.count()


def polkit_rules(script):
    """Adds a polkit rule, before those in rules/; the next one takes its place."""
    path = RULES / '00-of-this-test.rules'
    mark = f'{next(_rules_made)}'
    script = f'''polkit.addRule(function(action) {{
        if (action.id == "{NAME}.revoke" && action.lookup("rules") == "{mark}") return polkit.Result.YES;
    }});
    {script}'''
    running = _polkit_runs()
    if not path.exists():
        at_end(lambda: _remove_rules(path))
    path.with_suffix('.new').write_text(script)
    path.with_suffix('.new').rename(path)
    _wait_for_rules(running, lambda: _are_in_force(mark))


def _polkit_runs():
    """One that is about to has read its rules already."""
    wait_for_starts()
    return has_owner('org.freedesktop.PolicyKit1')


def _remove_rules(path):
    running = _polkit_runs()
    mark = re.search(r'lookup\("rules"\) == "(\d+)"', path.read_text())[1]
    path.unlink()
    _wait_for_rules(running, lambda: not _are_in_force(mark))


def _wait_for_rules(running, condition):
    """One that starts later reads them as they are. (polkit's signal Changed would not do: it has other causes.)"""
    if running:
        wait_until(condition, 'polkit to read its rules again')


def _are_in_force(mark):
    """Asks polkit about a user who may do nothing unless those very rules say so."""
    subject = connect_as('bob')
    try:
        (authorized, _challenge, _details), = bus.connection.call_sync(
            'org.freedesktop.PolicyKit1', '/org/freedesktop/PolicyKit1/Authority',
            'org.freedesktop.PolicyKit1.Authority', 'CheckAuthorization',
            GLib.Variant('((sa{sv})sa{ss}us)', (
                ('system-bus-name', {'name': GLib.Variant('s', subject.name)}), f'{NAME}.revoke', {'rules': mark}, 0,
                '')),
            None, Gio.DBusCallFlags.NONE, 20000 * BUSY, None).unpack()
    finally:
        subject.close()
    return authorized


@contextlib.contextmanager
def hanging_polkit():
    """polkitd stands still for what is inside, unless that ends it. Gives a pidfd of it."""
    create_guest(peer=as_uid('alice')).Free({})
    with standing_still(bus.ask_bus('GetConnectionUnixProcessID', '(s)', 'org.freedesktop.PolicyKit1')) as pidfd:
        yield pidfd


def end_polkit(how=signal.SIGKILL):
    """Ends polkitd; the next question starts another one."""
    end_owner('org.freedesktop.PolicyKit1', how)


def remove_polkit():
    """From now on there is no polkit, as on a machine where none is installed."""
    path = RULES.parent / 'services/org.freedesktop.PolicyKit1.service'
    hidden = path.with_suffix('.hidden')

    def come_back():
        hidden.rename(path)
        bus.ask_bus('ReloadConfig', '()')

    path.rename(hidden)
    at_end(come_back)
    bus.ask_bus('ReloadConfig', '()')
    end_polkit()


def polkit_agent(answer, pid=None):
    """Somebody at the screen of process `pid` (this one), who answers each dialog with 'grant', 'cancel' or
    'never'. Gives the process, each of whose lines is a dialog that appeared or was taken away."""
    agent = spawn_process('/usr/bin/python3', str(Path(__file__).with_name('polkit-agent')), answer,
                          str(pid or os.getpid()), stdout=subprocess.PIPE, text=True)
    assert agent.stdout.readline() == 'registered\n', 'the polkit agent did not start'
    return agent
