# SPDX-License-Identifier: LGPL-2.1-or-later
"""guestlock-supervisor: a guest that runs below it has its leases for as long as anything of it lives."""

import errno
import os
import signal
import subprocess

from gi.repository import GLib

from guestlocktest import (
    Fd, Signals, at_end, bus, disk, end_keeper, end_process, end_service, equal, fails, image, is_locked, lock_on, main,
    manager, restart_service, spawn_process, start_guest, start_service, temp_dir, test, wait_until)
from processtest import is_alive, state_of
from storagetest import QEMU, QEMU_BYTES, loop_device, mount, qemu_bytes, resource
from supervisortest import catches, children_of, command_of, descriptors_of, guest_with, supervise, wait_for_child


# --- a life ---

def whole_life(user):
    directory = temp_dir(user)
    paths = [image(directory, f'{number}.img', user) for number in range(2)]
    guest = guest_with(paths[0], (paths[1], 'readonly'), user=user)
    with open('/dev/zero', 'rb') as more:
        process = supervise(guest, 'sh', '-c', 'read line; exit 7', stdin=subprocess.PIPE, pass_fds=[more.fileno()])
    child = wait_for_child(guest)
    equal((guest.State, guest.SupervisorPid, guest.Pid, guest.GetChild({})), ('held', process.pid, child, child))
    equal({manager().GetGuestByPID(pid) for pid in (process.pid, child)}, {guest.path})
    equal([entry['kept-by'] for entry in guest.Resources], ['holder'] * 2)
    equal([lock_on(path, 0) for path in paths], ['write', 'read'])
    with fails('Conflict', contains=str(child)):
        start_guest([disk(paths[0])])
    # The guest inherits the locks and nothing else, whatever the supervisor was given.
    inodes = {os.stat(path).st_ino for path in paths}
    assert inodes <= {entry.st_ino for entry in descriptors_of(process.pid).values()}
    inherited = {number: entry for number, entry in descriptors_of(child).items() if number > 2}
    equal(sorted(entry.st_ino for entry in inherited.values()), sorted(inodes))
    signals = Signals(path=guest.path)
    process.stdin.write(b'\n')
    process.stdin.close()
    equal(process.wait(30), 7)
    equal(signals.expect('LeasesReleased')[0], 'guest-exited')
    # Of each disk when its last writes are over.
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    equal((guest.State, guest.Pid, guest.SupervisorPid, lock_on(paths[0], 0)), ('released', 0, 0, None))


@test
def of_root():
    whole_life(None)


@test
def of_a_user():
    whole_life('alice')


@test
def again_with_another_image():
    """What is leased is what is there now, and not what was there when it was registered."""
    directory = temp_dir('alice')
    path = image(directory, 'disk.img', 'alice')
    guest = guest_with(path, user='alice')
    equal(supervise(guest, 'true').wait(30), 0)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    image(directory, 'new.img', 'alice').rename(path)
    process = supervise(guest, 'sleep', 'infinity')
    wait_for_child(guest)
    assert is_locked(path)
    equal(resource(guest, path)['kept-by'], 'holder')
    end_process(process, signal.SIGTERM)


@test
def real_qemu():
    directory = temp_dir('alice')
    path = image(directory, 'disk.img', 'alice')
    guest = guest_with(path, user='alice')
    process = supervise(
        guest, QEMU, '-M', 'pc', '-accel', 'tcg', '-m', '16', '-S', '-nodefaults', '-display', 'none', '-blockdev',
        f'driver=file,filename={path},node-name=disk', '-device', 'virtio-blk-pci,drive=disk')
    wait_until(lambda: process.poll() is not None or qemu_bytes(path) == QEMU_BYTES['writer'], 'QEMU to open it', 10)
    equal((process.poll(), command_of(guest.Pid)), (None, QEMU[:15]))
    with fails('Conflict', contains=[str(guest.Pid), guest.Uuid]):
        start_guest([disk(path)])
    restart_service()
    equal((guest.State, lock_on(path, 0)), ('held', 'write'))
    wait_until(lambda: catches(guest.Pid, signal.SIGTERM), 'QEMU to be ready')
    os.kill(process.pid, signal.SIGTERM)
    equal(process.wait(30), 0)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


@test
def qemu_that_daemonises():
    path, pidfile = image(temp_dir()), temp_dir() / 'pid'
    guest = guest_with(path)
    process = supervise(
        guest, QEMU, '-M', 'pc', '-accel', 'tcg', '-m', '16', '-S', '-nodefaults', '-display', 'none', '-daemonize',
        '-pidfile', str(pidfile), '-blockdev', f'driver=file,filename={path},node-name=disk', '-device',
        'virtio-blk-pci,drive=disk')
    wait_until(lambda: pidfile.exists() and pidfile.read_text().strip(), 'QEMU to go into the background', 10)
    pid = int(pidfile.read_text())
    wait_until(lambda: guest.Pid == pid, 'the daemon to be the guest')
    equal((guest.State, process.poll(), guest.SupervisorPid), ('held', None, process.pid))
    wait_until(lambda: catches(pid, signal.SIGTERM), 'QEMU to be ready')
    process.terminate()
    equal(process.wait(30), 0)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


@test
def twenty_disks():
    directory = temp_dir('alice')
    paths = [image(directory, f'{number}.img', 'alice') for number in range(20)]
    guest = guest_with(*paths, user='alice')
    process = supervise(guest, 'sleep', 'infinity')
    child = wait_for_child(guest)
    equal(sum(entry['kept-by'] == 'holder' for entry in guest.Resources), 20)
    inodes = {entry.st_ino for number, entry in descriptors_of(child).items() if number > 2}
    equal(inodes, {path.stat().st_ino for path in paths})
    assert all(is_locked(path) for path in paths)
    end_process(process, signal.SIGTERM)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


@test
def what_cannot_be_inherited():
    """It is held all the same: what root has registered, a lease. What lies below an overlay has locks to inherit."""
    directory = temp_dir('alice')
    own, roots, leases = (image(directory, name, 'alice') for name in ('own.img', 'roots.img', 'leases'))
    mount('-t', 'overlay', 'overlay', '-o', f'lowerdir={temp_dir()},upperdir={temp_dir()},workdir={temp_dir()}',
          overlay := temp_dir())
    overlay.chmod(0o777)
    behind = image(overlay, 'behind.img', 'alice')
    guest = guest_with(own, behind, user='alice')
    bus.guest(guest.path).RegisterResource(*disk(roots))
    guest.RegisterResource('lease', 'key', 'exclusive', {'path': str(leases), 'offset': GLib.Variant('t', 4096)})
    process = supervise(guest, 'sleep', 'infinity')
    child = wait_for_child(guest)
    equal({entry['name']: (entry['state'], entry['kept-by'] == 'holder') for entry in guest.Resources},
          {str(own): ('held', True), str(behind): ('held', True), str(roots): ('held', False),
           'key': ('held', False)})
    equal({entry.st_ino for number, entry in descriptors_of(child).items() if number > 2},
          {own.stat().st_ino, behind.stat().st_ino})
    end_process(process, signal.SIGTERM)


def can_be_claimed(device):
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        equal(error.errno, errno.EBUSY)
        return False
    return True


@test
def claims_stay_with_the_service():
    device = loop_device(image(temp_dir()))
    guest = guest_with(device)
    process = supervise(guest, 'sleep', 'infinity')
    child = wait_for_child(guest)
    equal(len([number for number in descriptors_of(child) if number > 2]), 1)
    end_process(process, signal.SIGTERM)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    # A keeper that is slow to answer is not waited for.
    wait_until(lambda: can_be_claimed(device), 'the device to be free')


@test
def held_before():
    """Taken without a process, and then started."""
    path = image(temp_dir())
    guest = start_guest([disk(path)], options={'keep': True})
    generation = guest.Generation
    process = supervise(guest, 'sleep', 'infinity')
    wait_for_child(guest)
    equal((guest.SupervisorPid, guest.Generation), (process.pid, generation))
    equal(resource(guest, path)['kept-by'], 'holder')
    second = supervise(guest, 'true', stderr=subprocess.PIPE)
    equal(second.wait(30), 125)
    assert f'process {process.pid}' in second.stderr.read().decode()
    equal((guest.State, process.poll()), ('held', None))


# --- processes ---

@test
def exit_status():
    guest = guest_with(image(temp_dir()))
    for command, status in ((('true',), 0), (('sh', '-c', 'exit 200'), 200), (('sh', '-c', 'kill -9 $$'), -9),
                            (('sh', '-c', 'kill -ABRT $$'), -6), (('/nonexistent',), 127), (('/etc/passwd',), 126)):
        process = supervise(guest, *command, stderr=subprocess.PIPE)
        equal((command, process.wait(30)), (command, status))
        said = process.stderr.read().decode()
        equal((command, command[0] in said), (command, status in (126, 127)))
        wait_until(lambda: guest.State == 'released' and guest.SupervisorPid == 0, 'the guest to be released')


@test
def signals_are_passed_on():
    guest = guest_with(image(temp_dir()))
    script = ''.join(f'trap "echo {name}" {name}; ' for name in ('TERM', 'INT', 'HUP', 'QUIT', 'USR1', 'USR2', 'WINCH'))
    process = supervise(guest, 'bash', '-c', script + 'echo ready; while :; do sleep 0.05; done',
                        stdout=subprocess.PIPE, text=True)
    equal(process.stdout.readline(), 'ready\n')
    for name in ('TERM', 'INT', 'HUP', 'QUIT', 'USR1', 'USR2', 'WINCH'):
        process.send_signal(getattr(signal, f'SIG{name}'))
        equal(process.stdout.readline(), f'{name}\n')
    equal((process.poll(), guest.State), (None, 'held'))


@test
def signals_are_as_they_were():
    """What the guest ignores and blocks is what its caller does."""
    def sets(pid):
        lines = dict(line.split(':\t') for line in open(f'/proc/{pid}/status', encoding='utf-8').read().splitlines())
        return lines['SigBlk'], lines['SigIgn']

    def before():
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1, signal.SIGALRM})
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    expected = sets(spawn_process('sleep', 'infinity', preexec_fn=before, restore_signals=False).pid)
    guest = guest_with(image(temp_dir()))
    supervise(guest, 'sleep', 'infinity', preexec_fn=before, restore_signals=False)
    child = wait_for_child(guest)
    wait_until(lambda: command_of(child) == 'sleep', 'the guest to be started')
    equal(sets(child), expected)


@test
def closes_its_descriptors():
    """The supervisor keeps the lock, also over restarts of the service and the end of the keeper."""
    path = image(temp_dir('alice'), 'disk.img', 'alice')
    guest = guest_with(path, user='alice')
    script = 'import os, time; os.closerange(3, 64); print(flush=True); time.sleep(600)'
    process = supervise(guest, 'python3', '-c', script, stdout=subprocess.PIPE)
    process.stdout.readline()
    child = wait_for_child(guest)
    assert not [number for number in descriptors_of(child) if number > 2]
    end_service(signal.SIGKILL)
    end_keeper()
    assert is_locked(path)
    signals = Signals()
    start_service()
    signals.nothing_else()
    equal((guest.State, resource(guest, path)['kept-by']), ('held', 'holder'))
    # On the description that the supervisor has.
    end_service(signal.SIGKILL)
    end_keeper()
    assert is_locked(path)
    start_service()
    end_process(process, signal.SIGTERM)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    assert not is_locked(path)


@test
def daemonises_twice():
    directory = temp_dir()
    path, pidfile = image(directory), directory / 'pid'
    guest = guest_with(path)
    daemon = f'setsid sh -c "setsid sleep infinity & echo \\$! >{pidfile}.new; mv {pidfile}.new {pidfile}" &'
    process = supervise(guest, 'sh', '-c', daemon)
    wait_until(pidfile.exists, 'the daemon')
    pid = int(pidfile.read_text())
    wait_until(lambda: guest.Pid == pid, 'the daemon to be the guest')
    equal((guest.State, guest.SupervisorPid, process.poll()), ('held', process.pid, None))
    equal(manager().GetGuestByPID(pid), guest.path)
    restart_service()
    equal((guest.State, guest.Pid, guest.SupervisorPid), ('held', pid, process.pid))
    with fails('GuestRunning', contains=str(pid)):
        guest.Shutdown({})
    os.kill(pid, signal.SIGKILL)
    equal(process.wait(30), 0)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


@test
def helpers_outlive_it():
    path = image(temp_dir())
    guest = guest_with(path)
    process = supervise(guest, 'sh', '-c', 'sleep infinity & sleep infinity & read line; exit 5', stdin=subprocess.PIPE)
    first = wait_for_child(guest)
    wait_until(lambda: len(children_of(first)) == 2, 'its helpers')
    helpers = children_of(first)
    process.stdin.close()
    wait_until(lambda: guest.Pid in helpers, 'a helper to be the guest')
    second = guest.Pid
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: guest.Pid not in (0, second), 'the other helper to be the guest')
    equal((guest.State, lock_on(path, 0), process.poll()), ('held', 'write', None))
    # It gets what the supervisor gets.
    process.terminate()
    equal(process.wait(30), 5)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


# --- the end ---

def killed(user, orphan, command=('sleep', 'infinity')):
    path = image(temp_dir(user), 'disk.img', user)
    guest = guest_with(path, user=user)
    process = supervise(guest, *command, options={'orphan': orphan})
    child = wait_for_child(guest)
    wait_until(lambda: command_of(child) == command[0], 'the guest to be started')
    end_process(process)
    return guest, path, child


@test
def supervisor_is_killed():
    for user in (None, 'alice'):
        guest, path, child = killed(user, 'end')
        wait_until(lambda: guest.State == 'released', 'the guest to be released')
        assert not is_alive(child) and not is_locked(path)


@test
def helper_of_one_that_was_killed():
    """Nobody knows it, but it has the lock and may write."""
    path = image(temp_dir())
    guest = guest_with(path)
    process = supervise(guest, 'sh', '-c', 'sleep 600 & echo $!; exec sleep 601', stdout=subprocess.PIPE)
    helper = int(process.stdout.readline())
    at_end(lambda: is_alive(helper) and os.kill(helper, signal.SIGKILL))
    child = wait_for_child(guest)
    end_process(process)
    wait_until(lambda: not is_alive(child), 'the guest to be killed')
    wait_until(lambda: guest.Resources[0]['state'] == 'draining', 'the disk to be draining')
    for _ in range(2):
        assert is_locked(path) and is_alive(helper)
        with fails('Conflict', contains=[str(helper), 'has inherited the lock']):
            start_guest([disk(path)])
        restart_service()
        wait_until(lambda: guest.Resources[0]['state'] == 'draining', 'the disk to be draining again')
    wait_until(lambda: str(helper) in guest.Resources[0].get('held-open-by', ''), 'the helper to be named')
    os.kill(helper, signal.SIGKILL)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    start_guest([disk(path)])


@test
def killed_by_the_service():
    """Where the kernel does not: a program that has changed what the kernel goes by."""
    script = 'import ctypes, time; ctypes.CDLL(None).prctl(1, 0); print(flush=True); time.sleep(600)'
    guest = guest_with(image(temp_dir('alice'), 'disk.img', 'alice'), user='alice')
    process = supervise(guest, 'python3', '-c', script, stdout=subprocess.PIPE)
    process.stdout.readline()
    child = wait_for_child(guest)
    end_service(signal.SIGKILL)
    end_process(process)
    assert is_alive(child)
    start_service()
    wait_until(lambda: not is_alive(child), 'the guest to be killed')
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


@test
def orphan_is_kept():
    for user in (None, 'alice'):
        guest, path, child = killed(user, 'keep')
        wait_until(lambda: guest.SupervisorPid == 0, 'the end of the supervisor')
        equal((guest.State, guest.Pid, lock_on(path, 0)), ('held', child, 'write'))
        restart_service()
        equal((guest.State, guest.Pid, state_of(child)), ('held', child, 'S'))
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: guest.State == 'released', 'the guest to be released')


@test
def supervisor_is_stopped():
    """It is no more needed for the lease to hold than for the guest to run; what it has missed it does later."""
    path = image(temp_dir())
    guest = guest_with(path)
    process = supervise(guest, 'sleep', 'infinity')
    child = wait_for_child(guest)
    process.send_signal(signal.SIGSTOP)
    restart_service()
    equal((guest.State, guest.SupervisorPid, guest.Pid, lock_on(path, 0)), ('held', process.pid, child, 'write'))
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: guest.Pid == 0, 'the end of the guest')
    equal((guest.State, guest.SupervisorPid), ('held', process.pid))
    process.send_signal(signal.SIGCONT)
    equal(process.wait(30), -9)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


@test
def shutdown():
    path = image(temp_dir())
    guest = guest_with(path)
    process = supervise(guest, 'sleep', 'infinity')
    child = wait_for_child(guest)
    for options in ({}, {'supervisor': 'leave'}):
        with fails('GuestRunning', contains=str(child)):
            guest.Shutdown(options)
    for options in ({'supervisor': 'kill'}, {'supervisor': True}):
        with fails('InvalidArgs'):
            guest.Shutdown(options)
    guest.Shutdown({'kill': True})
    equal((guest.State, guest.Pid, guest.SupervisorPid, is_locked(path)), ('released', 0, 0, False))
    equal(process.wait(30), -9)


def left_over(path):
    """A supervisor whose guest has ended, and that does not."""
    supervisor, child = spawn_process(), spawn_process()
    guest = start_guest([disk(path)], options={'pid': supervisor.pid, 'supervisor': True, 'keep': True})
    guest.SetChild({'pid': child.pid})
    end_process(child)
    wait_until(lambda: guest.Pid == 0, 'the end of the guest')
    equal((guest.State, guest.SupervisorPid), ('held', supervisor.pid))
    return guest, supervisor


@test
def shutdown_ends_what_is_left_over():
    path = image(temp_dir())
    guest, supervisor = left_over(path)
    signals = Signals(path=guest.path)
    guest.Shutdown({})
    equal(signals.expect('LeasesReleased')[0], 'shutdown')
    equal((guest.State, guest.SupervisorPid, supervisor.wait(30)), ('released', 0, -15))


@test
def shutdown_leaves_it():
    path = image(temp_dir())
    guest, supervisor = left_over(path)
    guest.Shutdown({'supervisor': 'leave'})
    equal((guest.State, guest.SupervisorPid, is_locked(path), supervisor.poll()), ('released', 0, False, None))
    guest, supervisor = left_over(path)
    guest.Revoke('disk', str(path), 'test', {})
    with fails('GuestRunning', contains='lost'):
        guest.Shutdown({'supervisor': 'leave'})
    with fails('Conflict'):
        start_guest([disk(path)])
    guest.Shutdown({})
    equal(supervisor.wait(30), -15)


@test
def child_of_a_supervisor():
    """SetChild by hand: another process when the first has ended, and what becomes of it."""
    path, supervisor, first, second = image(temp_dir()), *(spawn_process() for _ in range(3))
    guest = start_guest([disk(path)], options={'pid': supervisor.pid, 'supervisor': True, 'keep': True})
    with fails('InvalidArgs', contains='orphan'):
        guest.SetChild({'pid': first.pid, 'orphan': 'eat'})
    guest.SetChild({'pid': first.pid, 'orphan': 'keep'})
    end_process(first)
    wait_until(lambda: guest.Pid == 0, 'its end')
    guest.SetChild({'pid': second.pid, 'orphan': 'keep'})
    guest.SetChild({'pidfd': Fd(os.pidfd_open(second.pid))})
    end_process(supervisor)
    equal(second.wait(30), -9)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


main()
