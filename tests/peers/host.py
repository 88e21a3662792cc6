# SPDX-License-Identifier: MIT
"""A host that speaks vmbus-user and VMBus by itself, and serves the echo protocol to one guest."""

import collections
import hashlib
import os
import socket
import stat
import struct
import uuid

import wire
from guest import ECHO_TYPE
from wire import PAGE, expect, message

ECHO, SUM, SINK, STATS, FILL, GPADL_SUM, PUSH = range(1, 8)
INVALID_PARAMETER = 0xc000000d
CONNECTION_ID = 1  # what VERSION_RESPONSE says from 5.0 on
STATES = CLOSED, OPEN, RESCINDED = range(3)


class Listener:
    """Bound under another name, so that a path that exists accepts."""

    def __init__(self, path):
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.bind(path + '.new')
        os.chmod(path + '.new', 0o600)
        self.sock.listen()
        os.rename(path + '.new', path)
        self.sock.settimeout(wire.PATIENCE)

    def accept(self):
        return wire.Link(self.sock.accept()[0])

    def close(self):
        self.sock.close()
        os.unlink(self.path)


class Channel:
    """One of the channels offered: its rings while it is open, and the echo device behind it."""

    def __init__(self, host, number):
        self.host, self.id = host, number
        self.instance = uuid.UUID(int=0xe0 + number - 1)
        self.state = CLOSED
        self.queue = collections.deque()
        self.sunk = [0, 0]
        self.served = collections.Counter()
        self.opens = 0

    def offer(self):
        early = self.host.version < wire.V2_4
        return message(wire.OFFER, ECHO_TYPE.bytes_le, self.instance.bytes_le, bytes(16),
                       struct.pack('<HH', 0, 0), bytes(120), struct.pack('<HH', 0, 0), self.id,
                       struct.pack('<BBHI', 0xff, 0, 1, 0x2000 + self.id))[:190 if early else 196] \
            + (struct.pack('<HI', 1, 0x2000 + self.id) if early else b'')

    def open(self, body):
        opening, ring, vp, split = struct.unpack_from('<IIII', body, 12)
        expect(self.state != OPEN and ring in self.host.gpadls, 'an open that cannot be')
        _, ranges = self.host.gpadls[ring]
        pfns, offset, size = ranges[0]
        expect(len(ranges) == 1 and not offset and size == PAGE * len(pfns), 'that ring')
        expect(len(body) == (156 if self.host.features & 3 else 148), 'an OPEN of that size')
        self.flag = struct.unpack_from('<H', body, 152)[0] if self.host.features & 1 else self.id
        self.vp = vp if self.host.version >= wire.V2_4 else 0
        self.into = wire.Reader(self.host.memory, pfns[:split])
        self.out = wire.Writer(self.host.memory, pfns[split:])
        self.state = OPEN
        self.opens += 1
        self.sunk = [0, 0]
        self.queue.clear()
        self.host.tell(message(wire.OPEN_RESULT, self.id, opening, 0))

    def close(self):
        self.state = CLOSED
        self.queue.clear()

    # ---- rings ----

    def signal(self):
        self.host.signal(self)

    def send(self, data):
        self.queue.append(data)
        self.flush()

    def flush(self):
        while self.queue:
            signal = self.out.put(self.queue[0])
            if signal is None:
                return
            self.queue.popleft()
            if signal:
                self.signal()

    def service(self):
        """Everything that lies in the ring; at most so much waits for room."""
        self.flush()
        while len(self.queue) < 2000:
            self.into.mask()
            data = self.into.get()
            if data is None and self.into.listen():
                break
            if data is not None:
                self.take(wire.Packet(data))
        if self.into.owed:
            self.into.owed = False
            self.signal()
        self.flush()

    def take(self, packet):
        expect(packet.kind in (wire.IN_BAND, wire.GPA_DIRECT), f'a packet {packet.data.hex()}')
        expect(len(packet.payload) >= 16, 'a request cut short')
        op, length, tag = struct.unpack_from('<IIQ', packet.payload)
        self.served[op] += 1
        status, answer = self.serve(op, length, tag, packet)
        if packet.wanted:
            self.complete(packet.transaction, struct.pack('<IIQ', op, status, tag) + answer)

    def complete(self, transaction, payload):
        self.send(wire.packet(wire.COMPLETION, transaction, payload))

    # ---- echo ----

    def external(self, packet, length):
        """[(pfns, offset, size)] of at least so many bytes."""
        expect(packet.kind == wire.GPA_DIRECT and packet.wanted, 'external data for that')
        count = struct.unpack_from('<I', packet.extra, 4)[0]
        ranges, _ = wire.parse_ranges(packet.extra[8:], count)
        expect(sum(size for _, _, size in ranges) >= length, 'external data that is too short')
        return ranges

    def serve(self, op, length, tag, packet):
        data = packet.payload[16:]
        memory = self.host.memory
        if op == ECHO and length <= len(data) and length <= 8192:
            return 0, data[:length]
        if op == SUM:
            ranges = self.external(packet, length) if length else []
            whole = b''.join(memory.gather(*each) for each in ranges)
            return 0, hashlib.sha256(whole[:length]).digest()
        if op == SINK and length <= len(data):
            self.sunk[0] += 1
            self.sunk[1] += length
            return 0, b''
        if op == STATS:
            sunk, self.sunk = self.sunk, [0, 0]
            return 0, struct.pack('<QQ', *sunk)
        if op == FILL:
            done = 0
            for pfns, offset, size in self.external(packet, length) if length else []:
                size = min(size, length - done)
                memory.scatter(pfns, offset, bytes((tag + done + i) & 0xff for i in range(size)))
                done += size
            return 0, b''
        if op == GPADL_SUM:
            gpadl, offset = struct.unpack_from('<II', data)
            channel, ranges = self.host.gpadls[gpadl]
            expect(channel == self.id, 'the GPADL of another channel')
            whole = b''.join(memory.gather(*each) for each in ranges)
            expect(offset + length <= len(whole), 'more than the GPADL')
            return 0, hashlib.sha256(whole[offset:offset + length]).digest()
        if op == PUSH and 1 <= length <= 1000:
            for number in range(length):
                self.send(wire.packet(wire.IN_BAND, 0, struct.pack('<QQ', number, tag) + bytes(48)))
            return 0, b''
        return INVALID_PARAMETER, b''


class Host:
    """The host of one guest. It speaks one version, and of 6.0 the features given."""

    def __init__(self, link, version=wire.V6_0, channels=2, features=0):
        self.link, self.speaks, self.can = link, version, features
        self.memory = wire.Memory()
        self.maps, self.fds = [], []
        self.vps = {}
        self.channels = {number: Channel(self, number) for number in range(1, channels + 1)}
        self.version, self.features = None, 0
        self.incomplete, self.gpadls = {}, {}
        self.tried, self.released = [], []
        self.gone = False
        self.interrupts = None
        self.unloads = 0
        self.heard = set()

    # ---- the socket ----

    def hello(self):
        op, data, fds = self.link.receive()
        expect(op == wire.HELLO and len(data) == 24 and not fds, f'no HELLO but {data!r}')
        version, self.vp_count, features = struct.unpack_from('<IIQ', data, 8)
        expect(version == 1 and 1 <= self.vp_count <= 64 and not features, 'that HELLO')
        self.link.send(wire.HELLO_ACK, struct.pack('<IIII', 1, 0, len(self.channels), 0))
        return self

    def show(self, data, fds):
        gpa, size, offset = struct.unpack_from('<QQQ', data, 8)
        expect(len(data) == 32 and len(fds) == 1, 'a MEMORY like that')
        expect(not (gpa | size | offset) % PAGE and size, 'a range of memory like that')
        import fcntl
        expect(fcntl.fcntl(fds[0], 1034) & 2, 'a file that can shrink')
        expect(os.fstat(fds[0]).st_size >= offset + size, 'a file that is too short')
        view = memoryview(wire.map_file(fds[0], size, offset))
        os.close(fds[0])
        self.memory.add(gpa, view)
        self.link.send(wire.MEMORY_ACK, struct.pack('<IIQ', 0, 0, gpa))

    def synic(self, data, fds):
        vp, reserved, flags, signals = struct.unpack_from('<IIQQ', data, 8)
        expect(len(data) == 32 and len(fds) == 2 and not reserved, 'a SYNIC like that')
        expect(vp < self.vp_count and vp not in self.vps, 'a VP like that')
        for fd in fds:
            expect(stat.S_IFMT(os.fstat(fd).st_mode) == 0, 'a descriptor that is no eventfd')
        self.vps[vp] = (fds[0], fds[1], self.memory.view(flags, PAGE),
                        self.memory.view(signals, PAGE))
        self.fds += fds
        self.link.send(wire.SYNIC_ACK, struct.pack('<II', 0, vp))

    def tell(self, payload, vp=None):
        self.link.send(wire.MESSAGE, struct.pack(
            '<IHHII', self.vp if vp is None else vp, 2, 0, 1, len(payload)) + payload)

    def listen(self, seconds, also=()):
        """Waits, and does what there is to do. False: nothing came."""
        bells = {fds[0] for fds in self.vps.values()}
        ready = wire.readable([self.link.sock.fileno(), *bells, *also], seconds)
        for fd in bells & ready:
            wire.drain(fd)
        for _, _, _, signals in self.vps.values():
            self.heard |= wire.take_flags(signals[:256])
        if self.interrupts is not None:
            self.heard |= wire.take_flags(self.interrupts[2048:])
        if self.link.sock.fileno() in ready:
            self.packet(*self.link.receive())
        for channel in self.channels.values():
            if channel.state == OPEN:
                channel.service()
        return bool(ready)

    def packet(self, op, data, fds):
        if op == wire.MEMORY:
            self.show(data, fds)
        elif op == wire.SYNIC:
            self.synic(data, fds)
        elif op == wire.POST:
            expect(not fds, 'a POST with descriptors')
            self.post(*struct.unpack_from('<II', data, 8), data[16:])
        elif op == wire.RESET:
            self.reset()
            self.link.send(wire.RESET_DONE)
        else:
            expect(op == 0, f'op {op:#x}')
            self.gone = True

    def reset(self):
        for channel in self.channels.values():
            channel.close()
        self.gpadls.clear()
        self.incomplete.clear()
        self.version, self.interrupts = None, None

    def serve(self, until, what, also=()):
        clock = wire.Clock()
        while not until():
            clock.check(what)
            expect(not self.gone, f'the guest left before {what}')
            self.listen(min(clock.left(), 0.05), also)

    # ---- messages ----

    def post(self, connection_id, kind, payload):
        op = struct.unpack_from('<I', payload)[0]
        expect(kind == 1 and len(payload) >= 8, f'a message {payload!r}')
        expect(connection_id == (CONNECTION_ID if self.version else connection_id) or
               connection_id in (1, 4), f'connection id {connection_id}')
        expect(op == wire.CONTACT or self.version is not None, f'message {op} before contact')
        handler = {wire.CONTACT: self.contact, wire.REQUEST_OFFERS: self.request_offers,
                   wire.GPADL_HEADER: self.gpadl_header, wire.GPADL_BODY: self.gpadl_body,
                   wire.GPADL_TEARDOWN: self.gpadl_teardown, wire.OPEN: self.open,
                   wire.CLOSE: self.close, wire.RELID_RELEASED: self.release,
                   wire.UNLOAD: self.unload, wire.MODIFY: self.modify}.get(op)
        expect(handler, f'message {op}')
        handler(payload)

    def contact(self, body):
        version, vp, word = struct.unpack_from('<IIQ', body, 8)
        self.tried.append(version)
        self.vp = vp if version >= wire.V3_0 else 0
        self.reset()
        if version != self.speaks:
            self.tell(message(wire.VERSION_RESPONSE, bytes(8)))
            return
        self.version = version
        if version < wire.V2_4 and word:
            self.interrupts = self.memory.view(word, PAGE)
        self.features = word >> 32 & self.can if version >= wire.V6_0 else 0
        self.tell(message(wire.VERSION_RESPONSE, b'\1\0\0\0',
                          CONNECTION_ID if version >= wire.V5_0 else version,
                          *([self.features] if version >= wire.V6_0 else [])))

    def request_offers(self, _):
        for channel in self.channels.values():
            if channel.state != RESCINDED:
                self.tell(channel.offer())
        self.tell(message(wire.ALL_OFFERS))

    def created(self, gpadl):
        channel, length, count, data = self.incomplete[gpadl]
        if len(data) < length:
            return
        ranges, _ = wire.parse_ranges(data[:length], count)
        del self.incomplete[gpadl]
        self.gpadls[gpadl] = (channel, ranges)
        self.tell(message(wire.GPADL_CREATED, channel, gpadl, 0))

    def gpadl_header(self, body):
        channel, gpadl, length, count = struct.unpack_from('<IIHH', body, 8)
        expect(gpadl and gpadl not in self.gpadls and gpadl not in self.incomplete,
               f'GPADL {gpadl:#x} again')
        self.incomplete[gpadl] = (channel, length, count, body[20:236])
        self.created(gpadl)

    def gpadl_body(self, body):
        gpadl = struct.unpack_from('<I', body, 12)[0]
        channel, length, count, data = self.incomplete[gpadl]
        self.incomplete[gpadl] = (channel, length, count, data + body[16:])
        self.created(gpadl)

    def gpadl_teardown(self, body):
        channel, gpadl = struct.unpack_from('<II', body, 8)
        expect(self.gpadls[gpadl][0] == channel, 'a teardown for another channel')
        del self.gpadls[gpadl]
        self.tell(message(wire.GPADL_TORNDOWN, gpadl))

    def channel(self, body):
        return self.channels[struct.unpack_from('<I', body, 8)[0]]

    def open(self, body):
        self.channel(body).open(body)

    def close(self, body):
        channel = self.channel(body)
        if channel.state == OPEN:
            channel.close()

    def modify(self, body):
        channel = self.channel(body)
        channel.vp = struct.unpack_from('<I', body, 12)[0]
        if self.version >= wire.V5_3:
            self.tell(message(wire.MODIFY_RESPONSE, channel.id, 0))

    def release(self, body):
        channel = self.channel(body)
        expect(channel.state == RESCINDED, 'a release of what was not withdrawn')
        self.released.append(channel.id)
        self.gpadls = {gpadl: each for gpadl, each in self.gpadls.items() if each[0] != channel.id}
        channel.state = CLOSED

    def unload(self, _):
        self.unloads += 1
        self.tell(message(wire.UNLOAD_COMPLETE))
        self.reset()

    # ---- what a host does of itself ----

    def rescind(self, channel):
        channel.state = RESCINDED
        channel.queue.clear()
        self.tell(message(wire.RESCIND, channel.id))

    def signal(self, channel):
        _, bell, flags, _ = self.vps[channel.vp]
        shared = flags[wire.FLAGS_AT:wire.FLAGS_AT + 256]
        if self.interrupts is not None:
            wire.set_flag(self.interrupts, channel.id)
            wire.set_flag(shared, 0)
        wire.set_flag(shared, channel.flag)
        os.eventfd_write(bell, 1)

    def leave(self):
        self.link.close()
        for fd in self.fds:
            os.close(fd)
