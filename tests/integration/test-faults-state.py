# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a start finds: state files that are no state files, of other versions and boots, of guests of which nothing else
is known, and clocks that were set; and what was under way when the service was killed."""

import os
import re
import signal
import time
from pathlib import Path

from guestlocktest import (
    LOG, RUNTIME_DIR, STATE_DIR, at_end, create_guest, disk, end_keeper, end_process, end_service, equal, fails, image,
    is_locked, main, manager, restart_service, spawn_process, start_guest, start_service, temp_dir, test, wait_until)

GUESTS, SET_ASIDE = RUNTIME_DIR / 'guests', RUNTIME_DIR / 'set-aside'


def held_by(process, *paths, **options):
    return start_guest([disk(path) for path in paths], options={'pid': process.pid, 'keep': True} | options)


def file_of(guest):
    """Also while the service does not run."""
    return GUESTS / guest.path[-36:].replace('_', '-')


def damage(guest, change):
    """The service is killed and comes back, and finds the guest's file like this. Gives what it logged."""
    file, begin = file_of(guest), LOG.stat().st_size
    end_service(signal.SIGKILL)
    change(file)
    start_service()
    manager().ListGuests({})  # answered when everything is adopted
    return LOG.read_bytes()[begin:].decode(errors='replace')


def is_unknown(guest):
    return guest.path not in [path for *_, path in manager().ListGuests({})]


def check_is_given_up(path):
    """What is nobody's is in nobody's way any more when the service answers."""
    manager().ListGuests({})
    assert not is_locked(path)


# --- files that are none ---

def write(data):
    return lambda file: file.write_bytes(data)


def replace(old, new):
    def change(file):
        text = file.read_text()
        assert re.search(old, text, re.M), text
        file.write_text(re.sub(old, new, text, flags=re.M))
    return change


def huge(file):
    with open(file, 'ab') as end:
        end.truncate(65 << 20)


def become_a(make):
    def change(file):
        file.unlink()
        make(file)
    return change


STRANGE = {
    'empty': write(b''),
    'zeros': write(bytes(5000)),
    'garbage': write(bytes(range(256)) * 40),
    'huge': huge,
    'not UTF-8': replace('^name=.*', 'name="\\\\377\\\\376"'),
    'an older version': replace('^version=1$', 'version=0'),
    'a newer version': replace('^version=1$', 'version=2'),
    'a number too large': replace('^generation=.*', 'generation=18446744073709551616'),
    'a directory': become_a(Path.mkdir),
    'a FIFO': become_a(os.mkfifo),
    'a symlink': become_a(lambda file: file.symlink_to('/etc/passwd')),
    'a dangling symlink': become_a(lambda file: file.symlink_to('nowhere')),
    "somebody else's": lambda file: os.chown(file, 12345, 12345),
}


@test
def strange_files():
    """Each is set aside and said, none keeps the others from being adopted, and none is ever followed or waited for."""
    directory = temp_dir()
    guests = {what: held_by(spawn_process(), image(directory, f'{number}.img'))
              for number, what in enumerate(STRANGE)}
    well = held_by(spawn_process(), well_path := image(directory, 'well.img'))
    files = {what: file_of(guest) for what, guest in guests.items()}
    begin = LOG.stat().st_size
    end_service(signal.SIGKILL)
    for what, change in STRANGE.items():
        change(files[what])
    # Two files of one guest.
    second = GUESTS / f'{file_of(well).name}_u1'
    second.write_text(file_of(well).read_text())
    started = time.monotonic()
    start_service()
    equal([path for *_, path in manager().ListGuests({})], [well.path])
    took = time.monotonic() - started
    log = LOG.read_bytes()[begin:].decode(errors='replace')
    equal((well.State, is_locked(well_path)), ('held', True))
    for what, file in [*files.items(), ('two of one guest', second)]:
        assert os.path.lexists(SET_ASIDE / file.name) and not os.path.lexists(file), what
        assert [line for line in log.splitlines() if file.name in line and 'set aside' in line], f'{what}: {log}'
    # None of these guests is known, and the keeper's locks keep others from their disks.
    equal([number for number in range(len(STRANGE)) if not is_locked(directory / f'{number}.img')], [])
    end_service(signal.SIGKILL)
    started = time.monotonic()
    start_service()
    equal([path for *_, path in manager().ListGuests({})], [well.path])
    usual = time.monotonic() - started
    equal([number for number in range(len(STRANGE)) if not is_locked(directory / f'{number}.img')], [])
    assert took < 5 + 5 * usual, f'it took {took:.2f} s to start, and {usual:.2f} s without them'


@test
def file_of_an_older_service():
    """What later ones have added may be missing."""
    path = image(temp_dir())
    guest = held_by(spawn_process(), path)

    def make_old(file):
        end_keeper()  # there was none
        replace('^(keep-key|scope-reason)=.*\n', '')(file)

    log = damage(guest, make_old)
    equal((guest.State, guest.Resources[0]['state'], is_locked(path)), ('held', 'held', True))
    assert 'set aside' not in log, log


@test
def file_of_another_boot():
    """No guest outlives a reboot: it is told, and nobody is kept from its disks, as nothing is kept for it."""
    path = image(temp_dir())
    process = spawn_process()
    guest = held_by(process, path)
    generation = guest.Generation
    log = damage(guest, replace('^boot-id=.*', 'boot-id="' + 32 * 'f' + '"'))
    assert 'before this boot' in log, log
    assert is_unknown(guest)
    check_is_given_up(path)
    assert held_by(spawn_process(), path).Generation > generation


# --- guests of which nothing else is known ---

def cut_off(file):
    text = file.read_text()
    file.write_text(text[:text.index('[resource 0]') + 40])


@test
def cut_off_file_of_a_guest_that_ends():
    """Its locks are kept for as long as its process lives, however often the service starts, and not for ever."""
    path, process = image(temp_dir()), spawn_process()
    guest = held_by(process, path)
    name = file_of(guest).name
    damage(guest, cut_off)
    assert is_unknown(guest)
    for _ in range(2):
        restart_service()
        assert is_locked(path)
        with fails('Conflict', contains='guestlock-keeper'):
            held_by(spawn_process(), path)
    end_process(process)
    restart_service()
    check_is_given_up(path)
    assert (SET_ASIDE / name).exists()
    held_by(spawn_process(), path)


@test
def file_that_tells_nothing():
    """A person who knows that the guest has ended removes the file."""
    path, process = image(temp_dir()), spawn_process()
    guest = held_by(process, path)
    name = file_of(guest).name
    other = held_by(spawn_process(), second := image(temp_dir()))
    assert 'set-aside' in damage(guest, write(b'\0' * 50))
    end_process(process)
    restart_service()
    assert is_locked(path)
    (SET_ASIDE / name).unlink()
    restart_service()
    check_is_given_up(path)
    equal((other.State, is_locked(second)), ('held', True))
    held_by(spawn_process(), path)


# --- what was under way ---

@test
def lost_and_unplugged_stays_blocked():
    """The guest may still write to it: nobody else gets it before its process is gone."""
    directory, process = temp_dir(), spawn_process()
    paths = [image(directory, f'{number}.img') for number in range(2)]
    guest = held_by(process, *paths, **{'on-lease-lost': 'notify'})
    guest.Revoke('disk', str(paths[0]), 'away with it', {})
    guest.ReleaseResource('disk', str(paths[0]), {})
    equal((guest.State, len(guest.Resources)), ('held', 1))
    restart_service()
    equal((guest.State, len(guest.Resources)), ('held', 1))
    with fails('Conflict'):
        start_guest([disk(paths[0])])
    # The name is free, the disk is not: also not for a second restart.
    restart_service()
    with fails('Conflict'):
        start_guest([disk(paths[0])])
    end_process(process)
    wait_until(lambda: guest.State == 'released', 'the guest to be seen to have ended')
    start_guest([disk(paths[0])])


@test
def killed_although_the_service_was():
    """Asked to end because of a loss, and not made to: the next service does that, and at once."""
    process = spawn_process('/usr/bin/python3', '-c', 'import signal, time\n'
                            'signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(flush=True)\ntime.sleep(1000)',
                            stdout=-1)
    process.stdout.readline()
    guest = held_by(process, image(temp_dir()), **{'on-lease-lost': 'kill'})
    guest.Revoke('', '', 'away with it', {})
    pid = restart_service()
    manager().ListGuests({})  # answered when everything is adopted
    # What it has not done by now it does not do.
    os.kill(pid, signal.SIGSTOP)
    at_end(lambda: os.kill(pid, signal.SIGCONT))
    equal(process.wait(30), -signal.SIGKILL)
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: guest.State == 'released', 'the leases to end')


@test
def killed_while_it_drained():
    """A lease that drains goes on with that."""
    process, path = spawn_process(), image(temp_dir())
    guest = held_by(process, path)
    end_service(signal.SIGKILL)
    end_process(process)
    text = file_of(guest).read_text()
    draining = re.sub(r'(\[resource 0\][^[]*\nstate=)held', r'\1draining', text)
    assert draining != text
    file_of(guest).write_text(draining)
    start_service()
    wait_until(lambda: guest.State == 'released' and not is_locked(path), 'the lease to end')


# --- clocks ---

@test
def clock_was_ahead():
    """Set back since by ten years: whoever compares generations of this disk still sees them grow."""
    path = image(temp_dir())
    guest = create_guest()
    guest.RegisterResource(*disk(path))
    state_before = guest.Acquire({}), guest.Release({})
    end_service()
    log = STATE_DIR / 'generations'
    node = log.read_text().split()[0]
    ahead = int((time.time() + 10 * 365 * 86400) * 1e6)
    with open(log, 'a') as file:
        file.write(f'{node} exclusive {ahead}\n')
    start_service()
    generations = [ahead]
    for _ in range(3):
        generations.append(guest.Acquire({}))
        guest.Release({})
        restart_service()
    equal(generations, sorted(set(generations)))
    # Somebody has had it since, says the generation, whatever the clock says.
    with fails('Stale'):
        guest.Acquire({'state': state_before[1]})


main()
