# SPDX-License-Identifier: MIT
"""Everything that a guest can do to a host across a socket. Each act takes the socket's path and a
source of chance, ends by itself, and raises Violation if the host did not answer as it must."""

import os
import socket
import struct
import time

import wire
from guest import HIGH, HIGH_SIZE, LOW, LOW_SIZE, Channel, Guest
from wire import PAGE, expect, message

INVALID_PARAMETER = 0xc000000d
ECHO = 1
MOST_GPADLS, MOST_GPADL_PAGES = 8192, 4194304


def bare(path):
    """A connection without a word."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path)
    return wire.Link(sock)


def contacted(path, version=wire.V5_3):
    guest = Guest(path).join()
    guest.contact(version)
    return guest


def opened(path, version=wire.V5_3):
    """A guest whose first channel echoes."""
    guest = contacted(path, version)
    channel = Channel(guest, guest.offers()[0])
    works(channel)
    return guest, channel


def works(channel, data=b'still here'):
    expect(channel.request(ECHO, len(data), data) == (0, wire.padded(data)), 'no echo')


def refused(link, op):
    """The host names the op that was wrong, and hangs up."""
    while True:
        got, data, _ = link.receive()
        if got != wire.MESSAGE:
            break
    expect(got == wire.ERROR, f'{got:#x} for a violation')
    status, which = struct.unpack_from('<II', data, 8)
    expect((status, which) == (INVALID_PARAMETER, op), f'ERROR {status:#x} for op {which:#x}')
    expect(data[16:].decode() and link.receive()[0] == 0, 'no end after a violation')


# ---- frames ----

def header(op, flags, size, body=b''):
    return struct.pack('<HHI', op, flags, size) + body


HELLO_BODY = struct.pack('<IIQ', 1, 1, 0)
FRAMES = (  # (the op that is named, the packet)
    *((0, bytes(count)) for count in range(1, 8)),
    (0, header(0, 0, 8)), (6, header(6, 0, 8)), (0xffff, header(0xffff, 0, 8)),
    (wire.HELLO_ACK, header(wire.HELLO_ACK, 0, 24, bytes(16))),
    (wire.MESSAGE, header(wire.MESSAGE, 0, 24, bytes(16))), (wire.ERROR, header(wire.ERROR, 0, 8)),
    (wire.RESET, header(wire.RESET, 1, 8)), (wire.RESET, header(wire.RESET, 0, 0)),
    (wire.RESET, header(wire.RESET, 0, 7)), (wire.RESET, header(wire.RESET, 0, 9)),
    (wire.RESET, header(wire.RESET, 0, 0xffffffff)), (wire.RESET, header(wire.RESET, 0, 16, bytes(8))),
    (wire.POST, header(wire.POST, 0, 12, bytes(4))),
    (wire.POST, header(wire.POST, 0, 16 + 241, struct.pack('<II', 1, 1) + bytes(241))),
    (wire.POST, header(wire.POST, 0, 4096, struct.pack('<II', 1, 1) + bytes(4080))),
    (wire.POST, header(wire.POST, 0, 4097, struct.pack('<II', 1, 1) + bytes(4081))),
    (wire.POST, header(wire.POST, 0, 65536, struct.pack('<II', 1, 1) + bytes(65520))),
    (wire.MEMORY, header(wire.MEMORY, 0, 31, bytes(23))),
    (wire.SYNIC, header(wire.SYNIC, 0, 33, bytes(25))),
    (wire.HELLO, header(wire.HELLO, 0, 24, HELLO_BODY)))


def malformed_frames(path, _):
    for op, frame in FRAMES:
        guest = Guest(path).join()
        guest.link.send_raw(frame)
        refused(guest.link, op)
        guest.leave()


def malformed_greetings(path, _):
    for op, frame in ((wire.RESET, header(wire.RESET, 0, 8)), (0, b'\1'),
                      (wire.HELLO, header(wire.HELLO, 0, 23, HELLO_BODY[:15])),
                      (wire.HELLO, header(wire.HELLO, 0, 32, HELLO_BODY + bytes(8))),
                      (wire.HELLO, header(wire.HELLO, 0, 24, struct.pack('<IIQ', 1, 0, 0))),
                      (wire.HELLO, header(wire.HELLO, 0, 24, struct.pack('<IIQ', 1, 65, 0))),
                      (wire.HELLO, header(wire.HELLO, 0, 24, struct.pack('<IIQ', 1, 1, 1 << 63)))):
        link = bare(path)
        link.send_raw(frame)
        refused(link, op)
        link.close()
    link = bare(path)
    link.send(wire.HELLO, struct.pack('<IIQ', 0xffffffff, 1, 0))
    expect(struct.unpack_from('<II', link.receive()[1], 8) == (1, 0xc00000bb), 'that version')
    expect(link.receive()[0] == 0, 'no end after a version that is not spoken')
    link.close()


# ---- descriptors ----

def descriptors_where_none_belong(path, _):
    pipe = os.pipe()
    for op, body, counts in ((wire.POST, struct.pack('<II', 1, 1) + message(3), (1, 2, 16, 250)),
                             (wire.RESET, b'', (1, 17)),
                             (wire.MEMORY, struct.pack('<QQQ', 0x200000, PAGE, 0), (0, 2, 3, 250)),
                             (wire.SYNIC, struct.pack('<IIQQ', 1, 0, PAGE, PAGE), (0, 1, 3, 250))):
        for count in counts:
            guest = Guest(path).join()
            guest.link.send(op, body, [pipe[0]] * count)
            refused(guest.link, op)
            guest.leave()
    link = bare(path)
    link.send(wire.HELLO, HELLO_BODY, [pipe[0]] * 5)
    refused(link, wire.HELLO)
    link.close()
    for fd in pipe:
        os.close(fd)


def a_socket_in_its_own_socket(path, _):
    """What the kernel must collect: a connection that is in flight within itself."""
    for _ in range(20):
        link = bare(path)
        link.send_raw(header(wire.HELLO, 0, 24, HELLO_BODY), [link.sock.fileno()] * 3)
        link.close()


# ---- memory ----

def bad_files(scratch):
    size = 1 << 20
    plain = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.unlink(scratch)
    os.ftruncate(plain, size)
    yield plain
    read_only = wire.new_file(size)
    yield os.open(f'/proc/self/fd/{read_only}', os.O_RDONLY)
    os.close(read_only)
    yield wire.new_file(size, 0)
    yield wire.new_file(size, 4)       # against growing
    yield wire.new_file(size, 2 | 8)   # and against writing
    yield wire.new_file(size, 2 | 16)  # and against writing from now on
    yield wire.new_file(size - 1)
    yield wire.new_file(0)
    try:
        huge = os.memfd_create('huge', os.MFD_ALLOW_SEALING | 4)
        os.ftruncate(huge, 2 << 20)
        yield huge
    except OSError:
        pass  # no huge pages here
    yield os.eventfd(0)
    yield os.open('/dev/null', os.O_RDWR)
    yield os.open('/', os.O_RDONLY)
    yield os.open('/', os.O_PATH)
    yield socket.socket(socket.AF_UNIX).detach()


def files_that_could_kill_the_host(path, chance):
    guest = Guest(path).join()
    where = 0x80000000
    for file in bad_files(f'{path}.{os.getpid()}.{chance.random()}'):
        expect(guest.show(where, 1 << 20, 0, file) == INVALID_PARAMETER, 'that file was taken')
        os.close(file)
    expect(guest.show(where, 1 << 62, 0) == INVALID_PARAMETER, 'that much memory was taken')
    expect(guest.show(where, 65 << 30, 0) == INVALID_PARAMETER, 'that much memory was taken')
    guest.contact(wire.V5_3)
    guest.leave()


def ranges_that_cannot_be(path, _):
    top = (1 << 64) - PAGE
    for gpa, size, offset in ((LOW, PAGE, 0), (HIGH + HIGH_SIZE - PAGE, PAGE, 0),
                              (HIGH - PAGE, 2 * PAGE, 0), (top, 2 * PAGE, 0), (top, PAGE, top),
                              (0x80000000, 0, 0), (0x80000001, PAGE, 0), (0x80000000, 100, 0),
                              (0x80000000, PAGE, 8)):
        guest = Guest(path).join()
        guest.link.send(wire.MEMORY, struct.pack('<QQQ', gpa, size, offset), [guest.file])
        refused(guest.link, wire.MEMORY)
        guest.leave()
    guest = Guest(path).join()
    for number in range(62):
        expect(guest.show(0x80000000 + 2 * PAGE * number, PAGE, 0) == 0, 'a range refused')
    guest.link.send(wire.MEMORY, struct.pack('<QQQ', 0x90000000, PAGE, 0), [guest.file])
    refused(guest.link, wire.MEMORY)
    guest.leave()


def memory_with_holes(path, _):
    """Pages go while the host uses them: they read as zeros, and that is all."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    guest, channel = opened(path)
    try:
        for _ in range(20):
            libc.fallocate(guest.file, 3, ctypes.c_long(0), ctypes.c_long(LOW_SIZE + HIGH_SIZE))
            channel.guest.signal(channel)
            channel.out.put(wire.packet(wire.IN_BAND, 1, bytes(64), True))
    except wire.Violation:
        pass  # our own indices went with the pages
    guest.leave()


# ---- floods ----

def a_flood_of_messages(path, chance):
    """Nothing of it is answered, or it is not read."""
    guest = contacted(path)
    for number in range(6000):
        guest.post(message(number % 40, chance.randbytes(number % 200)))
    guest.leave()


def requests_of_offers_without_end(path, _):
    guest = contacted(path)
    for _ in range(2000):
        guest.post(message(wire.REQUEST_OFFERS))
    expect(len(guest.offers()) >= 1, 'no offers')
    guest.contact(wire.V5_3)
    guest.nothing_more()
    guest.leave()


def contacts_that_nobody_reads(path, _):
    guest = Guest(path).join()
    guest.link.sock.settimeout(0.5)
    contact = message(wire.CONTACT, wire.V5_3, 0, bytes(24))
    body = struct.pack('<II', 1, 1) + contact
    try:
        for _ in range(5000):
            guest.link.send(wire.POST, body)
    except TimeoutError:
        pass  # the host reads no more before its answers are
    guest.leave()


def gpadls_without_end(path, _):
    guest = contacted(path)
    guest.offers()
    outcomes = []

    def answer():
        payload = guest.next(wire.GPADL_CREATED)
        outcomes.append(struct.unpack_from('<I', payload, 16)[0])

    count = MOST_GPADLS + 200
    for number in range(count):
        for part in wire.gpadl_messages(1, number + 1, [((1,), 0, PAGE)]):
            guest.post(part)
        if number >= 100:
            answer()
    for _ in range(100):
        answer()
    expect(sorted(outcomes) == [0] * MOST_GPADLS + [wire.FAILURE] * 200, 'another number of GPADLs')
    guest.contact(wire.V5_3)
    guest.offers()
    guest.gpadl(1, [((1,), 0, PAGE)])
    guest.leave()


def gpadls_that_are_never_finished(path, _):
    """What a header announces counts at once."""
    guest = contacted(path)
    guest.offers()
    first = struct.pack('<26Q', *range(26))
    pages = 8190
    for number in range(MOST_GPADL_PAGES // (pages + 1) + 2):
        guest.post(message(wire.GPADL_HEADER, 1, number + 1, struct.pack('<HH', 8 + 8 * pages, 1),
                           struct.pack('<II', PAGE * pages, 0), first))
    expect(struct.unpack_from('<II', guest.next(wire.GPADL_CREATED), 12)[1] == wire.FAILURE,
           'more pages than the limit')
    guest.leave()


def a_flood_of_signals(path, _):
    guest, channel = opened(path)
    signals = guest.memory.page(guest.pages[0][1])
    for number in range(5000):
        signals[:256] = b'\xff' * 256
        if number % 7 == 0:
            signals[256:] = b'\xff' * (PAGE - 256)
        os.eventfd_write(guest.to_host, 1 + number)
    works(channel)
    guest.leave()


def resets_without_end(path, _):
    """Twenty of them under way at a time: who sends on and reads nothing waits for himself."""
    guest = contacted(path)
    guest.offers()
    sent = done = 0
    while done < 200:
        if sent < 200 and sent - done < 20:
            guest.link.send(wire.RESET)
            guest.post(message(wire.CONTACT, wire.V5_3, 0, bytes(24)))
            sent += 1
            continue
        op, _, _ = guest.link.receive()
        expect(op in (wire.RESET_DONE, wire.MESSAGE), f'{op:#x} for a reset')
        done += op == wire.RESET_DONE
    guest.leave()


def posts_to_nowhere(path, _):
    guest = contacted(path)
    for number in range(500):
        guest.post(message(3), 0xffffff - number)
        got, data, _ = guest.link.receive()
        expect(got == wire.ERROR and struct.unpack_from('<II', data, 8) == (0x12, wire.POST),
               f'{got:#x} for a post to nowhere')
    guest.leave()


# ---- eventfds ----

def full_and_blocking_eventfds(path, _):
    guest = Guest(path)
    os.close(guest.to_host)
    for fd in guest.to_guest:
        os.close(fd)
    guest.to_host = os.eventfd(0, 0)
    guest.to_guest = [os.eventfd(0, 0) for _ in range(guest.vps)]
    guest.join()

    def fill():
        for fd in (guest.to_host, *guest.to_guest):
            os.set_blocking(fd, False)
            wire.drain(fd)
            os.eventfd_write(fd, 0xfffffffffffffffe)
            os.set_blocking(fd, True)

    fill()
    guest.contact(wire.V5_3)
    offer = guest.offers()[0]
    channel = Channel(guest, offer)
    fill()  # a guest that listens has drained them
    for number in range(50):
        # The bell cannot be rung for us to hear, nor by us; the rings are looked at all the same.
        wire.set_flag(guest.memory.page(guest.pages[0][1]), channel.id)
        channel.out.put(wire.packet(wire.IN_BAND, number + 1,
                                    struct.pack('<IIQ', ECHO, 0, number), True))
    guest.leave()


def one_eventfd_for_every_vp(path, _):
    """Which is allowed."""
    guest = Guest(path)
    os.close(guest.to_guest[1])
    guest.to_guest[1] = os.dup(guest.to_guest[0])
    guest.join()
    guest.contact(wire.V5_3)
    works(Channel(guest, guest.offers()[0], 1))
    guest.leave()


def one_eventfd_for_both_directions(path, _):
    """Whoever drains it may keep the host from hearing: that is the guest's own loss."""
    guest = Guest(path)
    for fd in guest.to_guest:
        os.close(fd)
    guest.to_guest = [os.dup(guest.to_host) for _ in range(guest.vps)]
    guest.join()
    guest.contact(wire.V5_3)
    channel = Channel(guest, guest.offers()[0])
    for _ in range(50):
        channel.send(ECHO, 0)
        guest.listen(0)
    guest.leave()


def no_eventfds(path, _):
    others = (os.memfd_create('none'), *os.pipe(), os.open('/dev/null', os.O_RDWR),
              os.open('/dev/zero', os.O_RDONLY))
    for fd in others:
        for fds in ((fd, fd), (os.eventfd(0), fd), (fd, os.eventfd(0))):
            guest = Guest(path, 1, 2).join()
            guest.link.send(wire.SYNIC, struct.pack('<IIQQ', 1, 0, PAGE, PAGE), fds)
            refused(guest.link, wire.SYNIC)
            guest.leave()
            for each in set(fds) - {fd}:
                os.close(each)
    for fd in others:
        os.close(fd)


# ---- rings ----

def forged_completions(path, chance):
    guest, channel = opened(path)
    for number in range(300):
        channel.put(wire.packet(wire.COMPLETION, (0, 1, 2 ** 64 - 1, number,
                                                  chance.getrandbits(64))[number % 5],
                                chance.randbytes(number % 100)))
    works(channel)
    guest.leave()


def rings_that_lie(path, chance):
    """Each corruption is final for its ring; the next channel is opened anew."""
    guest = contacted(path)
    for _ in range(12):
        channel = Channel(guest, guest.offers()[0])
        works(channel)
        control = (channel.out, channel.into)[chance.randrange(2)].control
        control[chance.randrange(4)] = chance.choice(
            (channel.out.size, 0xffffffff, 4, 8, channel.out.size - 8, chance.getrandbits(32)))
        if chance.random() < 0.5:
            channel.out.store(0, chance.randbytes(channel.out.size))
            channel.out.control[0] = chance.randrange(channel.out.size) & ~7
        guest.signal(channel)
        if chance.random() < 0.5:
            time.sleep(0.005)
        guest.contact(wire.V5_3)
        guest.channels.clear()
        guest.free += channel.pfns
    guest.leave()


def packets_of_chance(path, chance):
    guest, channel = opened(path)
    for number in range(300):
        length = 2 + chance.randrange(8)
        data = struct.pack('<HHHHQ', chance.choice((6, 7, 9, 11)), 2 + chance.randrange(length - 1),
                           length, chance.randrange(2), number) + chance.randbytes(8 * length - 16)
        try:
            if channel.out.put(data):
                guest.signal(channel)
        except wire.Violation:
            break
    guest.leave()


def rings_in_the_pages_of_signals(path, chance):
    """Memory of the guest's that means several things at once."""
    guest = contacted(path)
    offer = guest.offers()[0]
    guest.free += [pfn for pair in guest.pages for pfn in pair][::-1]
    try:
        channel = Channel(guest, offer, 0, (2, 2))
        for _ in range(200):
            channel.out.store(0, chance.randbytes(64))
            guest.signal(channel)
    except wire.Violation:
        pass  # OPEN may be refused: the rings' indices are flags
    guest.leave()


# ---- silence and death ----

def silence_at_every_step(path, _):
    """Said so far, and no more; the connections stay for a while."""
    links = [bare(path)]
    for words in range(3):
        guest = Guest(path)
        guest.hello()
        if words > 0:
            guest.show(LOW, LOW_SIZE, 0)
        if words > 1:
            guest.show(HIGH, HIGH_SIZE, LOW_SIZE)
            guest.synic(0)
            guest.post(message(wire.CONTACT, wire.V5_3, 0, bytes(24)))
            guest.post(message(wire.REQUEST_OFFERS))
        links.append(guest.link)
    time.sleep(0.05)
    for link in links:
        link.close()


def death_at_every_step(path, _):
    for step in range(12):
        link = bare(path)
        if step == 0:
            link.close()
            continue
        link.close()
        guest = Guest(path)
        steps = (guest.hello, lambda: guest.show(LOW, LOW_SIZE, 0),
                 lambda: guest.show(HIGH, HIGH_SIZE, LOW_SIZE), lambda: guest.synic(0),
                 lambda: guest.synic(1), lambda: guest.contact(wire.V5_3), guest.offers,
                 lambda: guest.gpadl(1, [((1,), 0, PAGE)]),
                 lambda: guest.post(next(wire.gpadl_messages(1, 9, [(range(1, 60), 0, 59 * PAGE)]))),
                 lambda: guest.post(message(wire.OPEN, 1, 1, guest.gpadls, 0, 2, bytes(120))),
                 lambda: guest.link.send(wire.RESET))
        for each in steps[:step]:
            each()
        guest.leave()


def death_in_full_traffic(path, chance):
    for _ in range(5):
        guest, channel = opened(path)
        pfns = guest.many(8)
        for number in range(chance.randrange(1, 40)):
            try:
                channel.send(5, 8 * PAGE, b'', [(pfns, 0, 8 * PAGE)])
                channel.send(7, 1000)
            except TimeoutError:
                break
        guest.leave()


ACTS = (malformed_frames, malformed_greetings, descriptors_where_none_belong,
        a_socket_in_its_own_socket, files_that_could_kill_the_host, ranges_that_cannot_be,
        memory_with_holes, a_flood_of_messages, requests_of_offers_without_end,
        contacts_that_nobody_reads, gpadls_without_end, gpadls_that_are_never_finished,
        a_flood_of_signals, resets_without_end, posts_to_nowhere, full_and_blocking_eventfds,
        one_eventfd_for_every_vp, one_eventfd_for_both_directions, no_eventfds, forged_completions, rings_that_lie,
        packets_of_chance, rings_in_the_pages_of_signals, silence_at_every_step,
        death_at_every_step, death_in_full_traffic)
