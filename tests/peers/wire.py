# SPDX-License-Identifier: MIT
"""VMBus over vmbus-user as the documents have it: packets of the socket, control messages, rings and
what lies in them. Written from docs/vmbus-user.md and the wire alone, for a guest and a host that
share no code with the library."""

import array
import mmap
import os
import select
import socket
import struct
import threading
import time

PAGE = 4096
PATIENCE = 60

# Packets of the socket.
HELLO, MEMORY, SYNIC, POST, RESET = 1, 2, 3, 4, 5
HELLO_ACK, MEMORY_ACK, SYNIC_ACK, MESSAGE, RESET_DONE, ERROR = 0x81, 0x82, 0x83, 0x84, 0x85, 0x8f
LARGEST = 4096

# Control messages.
OFFER, RESCIND, REQUEST_OFFERS, ALL_OFFERS = 1, 2, 3, 4
OPEN, OPEN_RESULT, CLOSE = 5, 6, 7
GPADL_HEADER, GPADL_BODY, GPADL_CREATED, GPADL_TEARDOWN, GPADL_TORNDOWN = 8, 9, 10, 11, 12
RELID_RELEASED, CONTACT, VERSION_RESPONSE, UNLOAD, UNLOAD_COMPLETE = 13, 14, 15, 16, 17
MODIFY, MODIFY_RESPONSE = 22, 24
FAILURE = 0x8000ffff

VERSIONS = (0x0000000d, 0x00010001, 0x00020004, 0x00030000, 0x00040000, 0x00040001, 0x00050000,
            0x00050001, 0x00050002, 0x00050003, 0x00060000)
V2_4, V3_0, V4_1, V5_0, V5_3, V6_0 = (0x00020004, 0x00030000, 0x00040001, 0x00050000, 0x00050003,
                                      0x00060000)

# Packets of a ring.
IN_BAND, GPA_DIRECT, COMPLETION = 6, 9, 11

SYNIC_SINT = 2
FLAGS_AT = 256 * SYNIC_SINT  # of the event flag page


class Violation(Exception):
    """The other end broke the rules."""


def expect(right, what):
    if not right:
        raise Violation(what)


_barrier = threading.Lock()


def fence():
    """Taking a lock is a full barrier wherever Python runs."""
    with _barrier:
        pass


# ---- the socket ----

class Link:
    """A connected socket: packets out, packets in."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(PATIENCE)

    def send(self, op, body=b'', fds=()):
        packet = struct.pack('<HHI', op, 0, 8 + len(body)) + body
        self.send_raw(packet, fds)

    def send_raw(self, packet, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        self.sock.sendmsg([packet], rights)

    def receive(self):
        """(op, the whole packet, descriptors); op 0: the other end has hung up."""
        try:
            packet, fds, _, _ = socket.recv_fds(self.sock, 2 * LARGEST, 16)
        except (ConnectionResetError, BrokenPipeError):
            return 0, b'', []
        if not packet:
            return 0, b'', fds
        expect(8 <= len(packet) <= LARGEST, 'a packet of that size')
        op, flags, size = struct.unpack_from('<HHI', packet)
        expect(flags == 0 and size == len(packet), 'a header that does not fit its packet')
        return op, packet, fds

    def close(self):
        self.sock.close()


# ---- memory ----

class Memory:
    """Ranges of guest memory: (gpa, size, view)."""

    def __init__(self):
        self.ranges = []

    def add(self, gpa, view):
        self.ranges.append((gpa, len(view), view))

    def view(self, gpa, size):
        for start, length, view in self.ranges:
            if start <= gpa and gpa + size <= start + length:
                return view[gpa - start:gpa - start + size]
        raise Violation(f'{size} bytes at {gpa:#x} are not in memory')

    def page(self, pfn):
        return self.view(pfn * PAGE, PAGE)

    def gather(self, pfns, offset, size):
        whole = b''.join(bytes(self.page(pfn)) for pfn in pfns)
        return whole[offset:offset + size]

    def scatter(self, pfns, offset, data):
        done = 0
        while done < len(data):
            page, at = divmod(offset + done, PAGE)
            count = min(PAGE - at, len(data) - done)
            self.page(pfns[page])[at:at + count] = data[done:done + count]
            done += count


def new_file(size, seals=2):
    """A memfd, sealed against shrinking unless told otherwise."""
    fd = os.memfd_create('guest', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seals:
        import fcntl
        fcntl.fcntl(fd, 1033, seals)  # F_ADD_SEALS
    return fd


def map_file(fd, size, offset=0):
    return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset)


def gpa_range(pfns, offset, size):
    return struct.pack('<II', size, offset) + struct.pack(f'<{len(pfns)}Q', *pfns)


def parse_ranges(data, count):
    """[(pfns, offset, size)] and how many bytes they took."""
    ranges, at = [], 0
    for _ in range(count):
        expect(at + 8 <= len(data), 'a range that is cut off')
        size, offset = struct.unpack_from('<II', data, at)
        expect(size and offset < PAGE, 'a range that cannot be')
        pages = (offset + size + PAGE - 1) // PAGE
        expect(at + 8 + 8 * pages <= len(data), 'a range with too few pages')
        ranges.append((struct.unpack_from(f'<{pages}Q', data, at + 8), offset, size))
        at += 8 + 8 * pages
    return ranges, at


# ---- flags ----

def set_flag(view, flag):
    """No atomic OR, and none is needed of one who alone sets flags: what the other end takes in
    between is set again, and a flag too many does no harm."""
    view[flag // 8] |= 1 << flag % 8


def take_flags(view):
    """Flags set, cleared. One that is set in between may go unnoticed, so that every ring is looked
    at afterwards; its bell is heard all the same."""
    flags = set()
    for at, byte in enumerate(bytes(view)):
        if byte:
            view[at] = 0
            flags.update(8 * at + bit for bit in range(8) if byte >> bit & 1)
    fence()
    return flags


# ---- rings ----

class Ring:
    def __init__(self, memory, pfns):
        self.control = memory.page(pfns[0]).cast('I')
        self.pages = [memory.page(pfn) for pfn in pfns[1:]]
        self.size = PAGE * len(self.pages)

    def used(self, first, last):
        return (last - first) % self.size

    def check(self, index, what):
        expect(index < self.size and index % 8 == 0, f'{what} is {index:#x}')
        return index

    def load(self, at, count):
        parts = []
        while count:
            page, offset = divmod(at % self.size, PAGE)
            part = min(count, PAGE - offset)
            parts.append(bytes(self.pages[page][offset:offset + part]))
            at += part
            count -= part
        return b''.join(parts)

    def store(self, at, data):
        done = 0
        while done < len(data):
            page, offset = divmod((at + done) % self.size, PAGE)
            part = min(len(data) - done, PAGE - offset)
            self.pages[page][offset:offset + part] = data[done:done + part]
            done += part


class Writer(Ring):
    def __init__(self, memory, pfns):
        super().__init__(memory, pfns)
        self.at = self.check(self.control[0], 'in')
        self.control[16] = 1
        self.control[3] = 0

    def fits(self, total):
        out = self.check(self.control[1], 'out')
        return total <= self.size - 8 - self.used(out, self.at)

    def put(self, packet):
        """None: no room, and the reader has been asked to tell of it. Else whether to signal."""
        total = len(packet) + 8
        expect(total <= self.size - 16, 'a packet larger than the ring')
        if not self.fits(total):
            self.control[3] = total
            fence()
            if not self.fits(total):
                return None
        self.control[3] = 0
        self.store(self.at, packet + struct.pack('<II', 0, self.at))
        old, self.at = self.at, (self.at + total) % self.size
        fence()
        self.control[0] = self.at
        fence()
        return self.control[2] == 0 and self.control[1] == old


class Reader(Ring):
    def __init__(self, memory, pfns):
        super().__init__(memory, pfns)
        self.at = self.check(self.control[1], 'out')
        self.owed = False  # a signal: the writer has got the room that it waits for

    def get(self):
        """The next packet without its trailer, or None."""
        available = self.used(self.at, self.check(self.control[0], 'in'))
        if not available:
            return None
        expect(available >= 24, 'a part of a packet')
        length = 8 * struct.unpack_from('<H', self.load(self.at, 8), 4)[0]
        expect(16 <= length <= available - 8, f'a packet of {length} bytes')
        packet = self.load(self.at, length)
        trailer = struct.unpack('<II', self.load(self.at + length, 8))
        expect(trailer == (0, self.at), f'trailer {trailer} of a packet at {self.at:#x}')
        self.release(length + 8)
        return packet

    def release(self, total):
        old, self.at = self.at, (self.at + total) % self.size
        self.control[1] = self.at
        fence()
        pending = self.control[3]
        last = self.check(self.control[0], 'in')
        before, after = (self.size - 1 - self.used(out, last) for out in (old, self.at))
        if pending and before < pending <= after:
            self.owed = True

    def listen(self):
        """Unmasked; True: sleep, nothing came meanwhile."""
        self.control[2] = 0
        fence()
        return self.control[0] == self.at

    def mask(self):
        self.control[2] = 1


def padded(data):
    return data + bytes(-len(data) % 8)


def packet(kind, transaction, payload, wanted=False, extra=b''):
    payload = padded(payload)
    start = 16 + len(extra)
    return struct.pack('<HHHHQ', kind, start // 8, (start + len(payload)) // 8, int(wanted),
                       transaction) + extra + payload


def gpa_direct(transaction, payload, ranges):
    extra = struct.pack('<II', 0, len(ranges)) + b''.join(gpa_range(*each) for each in ranges)
    return packet(GPA_DIRECT, transaction, payload, True, extra)


class Packet:
    def __init__(self, data):
        self.data = data
        self.kind, start, length, flags, self.transaction = struct.unpack_from('<HHHHQ', data)
        expect(2 <= start <= length and 8 * length == len(data), 'a descriptor that cannot be')
        expect(flags in (0, 1), f'flags {flags:#x}')
        self.wanted = bool(flags)
        self.extra = data[16:8 * start]
        self.payload = data[8 * start:]


# ---- control messages ----

def message(kind, *parts):
    return struct.pack('<II', kind, 0) + b''.join(
        part if isinstance(part, bytes) else struct.pack('<I', part) for part in parts)


def gpadl_messages(channel, gpadl, ranges):
    """HEADER and BODYs for [(pfns, offset, size)]."""
    data = b''.join(gpa_range(*each) for each in ranges)
    first, rest = data[:27 * 8], data[27 * 8:]
    yield message(GPADL_HEADER, channel, gpadl, struct.pack('<HH', len(data), len(ranges)), first)
    while rest:
        yield message(GPADL_BODY, 0, gpadl, rest[:28 * 8])
        rest = rest[28 * 8:]


def version_name(version):
    return f'{version >> 16}.{version & 0xffff}'


def readable(fds, seconds):
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll(max(0, seconds) * 1000)}


def drain(fd):
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        pass


class Clock:
    """Bounds a wait."""

    def __init__(self, seconds=PATIENCE):
        self.end = time.monotonic() + seconds

    def left(self):
        return self.end - time.monotonic()

    def check(self, what):
        if self.left() <= 0:
            raise TimeoutError(f'in vain: {what}')
