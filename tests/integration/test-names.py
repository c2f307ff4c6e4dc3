# SPDX-License-Identifier: LGPL-2.1-or-later
"""One disk, however it is named: who asks for it by another name is refused, and hears who has it."""

import os

from guestlocktest import (
    create_guest, disk, equal, fails, image, main, spawn_process, start_guest, temp_dir, test)
from storagetest import holder, loop_device, mount, mounted_ext4


def refused(name, first, path, mode='exclusive'):
    """A second guest does not get what `first` holds as `path`."""
    with fails('Conflict', contains=[str(name), *holder(first, path)]):
        start_guest([disk(name, mode)], name='second')


def held_image(directory, mode='exclusive'):
    path = image(directory)
    return path, start_guest([disk(path, mode)], name='first', options={'pid': spawn_process().pid})


@test
def symbolic_links():
    directory = temp_dir()
    path, first = held_image(directory)
    for name, target in (('absolute', path), ('relative', path.name), ('twice', 'relative')):
        (directory / name).symlink_to(target)
        refused(directory / name, first, path)
    # A directory on the way.
    (directory / 'way').symlink_to('.')
    refused(directory / 'way' / path.name, first, path)


@test
def hard_link():
    directory = temp_dir()
    path, first = held_image(directory)
    os.link(path, directory / 'link')
    refused(directory / 'link', first, path)


@test
def bind_mounts():
    directory = temp_dir()
    images, elsewhere, single = directory / 'images', directory / 'elsewhere', directory / 'single'
    images.mkdir()
    elsewhere.mkdir()
    single.touch()
    path, first = held_image(images)
    mount('--bind', images, elsewhere)
    mount('--bind', path, single)
    refused(elsewhere / path.name, first, path)
    refused(single, first, path)


@test
def other_spellings():
    directory = temp_dir()
    path, first = held_image(directory)
    (directory / 'sub').mkdir()
    for name in (f'{directory}//{path.name}', f'{directory}/./{path.name}', f'{directory}/sub/../{path.name}',
                 f'/..{directory}/{path.name}', f'//{directory}/sub/.././/{path.name}'):
        refused(name, first, path)


@test
def proc_leads_to_it_or_is_refused():
    """/proc/self is a symlink as any other, but what it means to the service is not what it means to the caller."""
    directory = temp_dir()
    path, first = held_image(directory)
    with open(path, 'rb') as file:
        for name in (f'/proc/{os.getpid()}/root{path}', f'/proc/{os.getpid()}/fd/{file.fileno()}'):
            with fails('InvalidArgs', contains=name):
                start_guest([disk(name)], name='second')


@test
def descriptor():
    directory = temp_dir()
    path, first = held_image(directory)
    with open(path, 'r+b') as file:
        second = create_guest('second')
        second.RegisterResourceFd('disk', '/any/name', file.fileno(), 'exclusive', {})
    with fails('Conflict', contains=['/any/name', *holder(first, path)]):
        second.Acquire({})
    # The other way round: held by descriptor, asked for by path.
    first.Release({})
    second.Acquire({})
    refused(path, second, '/any/name')


@test
def name_that_leads_elsewhere_now():
    """The lease stays with the disk, not with the path."""
    directory = temp_dir()
    path, first = held_image(directory)
    path.rename(directory / 'renamed')
    other = image(directory)
    refused(directory / 'renamed', first, path)
    start_guest([disk(other)], name='second')
    equal(first.State, 'held')


@test
def name_that_was_turned_before_the_acquire():
    directory = temp_dir()
    path, other = image(directory, 'one'), image(directory, 'other')
    link = directory / 'link'
    link.symlink_to(path)
    guest = create_guest()
    guest.RegisterResource(*disk(link))
    link.unlink()
    link.symlink_to(other)
    with fails('Stale', contains=str(link)):
        guest.Acquire({})
    # Nobody has either.
    start_guest([disk(path), disk(other)])


@test
def two_names_in_one_guest():
    directory = temp_dir()
    path = image(directory)
    (directory / 'link').symlink_to(path)
    guest = create_guest()
    guest.RegisterResource(*disk(path))
    with fails('AlreadyRegistered', contains=[str(directory / 'link'), str(path)]):
        guest.RegisterResource(*disk(directory / 'link'))
    with fails('AlreadyRegistered'):
        start_guest([disk(path), disk(directory / 'link')])


@test
def modes():
    """What goes together, by two names: readers with readers, and writers that know of each other with such."""
    directory = temp_dir()
    path = image(directory)
    link = directory / 'link'
    link.symlink_to(path)
    together = {('readonly', 'readonly'), ('shared', 'shared')}
    for held in ('readonly', 'shared', 'exclusive'):
        first = start_guest([disk(path, held)], name='first')
        for wanted in ('readonly', 'shared', 'exclusive'):
            if (held, wanted) in together:
                second = start_guest([disk(link, wanted)], name='second')
                equal((first.State, second.State), ('held', 'held'))
                second.Shutdown({})
            else:
                refused(link, first, path, wanted)
        first.Shutdown({})


@test
def image_and_a_new_one_with_its_inode():
    """The number of an inode is used again when its file is gone; a lease keeps the file from going."""
    directory = mounted_ext4(loop_device(image(temp_dir(), size=16 << 20)))
    path, first = held_image(directory)
    inode = path.stat().st_ino
    path.unlink()
    for number in range(20):
        new = image(directory, f'new{number}')
        assert new.stat().st_ino != inode, f'{new} has the inode of the image that is held'
    start_guest([disk(new)], name='second')
    equal(first.State, 'held')


main()
