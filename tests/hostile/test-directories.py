# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service's own directories: alice neither reads nor writes them, and where a configured one lies in a place that
is hers too, what she has put there is refused."""

import os
from pathlib import Path

from guestlocktest import (
    RUNTIME_DIR, STATE_DIR, disk, end_service, equal, image, main, run, spawn_process, start_guest, start_service,
    temp_dir, test, uid_of, wait_until)
from filetest import MODES, Attacker

SUBDIRECTORIES = {'--runtime-dir': ['guests', 'set-aside'], '--state-dir': []}


def service_with(option, directory):
    """Starts a service with this directory by hand; None if it runs, or what it said when it did not."""
    pid = start_service()
    command = [word.decode() for word in Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')[:-1]]
    end_service()
    command = [word for word in command if not word.startswith(option + '=')] + [f'{option}={directory}']
    log = temp_dir() / 'log'
    with open(log, 'w') as output:
        process = spawn_process(*command, stderr=output)
    wait_until(lambda: process.poll() is not None or 'is on the bus' in log.read_text(), 'the service to start', 10)
    if process.poll() is None:
        start_guest([disk(image(temp_dir()))]).Shutdown({})
        end_service()
        return None
    equal(process.returncode, 1)
    return log.read_text()


def tree(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob('*'))


def each_option(function):
    for option in SUBDIRECTORIES:
        def run_with(option=option):
            function(option)
        run_with.__name__ = f'{function.__name__}_{option.strip("-").replace("-", "_")}'
        test(run_with)


def refused(option, directory, *words):
    said = service_with(option, directory)
    assert said and all(str(word) in said for word in words), said


@test
def closed_to_others():
    alice = Attacker()
    guest = start_guest([disk(image(temp_dir()))], options={'keep': True})
    files = [RUNTIME_DIR / 'guests' / guest.Uuid, STATE_DIR / 'generations', RUNTIME_DIR / 'set-aside/x']
    for file in files:
        for command in (('cat', file), ('ls', file.parent), ('touch', file), ('touch', file.parent / 'new'),
                        ('ln', '-s', '/etc/passwd', file.parent / 'link'), ('mv', file.parent, '/tmp/x')):
            result = run(*map(str, command), user='alice')
            assert result.returncode != 0 and not result.stdout, (command, result)
    # They are no disks of hers either: the service opens them as her, too.
    for file in files:
        for mode in MODES:
            equal(alice.gets(file, mode), {'AccessDenied'})
    equal((guest.State, tree(RUNTIME_DIR / 'set-aside')), ('held', []))


@each_option
def made_by_her(option):
    place = temp_dir()
    place.chmod(0o1777)
    directory = place / 'guestlock'
    equal(run('mkdir', '-p', *(str(directory / name) for name in SUBDIRECTORIES[option] or ['']),
              user='alice').returncode, 0)
    refused(option, directory, directory, uid_of('alice'))
    equal(tree(directory), SUBDIRECTORIES[option])


@each_option
def that_others_may_write(option):
    for mode in (0o777, 0o1777, 0o770):
        directory = temp_dir()
        directory.chmod(mode)
        refused(option, directory, directory)
        equal(tree(directory), [])


@each_option
def symlink_of_hers_to_a_directory_of_roots(option):
    place, roots = temp_dir(), temp_dir()
    place.chmod(0o1777)
    for target in (roots, roots / 'absent'):
        (place / 'link').unlink(missing_ok=True)
        equal(run('ln', '-s', str(target), str(place / 'link'), user='alice').returncode, 0)
        for directory in (place / 'link', place / 'link/guestlock', f'{place}/link/'):
            refused(option, directory, directory)
            equal((tree(roots), tree(place)), ([], ['link']))


@each_option
def symlink_of_roots(option):
    place, directory = temp_dir(), temp_dir()
    (place / 'link').symlink_to(directory)
    equal(service_with(option, place / 'link'), None)
    assert tree(directory)


@each_option
def file_fifo_or_socket_in_its_place(option):
    place = temp_dir('alice')
    for name, command in (('file', 'touch'), ('fifo', 'mkfifo')):
        equal(run(command, str(place / name), user='alice').returncode, 0)
        refused(option, place / name, place / name)


@test
def moved_away_after_the_service_made_it():
    place = temp_dir('alice')
    directory = place / 'run'
    directory.mkdir(mode=0o700)
    equal(service_with('--runtime-dir', directory), None)
    victim = temp_dir()
    directory.rename(place / 'away')
    directory.symlink_to(victim)
    os.chown(directory, uid_of('alice'), -1, follow_symlinks=False)
    refused('--runtime-dir', directory, directory)
    equal(tree(victim), [])


main()
