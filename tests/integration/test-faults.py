# SPDX-License-Identifier: LGPL-2.1-or-later
"""The places for state are full, fail, or can only be read, and descriptors run out: what cannot be written down is not
granted and leaves nothing behind, what is given back is given back for good, and nothing that was held is lost."""

import contextlib
import os
import resource as limits
import signal
import subprocess
import time

from guestlocktest import (
    LOG, RUNTIME_DIR, STATE_DIR, Signals, at_end, create_guest, disk, end_keeper, end_process, end_service, equal,
    fails, image, is_locked, keeper_pid, main, manager, restart_service, run, service_pid, spawn_process, start_guest,
    start_service, temp_dir, test, wait_until)
from storagetest import mount, resource, test_program

KIB = 1 << 10


def small_tmpfs(point, size=256 * KIB):
    point.mkdir(exist_ok=True)
    return mount('-t', 'tmpfs', '-o', f'mode=700,size={size}', 'tmpfs', point)


class Full:
    """The rest of a file system, taken."""

    def __init__(self, point):
        self.path = point / 'everything-else'
        with open(self.path, 'wb', buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass

    def make_room(self):
        self.path.unlink()


class FaultFs:
    """A directory whose file system fails as fault-fs.c says."""

    def __init__(self, point):
        program, scratch = test_program('fault-fs'), temp_dir()
        below, self.control, log = scratch / 'below', scratch / 'control', scratch / 'log'
        below.mkdir()
        point.mkdir(exist_ok=True)
        self.fail('')
        with open(log, 'w') as output:
            process = spawn_process(program, str(below), str(self.control), str(point), stdout=output,
                                    stderr=subprocess.STDOUT)
        at_end(lambda: self._end(point))
        wait_until(lambda: process.poll() is not None or 'ready' in log.read_text(), 'fault-fs to mount')
        assert process.poll() is None, log.read_text()

    def fail(self, words):
        new = self.control.with_suffix('.new')
        new.write_text(words)
        new.rename(self.control)

    def _end(self, point):
        self.fail('')
        end_service()
        end_keeper()
        run('umount', '--lazy', str(point))


def guests_saved():
    return {file.name for file in (RUNTIME_DIR / 'guests').iterdir()}


def log_since(begin):
    return LOG.read_bytes()[begin:].decode(errors='replace').splitlines()


def check_nothing_is_granted(directory, held):
    """Every call that has to write refuses, and nothing has changed."""
    path, before = image(directory, 'refused.img'), guests_saved()
    signals = Signals()
    with fails('StorageUnavailable', contains='cannot be written'):
        start_guest([disk(path)])
    with fails('StorageUnavailable', contains='cannot be written'):
        create_guest('new')
    with fails('StorageUnavailable', contains='cannot be written'):
        held.AcquireResource(*disk(path))
    with fails('StorageUnavailable', contains='cannot be written'):
        held.SetParameter('name', 'x' * 200)
    # What was begun is undone in the background.
    wait_until(lambda: len(held.Resources) == 1, 'the resource that was refused to go')
    assert (held.State, held.Name) == ('held', '0') and not is_locked(path)
    equal((guests_saved(), [member for _, member, _ in signals.until_now() if member != 'InterfacesRemoved']),
          (before, []))


def check_release(break_it, mend, room=False):
    """Given back while its state cannot be written: for good, also when the service is killed then. With ROOM it can be
    written again as soon as some file is removed."""
    directory = temp_dir()
    paths = [image(directory, f'{number}.img') for number in range(4)]
    process = spawn_process()
    held, released, shut, dead = [
        start_guest([disk(path)], name=path.stem,
                    options={'keep': True} | ({'pid': process.pid} if number == 3 else {}))
        for number, path in enumerate(paths)]
    begin = LOG.stat().st_size
    break_it()
    check_nothing_is_granted(directory, held)
    released.Release({})
    shut.Shutdown({})
    end_process(process)
    wait_until(lambda: dead.State == 'released', 'the guest to be seen to have ended')
    equal([is_locked(path) for path in paths], [True, False, False, False])
    if not room:
        time.sleep(2.2)
        # Said once, not with each attempt.
        equal(len([line for line in log_since(begin) if 'cannot be written' in line]), 1)
    restart_service()
    equal((held.State, held.Resources[0]['state']), ('held', 'held'))
    equal([is_locked(path) for path in paths], [True, False, False, False])
    # Or what there was room for, when the old file had gone.
    equal({state for _, _, state, *_, path in manager().ListGuests({}) if path != held.path} - {'released'}, set())
    mend()
    start_guest([disk(path) for path in paths[1:]])


def check_is_written_later(break_it, mend):
    """What was given back is written as soon as that works again, and there from then on."""
    directory = temp_dir()
    paths = [image(directory, f'{number}.img') for number in range(3)]
    released = start_guest([disk(paths[0])], options={'keep': True})
    partly = start_guest([disk(path) for path in paths[1:]], options={'keep': True})
    break_it()
    state = released.Release({})
    partly.ReleaseResource('disk', str(paths[1]), {})
    equal([is_locked(path) for path in paths], [False, False, True])
    mend()
    wait_until(lambda: released.Uuid in guests_saved() and 'state=released' in saved(released)
               and '[resource 1]' not in saved(partly), 'the state to be written')
    restart_service()
    equal((released.State, partly.State, len(partly.Resources)), ('released', 'held', 1))
    equal([is_locked(path) for path in paths], [False, False, True])
    released.Acquire({'state': state})


def saved(guest):
    return (RUNTIME_DIR / 'guests' / guest.Uuid).read_text()


@test
def runtime_directory_is_full():
    point, full = small_tmpfs(RUNTIME_DIR), []

    def fill():
        # A file that is removed makes no room.
        for name in guests_saved():
            os.link(RUNTIME_DIR / 'guests' / name, point / name)
        full.append(Full(point))
    check_release(fill, lambda: full.pop().make_room())


@test
def runtime_directory_is_full_until_something_goes():
    point, full = small_tmpfs(RUNTIME_DIR), []
    check_release(lambda: full.append(Full(point)), lambda: full.pop().make_room(), room=True)


@test
def runtime_directory_was_full():
    point, full = small_tmpfs(RUNTIME_DIR), []
    check_is_written_later(lambda: full.append(Full(point)), lambda: full.pop().make_room())


def broken(words):
    storage = FaultFs(RUNTIME_DIR)
    return lambda: storage.fail(words), lambda: storage.fail('')


@test
def runtime_directory_fails_to_create():
    check_release(*broken('create=EIO'))


@test
def runtime_directory_fails_to_write():
    check_release(*broken('write=EIO'))


@test
def runtime_directory_fails_in_the_middle():
    check_release(*broken('write=ENOSPC half'))


@test
def runtime_directory_fails_to_rename():
    check_release(*broken('rename=EIO'))


@test
def runtime_directory_cannot_be_written_for_a_while():
    check_is_written_later(*broken('create=EROFS unlink=EROFS rename=EROFS'))


# --- generations ---

def check_generations(break_it, mend):
    """They only matter to those who come later: a lease is granted, said once to be unrecorded, and they grow."""
    path = image(temp_dir())
    start_guest([disk(path)], options={'keep': True}).Release({})
    begin, last = LOG.stat().st_size, 0
    break_it()
    guest = create_guest('web1')
    guest.RegisterResource(*disk(path))
    for _ in range(3):
        generation = guest.Acquire({})
        assert generation > last
        last = generation
        guest.Release({})
    equal(len([line for line in log_since(begin) if 'generations' in line]), 1)
    restart_service()
    generation = guest.Acquire({})
    assert generation > last, (generation, last)
    guest.Release({})
    mend()
    last, generation = generation, guest.Acquire({})
    assert generation > last
    assert f' {generation}\n' in (STATE_DIR / 'generations').read_text()


@test
def state_directory_is_full():
    storage = FaultFs(STATE_DIR)
    check_generations(lambda: storage.fail('write=ENOSPC half create=ENOSPC'), lambda: storage.fail(''))


@test
def state_directory_fails():
    storage = FaultFs(STATE_DIR)
    check_generations(lambda: storage.fail('write=EIO create=EIO rename=EIO fsync=EIO'), lambda: storage.fail(''))


@test
def state_directory_can_only_be_read():
    """As a root file system is after an error: the guests that run are adopted, and new ones start."""
    point = small_tmpfs(STATE_DIR)

    def remount(how):
        end_service(signal.SIGKILL)
        equal(run('mount', '-o', f'remount,{how}', str(point)).returncode, 0)
        start_service()

    kept = start_guest([disk(image(temp_dir()))])
    check_generations(lambda: remount('ro'), lambda: equal(run('mount', '-o', 'remount,rw', str(point)).returncode, 0))
    equal(kept.State, 'held')


@test
def state_directory_is_gone():
    guest = start_guest([disk(path := image(temp_dir()))], options={'keep': True})
    generation = guest.Generation
    end_service(signal.SIGKILL)
    (STATE_DIR / 'generations').unlink()
    STATE_DIR.rmdir()
    start_service()
    equal((guest.State, guest.Generation), ('held', generation))
    guest.Release({})
    assert guest.Acquire({}) > generation and is_locked(path)


# --- descriptors ---

def descriptors(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


def limit(pid, n):
    """The process can have N descriptors from now on."""
    before = limits.prlimit(pid, limits.RLIMIT_NOFILE)
    limits.prlimit(pid, limits.RLIMIT_NOFILE, (n, before[1]))
    return lambda: limits.prlimit(pid, limits.RLIMIT_NOFILE, before)


def links(pid):
    """What each of its descriptors leads to; what is closed on a thread may go meanwhile."""
    found = {}
    for entry in os.listdir(f'/proc/{pid}/fd'):
        with contextlib.suppress(FileNotFoundError):
            found[int(entry)] = os.readlink(f'/proc/{pid}/fd/{entry}')
    return found


def settled(pid, paths):
    """How many it has when what is closed on threads is closed: nothing of PATHS, and no more than a moment ago."""
    seen = [None]

    def is_settled():
        time.sleep(0.05)
        found = links(pid)
        seen.append(len(found))
        return not {str(path) for path in paths} & set(found.values()) and len(seen) > 4 and len(set(seen[-4:])) == 1
    wait_until(is_settled, 'its descriptors to be closed')
    return seen[-1]


def highest(pid):
    return max(map(int, os.listdir(f'/proc/{pid}/fd'))) + 1


def lowest_free(pid):
    taken = set(map(int, os.listdir(f'/proc/{pid}/fd')))
    return min(set(range(len(taken) + 1)) - taken)


@test
def service_has_no_descriptors_left():
    directory = temp_dir()
    held = start_guest([disk(image(directory, 'held.img'))], options={'pid': spawn_process().pid})
    paths = [image(directory, f'{number}.img') for number in range(12)]
    start_guest([disk(path) for path in paths]).Shutdown({})
    pid = service_pid()
    before = settled(pid, paths)
    for more in (0, 1, 2, 3, 5, 8):
        raise_again = limit(pid, highest(pid) + more)
        try:
            start_guest([disk(path) for path in paths])
        except Exception as error:
            assert error.name.rpartition('.')[2] in ('LimitExceeded', 'StorageUnavailable'), error
            assert 'open files' in error.message or 'descriptor' in error.message, error
        else:
            raise AssertionError(f'12 disks fit into {more} descriptors')
        raise_again()
        equal((held.State, held.Resources[0]['state']), ('held', 'held'))
        assert not any(is_locked(path) for path in paths), f'something is still locked with {more} more'
        wait_until(lambda: descriptors(pid) == before, f'{before} descriptors to be left')
    equal(service_pid(), pid)
    start_guest([disk(path) for path in paths])


@test
def keeper_has_no_descriptors_left():
    """Then the service keeps the lock alone, and says so; what was kept before stays."""
    directory = temp_dir()
    start_service()
    manager().ListGuests({})
    pid = keeper_pid()
    held = start_guest([disk(path := image(directory, 'held.img'))], options={'pid': spawn_process().pid})
    equal(resource(held, path)['kept-by'], 'keeper')
    # It has met our connection before it was asked to keep that. Then there are its listener and the service.
    wait_until(lambda: len([link for link in links(pid).values() if link.startswith('socket:')]) == 2,
               'our connection to be closed')
    raise_again = limit(pid, lowest_free(pid))
    other = start_guest([disk(second := image(directory, 'second.img'))], options={'pid': spawn_process().pid})
    equal(resource(other, second)['kept-by'], 'service')
    raise_again()
    restart_service()
    equal((held.State, other.State), ('held', 'held'))
    equal([resource(held, path)['kept-by'], resource(other, second)['kept-by']], ['keeper', 'keeper'])
    equal(keeper_pid(), pid)


main()
