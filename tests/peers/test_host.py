#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A host that shares no code with the library, and guests of the library's: every version, every
operation of the echo protocol, byte for byte. Arguments as tests/peers/meson.build has them."""

import hashlib
import os
import subprocess

import support
import wire
from host import ECHO, FILL, GPADL_SUM, OPEN, PUSH, SINK, STATS, SUM, Host, Listener


def sent(size, seed):
    """What `driven` sends."""
    return bytes((i + 3 * (i // 256) + seed) & 0xff for i in range(size))


def digest(data):
    return hashlib.sha256(data).hexdigest()


class EveryVersion(support.Processes):
    def setUp(self):
        super().setUp()
        self.listener = Listener(self.socket)
        self.addCleanup(self.stop_listening)

    def stop_listening(self):
        if os.path.exists(self.socket):
            self.listener.close()

    def driven(self, *more):
        return self.start(support.DRIVEN, self.socket, f'{support.DRIVERS}/echo_vsc.so', *more,
                          stdin=subprocess.PIPE)

    def tell(self, guest, host, line):
        """The guest's answer to a line; the host serves meanwhile."""
        guest.stdin.write(line + '\n')
        guest.stdin.flush()
        answer = guest.stdout.fileno()
        host.serve(lambda: wire.readable([answer], 0), line, [answer])
        return guest.stdout.readline().strip()

    def run_op(self, guest, host, op, size, window, total, tag, back, count, seed=5, device=0):
        """One run of `driven`, which counts what came back and must have had `back`."""
        pushes = total if op == PUSH else 0
        moved = 64 * total if op == PUSH else total
        answer = self.tell(guest, host,
                           f'run {device} {op} {size} {window} {total} {tag} {seed}')
        self.assertEqual(answer, f'0 0 {count} {moved} {pushes} {digest(back)}', f'op {op}')

    def everything(self, guest, host, device):
        def run(*arguments):
            self.run_op(guest, host, *arguments, device=device)

        data = sent(300000, 5)
        run(ECHO, 1000, 16, 100000, 1, data[:100000], 100)
        run(ECHO, 8192, 4, 81920, 2, data[:81920], 10)
        run(SUM, 30000, 4, 300000, 3,
            b''.join(hashlib.sha256(data[at:at + 30000]).digest()
                     for at in range(0, 300000, 30000)), 10)
        run(FILL, 5000, 3, 20000, 4,
            b''.join(bytes((4 + number + i) & 0xff for i in range(5000)) for number in range(4)), 4)
        run(GPADL_SUM, 150000, 2, 300000, 5,
            b''.join(hashlib.sha256(data[at:at + 150000]).digest() for at in (0, 150000)), 2)
        run(PUSH, 1000, 1, 2000, 6, b'', 2)
        run(SINK, 100, 8, 5000, 7, b'', 50)
        run(STATS, 0, 1, 0, 8, (50).to_bytes(8, 'little') + (5000).to_bytes(8, 'little'), 1)

    def session(self, version, features=0):
        guest = self.driven()
        host = Host(self.listener.accept(), version, 2, features).hello()
        self.assertEqual(self.tell(guest, host, 'wait 2'), 'ok')
        # The highest first, then one after the other.
        self.assertEqual(host.tried, [each for each in wire.VERSIONS[::-1] if each >= version])
        self.assertEqual(host.features & ~features, 0)
        self.everything(guest, host, 0)
        self.everything(guest, host, 1)
        flags = {channel.flag for channel in host.channels.values()}
        self.assertLessEqual(host.heard, flags | {0} if version < wire.V2_4 else flags)
        self.assertTrue(flags & host.heard)
        # One channel goes, is let go of, and comes again.
        first = host.channels[1]
        host.rescind(first)
        self.assertEqual(self.tell(guest, host, 'wait 1'), 'ok')
        host.serve(lambda: host.released == [1], 'a channel to be released')
        host.tell(first.offer())
        self.assertEqual(self.tell(guest, host, 'wait 2'), 'ok')
        self.assertEqual(first.opens, 2)
        self.run_op(guest, host, ECHO, 100, 1, 1000, 1, sent(1000, 5), 10)
        guest.stdin.close()
        host.serve(lambda: host.gone, 'the guest to end')
        self.assertEqual(guest.wait(timeout=support.PATIENCE), 0)
        self.assertEqual(host.unloads, 1 if version >= wire.V3_0 else host.unloads)
        self.assertEqual(host.gpadls, {})
        self.assertEqual(guest.stderr.read(), '')
        host.leave()

    def test_kmcl_attach_opens_what_is_offered_and_comes_again(self):
        guest = self.start(support.KMCL, 'attach', '--socket', self.socket, '--reconnect',
                           '--driver', f'{support.DRIVERS}/echo_vsc.so')
        for _ in range(3):
            host = Host(self.listener.accept(), wire.V5_3, 3).hello()
            host.serve(lambda: all(channel.state == OPEN for channel in host.channels.values()),
                       'three channels to be opened')
            host.leave()
        self.listener.close()
        self.end(guest)


def add(name, *arguments):
    setattr(EveryVersion, f'test_version_{name}', lambda self: self.session(*arguments))


for each in support.VERSIONS:
    add(wire.version_name(each).replace('.', '_'), each)
add('6_0_every_feature', wire.V6_0, 0xff & ~0x40)


if __name__ == '__main__':
    support.main(__name__)
