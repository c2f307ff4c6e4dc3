# SPDX-License-Identifier: LGPL-2.1-or-later
"""The examples, in C, Python and JavaScript: each runs a program under a lease, and says who is in the way."""

import os
import signal
from pathlib import Path

from guestlocktest import (
    BUSY, SOURCE, Signals, at_end, bus, disk, equal, image, main, manager, run, spawn_process, start_guest,
    temp_dir, test, wait_until)

EXAMPLES = SOURCE / 'client-lib/examples'
LIBRARY = Path(os.environ['GUESTLOCK_BUILD']) / 'client-lib'
UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
OTHER = '4dea22b3-1d52-d8f3-2516-782e98ab3fa1'
ENVIRONMENT = os.environ | {'LD_LIBRARY_PATH': str(LIBRARY), 'GI_TYPELIB_PATH': str(LIBRARY)}


def example(language):
    if language == 'c':
        return [str(LIBRARY / 'start-guest')]
    return [{'py': '/usr/bin/python3', 'js': '/usr/bin/gjs'}[language], str(EXAMPLES / f'start-guest.{language}')]


def runs_a_program(language):
    directory = temp_dir()
    paths, signals = [image(directory), image(directory, 'second')], Signals()
    said = directory / 'said'
    errors = directory / 'errors'
    with open(errors, 'w') as stream:
        process = spawn_process(*example(language), UUID, 'web1', *map(str, paths), '--', 'sh', '-c',
                                f'echo $$ >{said}.new; mv {said}.new {said}; exec sleep infinity', env=ENVIRONMENT,
                                stderr=stream)
    wait_until(lambda: said.exists() or process.poll() is not None, f'the program of {example(language)}', 20)
    assert said.exists(), errors.read_text()
    # It runs, so it has the leases, under its own pid.
    pid = int(said.read_text())
    pidfd = os.pidfd_open(pid)
    at_end(lambda: os.close(pidfd))
    at_end(lambda: signal.pidfd_send_signal(pidfd, signal.SIGKILL) if process.poll() is None else None)
    guest = bus.guest(manager().GetGuest(UUID))
    equal((guest.State, guest.Pid, guest.Name), ('held', pid, 'web1'))
    equal([(entry['name'], entry['mode'], entry['state']) for entry in guest.Resources],
          [(str(path), 'exclusive', 'held') for path in paths])
    guest.SetParameter('on-lease-lost', 'notify')
    guest.Revoke('disk', str(paths[0]), 'because', {})
    wait_until(lambda: errors.read_text() == f'Lost "{paths[0]}": because\n', 'the example to say what it lost')
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    equal(process.wait(10 * BUSY), 0)
    wait_until(lambda: manager().NGuests == 0, 'the end of the guest')
    assert 'LeasesReleased' in [member for _, member, _ in signals.so_far()]


def says_who_is_in_the_way(language):
    directory = temp_dir()
    path, started = image(directory), directory / 'started'
    start_guest([disk(path)], 'holder', uuid=OTHER)
    result = run(*example(language), UUID, 'web1', str(path), '--', 'touch', str(started), env=ENVIRONMENT)
    equal((result.returncode, result.stdout), (1, ''))
    assert result.stderr.startswith(f'Disk "{path}" is in use: guest "holder" ({OTHER}'), result.stderr
    assert not started.exists(), 'the program ran without a lease'


for _language in ('c', 'py', 'js'):
    for _function in (runs_a_program, says_who_is_in_the_way):
        def _test(function=_function, language=_language):
            function(language)
        _test.__name__ = f'{_function.__name__}_in_{_language}'
        test(_test)

main()
