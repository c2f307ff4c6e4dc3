# SPDX-License-Identifier: LGPL-2.1-or-later
"""How systemd and the bus start the service, when it hangs, and when it is killed with calls under way."""

import os
import random
import signal
import time
from pathlib import Path

from guestlocktest import (
    CONFIG, NAME, ROOT, Error, bus, configure, disk, end_service, equal, fails, has_owner, image, is_locked, main,
    manager, note, run, service_pid, spawn_process, temp_dir, test, uuids, wait_until)
from systemtest import (
    BUS, KEEPER, SERVICE, STARTED, LivingGuest, drop_in, journal, kill_unit, main_pid, stop_service, systemctl,
    unit, wait_for_another)

ON_MANAGER = NAME, ROOT, f'{NAME}.Manager'


def busctl(*arguments):
    result = run('busctl', *arguments)
    equal((result.returncode, result.stderr), (0, ''))
    return result.stdout.strip()


def is_unanswered(error):
    """Killed with the call in hand; or, as dbus-broker says it, killed in the start that the call was waiting for."""
    return error.name.rpartition('.')[2] in (('NoReply', 'NameHasNoOwner') if BUS == 'broker' else ('NoReply',))


def repeated(call, attempts=20):
    """What the call answers, repeated for as long as nobody does."""
    for _ in range(attempts):
        try:
            return call()
        except Error as error:
            if not is_unanswered(error):
                raise
    raise AssertionError(f'no reply, {attempts} times')


@test
def started_by_the_first_call():
    equal(unit(SERVICE, 'ActiveState'), 'inactive')
    equal(busctl('get-property', *ON_MANAGER, 'NGuests'), 'u 0')
    equal((unit(SERVICE, 'ActiveState'), unit(SERVICE, 'SubState')), ('active', 'running'))
    pid = main_pid(SERVICE)
    equal(service_pid(), pid)
    assert Path(f'/proc/{pid}/cgroup').read_text().rstrip().endswith(f'/{SERVICE}')
    equal(unit('guestlock-keeper.socket', 'ActiveState'), 'active')
    # Once, however many ask at the same time.
    stop_service()
    pending = [manager().later.ListGuests({}) for _ in range(20)]
    equal([call.result(20) for call in pending], [[]] * 20)
    equal(len(journal('--identifier', 'guestlockd', f'MESSAGE_ID={STARTED}', f'_PID={main_pid(SERVICE)}')), 1)


@test
def active_only_when_it_answers():
    """Here it waits for a keeper that is stopped, before it knows what it has to adopt."""
    guest = LivingGuest()
    stop_service()
    keeper = kill_unit(KEEPER, signal.SIGSTOP)
    try:
        systemctl('start', '--no-block', SERVICE)
        pending = manager().later.ListGuests({})
        wait_until(lambda: has_owner(NAME), 'it to have its name')
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            equal((unit(SERVICE, 'ActiveState'), pending.done), ('activating', False))
    finally:
        os.kill(keeper, signal.SIGCONT)
    equal(len(pending.result(20)), 1)
    wait_until(lambda: unit(SERVICE, 'ActiveState') == 'active', 'it to be active')
    guest.end()


@test
def stopped_before_it_answers():
    """It gives up quietly, and does not say that it is there."""
    guest = LivingGuest()
    stop_service()
    keeper = kill_unit(KEEPER, signal.SIGSTOP)
    try:
        systemctl('start', '--no-block', SERVICE)
        wait_until(lambda: has_owner(NAME), 'it to have its name')
        pid = main_pid(SERVICE)
        systemctl('stop', SERVICE)
    finally:
        os.kill(keeper, signal.SIGCONT)
    equal([entry['MESSAGE'] for entry in journal(f'_PID={pid}')], [])
    guest.end()


@test
def watchdog():
    # It says that it works with a quarter of that to spare.
    drop_in(SERVICE, '[Service]\nWatchdogSec=6s\n')
    guest = LivingGuest()
    pid = service_pid()
    # One that works says so, and is left alone.
    begin = unit(SERVICE, 'WatchdogTimestampMonotonic')
    wait_until(lambda: unit(SERVICE, 'WatchdogTimestampMonotonic') != begin, 'it to say that it works')
    equal(main_pid(SERVICE), pid)
    kill_unit(SERVICE, signal.SIGSTOP)
    stopped = time.monotonic()
    wait_for_another(SERVICE, pid)
    note(f'stopped, it was replaced in {time.monotonic() - stopped:.1f} s, with a watchdog of 6 s')
    assert [entry for entry in journal('--unit', SERVICE) if 'Watchdog timeout' in entry['MESSAGE']]
    guest.end()


@test
def killed_with_a_call_in_flight():
    path, process, uuid = image(temp_dir()), spawn_process(), str(uuids.uuid4())
    arguments = uuid, 'guest', [disk(path)], {'pid': process.pid}
    service = manager()
    # The bus has started it, and it has nothing to do.
    equal(service.NGuests, 0)
    kill_unit(SERVICE, signal.SIGSTOP)
    pending = service.later.StartGuest(*arguments)
    # With a round trip the bus has it, and has delivered it.
    bus.ask_bus('GetId', '()')
    pid = kill_unit(SERVICE)
    with fails('NoReply'):
        pending.result(20)
    # The same call, and what is asked for afterwards, waits until the service is back.
    first, generation = service.StartGuest(*arguments)
    equal(service.StartGuest(*arguments), (first, generation))
    equal((bus.guest(first).State, bus.guest(first).Pid), ('held', process.pid))
    assert service_pid() != pid and is_locked(path)


@test
def killed_while_it_grants():
    """Wherever the kill meets it: what got an answer is so, and what got none gives the right one when repeated."""
    directory, rounds, each = temp_dir(), 6, 15
    started, cut, longest = {}, 0, 0
    for number in range(rounds):
        calls = {}
        for _ in range(each):
            path, uuid = image(directory, f'{len(started) + len(calls)}.img'), str(uuids.uuid4())
            arguments = uuid, 'guest', [disk(path)], {}
            calls[uuid] = arguments, manager().later.StartGuest(*arguments)
        time.sleep(random.uniform(0, 0.03))
        wait_until(lambda: main_pid(SERVICE), 'it to be started', 20)
        kill_unit(SERVICE)
        killed = time.monotonic()
        for uuid, (arguments, pending) in calls.items():
            try:
                answer = pending.result(20)
            except Error as error:
                assert is_unanswered(error), error
                cut += 1
                answer = repeated(lambda arguments=arguments: manager().StartGuest(*arguments))
                longest = max(longest, time.monotonic() - killed)
                killed = time.monotonic()
            started[uuid] = answer, arguments[2][0][1]
    equal({(uuid, state) for uuid, _, state, *_ in repeated(lambda: manager().ListGuests({}))},
          {(uuid, 'held') for uuid in started})
    for (path, generation), image_path in started.values():
        equal(bus.guest(path).Generation, generation)
        assert is_locked(image_path)
    note(f'{rounds} kills, {cut} of {rounds * each} calls without a reply, each right when repeated; '
         f'the longest that one waited for the service to be back was {longest * 1000:.0f} ms')


@test
def killed_often():
    """It comes back each time, and nobody has to wait until systemd forgets how often that was."""
    guest, kills = LivingGuest(), 12
    begin = time.monotonic()
    for _ in range(kills):
        pid = kill_unit(SERVICE)
        wait_until(lambda: main_pid(SERVICE) not in (0, pid), 'it to be back', 10)
        equal(len(repeated(lambda: manager().ListGuests({}))), 1)
    note(f'{kills} kills in {time.monotonic() - begin:.1f} s')
    guest.end()


@test
def stopped_and_started():
    guest = LivingGuest()
    for _ in range(2):
        systemctl('stop', SERVICE)
        equal((unit(SERVICE, 'ActiveState'), unit(SERVICE, 'Result')), ('inactive', 'success'))
        wait_until(lambda: not has_owner(NAME), 'the bus to notice')
        guest.guest.get('State')
        equal(unit(SERVICE, 'ActiveState'), 'active')
        guest.is_as_before()
    guest.end()


@test
def refuses_a_wrong_configuration():
    guest = LivingGuest()
    end_service()
    configure('[guestlock]\nCheckIntervalSec=never\n')
    equal(run('busctl', '--timeout=1', 'call', *ON_MANAGER, 'ListGuests', 'a{sv}', '0').returncode, 1)
    # It is tried once for a call, and not over and over.
    wanted = 'failed', 'exit-code', '78', '0'
    wait_until(lambda: unit(SERVICE, 'ActiveState') == 'failed', 'it to fail')
    equal(tuple(unit(SERVICE, prop) for prop in ('ActiveState', 'Result', 'ExecMainStatus', 'NRestarts')), wanted)
    # The journal does not know the unit of what was gone before it looked.
    said = [entry['MESSAGE'] for entry in journal('--identifier', 'guestlockd') if 'CheckIntervalSec' in entry['MESSAGE']]
    assert len(said) == 1 and str(CONFIG) in said[0], said
    CONFIG.write_text('')
    systemctl('start', SERVICE)
    guest.end()


main()
