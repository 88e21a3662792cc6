#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest that shares no code with the library, at a host of kmcl serve: every version, every
operation of the echo protocol, byte for byte. Arguments as tests/peers/meson.build has them."""

import hashlib
import os
import random
import struct
import uuid

import support
import wire
from guest import ECHO_TYPE, Channel, Guest
from wire import PAGE

ECHO, SUM, SINK, STATS, FILL, GPADL_SUM, PUSH = range(1, 8)
INVALID_PARAMETER = 0xc000000d


class EveryVersion(support.Processes):
    def offers(self, guest):
        offers = guest.offers()
        self.assertEqual([each.channel for each in offers], [1, 2])
        for number, each in enumerate(offers):
            self.assertEqual(each.interface, ECHO_TYPE)
            self.assertEqual(each.instance, uuid.UUID(int=0xe0 + number))
            self.assertEqual((each.index, each.mmio, each.user_data), (0, 0, bytes(120)))
            self.assertEqual((each.monitor, each.monitored), (0xff, 0))
            self.assertEqual((each.dedicated, each.connection), (1, 0x2000 + each.channel))
            self.assertEqual(each.flags & ~1, 0)
        return offers

    def echo(self, channel):
        for size in (0, 1, 7, 8, 9, 100, 4000, 8192):
            data = random.randbytes(size)
            self.assertEqual(channel.request(ECHO, size, data), (0, wire.padded(data)))
        self.assertEqual(channel.request(ECHO, 8193, bytes(8193)), (INVALID_PARAMETER, b''))
        self.assertEqual(channel.request(99, 0), (INVALID_PARAMETER, b''))

    def many_at_once(self, channel):
        """More than the ring holds, so that both ends wait for room, and the rings wrap."""
        sent = {}
        for number in range(60):
            data = random.randbytes(number * 131 % 4000)
            sent[channel.send(ECHO, len(data), data)] = data
        for transaction, data in sent.items():
            self.assertEqual(channel.wait(transaction)[16:], wire.padded(data))

    def external(self, guest, channel):
        # Two ranges: from the middle of a page on over several, and a few bytes.
        pfns, one = guest.many(5), guest.many(1)
        data = random.randbytes(4 * PAGE + 5)
        guest.memory.scatter(pfns, 77, data)
        guest.memory.scatter(one, 4090, b'\x11\x22\x33\x44\x55\x66')
        whole = data + b'\x11\x22\x33\x44\x55\x66'
        ranges = [(pfns, 77, len(data)), (one, 4090, 6)]
        for size in (len(whole), 1, 0):
            digest = hashlib.sha256(whole[:size]).digest()
            self.assertEqual(channel.request(SUM, size, b'', ranges), (0, digest))
        self.assertEqual(channel.request(SUM, len(whole) + 1, b'', ranges),
                         (INVALID_PARAMETER, b''))
        before = [bytes(guest.memory.page(pfn)) for pfn in pfns]
        status = channel.request(FILL, len(data) - 3, b'', ranges)
        self.assertEqual(status, (0, b''))
        filled = bytes((channel.tag + i) & 0xff for i in range(len(data) - 3))
        whole = b''.join(before)
        self.assertEqual(guest.memory.gather(pfns, 0, 5 * PAGE),
                         whole[:77] + filled + whole[77 + len(filled):])
        # A page that is not there is refused, and nothing has been written.
        self.assertEqual(channel.request(FILL, 2 * PAGE, b'', [((pfns[0], 1 << 30), 0, 2 * PAGE)]),
                         (INVALID_PARAMETER, b''))
        self.assertEqual(guest.memory.gather(pfns[:1], 0, 77), before[0][:77])
        guest.free += pfns + one

    def gpadl(self, guest, channel):
        pfns = guest.many(60)
        data = random.randbytes(60 * PAGE - 100)
        guest.memory.scatter(pfns, 100, data)
        gpadl = guest.gpadl(channel.id, [(pfns, 100, len(data))])
        for offset, size in ((0, len(data)), (4000, 9000), (len(data), 0)):
            self.assertEqual(
                channel.request(GPADL_SUM, size, struct.pack('<II', gpadl, offset)),
                (0, hashlib.sha256(data[offset:offset + size]).digest()))
        self.assertEqual(channel.request(GPADL_SUM, 2, struct.pack('<II', gpadl, len(data) - 1)),
                         (INVALID_PARAMETER, b''))
        guest.teardown(channel.id, gpadl)
        self.assertEqual(channel.request(GPADL_SUM, 1, struct.pack('<II', gpadl, 0)),
                         (INVALID_PARAMETER, b''))
        guest.free += pfns

    def push(self, channel, count):
        self.assertEqual(channel.request(PUSH, count), (0, b''))
        self.assertEqual(channel.pushes, [struct.pack('<QQ', number, channel.tag) + bytes(48)
                                          for number in range(count)])
        channel.pushes.clear()

    def sink(self, channel):
        for _ in range(20):
            channel.put(wire.packet(wire.IN_BAND, 0, struct.pack('<IIQ', SINK, 5, 1) + b'12345'))
        self.assertEqual(channel.request(STATS, 0), (0, struct.pack('<QQ', 20, 100)))

    def everything(self, guest, channel):
        self.echo(channel)
        self.many_at_once(channel)
        self.external(guest, channel)
        self.gpadl(guest, channel)
        self.push(channel, 1)
        self.push(channel, 1000)
        self.sink(channel)

    def signals(self, guest, first, second):
        """Which flags told of the channels, on which VP."""
        flags = {first.flag, second.flag}
        if guest.version < wire.V2_4:
            self.assertLessEqual(guest.heard[0], flags | {0})
            self.assertIn(0, guest.heard[0])
            self.assertLessEqual(guest.shared, {first.id, second.id})
            self.assertIn(first.id, guest.shared)
        else:
            self.assertEqual(guest.heard[0], {first.flag})
            self.assertEqual(guest.heard[1], {second.flag})

    def session(self, version, features=0, vp=0):
        host = self.serve()
        guest = Guest(self.socket).join()
        self.assertEqual(guest.channels_offered, 2047)
        guest.contact(version, features, vp)
        self.assertEqual(guest.features, features)
        for _ in range(2):
            first, second = self.offers(guest)
            flags = (700, 701) if guest.features & 1 else (None, None)
            # Rings that hold the largest answer and little else, and some larger ones.
            large = Channel(guest, first, 0, flag=flags[0])
            small = Channel(guest, second, 1 if version >= wire.V2_4 else 0, (5, 4), flags[1])
            self.everything(guest, large)
            self.everything(guest, small)
            self.signals(guest, large, small)
            large.close()
            again = Channel(guest, first, 0, (3, 2), flags[0])
            self.assertEqual(again.request(ECHO, 4, b'anew'), (0, b'anew\0\0\0\0'))
            again.close()
            small.close()
            guest.unload()
            guest.nothing_more()
            guest.contact(version, features, vp)
        guest.leave()
        self.assertNotIn('WARNING', self.end(host)[1].upper())

    def test_a_version_refused_is_followed_by_one_taken(self):
        host = self.serve()
        guest = Guest(self.socket).join()
        for version in (0xffffffff, 0x00060001, 0x00050004, 0x00020000, 0):
            guest.post(wire.message(wire.CONTACT, version, 1, bytes(24)))
            answer = guest.next(wire.VERSION_RESPONSE)
            self.assertEqual(answer[8:], bytes(8))
        guest.contact(wire.V5_3)
        self.assertEqual(len(self.offers(guest)), 2)
        guest.leave()
        self.end(host)

    def test_reset_begins_anew(self):
        host = self.serve()
        guest = Guest(self.socket).join()
        for _ in range(3):
            guest.contact(wire.V5_3)
            channel = Channel(guest, self.offers(guest)[0])
            self.assertEqual(channel.request(ECHO, 2, b'ok')[0], 0)
            guest.link.send(wire.RESET)
            self.assertEqual(guest.link.receive()[:2],
                             (wire.RESET_DONE, b'\x85\0\0\0\x08\0\0\0'))
            guest.channels.clear()
            guest.free += channel.pfns
        guest.leave()
        self.end(host)

    def test_a_host_that_ends_withdraws_and_hangs_up(self):
        host = self.serve()
        guest = Guest(self.socket).join()
        guest.contact(wire.V5_3)
        Channel(guest, self.offers(guest)[0])
        self.end(host)
        gone = {struct.unpack_from('<I', guest.next(wire.RESCIND), 8)[0] for _ in range(2)}
        self.assertEqual(gone, {1, 2})
        self.assertEqual(guest.link.receive()[0], 0)
        self.assertFalse(os.path.exists(self.socket))
        guest.leave()


def add(name, *arguments):
    setattr(EveryVersion, f'test_version_{name}', lambda self: self.session(*arguments))


for each in support.VERSIONS:
    add(wire.version_name(each).replace('.', '_'), each)
add('5_3_messages_at_vp_1', wire.V5_3, 0, 1)
add('6_0_signals_of_its_own', wire.V6_0, 1)


if __name__ == '__main__':
    support.main(__name__)
