# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process that floods: flooder.py USER CONNECTIONS AT_ONCE, with the calls to send (as rawbus.message() makes them,
each behind its length) on stdin. Each connection keeps that many calls unanswered, which are at most 128 on the bus;
with 0 it wants no answers and sends as much as its socket takes. It says "ready" when each connection has been answered
(or has sent a hundred batches), and goes on until it is ended.
"""

import os
import select
import sys

from rawbus import RawPeer, read_calls

BATCH = 32
BATCHES = 100


class Flooder:
    def __init__(self, user, call, at_once):
        self.peer, self.call, self.at_once = RawPeer(user), call, at_once
        self.peer.socket.setblocking(False)
        self.unsent, self.unanswered = b'', 0
        self.n_batches, self.is_answered = 0, False

    def send(self):
        count = BATCH if not self.at_once else self.at_once - self.unanswered
        if not self.unsent and count > 0:
            self.unsent = self.peer.numbered(self.call, count)
            self.unanswered += count
            self.n_batches += 1
        if self.unsent:
            self.unsent = self.unsent[self.peer.socket.send(self.unsent):]

    def receive(self):
        count = self.peer.count_messages(self.peer.socket.recv(1 << 18))
        self.unanswered -= count
        self.is_answered |= count > 0

    def has_begun(self):
        return self.is_answered if self.at_once else self.n_batches > BATCHES

    def wants(self):
        return select.POLLIN | (select.POLLOUT if self.unsent or self.unanswered < self.at_once or not self.at_once
                                else 0)


def main():
    user, n_connections, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    calls = read_calls(sys.stdin.buffer.read())
    flooders, poll = {}, select.poll()
    for number in range(n_connections):
        flooder = Flooder(user, calls[number % len(calls)], at_once)
        flooders[flooder.peer.socket.fileno()] = flooder
        poll.register(flooder.peer.socket, flooder.wants())
    os.setresuid(flooder.peer.uid, flooder.peer.uid, flooder.peer.uid)
    waiting = list(flooders.values())
    while True:
        for fd, events in poll.poll():
            flooder = flooders[fd]
            try:
                if events & select.POLLIN:
                    flooder.receive()
                if events & select.POLLOUT:
                    flooder.send()
            except BlockingIOError:
                pass
            poll.modify(fd, flooder.wants())
        if waiting:
            waiting = [flooder for flooder in waiting if not flooder.has_begun()]
            if not waiting:
                print('ready', flush=True)


main()
