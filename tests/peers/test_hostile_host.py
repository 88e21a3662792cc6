#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hostile hosts to a guest of the library's, one way at a time; the guest then finds one that works.
Arguments as tests/peers/meson.build has them."""

import random
import subprocess

import hostile_host
import support
import wire
from host import Listener


class HostileHost(support.Processes):
    def setUp(self):
        super().setUp()
        self.listener = Listener(self.socket)
        self.addCleanup(self.listener.close)
        self.guest = self.start(support.DRIVEN, self.socket, f'{support.DRIVERS}/echo_vsc.so',
                                'reconnect', stdin=subprocess.PIPE)

    def tell(self, host, line):
        """The guest's answer to a line; the host serves meanwhile."""
        self.guest.stdin.write(line + '\n')
        self.guest.stdin.flush()
        answer = self.guest.stdout.fileno()
        host.serve(lambda: wire.readable([answer], 0), line, [answer])
        return self.guest.stdout.readline().strip()

    def honest(self):
        """What the guest holds at a host that works."""
        host = hostile_host.all_open(hostile_host.come(self.listener))
        hostile_host.works(host, self.tell)
        held = self.held(self.guest)
        host.leave()
        return held

    def act(self, act):
        tell = lambda *arguments: self.tell(*arguments)
        tell.guest = self.guest
        held = self.honest()
        for seed in range(10 if support.SOAK else 1):
            act(self.listener, tell, random.Random(seed))
            self.assertEqual(self.honest(), held)
        self.guest.stdin.close()
        self.assertEqual(self.guest.wait(timeout=support.PATIENCE), 0)
        self.assertNotIn('runtime error', self.guest.stderr.read())


def add(act):
    setattr(HostileHost, f'test_{act.__name__}', lambda self: self.act(act))


for each in hostile_host.ACTS:
    add(each)


if __name__ == '__main__':
    support.main(__name__)
