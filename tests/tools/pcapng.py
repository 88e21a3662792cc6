# SPDX-License-Identifier: MIT
"""Captures written and read here, by docs/capture.md alone: no code of the library has a part in it."""

import struct
from dataclasses import dataclass, field

USER0 = 147
MESSAGE, PACKET, SIGNAL = 1, 2, 3
TO_SERVER, TO_CLIENT = 0, 1
SERVER, CLIENT = 0, 1
REPEATED, REFUSED, PIPE, MONITOR, SHARED = 1, 2, 4, 8, 16


def block(kind, body, order='<'):
    body += bytes(-len(body) % 4)
    length = struct.pack(order + 'I', len(body) + 12)
    return struct.pack(order + 'I', kind) + length + body + length


def option(code, value, order='<'):
    return struct.pack(order + 'HH', code, len(value)) + value + bytes(-len(value) % 4)


def section(order='<'):
    return block(0x0a0d0d0a, struct.pack(order + 'IHHq', 0x1a2b3c4d, 1, 0, -1), order)


def interface(order='<', link_type=USER0, options=None):
    if options is None:
        options = option(9, b'\x09', order)
    return block(1, struct.pack(order + 'HHI', link_type, 0, 0) + options, order)


def record(time, data, order='<', original=None, options=b'', number=0):
    original = len(data) if original is None else original
    return block(6, struct.pack(order + 'IIIII', number, time >> 32, time & 0xffffffff, len(data),
                                original) + data + bytes(-len(data) % 4) + options, order)


def statistics(dropped, order='<'):
    return block(5, struct.pack(order + 'III', 0, 0, 0) +
                 option(5, struct.pack(order + 'Q', dropped), order), order)


def header(kind, direction, by=SERVER, flags=0, sint=0, channel=0, connection_id=0, vp=0,
           event_flag=0):
    return struct.pack('<4sBBBBHBBIIIHHI', b'VMB1', 32, kind, direction, by, flags, sint, 0, channel,
                       connection_id, vp, event_flag, 0, 0)


@dataclass
class Record:
    time: int
    kind: int
    direction: int
    by: int
    flags: int
    sint: int
    channel: int
    connection_id: int
    vp: int
    event_flag: int
    body: bytes
    original: int
    lost: int
    packet_flags: int

    @property
    def message_type(self):
        return struct.unpack_from('<I', self.body)[0]


@dataclass
class Capture:
    records: list = field(default_factory=list)
    dropped: int = 0
    received: int = 0
    statistics: int = 0
    snap_length: int = 0
    options: dict = field(default_factory=dict)


def options_of(data):
    found = {}
    at = 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from('<HH', data, at)
        if code == 0:
            break
        found[code] = data[at + 4:at + 4 + size]
        assert len(found[code]) == size
        at += 4 + size + (-size % 4)
    return found


def read_record(body):
    number, high, low, kept, original = struct.unpack_from('<IIIII', body)
    assert number == 0
    data, rest = body[20:20 + kept], body[20 + kept + (-kept % 4):]
    (magic, size, kind, direction, by, flags, sint, zero, channel, connection_id, vp, event_flag,
     zero16, zero32) = struct.unpack_from('<4sBBBBHBBIIIHHI', data)
    assert (magic, size, zero, zero16, zero32) == (b'VMB1', 32, 0, 0, 0)
    found = options_of(rest)
    return Record(high << 32 | low, kind, direction, by, flags, sint, channel, connection_id, vp,
                  event_flag, data[32:], original - 32,
                  struct.unpack('<Q', found[4])[0] if 4 in found else 0,
                  struct.unpack('<I', found[2])[0])


def read(path):
    """A whole capture, every length in it checked."""
    with open(path, 'rb') as file:
        data = file.read()
    capture = Capture()
    at = 0
    kinds = []
    while at < len(data):
        kind, length = struct.unpack_from('<II', data, at)
        assert length % 4 == 0 and 12 <= length <= len(data) - at, (at, length)
        assert struct.unpack_from('<I', data, at + length - 4)[0] == length
        body = data[at + 8:at + length - 4]
        kinds.append(kind)
        if kind == 0x0a0d0d0a:
            assert struct.unpack_from('<IHHq', body) == (0x1a2b3c4d, 1, 0, -1)
        elif kind == 1:
            link_type, _, capture.snap_length = struct.unpack_from('<HHI', body)
            assert link_type == USER0
            capture.options = options_of(body[8:])
        elif kind == 6:
            capture.records.append(read_record(body))
        elif kind == 5:
            found = options_of(body[12:])
            capture.received = struct.unpack('<Q', found[4])[0]
            capture.dropped = struct.unpack('<Q', found[5])[0]
            capture.statistics += 1
        else:
            raise AssertionError(f'block of type {kind:#x} at {at}')
        at += length
    assert kinds[:2] == [0x0a0d0d0a, 1]
    return capture


def packets_of_ring(data):
    """The packets in a ring's data area, without their trailers."""
    at = 0
    while at < len(data):
        length = struct.unpack_from('<H', data, at + 4)[0] * 8
        yield data[at:at + length]
        at += length + 8


def of_vector(path):
    """A conversation of tests/vectors as a capture."""
    capture = section() + interface()
    time = 10 ** 18
    with open(path, encoding='ascii') as file:
        for line in file:
            words = line.split()
            time += 1000
            if words[0] == '>':
                head = header(MESSAGE, TO_SERVER, connection_id=int(words[1]))
                capture += record(time, head + bytes.fromhex(words[2]))
            elif words[0] == '<':
                head = header(MESSAGE, TO_CLIENT, sint=2)
                capture += record(time, head + bytes.fromhex(words[1]))
            elif words[0] == '#':
                head = header(PACKET, TO_SERVER, channel=int(words[2]))
                for packet in packets_of_ring(bytes.fromhex(words[3])):
                    capture += record(time, head + packet)
    return capture
