# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verbs for tests of guestlockctl, beside those of guestlocktest: run it plainly, or in a terminal.

    said = ctl('who', path)                         # .status, .out, .err
    expect(3, 'start', 'web1', '-d', path, err='Disk "…" is in use')
    terminal = Terminal('run', '--wait', '--', 'sleep', '1', columns=40)
    terminal.wait_for('Waiting for')
    terminal.type(INTERRUPT)
    equal(terminal.end(), -signal.SIGINT)
"""

import atexit
import codecs
import fcntl
import json
import os
import pwd
import re
import shutil
import struct
import subprocess
import sys
import termios
import unicodedata
from collections import namedtuple
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))
from guestlocktest import (  # noqa: E402
    BUSY, at_end, bus, equal, manager, spawn_process, uid_of, wait_until)
from processtest import is_alive

BUILD = Path(os.environ['GUESTLOCK_BUILD'])
CTL = BUILD / 'cli/guestlockctl'
UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
OTHER = '4dea22b3-1d52-d8f3-2516-782e98ab3fa1'
THIRD = '4dea22b3-1d52-d8f3-2516-782e98ab3fa2'
DONE, FAILED, USAGE, CONFLICT = range(4)
INTERRUPT, SUSPEND, END = '\x03', '\x1a', '\x04'

Said = namedtuple('Said', 'status out err')
_copies = []


def program_for(user):
    """guestlockctl, and its library's directory, where this user can reach them."""
    if user is None:
        return CTL, CTL.parents[1] / 'client-lib'
    if not _copies:
        # It outlives tests, and ends with the script.
        directory = Path(os.environ['GUESTLOCK_TMP']) / f'guestlockctl-{os.getpid()}'
        directory.mkdir(mode=0o755)
        atexit.register(shutil.rmtree, directory)
        for file in (CTL, CTL.parents[1] / 'client-lib/libguestlock.so.1'):
            shutil.copy(file, directory)
            (directory / file.name).chmod(0o755)
        _copies.append(directory)
    return _copies[0] / CTL.name, _copies[0]


def environment(library, **more):
    """A language that has all characters, and nothing that changes what is said."""
    without = ('XDG_SESSION_ID', 'NO_COLOR', 'COLUMNS', 'LINES', 'TERM', 'LANGUAGE', 'LC_CTYPE', 'LANG', 'PKTTYAGENT')
    base = {key: value for key, value in os.environ.items() if key not in without}
    return base | {'LD_LIBRARY_PATH': str(library), 'LC_ALL': 'C.UTF-8', 'TERM': 'xterm'} | more


def credentials(user):
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {'user': entry.pw_uid, 'group': entry.pw_gid, 'extra_groups': []}


def spawn_ctl(*arguments, user=None, env=None, **popen):
    """guestlockctl, which lives until the test ends."""
    program, library = program_for(user)
    options = {'stdin': subprocess.DEVNULL, 'cwd': '/', 'env': environment(library, **env or {})} | popen
    return spawn_process(str(program), *map(_word, arguments), user=user, **options)


def _word(argument):
    return argument if isinstance(argument, bytes) else str(argument)


def ctl(*arguments, user=None, env=None, input='', timeout=30, **popen):
    """Runs it to its end."""
    program, library = program_for(user)
    options = {'cwd': '/', 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE} | popen
    done = subprocess.run([str(program), *map(_word, arguments)], input=input.encode(), timeout=timeout * BUSY,
                          env=environment(library, **env or {}), **options, **credentials(user))
    out, err = ((text or b'').decode(errors='backslashreplace') for text in (done.stdout, done.stderr))
    return Said(done.returncode, out, err)


def _matches(text, wanted):
    return wanted in text if isinstance(wanted, str) else all(part in text for part in wanted)


def expect(status, *arguments, out=None, err=None, **options):
    """It has to end with that status, and to say that: a string, or several; '' is nothing at all."""
    said = ctl(*arguments, **options)
    assert said.status == status, f'guestlockctl {arguments} ended with {said.status}, not {status}: {said}'
    for what, wanted, text in (('out', out, said.out), ('err', err, said.err)):
        if wanted == '':
            assert text == '', f'guestlockctl {arguments} said on std{what}: {text}'
        elif wanted is not None:
            assert _matches(text, wanted), f'guestlockctl {arguments} did not say {wanted!r} on std{what}: {text}'
    return said


def told(*arguments, status=DONE, **options):
    """The same with --json: what it says, read."""
    return json.loads(expect(status, *arguments, '--json', **options).out)


def wait_for_guest(uuid=UUID, state=None, user=None):
    """The lock manager of a guest that comes into being."""
    found = []

    def is_there():
        found[:] = [path for other, _name, now, _pid, owner, path in manager().ListGuests({})
                    if other == uuid and state in (None, now) and user in (None, owner)]
        return found

    wait_until(is_there, f'guest {uuid}' + (f' to be {state}' if state else ''))
    return bus.guest(found[0])


def wait_for_no_guests():
    wait_until(lambda: manager().NGuests == 0, 'all guests to be gone')


# --- terminals ---

class Screen:
    """What a terminal of so many columns shows: lines of text, and whether one was longer than the terminal. It knows
    what guestlockctl and programs of its kind send, and nothing else: that is an error."""

    def __init__(self, columns):
        self.columns = columns
        self.lines, self.row, self.column = [[]], 0, 0
        self.wrapped, self.colours, self.unknown, self.rest = [], set(), [], ''

    def feed(self, text):
        text = self.rest + text
        self.rest = ''
        while text:
            sequence = re.match(r'\x1b(\[([0-9;?]*)([A-Za-z])|.)', text)
            if re.fullmatch(r'\x1b(\[[0-9;?]*)?', text):
                # The rest of it has not come yet.
                self.rest = text
                return
            if sequence:
                self._obey(sequence)
                text = text[sequence.end():]
            else:
                self._put(text[0])
                text = text[1:]

    def _obey(self, sequence):
        _all, parameters, what = sequence.groups()
        if what == 'K' and parameters in ('', '0'):
            del self.lines[self.row][self.column:]
        elif what == 'm':
            self.colours.update(set(parameters.split(';')) - {'', '0'})
        elif what not in ('h', 'l') or not parameters.startswith('?'):
            self.unknown.append(sequence[0])

    def _put(self, character):
        if character == '\r':
            self.column = 0
        elif character == '\n':
            self._next_line()
        elif character == '\b':
            self.column = max(0, self.column - 1)
        elif unicodedata.category(character) == 'Cc':
            if character != '\a':
                self.unknown.append(character)
        else:
            self._draw(character)

    def _draw(self, character):
        width = 2 if unicodedata.east_asian_width(character) in 'WF' else 0 if unicodedata.combining(character) else 1
        if self.column + width > self.columns:
            self.wrapped.append(''.join(self.lines[self.row]))
            self._next_line()
            self.column = 0
        line = self.lines[self.row]
        line.extend(' ' * (self.column - len(line)))
        # The right half of a wide one is an empty string.
        line[self.column:self.column + width] = [character, ''][:width]
        self.column += width

    def _next_line(self):
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    @property
    def text(self):
        return '\n'.join(''.join(line).rstrip() for line in self.lines)


class Terminal:
    """guestlockctl, or with `program` another one, in a terminal of its own that it controls. Ends with its test."""

    def __init__(self, *arguments, columns=80, rows=24, user=None, env=None, program=None, **popen):
        own, library = program_for(user)
        self.master, self.slave = os.openpty()
        at_end(self._close)
        self.resize(columns, rows)
        if user:
            os.fchown(self.slave, uid_of(user), -1)
        self.screen, self.raw = Screen(columns), ''
        # What is read may end within a character.
        self.decoder = codecs.getincrementaldecoder('utf-8')('backslashreplace')
        os.set_blocking(self.master, False)
        self.process = spawn_process(
            *map(_word, program or [own]), *map(_word, arguments), user=user, env=environment(library, **env or {}),
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), cwd='/',
            **{'stdin': self.slave, 'stdout': self.slave, 'stderr': self.slave} | popen)
        self.pid = self.process.pid

    def _close(self):
        os.close(self.master)
        os.close(self.slave)

    def resize(self, columns, rows=24):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack('4H', rows, columns, 0, 0))

    def read(self):
        """Takes what has come so far."""
        while True:
            try:
                data = os.read(self.master, 65536)
            except (BlockingIOError, OSError):
                return self
            text = self.decoder.decode(data)
            self.raw += text
            self.screen.feed(text)

    @property
    def text(self):
        return self.read().screen.text

    def shows(self, text):
        return text in self.text if isinstance(text, str) else bool(text.search(self.text))

    def wait_for(self, text, timeout=10):
        """Until the screen shows it, or the program has ended."""
        try:
            wait_until(lambda: self.shows(text) or self.process.poll() is not None, f'"{text}"', timeout)
        except AssertionError as error:
            raise AssertionError(f'{error}; the screen has: {self.text}') from None
        assert self.shows(text), f'it ended with {self.process.returncode}, without "{text}": {self.text}'

    def type(self, text):
        os.write(self.master, text.encode())

    def has_echo(self):
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def set_echo(self, on):
        state = termios.tcgetattr(self.slave)
        state[3] = state[3] | termios.ECHO if on else state[3] & ~termios.ECHO
        termios.tcsetattr(self.slave, termios.TCSANOW, state)

    def end(self, how=None, timeout=10):
        """Its exit status, with all that it has said read; `how` is a signal to send it before."""
        if how:
            self.process.send_signal(how)
        try:
            wait_until(lambda: self.read().process.poll() is not None, 'it to end', timeout)
        except AssertionError as error:
            raise AssertionError(f'{error}; the screen has: {self.text}') from None
        self.read()
        return self.process.returncode


def on_terminal(*arguments, columns=80, **options):
    """Runs it to its end in a terminal: the Terminal."""
    terminal = Terminal(*arguments, columns=columns, **options)
    terminal.status = terminal.end()
    return terminal


# --- others who wait ---

class Waiter:
    """Another one who wants the disk, and stands behind all who want it now when this is made."""

    def __init__(self, path, uuid=THIRD, name='behind'):
        self.process = spawn_ctl('start', '--uuid', uuid, '--wait', '-d', path, name, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        at_end(self._close)
        self.uuid = uuid
        assert self.process.stderr.readline().startswith(b'Waiting for '), 'it does not wait'

    def _close(self):
        self.process.stdout.close()
        self.process.stderr.close()

    def wait(self, timeout=10):
        """Until it has it."""
        out, err = self.process.communicate(timeout=timeout * BUSY)
        equal((self.process.returncode, b'has its leases' in out), (DONE, True))
        return wait_for_guest(self.uuid, 'held')

    def still_waits(self):
        return self.process.poll() is None


def processes_called(name):
    """The pids of those that run that program."""
    found = []
    for entry in Path('/proc').iterdir():
        try:
            if entry.name.isdigit() and (entry / 'comm').read_text().strip() == name[:15] and is_alive(entry.name):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


__all__ = [name for name in dir() if not name.startswith('_')]
