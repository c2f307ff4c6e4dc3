# SPDX-License-Identifier: LGPL-2.1-or-later
"""guestlock-keeper has copies of what nobody inherited: whatever dies, the locks stay, and nobody gets in between."""

import os
import signal
from pathlib import Path

from guestlocktest import (
    RUNTIME_DIR, Signals, at_end, configure, disk, end_keeper, end_process, end_service, equal, fails, image, is_locked,
    keeper_pid, lock, lock_on, main, spawn_process, start_guest, start_service, temp_dir, test, wait_until)
from storagetest import loop_device, resource


def held_by(process, *paths, **options):
    return start_guest([disk(path) for path in paths], options={'pid': process.pid, 'keep': True} | options)


def is_kept(path):
    """guestlock-keeper has it open."""
    pid = keeper_pid()
    wanted = os.stat(path)
    try:
        entries = list(Path(f'/proc/{pid}/fd').iterdir()) if pid else ()
    except FileNotFoundError:
        return False  # it has ended
    for entry in entries:
        try:
            if os.path.samestat(entry.stat(), wanted):
                return True
        except OSError:
            continue
    return False


def cannot_be_claimed(device):
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError:
        return True
    return False


@test
def service_is_killed():
    path, device = image(temp_dir()), loop_device(image(temp_dir()))
    process = spawn_process()
    guest = held_by(process, path, device)
    unbound = start_guest([disk(image(temp_dir()))], 'unbound')
    before = guest.get_all(), guest.Resources
    equal({entry['kept-by'] for entry in guest.Resources + unbound.Resources}, {'keeper'})
    for _ in range(3):
        end_service(signal.SIGKILL)
        try:
            os.close(lock(path))
        except BlockingIOError:
            pass
        else:
            raise AssertionError('a stranger got the lock while the service was away')
        assert cannot_be_claimed(device)
        signals = Signals()
        start_service()
        signals.nothing_else()
    equal(guest.Resources, before[1])
    equal(guest.Generation, before[0]['Generation'])
    end_process(process)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    assert not is_locked(path) and not cannot_be_claimed(device)
    assert not is_kept(path) and not is_kept(device)


@test
def guest_dies_meanwhile():
    path, process = image(temp_dir()), spawn_process()
    guest = held_by(process, path)
    end_service(signal.SIGKILL)
    end_process(process)
    assert is_locked(path)
    start_service()
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    assert not is_locked(path) and not is_kept(path)


@test
def keeper_is_killed():
    path = image(temp_dir())
    guest = held_by(spawn_process(), path)
    first = keeper_pid()
    end_keeper()
    assert is_locked(path)
    wait_until(lambda: keeper_pid() not in (None, first) and is_kept(path), 'another one to have it')
    end_service(signal.SIGKILL)
    assert is_locked(path)
    start_service()
    equal((guest.State, resource(guest, path)['kept-by']), ('held', 'keeper'))


@test
def service_is_ended_after_the_keeper_was_killed():
    """It has another one keep everything first."""
    path = image(temp_dir())
    guest = held_by(spawn_process(), path)
    for _ in range(3):
        os.kill(keeper_pid(), signal.SIGKILL)
        end_service()
        assert is_locked(path) and is_kept(path)
        start_service()
        equal((guest.State, resource(guest, path)['kept-by']), ('held', 'keeper'))


@test
def keeper_is_stopped():
    """Leases are given without it, and say so; nothing else waits for it."""
    configure('[guestlock]\nCheckIntervalSec=1\n')
    directory = temp_dir()
    first = start_guest([disk(image(directory, 'first'))])
    pid = keeper_pid()
    os.kill(pid, signal.SIGSTOP)
    at_end(lambda: os.kill(pid, signal.SIGCONT))
    path = image(directory, 'second')
    guest = held_by(spawn_process(), path)
    equal(resource(guest, path)['kept-by'], 'service')
    # Nor can that be said any more of what it was given before; the next check sees that, and when it is back.
    signals = Signals(path=first.path, properties=True)
    wait_until(lambda: first.Resources[0]['kept-by'] == 'service', 'the check', 10)
    assert [arguments for _, _, arguments in signals.so_far() if arguments[2] == ['Resources']]
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: is_kept(path), 'it to be kept')
    wait_until(lambda: {one.Resources[0]['kept-by'] for one in (first, guest)} == {'keeper'}, 'the check', 10)
    end_service(signal.SIGKILL)
    assert is_locked(path)
    start_service()
    equal((guest.State, resource(guest, path)['kept-by']), ('held', 'keeper'))


@test
def both_are_killed():
    path = image(temp_dir())
    guest = held_by(spawn_process(), path)
    end_service(signal.SIGKILL)
    end_keeper()
    assert not is_locked(path)
    start_service()
    equal((guest.State, lock_on(path, 0)), ('held', 'write'))


@test
def raised_and_lowered():
    path = image(temp_dir())
    guest = start_guest([disk(path, 'readonly')], options={'pid': spawn_process().pid})
    for mode, kind in (('exclusive', 'write'), ('shared', 'read'), ('exclusive', 'write')):
        guest.AcquireResource(*disk(path, mode))
        end_service(signal.SIGKILL)
        equal(lock_on(path, 0), kind)
        start_service()
        equal((resource(guest, path)['mode'], resource(guest, path)['kept-by']), (mode, 'keeper'))


@test
def nobodys():
    """A service that was killed between taking and saving leaves what no state speaks of."""
    path = image(temp_dir())
    held_by(spawn_process(), path)
    end_service(signal.SIGKILL)
    next((RUNTIME_DIR / 'guests').iterdir()).unlink()
    assert is_locked(path)
    start_service()
    wait_until(lambda: not is_kept(path), 'it to be dropped')
    held_by(spawn_process(), path)


@test
def other_guests_are_kept_out_by_name():
    """What is in the way is the guest, and not who keeps its lock."""
    path = image(temp_dir())
    guest = held_by(spawn_process(), path)
    with fails('Conflict', contains=guest.Uuid):
        start_guest([disk(path)])


main()
