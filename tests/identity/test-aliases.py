# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every way to name a disk against every other, both orders, exclusive and readonly. Which of them overlap is known
from how they were made; which conflict follows from that and the modes, and is what the service has to find."""

import os
import stat

from guestlocktest import (
    create_guest, disk, equal, fails, image, main, note, start_guest, temp_dir, test)
from storagetest import holder, loop_device, mount, mounted_ext4, must_run, resource
from aliastest import MIB, Loop, held, overlay, partition, unmount, verdict

SIZE = 16 * MIB
MODES = ('exclusive', 'readonly')


def second_node(device):
    node = temp_dir() / 'node'
    os.mknod(node, stat.S_IFBLK | 0o600, os.stat(device).st_rdev)
    return node


def names_of_an_image():
    """Name → (path, which bytes of the image)."""
    directory, elsewhere, bound = temp_dir(), temp_dir(), temp_dir()
    path, whole = image(directory, 'a.img', size=SIZE), (0, SIZE)
    (elsewhere / 'link').symlink_to(path)
    os.link(path, directory / 'hard')
    mount('--bind', directory, bound)
    (elsewhere / 'file').touch()
    mount('--bind', path, elsewhere / 'file')
    loop = Loop(path).path
    first = partition(loop, 1, MIB, 4 * MIB)
    second = partition(loop, 2, 5 * MIB, 4 * MIB)
    low = loop_device(path, '--sizelimit', str(8 * MIB))
    return {
        'path': (path, whole),
        'symlink': (elsewhere / 'link', whole),
        'hard link': (directory / 'hard', whole),
        'bind mount': (bound / 'a.img', whole),
        'bound file': (elsewhere / 'file', whole),
        'loop': (loop, whole),
        'second loop': (loop_device(path), whole),
        'second node': (second_node(loop), whole),
        'loop on loop': (loop_device(loop), whole),
        'low half': (low, (0, 8 * MIB)),
        'high half': (loop_device(path, '--offset', str(8 * MIB)), (8 * MIB, SIZE)),
        'part 1': (first, (MIB, 5 * MIB)),
        'part 2': (second, (5 * MIB, 9 * MIB)),
        'node of part 1': (second_node(first), (MIB, 5 * MIB)),
        'loop on part 2': (loop_device(second, '--offset', str(MIB)), (6 * MIB, 9 * MIB)),
        'other image': (image(directory, 'b.img', size=SIZE), (SIZE, 2 * SIZE)),
        'copy': (image(directory, 'c.img', size=SIZE), (2 * SIZE, 3 * SIZE)),
    }


def expected(one, first_mode, other, second_mode):
    overlap = one[0] < other[1] and other[0] < one[1]
    return 'Conflict' if overlap and (first_mode, second_mode) != ('readonly', 'readonly') else ''


def show(names, cells):
    width = max(len(name) for name in names)
    note(f'{"":{width}}  ' + ' '.join(f'{number:2}' for number in range(1, len(names) + 1)))
    for number, name in enumerate(names, 1):
        note(f'{name:{width}} {number:2} ' + '  '.join(cells[name, other] for other in names))
    note('held: row, asked: column; = the same bytes, # some of them, . none. Tried both as exclusive and readonly')


@test
def every_name_against_every_other():
    names, cells, wrong, tried = names_of_an_image(), {}, [], 0
    for name, (path, bytes_) in names.items():
        for first_mode in MODES:
            with held(path, first_mode):
                for other, (second, others) in names.items():
                    for second_mode in MODES:
                        tried += 1
                        got = verdict(second, second_mode)
                        if first_mode == second_mode == 'exclusive':
                            cells[name, other] = '.' if not got else '=' if bytes_ == others else '#'
                        if got != expected(bytes_, first_mode, others, second_mode):
                            wrong.append(f'{name} {first_mode}, {other} {second_mode}: {got or "granted"}')
    show(names, cells)
    note(f'{tried} verdicts')
    equal(wrong, [])


@test
def shared_writers_meet_by_every_name():
    names = names_of_an_image()
    path, bytes_ = names['path']
    with held(path, 'shared'):
        for name, (other, others) in names.items():
            overlap = expected(bytes_, 'exclusive', others, 'exclusive')
            equal((name, verdict(other, 'shared')), (name, ''))
            equal((name, verdict(other, 'readonly')), (name, overlap))


@test
def one_guest_has_a_disk_once():
    names = names_of_an_image()
    guest = create_guest()
    guest.RegisterResource(*disk(names['loop'][0]))
    for name in ('path', 'symlink', 'second loop', 'second node', 'loop on loop'):
        with fails('AlreadyRegistered', contains=str(names[name][0])):
            guest.RegisterResource(*disk(names[name][0]))
    guest.RegisterResource(*disk(names['part 1'][0], 'readonly'))
    with fails('Conflict', contains='overlap'):
        guest.Acquire({})
    # Parts of one disk are two disks.
    start_guest([disk(names['part 1'][0]), disk(names['part 2'][0])])


@test
def who_is_named_and_by_what_way():
    path = image(temp_dir(), size=SIZE)
    loop = Loop(path).path
    part = partition(loop, 1, MIB, 4 * MIB)
    with held(part) as first:
        with fails('Conflict', contains=[str(path), *holder(first, part), f'{part.name} is part of {loop.name}',
                                         f'{loop.name} is backed by "{path}"']):
            start_guest([disk(path)])


@test
def raised_and_lowered_by_another_name():
    path = image(temp_dir(), size=SIZE)
    loop = loop_device(path)
    first, second = start_guest([disk(path, 'readonly')]), start_guest([disk(loop, 'readonly')])
    with fails('Conflict', contains=holder(second, loop)):
        first.AcquireResource(*disk(path, 'exclusive'))
    second.Shutdown({})
    first.AcquireResource(*disk(loop, 'exclusive'))
    equal(resource(first, path)['mode'], 'exclusive')
    equal(verdict(loop, 'readonly'), 'Conflict')
    first.AcquireResource(*disk(path, 'readonly'))
    equal(verdict(loop, 'readonly'), '')


# --- a file and what it lies on ---

@test
def file_and_the_device_under_it():
    path = image(temp_dir(), size=SIZE)
    device, other = loop_device(path), loop_device(path)
    point = mounted_ext4(device)
    file, sibling = image(point, 'a.img'), image(point, 'b.img')
    with held(file):
        equal(verdict(sibling, 'exclusive'), '')
        for name in (device, other, path):
            for mode in ('exclusive', 'shared', 'readonly'):
                equal((name, verdict(name, mode)), (name, 'Conflict'))
    # With nothing mounted, and the other way round.
    unmount(point)
    for mode, answers in (('readonly', ['Conflict', '']), ('shared', ['Conflict', 'Conflict'])):
        with held(other, mode) as guest:
            must_run('mount', device, point)
            equal([verdict(file, 'exclusive'), verdict(file, 'readonly')], answers)
            if mode == 'shared':
                with fails('Conflict', contains=[str(file), *holder(guest, other)]):
                    start_guest([disk(file)])
            unmount(point)


@test
def files_of_two_file_systems_on_one_disk():
    """Each on a partition of its own."""
    loop = Loop(image(temp_dir(), size=2 * SIZE)).path
    points = [mounted_ext4(partition(loop, number, start, 12 * MIB)) for number, start in ((1, MIB), (2, 13 * MIB))]
    first, second = (image(point) for point in points)
    with held(first):
        equal(verdict(second, 'exclusive'), '')
        equal(verdict(loop, 'readonly'), 'Conflict')


# --- overlays ---

@test
def overlay_is_what_is_below():
    lower = temp_dir()
    image(lower, 'low.img'), image(lower, 'up.img')
    upper, merged = overlay(lower)
    with open(merged / 'up.img', 'r+b') as file:
        file.write(b'copied up')
    for name, below in (('up.img', upper), ('low.img', lower)):
        modes = MODES if below == upper else MODES[1:]
        for mode in modes:
            with held(merged / name, mode) as guest:
                equal(verdict(below / name, 'exclusive'), 'Conflict')
                equal(verdict(below / name, 'readonly'), 'Conflict' if mode == 'exclusive' else '')
                scope = resource(guest, merged / name)
                equal((scope['scope'], 'overlayfs' in scope['scope-reason']), ('host', True))
            with held(below / name):
                equal(verdict(merged / name, mode), 'Conflict')
    # The one that was copied up is another than that which it was copied from.
    with held(merged / 'up.img'):
        equal(verdict(lower / 'up.img', 'exclusive'), '')


@test
def overlay_whose_file_would_become_another():
    lower = temp_dir()
    image(lower)
    _, merged = overlay(lower)
    for mode in ('exclusive', 'shared'):
        with fails('StorageUnavailable', contains=['disk.img', 'copied up']):
            start_guest([disk(merged / 'disk.img', mode)])
    (merged / 'disk.img').touch()
    start_guest([disk(merged / 'disk.img')])
    # A reader keeps the file below; what is copied up under him is not it.
    image(lower, 'other.img')
    guest = create_guest()
    guest.RegisterResource(*disk(merged / 'other.img', 'readonly'))
    (merged / 'other.img').touch()
    with fails('Stale', contains='other.img'):
        guest.Acquire({})


@test
def overlay_over_what_cannot_be_seen():
    lower = temp_dir()
    image(lower)
    upper, merged = overlay(lower)
    image(merged, 'new.img')
    mount('-t', 'tmpfs', 'none', upper)
    # One of that name and size, which is not it.
    image(upper, 'new.img')
    with fails('StorageUnavailable', contains=['new.img', 'overlay']):
        start_guest([disk(merged / 'new.img')])
    guest = start_guest([disk(merged / 'new.img', 'readonly')])
    equal(resource(guest, merged / 'new.img')['scope'], 'mount')
    with fails('StorageUnavailable', contains='mount'):
        start_guest([disk(merged / 'new.img', 'readonly')], options={'require-scope': 'host'})


main()
