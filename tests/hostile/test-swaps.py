# SPDX-License-Identifier: LGPL-2.1-or-later
"""alice lets a name that she registered, or is registering, lead to what is root's instead: before the grant, and ten
thousand times while she asks. Root's file is watched, and never opened for her."""

import os
import time

from guestlocktest import create_guest, disk, equal, fails, image, main, note, temp_dir, test
from filetest import MODES, Attacker, Swapper, Watch, outcome, secret, service_access

SWAPS = 10000


# --- before the grant ---

def turned(turn):
    """alice registers her own file by the name that `turn` gives, which then makes that lead to root's."""
    for mode in MODES:
        alice, path = Attacker(), secret()
        own = image(alice.directory, 'turned.img', 'alice')
        (alice.directory / 'way').mkdir()
        image(alice.directory / 'way', 'disk.img', 'alice')
        given = turn(alice.directory, own, None)
        alice.new.RegisterResource(*disk(given, mode))
        watch = Watch(path)
        turn(alice.directory, own, path)
        # Less could not be said about root's file.
        with fails('Stale', contains=str(given)):
            alice.new.Acquire({})
        watch.nothing()
        equal((alice.new.State, service_access(path)), ('new', []))


def each_mode(turn):
    def run():
        turned(turn)
    run.__name__ = turn.__name__
    return test(run)


@each_mode
def symlink_turned(directory, own, path):
    link = directory / 'link'
    link.unlink(missing_ok=True)
    link.symlink_to(path or own)
    return link


@each_mode
def file_replaced_by_a_symlink(directory, own, path):
    if path:
        own.unlink()
        own.symlink_to(path)
    return own


@each_mode
def directory_replaced_by_a_symlink(directory, own, path):
    if path:
        (directory / 'way').rename(directory / 'away')
        (directory / 'way').symlink_to(path.parent)
        os.link(path, path.parent / 'disk.img')
    return directory / 'way/disk.img'


@each_mode
def file_replaced_by_a_hard_link(directory, own, path):
    if path:
        own.unlink()
        os.link(path, own)
    return own


@each_mode
def symlink_turned_to_proc(directory, own, path):
    link = directory / 'link'
    link.unlink(missing_ok=True)
    link.symlink_to(f'/proc/self/root{path}' if path else own)
    return link


@test
def rights_lost_before_the_grant():
    alice = Attacker()
    for number, mode in enumerate((0o000, 0o400, 0o200)):
        path = image(alice.directory, f'{number}.img', 'alice')
        guest = create_guest(peer=alice.peer)
        guest.RegisterResource(*disk(path))
        os.chown(path, 0, 0)
        path.chmod(mode)
        watch = Watch(path)
        with fails('AccessDenied', contains=str(path)):
            guest.Acquire({})
        watch.nothing()


# --- while she asks ---

def asked_meanwhile(one, other, given, own, path):
    """What alice hears while the two names change places, and what she has when she hears that she has it."""
    alice = Attacker()
    watch, swapper, answers = Watch(path), Swapper(one, other, SWAPS), {'': 0, 'AccessDenied': 0}
    begin = time.monotonic()

    def is_enough():
        """Each of the two was met, and often."""
        return swapper.has_swapped() and min(answers[''], answers['AccessDenied']) >= 50
    while time.monotonic() < begin + 3 or (not is_enough() and time.monotonic() < begin + 120):
        guest = create_guest(peer=alice.peer)
        for mode in MODES:
            calls = [lambda: guest.RegisterResource(*disk(given, mode)), lambda: guest.Acquire({}),
                     lambda: guest.AcquireResource(*disk(given, 'readonly')),
                     lambda: guest.AcquireResource(*disk(given, 'exclusive')), lambda: guest.Release({})]
            for call in calls:
                answer = outcome(call)
                answers[answer] = answers.get(answer, 0) + 1
                if any(resource['state'] == 'held' for resource in guest.Resources):
                    # By the file itself, and not by a name that may have changed meanwhile.
                    equal((service_access(own) != [], service_access(path)), (True, []))
            outcome(guest.ReleaseResource, 'disk', str(given), {})
        guest.Free({})
    swaps = swapper.end()
    watch.nothing()
    equal((service_access(path), service_access(own)), ([], []))
    note(f'{swaps} swaps; {answers}')
    assert swaps >= SWAPS, f'{swaps} swaps only'
    assert min(answers[''], answers['AccessDenied']) >= 50, answers


@test
def swapped_with_a_symlink_to_roots_file():
    directory, path = temp_dir('alice'), secret()
    own = image(directory, 'file', 'alice')
    (directory / 'link').symlink_to(path)
    keep = directory / 'keep'
    os.link(own, keep)
    asked_meanwhile(directory / 'file', directory / 'link', directory / 'file', keep, path)


@test
def swapped_with_roots_file_itself():
    """As far as the kernel lets her: by a hard link in her directory."""
    directory, path = temp_dir('alice'), secret()
    own = image(directory, 'file', 'alice')
    os.link(path, directory / 'link')
    keep = directory / 'keep'
    os.link(own, keep)
    asked_meanwhile(directory / 'file', directory / 'link', directory / 'file', keep, path)


@test
def directory_swapped_on_the_way():
    directory, path = temp_dir('alice'), secret(name='disk.img')
    (directory / 'way').mkdir()
    own = image(directory / 'way', 'disk.img', 'alice')
    (directory / 'link').symlink_to(path.parent)
    keep = directory / 'keep'
    os.link(own, keep)
    asked_meanwhile(directory / 'way', directory / 'link', directory / 'way/disk.img', keep, path)


main()
