# SPDX-License-Identifier: LGPL-2.1-or-later
"""Packages replace the service while guests run; what another version, or another boot, has left."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from guestlocktest import (
    RUNTIME_DIR, SOURCE, at_end, disk, end_service, equal, fails, is_locked, main, manager, start_guest, temp_dir, test,
    wait_until)
from processtest import goes_on
from storagetest import must_run
from systemtest import KEEPER, SERVICE, SET_ASIDE, LivingGuest, journal, kill_unit, main_pid, stop_service, systemctl

TREE = Path('/run/guestlock-test/shared/tree')
PROGRAM = 'usr/libexec/guestlockd'
BOOT_ID = Path('/proc/sys/kernel/random/boot_id')


def version():
    return must_run(f'/{PROGRAM}', '--version').split()[1]


def unpack(tree):
    """Puts the files of another build in the place of those that are there, as dpkg does: under another name first,
    so that there is no moment without, and what runs keeps running."""
    for path in tree.rglob('*'):
        if path.is_file():
            place = Path('/') / path.relative_to(tree)
            new = place.with_name(place.name + '.dpkg-new')
            shutil.copy2(path, new)
            new.rename(place)


def another_build():
    """A tree that differs in what it says its version is. (To build one would take longer than all of this suite.)"""
    tree, now = temp_dir() / 'tree', version()
    shutil.copytree(TREE, tree)
    other = now[:-1] + ('1' if now[-1] == '0' else '0')
    program = (tree / PROGRAM).read_bytes()
    assert f'{now}\0'.encode() in program
    (tree / PROGRAM).write_bytes(program.replace(f'{now}\0'.encode(), f'{other}\0'.encode()))
    return tree, other


def after_unpacking():
    """What a package's script does then is in README.md."""
    text = re.search('```sh readme-upgrade\n(.*?)```', (SOURCE / 'README.md').read_text(), re.S)[1]
    done = subprocess.run(['bash', '-e', '-c', text], capture_output=True, text=True, timeout=120)
    equal((done.returncode, done.stdout, done.stderr), (0, '', ''))


def runs(pid):
    return os.readlink(f'/proc/{pid}/exe')


@test
def upgraded_and_back():
    before, (tree, other) = version(), another_build()
    at_end(lambda: unpack(TREE))
    guest = LivingGuest()
    keeper = main_pid(KEEPER)
    for files, wanted in ((tree, other), (TREE, before)):
        unpack(files)
        pid = main_pid(SERVICE)
        equal(runs(pid), f'/{PROGRAM} (deleted)')
        after_unpacking()
        assert main_pid(SERVICE) != pid
        equal((manager().Version, runs(main_pid(SERVICE))), (wanted, f'/{PROGRAM}'))
        # It is the one that has the locks, and stays.
        equal((main_pid(KEEPER), runs(keeper)), (keeper, '/usr/libexec/guestlock-keeper (deleted)'))
        guest.is_as_before()
        guest.is_kept()
    guest.end()


@test
def upgraded_while_it_does_not_run():
    """It is not started by that; the first call has the new one."""
    tree, other = another_build()
    at_end(lambda: unpack(TREE))
    guest = LivingGuest()
    stop_service()
    unpack(tree)
    after_unpacking()
    equal(main_pid(SERVICE), 0)
    equal(manager().Version, other)
    guest.end()


def change_state(pattern, replacement):
    """Of the one guest there is, while the service is stopped."""
    path, = (RUNTIME_DIR / 'guests').iterdir()
    text, n = re.subn(pattern, replacement, path.read_text(), flags=re.M)
    equal(n, 1)
    path.write_text(text)
    return path


def set_aside_since(known):
    return [entry['MESSAGE'] for entry in journal(f'MESSAGE_ID={SET_ASIDE}') if entry['__CURSOR'] not in known]


def cursors():
    return {entry['__CURSOR'] for entry in journal(f'MESSAGE_ID={SET_ASIDE}')}


@test
def state_of_a_later_version():
    """After a downgrade: nobody gets the disk, however often the service is restarted, and the guest is itself again
    once there is a service that can read its state."""
    guest, known = LivingGuest(), cursors()
    systemctl('stop', SERVICE)
    path = change_state('^version=1$', 'version=2')
    aside = RUNTIME_DIR / 'set-aside' / path.name
    for _ in range(3):
        systemctl('restart', SERVICE)
        equal(manager().ListGuests({}), [])
        assert aside.exists() and not path.exists()
        with fails('Conflict', contains='guestlock-keeper'):
            start_guest([disk(guest.path)], 'another')
        systemctl('stop', SERVICE)
    said, = set_aside_since(known)
    assert str(path) in said and 'version 2' in said, said
    aside.rename(path)
    change_state('^version=2$', 'version=1')
    systemctl('start', SERVICE)
    guest.is_kept()
    guest.end()


@test
def state_of_another_boot():
    """No guest outlives a reboot, and nothing that keeps locks does: what a file of the last boot says is not believed,
    whoever has the guest's pid now."""
    known, guest = cursors(), LivingGuest()
    file, = (RUNTIME_DIR / 'guests').iterdir()
    guest.stranger.end()
    systemctl('stop', SERVICE)
    kill_unit(KEEPER)
    wait_until(lambda: not is_locked(guest.path), 'the lock to go')
    other = temp_dir() / 'boot_id'
    other.write_text('11111111-2222-4333-8444-555555555555\n')
    must_run('mount', '--bind', other, BOOT_ID)
    at_end(lambda: (end_service(), must_run('umount', BOOT_ID)))
    systemctl('start', SERVICE)
    equal((manager().ListGuests({}), is_locked(guest.path)), ([], False))
    assert (RUNTIME_DIR / 'set-aside' / file.name).exists()
    said, = set_aside_since(known)
    assert str(file) in said and 'before this boot' in said, said
    # That process is nothing to it: it is neither stopped nor in the way.
    equal(goes_on(guest.process.pid), True)
    equal(start_guest([disk(guest.path)], uuid=file.name).State, 'held')


main()
