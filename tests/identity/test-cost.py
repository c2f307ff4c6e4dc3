# SPDX-License-Identifier: LGPL-2.1-or-later
"""What it costs to find out what a name is: of a plain image file, and of what lies on a stack. The numbers are printed; what
is asserted is only that it is no other order of magnitude."""

import os
from pathlib import Path

from guestlocktest import image, main, note, temp_dir, test
from storagetest import loop_device, mounted_ext4, must_run
from aliastest import MIB

LOOK = Path(os.environ['GUESTLOCK_BUILD']) / 'tests/identity/look'


def cost(what, path, limit):
    found, used = map(int, must_run(LOOK, 'cost', path, 1000).split())
    note(f'{what}: {found} µs to find its place, {used} µs to see what the host uses')
    assert found < limit and used < limit, f'{found} and {used} µs, more than {limit}'


@test
def plain_image_and_stacks():
    cost('an image in memory', image(temp_dir()), 1000)
    directory = temp_dir(on_disk=True)
    # In a container that is an overlay.
    if must_run('stat', '-f', '-c', '%T', directory).strip() != 'overlayfs':
        cost('an image on a disk', image(directory), 1000)
    path = image(temp_dir(), size=96 * MIB)
    for depth, size in ((2, 64), (4, 32), (6, 8)):
        device = loop_device(path)
        cost(f'a loop device, {depth - 1} deep', device, 10000)
        path = image(mounted_ext4(device), size=size * MIB)
        cost(f'an image on that, {depth} deep', path, 10000)


main()
