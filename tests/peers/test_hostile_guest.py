#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hostile guests at a host of kmcl serve, one way at a time, beside a guest that works. Arguments as
tests/peers/meson.build has them."""

import json
import random
import subprocess

import hostile_guest
import support
import wire
from guest import Channel, Guest


class HostileGuest(support.Processes):
    def act(self, act):
        # More than the acts leave behind while the host still buries them.
        host = self.serve('--guests', '1000')
        survivor = Guest(self.socket).join()
        survivor.contact(wire.V5_3)
        channel = Channel(survivor, survivor.offers()[0])
        hostile_guest.works(channel)
        held = self.held(host)
        for seed in range(10 if support.SOAK else 1):
            act(self.socket, random.Random(seed))
            hostile_guest.works(channel)
        support.wait_until(
            lambda: all(now <= before for now, before in zip(self.held(host), held)),
            'no more descriptors, threads and mappings than before')
        hostile_guest.works(channel)
        survivor.leave()
        out, err = self.end(host)
        self.assertNotIn('runtime error', err)

    def stats(self):
        answer = subprocess.run([support.KMCL, 'stats', '--control', self.control, '--json'],
                                capture_output=True, text=True, timeout=support.PATIENCE,
                                check=True)
        return json.loads(answer.stdout)['guests']

    def test_completions_that_nobody_waits_for_are_counted(self):
        host = self.serve(channels=1)
        guest, channel = hostile_guest.opened(self.socket)
        for number in range(100):
            channel.put(wire.packet(wire.COMPLETION, number, b'forged'))
        hostile_guest.works(channel)
        self.assertEqual(self.stats()[0]['channels'][0]['dropped_completions'], 100)
        guest.leave()
        self.end(host)


def add(act):
    setattr(HostileGuest, f'test_{act.__name__}', lambda self: self.act(act))


for each in hostile_guest.ACTS:
    add(each)


if __name__ == '__main__':
    support.main(__name__)
