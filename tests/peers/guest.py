# SPDX-License-Identifier: MIT
"""A guest that speaks vmbus-user and VMBus by itself, and a client of the echo protocol."""

import collections
import os
import socket
import struct
import uuid

import wire
from wire import PAGE, Clock, expect, message

ECHO_TYPE = uuid.UUID('8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01')
LOW, HIGH = 0, 0x40000000  # two ranges of memory
LOW_SIZE, HIGH_SIZE = 1 << 20, 3 << 20

Offered = collections.namedtuple(
    'Offered', 'interface instance flags mmio user_data index channel monitor monitored dedicated '
    'connection raw')


class Guest:
    """A connection to a host; pages of memory are handed out in an order that is none."""

    def __init__(self, path, vps=2, told=None):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(path)
        self.link = wire.Link(sock)
        self.vps, self.told = vps, told or vps  # VPs that there are, and how many HELLO tells
        self.file = wire.new_file(LOW_SIZE + HIGH_SIZE)
        self.map = wire.map_file(self.file, LOW_SIZE + HIGH_SIZE)
        view = memoryview(self.map)
        self.memory = wire.Memory()
        self.memory.add(LOW, view[:LOW_SIZE])
        self.memory.add(HIGH, view[LOW_SIZE:])
        low, high = LOW_SIZE // PAGE, HIGH_SIZE // PAGE
        self.free = [HIGH // PAGE + i * 7 % high for i in range(high)][::-1]
        self.free += [i * 5 % low for i in range(low) if i * 5 % low]
        self.pages = [(self.page(), self.page()) for _ in range(vps)]
        self.to_host = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.to_guest = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(vps)]
        self.messages = collections.deque()
        self.channels = {}
        self.gpadls = 0x100
        self.connection_id = 1
        self.version = 0
        self.interrupts = None
        self.shared = set()
        self.heard = [set() for _ in range(vps)]

    def page(self):
        return self.free.pop()

    def many(self, count):
        return [self.page() for _ in range(count)]

    # ---- the socket ----

    def ask(self, op, body, fds, answer, size):
        self.link.send(op, body, fds)
        got, packet, _ = self.link.receive()
        expect(got == answer and len(packet) == size, f'{got:#x} for {op:#x}: {packet!r}')
        return packet

    def hello(self):
        answer = self.ask(wire.HELLO, struct.pack('<IIQ', 1, self.told, 0), (), wire.HELLO_ACK, 24)
        version, status, self.channels_offered, reserved = struct.unpack_from('<IIII', answer, 8)
        expect((version, status, reserved) == (1, 0, 0), f'HELLO_ACK {answer.hex()}')

    def show(self, gpa, size, offset, file=None):
        """The status of a range of memory."""
        answer = self.ask(wire.MEMORY, struct.pack('<QQQ', gpa, size, offset),
                          (self.file if file is None else file,), wire.MEMORY_ACK, 24)
        status, reserved, again = struct.unpack_from('<IIQ', answer, 8)
        expect((reserved, again) == (0, gpa), f'MEMORY_ACK {answer.hex()}')
        return status

    def synic(self, vp):
        flags, signals = (pfn * PAGE for pfn in self.pages[vp])
        answer = self.ask(wire.SYNIC, struct.pack('<IIQQ', vp, 0, flags, signals),
                          (self.to_host, self.to_guest[vp]), wire.SYNIC_ACK, 16)
        expect(struct.unpack_from('<II', answer, 8) == (0, vp), f'SYNIC_ACK {answer.hex()}')

    def join(self):
        self.hello()
        expect(self.show(LOW, LOW_SIZE, 0) == 0, 'memory refused')
        expect(self.show(HIGH, HIGH_SIZE, LOW_SIZE) == 0, 'memory refused')
        for vp in range(self.vps):
            self.synic(vp)
        return self

    def post(self, payload, connection_id=None):
        self.link.send(wire.POST, struct.pack(
            '<II', self.connection_id if connection_id is None else connection_id, 1) + payload)

    def take(self):
        """One packet of the socket, which must be a message."""
        op, data, fds = self.link.receive()
        expect(op == wire.MESSAGE and not fds, f'{op:#x} instead of a message: {data!r}')
        vp, sint, reserved, kind, size = struct.unpack_from('<IHHII', data, 8)
        expect((sint, reserved, kind) == (2, 0, 1), f'a message of that kind: {data.hex()}')
        expect(size == len(data) - 24, f'a message of that size: {data.hex()}')
        self.messages.append((vp, data[24:]))

    def next(self, kind, vp=None):
        while not self.messages:
            self.take()
        where, payload = self.messages.popleft()
        expect(struct.unpack_from('<II', payload) == (kind, 0),
               f'message {kind} expected, not {payload.hex()}')
        expect(vp is None or where == vp, f'a message for VP {where}, not {vp}')
        return payload

    def nothing_more(self):
        expect(not self.messages and not wire.readable([self.link.sock], 0), 'a message too many')

    # ---- the connection ----

    def contact(self, version, features=0, vp=0):
        """Connects; every byte of the answer is known."""
        word = features << 32 if version >= wire.V5_0 else 0
        if version < wire.V2_4:
            pfn = self.page()
            self.interrupts = self.memory.page(pfn)
            self.interrupts[:] = bytes(PAGE)
            word = pfn * PAGE
        self.connection_id = 4 if version >= wire.V5_0 else 1
        if version >= wire.V5_0:
            word |= wire.SYNIC_SINT
        self.post(message(wire.CONTACT, version, vp, struct.pack('<QQQ', word, 0, 0)))
        answer = self.next(wire.VERSION_RESPONSE, vp if version >= wire.V3_0 else 0)
        expect(answer[8:12] == b'\1\0\0\0', f'refused: {answer.hex()}')
        expect(len(answer) == (20 if version >= wire.V6_0 else 16), answer.hex())
        word = struct.unpack_from('<I', answer, 12)[0]
        if version >= wire.V5_0:
            self.connection_id = word
        else:
            expect(word == version, f'version {word:#x}')
        self.features = struct.unpack_from('<I', answer, 16)[0] if version >= wire.V6_0 else 0
        expect(not self.features & ~features, 'a feature that was not asked for')
        self.version, self.vp = version, vp if version >= wire.V3_0 else 0

    def offers(self):
        self.post(message(wire.REQUEST_OFFERS))
        offers = []
        while True:
            while not self.messages:
                self.take()
            if struct.unpack_from('<I', self.messages[0][1])[0] == wire.ALL_OFFERS:
                expect(len(self.next(wire.ALL_OFFERS, self.vp)) == 8, 'ALL_OFFERS of that size')
                return offers
            raw = self.next(wire.OFFER, self.vp)
            expect(len(raw) == 196, f'an offer of {len(raw)} bytes')
            expect(raw[40:56] == bytes(16), 'reserved bytes of an offer')
            offers.append(Offered(uuid.UUID(bytes_le=raw[8:24]), uuid.UUID(bytes_le=raw[24:40]),
                                  *struct.unpack_from('<HH', raw, 56), raw[60:180],
                                  struct.unpack_from('<H', raw, 180)[0],
                                  *struct.unpack_from('<IBBHI', raw, 184), raw))

    def gpadl(self, channel, ranges):
        self.gpadls += 1
        for part in wire.gpadl_messages(channel, self.gpadls, ranges):
            self.post(part)
        answer = self.next(wire.GPADL_CREATED, self.vp)
        expect(answer[8:] == struct.pack('<III', channel, self.gpadls, 0), answer.hex())
        return self.gpadls

    def teardown(self, channel, gpadl):
        self.post(message(wire.GPADL_TEARDOWN, channel, gpadl))
        answer = self.next(wire.GPADL_TORNDOWN, self.vp)
        expect(answer[8:] == struct.pack('<I', gpadl), answer.hex())

    def unload(self):
        self.post(message(wire.UNLOAD))
        expect(len(self.next(wire.UNLOAD_COMPLETE, self.vp)) == 8, 'UNLOAD_COMPLETE of that size')

    # ---- signals ----

    def signal(self, channel):
        flags = self.memory.page(self.pages[0][1])
        if self.interrupts is not None and self.version < 0x00010001:
            wire.set_flag(self.interrupts[2048:], channel.id)
            wire.set_flag(flags, 0)
        else:
            wire.set_flag(flags, channel.flag)
        os.eventfd_write(self.to_host, 1)

    def listen(self, seconds):
        """Waits for a message or a signal, and takes what came."""
        ready = wire.readable([self.link.sock.fileno(), *self.to_guest], seconds)
        if self.link.sock.fileno() in ready:
            self.take()
        for vp, fd in enumerate(self.to_guest):
            if fd in ready:
                wire.drain(fd)
                page = self.memory.page(self.pages[vp][0])
                self.heard[vp] |= wire.take_flags(page[wire.FLAGS_AT:wire.FLAGS_AT + 256])
        if self.interrupts is not None:
            self.shared |= wire.take_flags(self.interrupts[:2048])
        return bool(ready)

    def leave(self):
        self.link.close()
        for fd in (self.to_host, *self.to_guest, self.file):
            os.close(fd)


class Channel:
    """An open channel and what is outstanding on it."""

    def __init__(self, guest, offer, vp=0, pages=(16, 17), flag=None):
        self.guest, self.id = guest, offer.channel
        self.flag = self.id if flag is None else flag
        self.pfns = guest.many(sum(pages))
        for pfn in self.pfns:
            guest.memory.page(pfn)[:] = bytes(PAGE)
        self.gpadl = guest.gpadl(self.id, [(self.pfns, 0, PAGE * sum(pages))])
        self.out = wire.Writer(guest.memory, self.pfns[:pages[0]])
        self.into = wire.Reader(guest.memory, self.pfns[pages[0]:])
        body = message(wire.OPEN, self.id, 0x5eed, self.gpadl, vp, pages[0], bytes(120))
        if guest.features & 3:
            body += struct.pack('<IHH', offer.connection + 0x100, self.flag, 0)
        guest.post(body)
        answer = guest.next(wire.OPEN_RESULT, guest.vp)
        expect(answer[8:] == struct.pack('<III', self.id, 0x5eed, 0), answer.hex())
        guest.channels[self.id] = self
        self.tag = 0
        self.answers, self.pushes = {}, []
        self.wanted = set()

    def close(self):
        guest = self.guest
        guest.post(message(wire.CLOSE, self.id))
        guest.teardown(self.id, self.gpadl)
        guest.free += self.pfns
        del guest.channels[self.id]

    def put(self, data):
        clock = Clock()
        while True:
            signal = self.out.put(data)
            if signal is not None:
                break
            clock.check('room in the ring')
            self.take_all()
            self.guest.listen(clock.left())
        if signal:
            self.guest.signal(self)

    def take_all(self):
        while True:
            self.into.mask()
            data = self.into.get()
            if data is None:
                if self.into.listen():
                    break
                continue
            got = wire.Packet(data)
            if got.kind == wire.COMPLETION:
                expect(got.transaction in self.wanted, f'a completion of {got.transaction:#x}')
                expect(not got.wanted and data[2:4] == b'\2\0', f'a completion like {data.hex()}')
                self.wanted.remove(got.transaction)
                self.answers[got.transaction] = got.payload
            else:
                expect(got.kind == wire.IN_BAND and not got.wanted, f'a packet {data.hex()}')
                self.pushes.append(got.payload)
        if self.into.owed:
            self.into.owed = False
            self.guest.signal(self)

    def wait(self, transaction):
        clock = Clock()
        self.take_all()
        while transaction not in self.answers:
            clock.check(f'the completion of {transaction:#x}')
            self.guest.listen(clock.left())
            self.take_all()
        return self.answers.pop(transaction)

    # ---- echo ----

    def send(self, op, length, data=b'', ranges=None, transaction=None):
        """Sends a request; its transaction."""
        self.tag += 1
        payload = struct.pack('<IIQ', op, length, self.tag) + data
        transaction = self.tag << 40 | 0x8000000000000001 if transaction is None else transaction
        self.wanted.add(transaction)
        if ranges:
            self.put(wire.gpa_direct(transaction, payload, ranges))
        else:
            self.put(wire.packet(wire.IN_BAND, transaction, payload, True))
        return transaction

    def request(self, op, length, data=b'', ranges=None):
        """(status, data) of a request's answer."""
        payload = self.wait(self.send(op, length, data, ranges))
        again, status, tag = struct.unpack_from('<IIQ', payload)
        expect((again, tag) == (op, self.tag), f'an answer to something else: {payload.hex()}')
        return status, payload[16:]
