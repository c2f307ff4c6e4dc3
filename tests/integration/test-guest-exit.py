# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a guest's process ends, and what becomes of its leases: they end with it, soon, and not before the last
process that can be seen to write."""

import os
import select
import shutil
import signal
import statistics
import subprocess
import time

from guestlocktest import (
    LOG, NAME, PATIENCE, Gio, GLib, Signals, at_end, bus, create_guest, disk, end_process, equal, fails, image,
    is_locked, lock_on, main, manager, note, skip, spawn_process, start_guest, temp_dir, test, wait_until)
from processtest import state_of

# What QEMU locks of an image that it writes to.
QEMU_BYTES = 100, 101, 201


def commanded(script):
    """A shell that runs `script` when told to go on."""
    return spawn_process('sh', '-c', f'read go; {script}', stdin=subprocess.PIPE)


def go_on(process):
    process.stdin.write(b'\n')
    process.stdin.close()


def python(script, **popen):
    return spawn_process('/usr/bin/python3', '-c', script, stdout=subprocess.PIPE, text=True, **popen)


def guest_with(process, path, **options):
    return start_guest([disk(path)], options={'pid': process.pid, 'keep': True} | options)


def expect_exit(signals, guest, path):
    equal(signals.expect('LeasesReleased', guest.path), ('guest-exited', [('disk', str(path))]))
    signals.nothing_else()
    equal((guest.State, guest.Pid, guest.Resources[0]['state']), ('released', 0, 'registered'))
    assert not is_locked(path)
    equal(manager().NLeases, 0)


def kill_later(pid):
    """Ends a process that is not our child, at the latest with this test."""
    pidfd = os.pidfd_open(pid)

    def kill():
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
    at_end(lambda: os.close(pidfd))
    at_end(kill)
    return kill


def kill_both_at_end(group):
    def kill():
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass
    at_end(kill)


# --- ways to end ---

@test
def by_itself():
    path = image(temp_dir())
    for script in ('exit 0', 'exit 1', 'kill -SEGV $$', 'kill -ABRT $$', 'kill -TERM $$', 'exec true'):
        process = commanded(script)
        guest, signals = guest_with(process, path), Signals()
        signals.nothing_else()
        go_on(process)
        expect_exit(signals, guest, path)
        process.wait(10)


@test
def killed():
    path = image(temp_dir())
    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
        process = spawn_process()
        guest, signals = guest_with(process, path), Signals()
        end_process(process, how)
        expect_exit(signals, guest, path)


@test
def killed_while_stopped():
    path, process = image(temp_dir()), spawn_process()
    guest, signals = guest_with(process, path), Signals()
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: state_of(process.pid) == 'T', 'the process to stop')
    equal((guest.State, lock_on(path, 0)), ('held', 'write'))
    end_process(process)
    expect_exit(signals, guest, path)


@test
def zombie_of_a_lazy_parent():
    path = image(temp_dir())
    parent = spawn_process('sh', '-c', 'sleep infinity & echo $!; exec sleep infinity',
                           stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    kill = kill_later(pid)
    guest = start_guest([disk(path)], options={'pid': pid, 'keep': True})
    signals = Signals()
    kill()
    expect_exit(signals, guest, path)
    equal(state_of(pid), 'Z')
    with fails('InvalidArgs', contains=str(pid)):
        guest.Acquire({'pid': pid})


@test
def many_guests_of_one_process():
    directory, process = temp_dir(), spawn_process()
    guests = {guest_with(process, image(directory, name)).path for name in ('one', 'two', 'three')}
    signals = Signals()
    end_process(process)
    wait_until(lambda: len(signals.seen) == len(guests), 'three guests to be released')
    seen = signals.so_far()
    equal({path for path, _, _ in seen}, guests)
    equal({(member, arguments[0]) for _, member, arguments in seen}, {('LeasesReleased', 'guest-exited')})
    equal(manager().NLeases, 0)


@test
def without_leases():
    path, process = image(temp_dir()), spawn_process()
    new = create_guest()
    new.RegisterResource(*disk(path))
    new.Acquire({'register-only': True, 'pid': process.pid})
    released = guest_with(process, path)
    released.Release({})
    signals = Signals()
    end_process(process)
    wait_until(lambda: (new.Pid, released.Pid) == (0, 0), 'the end of the process')
    equal((new.State, released.State), ('new', 'released'))
    signals.nothing_else()


@test
def before_its_turn():
    path, process = image(temp_dir()), spawn_process()
    holder = start_guest([disk(path)], 'holder')
    guest = create_guest()
    guest.RegisterResource(*disk(path))
    pending = guest.later.Acquire({'pid': process.pid, 'wait-ms': 60000})
    wait_until(lambda: guest.Waiting, 'the acquire to wait')
    end_process(process)
    with fails('Cancelled', contains='ended'):
        pending.result()
    equal((guest.State, guest.Waiting, guest.Pid), ('new', False, 0))
    holder.Shutdown({})
    assert not is_locked(path)


@test
def next_life():
    path, process = image(temp_dir()), spawn_process()
    guest, signals = guest_with(process, path), Signals()
    first = guest.Generation
    end_process(process)
    expect_exit(signals, guest, path)
    # Nobody has had the disk since.
    process = spawn_process()
    assert guest.Acquire({'pid': process.pid, 'state': guest.Inquire({})}) > first
    equal((guest.State, guest.Pid), ('held', process.pid))


# --- what is not the end ---

@test
def another_program():
    path, process = image(temp_dir()), commanded('exec sleep infinity')
    guest, signals = guest_with(process, path), Signals()
    go_on(process)
    wait_until(lambda: os.readlink(f'/proc/{process.pid}/exe').endswith('sleep'), 'the other program')
    signals.nothing_else()
    equal((guest.State, guest.Pid, lock_on(path, 0)), ('held', process.pid, 'write'))
    end_process(process)
    expect_exit(signals, guest, path)


@test
def end_of_the_first_thread():
    path = image(temp_dir())
    process = python('''
import ctypes, threading, time
threading.Thread(target=time.sleep, args=[1000]).start()
print('ready', flush=True)
input()
ctypes.CDLL(None).pthread_exit(None)''', stdin=subprocess.PIPE)
    process.stdout.readline()
    guest, signals = guest_with(process, path), Signals()
    process.stdin.write('\n')
    process.stdin.close()
    wait_until(lambda: state_of(process.pid) == 'Z', 'the first thread to end')
    signals.nothing_else()
    equal((guest.State, guest.Pid, lock_on(path, 0)), ('held', process.pid, 'write'))
    end_process(process)
    expect_exit(signals, guest, path)


@test
def child_with_the_image_open():
    """What a process has forked goes on writing through the same open file, with QEMU's locks on it."""
    path = image(temp_dir())
    process = python(f'''
import os, time
from guestlocktest import lock
lock({str(path)!r}, *{QEMU_BYTES!r}, kind='read')
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(1000)''', start_new_session=True)
    kill_both_at_end(process.pid)
    child = int(process.stdout.readline())
    kill_child = kill_later(child)
    assert child != process.pid
    guest, signals = guest_with(process, path), Signals()
    end_process(process)
    wait_until(lambda: guest.Pid == 0, 'the end of the process')
    equal((guest.State, guest.Resources[0]['state'], lock_on(path, 0)), ('held', 'draining', 'write'))
    with fails('Conflict', contains=[str(path), 'has ended']):
        start_guest([disk(path)])
    pending = manager().later.StartGuest('4dea22b3-1d52-d8f3-2516-782e98ab3fa0', 'next', [disk(path)],
                                         {'wait-ms': 60000})
    signals.nothing_else()
    assert not pending.done
    kill_child()
    equal(signals.expect('LeasesReleased', guest.path)[0], 'guest-exited')
    equal(bus.guest(pending.result()[0]).State, 'held')
    equal(guest.State, 'released')


@test
def qemu():
    program = shutil.which('qemu-system-x86_64')
    if not program:
        skip('qemu-system-x86_64 is missing (tools/install-deps --all installs it)')
    path = image(temp_dir())
    with open(LOG, 'ab') as log:
        process = spawn_process(
            program, '-accel', 'tcg', '-nodefaults', '-display', 'none', '-m', '32', '-S',
            '-drive', f'if=virtio,format=raw,file={path}', stdout=log, stderr=log)
    guest, signals = guest_with(process, path), Signals()
    wait_until(lambda: lock_on(path, 100) or process.poll() is not None, 'QEMU to open the image', 20)
    equal((guest.State, lock_on(path, 0), lock_on(path, 100)), ('held', 'write', 'read'))
    end_process(process)
    expect_exit(signals, guest, path)


# --- how soon ---

@test
def how_soon():
    directory, count = temp_dir(), 20
    disks = [disk(image(directory, f'{number}.img')) for number in range(4)]
    times = []

    # One for each disk: they may come back one by one.
    def take(*arguments):
        times.extend([time.monotonic()] * len(arguments[5].unpack()[1]))
    subscription = bus.connection.signal_subscribe(
        NAME, None, 'LeasesReleased', None, None, Gio.DBusSignalFlags.NONE, take)
    at_end(lambda: bus.connection.signal_unsubscribe(subscription))

    def wait_for_all(begin):
        while len(times) < len(disks):
            assert time.monotonic() - begin < 30 * PATIENCE, 'no LeasesReleased'
            if not GLib.MainContext.default().iteration(False):
                time.sleep(0.0002)  # the service needs the processor
        last = (times[-1] - begin) * 1000
        times.clear()
        return last

    delays, usual = [], []
    for _ in range(count):
        # What it takes to give them back at all, on this machine and now.
        guest, begin = start_guest(disks), time.monotonic()
        guest.Shutdown({})
        usual.append(wait_for_all(begin))
        process = spawn_process()
        start_guest(disks, options={'pid': process.pid})
        pidfd = os.pidfd_open(process.pid)
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        process.kill()
        assert ended.poll(30000)
        delays.append(wait_for_all(time.monotonic()))
        os.close(pidfd)
        assert not any(is_locked(name) for _, name, _, _ in disks)
    note(f'from the end of a process to LeasesReleased, {count} guests of 4 disks: '
         f'median {statistics.median(delays):.2f} ms, largest {max(delays):.2f} ms; '
         f'by Shutdown {statistics.median(usual):.2f} ms')
    assert statistics.median(delays) < 50 * PATIENCE + 10 * statistics.median(usual), (delays, usual)


main()
