# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is installed, as systemd, the journal, the bus and polkit see it, and a user with busctl."""

import re
import shutil
from pathlib import Path

from guestlocktest import (
    CONFIG, INTERFACES, NAME, ROOT, RULES, SOURCE, Gio, as_uid, at_end, create_guest, disk, equal, fails, image, main,
    manager, note, run, start_guest, test, uid_of, wait_until)
from storagetest import must_run
from systemtest import KEEPER, SERVICE, STARTED, drop_in, journal, main_pid, systemctl, unit

UNITS = SERVICE, KEEPER, 'guestlock-keeper.socket'
# As systemd-analyze of Debian 12 counts it, from 0 (safe) to 10. Better is welcome.
EXPOSURE = {SERVICE: 4.6, KEEPER: 0.7}
LEASE_LOST = 'fbff25feac5b43c8aa0f52013cbc7c5b'
UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
PATH = f'{ROOT}/guest/{UUID.replace("-", "_")}'


# --- units ---

@test
def units_are_in_order():
    for name in UNITS:
        done = run('systemd-analyze', 'verify', f'/usr/lib/systemd/system/{name}')
        equal((done.returncode, done.stdout, done.stderr), (0, '', ''))


@test
def exposure():
    for name, limit in EXPOSURE.items():
        text = must_run('systemd-analyze', 'security', '--no-pager', name)
        for line in re.findall('^✗ .*[0-9]$', text, re.M):
            note(' '.join(line.split()))
        overall, = re.findall('Overall exposure level.*', text)
        note(overall)
        assert float(re.search(r'service: ([0-9.]+) ', overall)[1]) <= limit, overall


# --- guestlockd --check ---

def check_in_its_unit():
    """What it says with the unit's sandbox and limits."""
    systemctl('restart', SERVICE)
    entries = [entry['MESSAGE'] for entry in journal('--unit', SERVICE, '_TRANSPORT=stdout')]
    return [line for line in entries[max(i for i, line in enumerate(entries) if line.startswith('ok: runs as')):]
            if re.match('(ok|warning|problem): ', line)]


@test
def check_finds_nothing():
    drop_in(SERVICE, '[Service]\nExecStartPre=-/usr/libexec/guestlockd --check\n')
    lines = check_in_its_unit()
    assert len(lines) > 10, lines
    troubles = [line for line in lines if not line.startswith('ok: ')]
    limits = Path(f'/proc/{main_pid(SERVICE)}/limits').read_text()
    # Where those who start this box do not let it have more.
    if int(re.search('^Max open files +[0-9]+ +([0-9]+)', limits, re.M)[1]) < int(unit(SERVICE, 'LimitNOFILE')):
        note(troubles.pop())
    equal(troubles, [])


@test
def check_finds_another_view():
    """A drop-in that hides files from the service."""
    drop_in(SERVICE, '[Service]\nExecStartPre=-/usr/libexec/guestlockd --check\nPrivateTmp=yes\n')
    problems = [line for line in check_in_its_unit() if line.startswith('problem: ')]
    assert len(problems) == 1 and '"/tmp"' in problems[0], problems


# --- the journal ---

@test
def messages_are_explained():
    ids = dict(re.findall('#define (GL_MESSAGE_[A-Z_]+) +"([0-9a-f]{32})"', (SOURCE / 'service/log.h').read_text()))
    assert len(ids) >= 8, ids
    for name, message_id in ids.items():
        shown = run('journalctl', '--dump-catalog', message_id)
        assert shown.returncode == 0 and 'Defined-By: guestlock' in shown.stdout, f'{name}: {shown}'


@test
def messages_are_in_the_journal():
    equal(manager().NGuests, 0)
    this = f'_PID={main_pid(SERVICE)}'
    entry, = journal(f'MESSAGE_ID={STARTED}', this)
    equal((entry['_SYSTEMD_UNIT'], entry['PRIORITY'], entry['_TRANSPORT']), (SERVICE, '6', 'journal'))
    explained = must_run('journalctl', '--catalog', this)
    assert 'Subject: The lease service has started' in explained, explained

    path = image(Path('/srv'))
    guest = start_guest([disk(path)], 'web1')
    guest.Revoke('', '', 'maintenance', {})
    entry, = journal(f'MESSAGE_ID={LEASE_LOST}', this)
    equal((entry['GUESTLOCK_GUEST'], entry['GUESTLOCK_GUEST_NAME'], entry['GUESTLOCK_RESOURCE']),
          (guest.Uuid, 'web1', str(path)))
    assert 'Subject: A guest lost a lease' in must_run('journalctl', '--catalog', this)


# --- the bus, and polkit ---

def members(info):
    def signature(arguments):
        return ''.join(argument.signature for argument in arguments)
    return ({(method.name, signature(method.in_args), signature(method.out_args)) for method in info.methods} |
            {(event.name, signature(event.args)) for event in info.signals} |
            {(value.name, value.signature, value.flags) for value in info.properties})


@test
def introspection():
    for path, name in ((ROOT, 'Manager'), (create_guest().path, 'Guest')):
        live = must_run('busctl', 'introspect', '--xml-interface', NAME, path)
        installed = Path(f'/usr/share/dbus-1/interfaces/{NAME}.{name}.xml').read_text()
        live, installed = (Gio.DBusNodeInfo.new_for_xml(xml).lookup_interface(f'{NAME}.{name}')
                           for xml in (live, installed))
        equal(members(live), members(INTERFACES[name]))
        equal(members(installed), members(INTERFACES[name]))


def five_lines(path, user=None):
    """Those of README.md, as this user would type them."""
    text = re.search('```sh readme-lease\n(.*?)```', (SOURCE / 'README.md').read_text(), re.S)[1]
    equal(len(text.splitlines()), 5)
    text = text.replace('/srv/web1.qcow2', str(path))
    if user:
        text = text.replace(PATH, f'{PATH}_u{uid_of(user)}')
    return run('bash', '-e', '-c', text, user=user)


def is_as_in_readme(done, path):
    equal((done.returncode, done.stderr), (0, ''))
    started, resources = done.stdout.splitlines()
    assert started.startswith(f'ot "{PATH}'), started
    assert f'"name" s "{path}"' in resources and '"state" s "held"' in resources, resources
    equal(manager().ListGuests({}), [])


@test
def readme_as_root():
    path = image(Path('/srv'), 'web1.qcow2')
    is_as_in_readme(five_lines(path), path)


@test
def users_without_a_rule():
    """Nobody sits at the machine here: he sees who has leases, and gets none without an administrator's password."""
    path = image(Path('/srv'), 'web1.qcow2', user='alice')
    done = five_lines(path, 'alice')
    equal((done.returncode, done.stdout), (1, ''))
    equal(done.stderr, 'Call failed: Access denied\n')
    alice = as_uid('alice')
    with fails('InteractiveAuthorizationRequired'):
        start_guest([disk(path)], peer=alice)
    equal(alice.manager().ListGuests({}), [])


@test
def users_with_the_example_rule():
    """alice may lease what lies under /srv/alice, however she calls it, and nothing else; bob nothing."""
    for user in ('alice', 'bob'):
        directory = Path('/srv') / user
        directory.mkdir()
        at_end(lambda directory=directory: shutil.rmtree(directory))
        image(directory, user=user)
    Path('/srv/bob/disk.img').chmod(0o666)
    Path('/srv/alice/link.img').symlink_to('/srv/bob/disk.img')
    rules = RULES / '50-guestlock-example.rules'
    at_end(rules.unlink)
    shutil.copy('/usr/share/doc/guestlock/50-guestlock-example.rules', rules)
    # polkit sees a new file by itself.
    own = Path('/srv/alice/disk.img')
    wait_until(lambda: five_lines(own, 'alice').returncode == 0, 'the rule to be in force', 10)
    is_as_in_readme(five_lines(own, 'alice'), own)
    for user, path in (('alice', '/srv/bob/disk.img'), ('alice', '/srv/alice/../bob/disk.img'),
                       ('alice', '/srv/alice/link.img'), ('bob', '/srv/bob/disk.img'), ('bob', '/srv/alice/disk.img')):
        done = five_lines(path, user)
        equal((user, path, done.stdout, done.stderr), (user, path, '', 'Call failed: Access denied\n'))
    equal(manager().ListGuests({}), [])


@test
def configuration_is_read():
    """From where it was installed to."""
    equal(str(CONFIG), '/etc/guestlock/guestlockd.conf')
    drop = CONFIG.parent / 'conf.d/test.conf'
    drop.parent.mkdir()
    at_end(lambda: shutil.rmtree(drop.parent))
    drop.write_text('[guestlock]\nHostName=elsewhere\n')
    equal(manager().HostName, 'elsewhere')


main()
