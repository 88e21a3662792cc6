#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Many guests at once with traffic, one of them hostile in every way in turn: what the others get is
what they should, to the last byte. Arguments as tests/peers/meson.build has them."""

import functools
import hashlib
import random
import subprocess

import hostile_guest
import support
import wire
from test_host import sent

GUESTS = 32 if support.SOAK else 32 if support.PLAIN else 8
LOOPED, SIZE = 32 << 10, 1000


@functools.lru_cache(maxsize=1024)
def echoed(seed):
    return sent(LOOPED, seed)


@functools.lru_cache(maxsize=1024)
def summed(seed):
    data = echoed(seed)
    return b''.join(hashlib.sha256(data[at:at + SIZE]).digest() for at in range(0, LOOPED, SIZE))


@functools.lru_cache(maxsize=1024)
def filled(tag):
    return b''.join(bytes((tag + request + i) & 0xff for i in range(min(SIZE, LOOPED - at)))
                    for request, at in enumerate(range(0, LOOPED, SIZE)))


def returned(rounds, seed):
    """SHA-256 of all that a loop of `driven` should have got back."""
    whole = hashlib.sha256()
    for number in range(rounds):
        whole.update((echoed, summed, filled)[number % 3](
            number % 256 if number % 3 == 2 else (seed + number) % 256))
    return whole.hexdigest()


class Many(support.Processes):
    def tell(self, guest, line):
        guest.stdin.write(line + '\n')
        guest.stdin.flush()

    def answer(self, guest):
        self.assertTrue(wire.readable([guest.stdout.fileno()], support.PATIENCE), 'no answer')
        return guest.stdout.readline().strip()

    def test_one_of_many_is_hostile_in_every_way(self):
        host = self.serve('--guests', '1000', '--dispatchers', '1', channels=1)
        guests = [self.start(support.DRIVEN, self.socket, f'{support.DRIVERS}/echo_vsc.so',
                             stdin=subprocess.PIPE) for _ in range(GUESTS - 1)]
        for guest in guests:
            self.tell(guest, 'wait 1')
        for seed, guest in enumerate(guests):
            self.assertEqual(self.answer(guest), 'ok')
            self.tell(guest, f'loop {seed}')
        for seed in range(3 if support.SOAK else 1):
            for act in hostile_guest.ACTS:
                act(self.socket, random.Random(seed))
        for guest in guests:
            self.tell(guest, 'enough')
        for seed, guest in enumerate(guests):
            rounds, got = self.answer(guest).split()
            self.assertGreater(int(rounds), 0)
            self.assertEqual(got, returned(int(rounds), seed), f'guest {seed}')
            guest.stdin.close()
        for guest in guests:
            self.assertEqual(guest.wait(timeout=support.PATIENCE), 0)
        self.assertIn(f'{GUESTS - 1} guests', self.end(host)[0])


if __name__ == '__main__':
    support.main(__name__)
