# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random arguments for D-Bus calls: by their signature, and by what they are called, so that many are nearly right.

Whatever names a process comes from World.pids, and whatever opens one from World.descriptors(): root may name any
process, and the service ends those that it is told to.
"""

import random
import re

from guestlocktest import GLib

WORDS = ('disk', 'lease', 'exclusive', 'shared', 'readonly', 'file', 'pause', 'kill', 'notify', 'mount', 'host',
         'fenced', 'held', 'new', 'name', 'id', 'uuid', 'on-lease-lost', 'org.guestlock1.Guest',
         'org.guestlock1.Manager', 'Resources', 'State', 'released')
STRINGS = ('', ' ', '/', '.', '..', '%s%n%x', '\\', '"', "'", ';', '\n', '\t\r\b\x01\x1b[31m\x7f', 'ä', '\u202e\u2028',
           '\ufeff', '\U0001f4be', '\U0010ffff', '\\xff\\xfe', '$(true)', '<a/>', '-1', '0', '1e9', '{}', '../' * 40)
LENGTHS = (1, 64, 255, 256, 257, 4095, 4096, 4097, 65536)
NUMBERS = (0, 1, 2, 7, 99, 100, 299, 300, 1000, 4095, 4096, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
           1 << 60, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
BASIC = 'ybnqiuxtdsog'
BITS = {'y': 8, 'n': 16, 'q': 16, 'i': 32, 'u': 32, 'x': 64, 't': 64, 'h': 4}
OPTION = re.compile(r'"([^"]+)" \((\w)\)')


class Values:
    """All of them come from one seed. `options` is filled in by learn(), from the service's own refusals."""

    def __init__(self, seed, world):
        self.random, self.world, self.options = random.Random(seed), world, {}
        self.choice, self.chance = self.random.choice, lambda p: self.random.random() < p

    def learn(self, method, message):
        """An unknown option is refused with the list of those that there are."""
        if 'here; there is: ' in message:
            self.options.setdefault(method, {}).update(OPTION.findall(message.partition('here; there is: ')[2]))

    # --- by type ---

    def string(self):
        kind = self.random.random()
        if kind < 0.4:
            return self.choice(WORDS)
        if kind < 0.6:
            return self.choice(STRINGS)
        if kind < 0.75:
            return ''.join(chr(self.random.choice((self.random.randrange(1, 128), self.random.randrange(0xa0, 0xd800))))
                           for _ in range(self.random.randrange(20)))
        if kind < 0.98:
            return self.choice(self.world.paths)
        return self.choice('x/ä"\n') * (1 << 20 if self.chance(0.1) else self.choice(LENGTHS))

    def number(self, type_):
        value = self.choice(NUMBERS) if self.chance(0.8) else self.random.getrandbits(64)
        bits = BITS[type_]
        value &= (1 << bits) - 1
        return value - (1 << bits) if type_ in 'nix' and value >> (bits - 1) else value

    def signature(self, depth=0):
        kind = self.random.random()
        if depth > 6 or kind < 0.7:
            return self.choice(BASIC)
        if kind < 0.8:
            return 'v'
        if kind < 0.9:
            return 'a' + (self.signature(depth + 1) if self.chance(0.5) else
                          '{' + self.choice(BASIC) + self.signature(depth + 1) + '}')
        return '(' + ''.join(self.signature(depth + 1) for _ in range(self.random.randrange(1, 4))) + ')'

    def value(self, signature, depth=0):
        """One for GLib.Variant(): `signature` is one complete type."""
        first = signature[0]
        if first in BITS:
            return self.number(first)
        if first == 's':
            return self.string()
        if first == 'b':
            return self.chance(0.5)
        if first == 'd':
            return self.choice((0.0, -0.0, 1.5, float('inf'), float('nan'), 1e308))
        if first == 'o':
            return self.choice(self.world.objects)
        if first == 'g':
            return self.choice(('', 's', 'a{sv}', '(ss)', 'a' * 30 + 'y'))
        if first == 'v':
            return self.variant(depth + 1)
        if first == '(':
            return tuple(self.value(part, depth + 1) for part in split(signature[1:-1]))
        count = self.choice((0, 1, 2, 5)) if depth < 4 else 0
        if signature[1] == '{':
            key, value = split(signature[2:-1])
            return {self.value(key, depth + 1): self.value(value, depth + 1) for _ in range(count)}
        return [self.value(signature[1:], depth + 1) for _ in range(count)]

    def variant(self, depth=0):
        signature = 'v' if depth < 25 and self.chance(0.3) else self.signature(depth)
        return GLib.Variant(signature, self.value(signature, depth))

    # --- by name ---

    def option(self, method, fds):
        """A key and its value."""
        known = self.options.get(method, {})
        if not known or self.chance(0.04):
            key, type_ = self.choice(WORDS), self.choice(BASIC)
        else:
            key, type_ = self.choice(sorted(known.items()))
        if self.chance(0.03):
            type_ = self.choice('sutb')
        return key, GLib.Variant(type_, self.option_value(key, type_, fds))

    def option_value(self, key, type_, fds):
        if type_ == 'h':
            return self.descriptor(fds)
        if 'pid' in key and type_ in BITS:
            # GLib refuses what does not fit.
            return min(self.choice(self.world.pids), (1 << BITS[type_]) - 1)
        if key == 'wait-ms' and type_ == 'u':
            return self.choice((0, 1, 10, 50, 200, 1000, 86400000, 86400001, (1 << 32) - 1))
        if key == 'owner-uid' and type_ == 'u' and self.chance(0.8):
            return self.choice(self.world.uids)
        if key == 'offset' and type_ == 't' and self.chance(0.7):
            return self.choice((1, 2, 300, 1 << 20))
        if key == 'kill' and type_ == 'b':
            return self.chance(0.2)
        if type_ == 's' and self.chance(0.9):
            return self.choice({'driver': ('file', 'file', 'file', 'nosuch', ''), 'path': self.world.paths,
                                'on-lease-lost': ('pause', 'kill', 'notify'), 'state': self.world.states,
                                'require-scope': ('mount', 'host', 'host', 'shared')}.get(key, WORDS))
        return self.value(type_)

    def descriptor(self, fds):
        """Its number in the message: 16 at most, and at times one that is not there."""
        if len(fds) >= 16 or self.chance(0.03):
            return self.random.randrange(20)
        fds.append(self.choice(self.world.descriptors()))
        return len(fds) - 1

    def options_of(self, method, fds):
        count = self.choice((0, 0, 0, 1, 1, 2, 3, 6))
        return dict(self.option(method, fds) for _ in range(count))

    def resource(self, method, fds):
        type_ = 'disk' if self.chance(0.8) else 'lease'
        options = self.options_of(method, fds)
        if type_ == 'lease' and self.chance(0.8):
            options |= {'path': GLib.Variant('s', self.choice(self.world.paths)),
                        'offset': GLib.Variant('t', self.choice((1, 2, 300)))}
        elif self.chance(0.7):
            options = {}
        return (type_, self.choice(self.world.paths), self.choice(('exclusive', 'shared', 'readonly')), options)

    def argument(self, method, argument, fds):
        """As the interface means it, more often than not."""
        name, signature = argument.name, argument.signature
        if self.chance(0.03):
            return self.value(signature)
        if signature == 'a{sv}':
            return self.options_of(method, fds)
        if signature == 'a(sssa{sv})':
            return [self.resource(method, fds) for _ in range(self.choice((0, 1, 1, 1, 2, 3, 66)))]
        if signature == 'h':
            return self.descriptor(fds)
        if name == 'pid':
            return self.choice(self.world.pids)
        if signature == 'v' and self.chance(0.8):
            return GLib.Variant(*self.choice((('s', 'web1'), ('s', 'kill'), ('s', 'pause'), ('u', self.number('u')),
                                              ('s', self.choice(self.world.uuids)))))
        if signature == 's' and name in ('uuid', 'type', 'mode', 'name', 'key', 'interface_name', 'property_name'):
            return self.choice({
                'uuid': self.world.uuids, 'type': ('disk', 'disk', 'disk', 'lease'),
                'mode': ('exclusive', 'shared', 'readonly'), 'name': self.world.paths,
                'key': ('name', 'id', 'on-lease-lost', 'uuid')}.get(name, WORDS))
        return self.value(signature)

    def body(self, method, arguments, fds):
        """The arguments of a call, or something else altogether."""
        if self.chance(0.03):
            signature = ''.join(self.signature() for _ in range(self.random.randrange(4)))
            return GLib.Variant(f'({signature})', tuple(self.value(part) for part in split(signature)))
        return GLib.Variant('(' + ''.join(argument.signature for argument in arguments) + ')',
                            tuple(self.argument(method, argument, fds) for argument in arguments))


def split(signature):
    """Its complete types."""
    parts, start, depth = [], 0, 0
    for position, character in enumerate(signature):
        depth += (character in '({') - (character in ')}')
        if depth == 0 and character != 'a':
            parts.append(signature[start:position + 1])
            start = position + 1
    return parts
