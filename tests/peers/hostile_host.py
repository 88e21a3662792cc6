# SPDX-License-Identifier: MIT
"""Everything that a host can do to a guest across a socket. Each act takes a listener to which a
guest of the library's comes, a way to command that guest, and a source of chance; the guest is then
expected to find the next host."""

import fcntl
import os
import struct

import wire
from host import ECHO, OPEN, Host
from wire import PAGE, expect, message


class Slow(Host):
    """Completes nothing before it is told to."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.waiting = []
        for channel in self.channels.values():
            channel.complete = lambda transaction, payload, channel=channel: \
                self.waiting.append((channel, transaction, payload))

    @staticmethod
    def send(waiting):
        for channel, transaction, payload in waiting:
            channel.send(wire.packet(wire.COMPLETION, transaction, payload))


def come(listener, kind=Host):
    return kind(listener.accept(), wire.V5_3, 2).hello()


def all_open(host):
    host.serve(lambda: all(channel.state == OPEN for channel in host.channels.values()),
               'both channels to be opened')
    return host


def both_run(host, tell):
    expect(tell(host, 'wait 2') == 'ok', 'both devices')


def works(host, tell):
    both_run(host, tell)
    expect(tell(host, f'run 0 {ECHO} 100 4 1000 1 9').startswith('0 0 10 1000 0 '), 'no echo')


# ---- shaking hands ----

def header(op, flags, size, body=b''):
    return struct.pack('<HHI', op, flags, size) + body


FRAMES = (b'\1', b'\1\2\3\4\5\6\7', header(wire.MESSAGE, 0, 8), header(wire.MESSAGE, 1, 24, bytes(16)),
          header(wire.MESSAGE, 0, 25, bytes(16)), header(0, 0, 8), header(0xffff, 0, 8),
          header(wire.HELLO, 0, 24, struct.pack('<IIQ', 1, 1, 0)), header(wire.POST, 0, 16, bytes(8)),
          header(wire.HELLO_ACK, 0, 24, bytes(16)), header(wire.MEMORY_ACK, 0, 8),
          header(wire.ERROR, 0, 8), header(wire.ERROR, 0, 16, b'\xff' * 8),
          header(wire.ERROR, 0, 4096, b'\xff' * 4088), header(wire.RESET_DONE, 0, 8),
          header(wire.MESSAGE, 0, 4097, bytes(4089)), header(wire.MESSAGE, 0, 60000, bytes(59992)))


def wrong_answers_to_hello(listener, _, __):
    for frame in (*FRAMES, header(wire.HELLO_ACK, 0, 24, struct.pack('<IIII', 1, 0xc000000d, 0, 0)),
                  header(wire.HELLO_ACK, 0, 23, bytes(15)), header(wire.SYNIC_ACK, 0, 16, bytes(8))):
        link = listener.accept()
        link.receive()
        link.send_raw(frame)
        link.close()


def wrong_answers_to_memory(listener, _, __):
    for frame in FRAMES:
        host = come(listener)
        _, _, fds = host.link.receive()
        for fd in fds:
            os.close(fd)
        host.link.send_raw(frame)
        host.leave()


def death_at_every_step(listener, _, __):
    for step in range(12):
        link = listener.accept()
        host = Host(link, wire.V5_3, 2)
        if step:
            host.hello()
        for _ in range(step - 1):
            host.listen(1)
        host.leave()


# ---- frames, once the bus is up ----

def malformed_frames(listener, tell, _):
    host = all_open(come(listener))
    for frame in FRAMES:
        host.link.send_raw(frame)
    works(host, tell)
    host.leave()


def malformed_messages(listener, tell, chance):
    host = all_open(come(listener))
    for vp, sint, reserved, kind, size, count in (
            (host.vp_count, 2, 0, 1, 8, 8), (0xffffffff, 2, 0, 1, 8, 8), (0, 16, 0, 1, 8, 8),
            (0, 0xffff, 0, 1, 8, 8), (0, 2, 1, 1, 8, 8), (0, 2, 0, 0, 8, 8), (0, 2, 0, 2, 8, 8),
            (0, 2, 0, 1, 9, 8), (0, 2, 0, 1, 0xffffffff, 8), (0, 2, 0, 1, 241, 241),
            (0, 2, 0, 1, 4072, 4072), (0, 2, 0, 1, 0, 0), (0, 3, 0, 1, 8, 8)):
        host.link.send(wire.MESSAGE,
                       struct.pack('<IHHII', vp, sint, reserved, kind, size) + bytes(count))
    for kind in range(40):
        for size in (0, 4, 8, 12, 20, 196, 232):
            if kind not in (wire.OFFER, wire.RESCIND):
                host.tell(message(kind, chance.randbytes(size)))
    works(host, tell)
    host.leave()


def descriptors_where_none_belong(listener, tell, _):
    host = all_open(come(listener))
    pipe = os.pipe()
    for count in (1, 2, 16, 17, 250):
        host.link.send(wire.MESSAGE, struct.pack('<IHHII', 0, 2, 0, 1, 8) + message(4),
                       [pipe[0]] * count)
        host.link.send(wire.RESET_DONE, b'', [pipe[1]] * count)
    for fd in pipe:
        os.close(fd)
    works(host, tell)
    host.leave()


# ---- floods ----

def a_flood_of_messages(listener, tell, chance):
    host = all_open(come(listener))
    for number in range(4000):
        host.tell(message((4, 6, 10, 12, 15, 17, 24, 99)[number % 8], chance.randbytes(12)))
    works(host, tell)
    host.leave()


def offers_without_end(listener, tell, chance):
    host = all_open(come(listener))
    both_run(host, tell)
    offer = bytearray(host.channels[1].offer())
    for number in range(4500):
        offer[8:40] = chance.randbytes(32)
        struct.pack_into('<I', offer, 184, number)
        # Twice in a row, and every other one is withdrawn.
        host.tell(bytes(offer))
        if number % 2 and number > 2:
            host.tell(message(wire.RESCIND, number))
        if number % 50 == 0 and wire.readable([host.link.sock.fileno()], 0):
            host.link.receive()
    host.released = []
    host.release = lambda body: host.released.append(body)
    expect(tell(host, f'run 0 {ECHO} 100 4 1000 1 9').startswith('0 0 10 1000 0 '), 'no echo')
    host.leave()


def a_flood_of_signals(listener, tell, _):
    host = all_open(come(listener))
    for number in range(3000):
        for _, bell, flags, _ in host.vps.values():
            flags[:] = b'\xff' * PAGE
            os.eventfd_write(bell, 1 + number)
    works(host, tell)
    host.leave()


def errors_without_end(listener, tell, _):
    host = all_open(come(listener))
    for number in range(3000):
        host.link.send(wire.ERROR, struct.pack('<II', number, 4) + b'%s%n\xff\0' * 20)
        host.link.send(wire.RESET_DONE)
    works(host, tell)
    host.leave()


# ---- completions ----

def completions_in_any_order(listener, tell, chance):
    """And each of them twice, with others that nobody waits for: the guest has what it should."""
    host = all_open(come(listener, Slow))
    both_run(host, tell)
    before = int(tell(host, 'dropped'))
    rest, forged = [], 0

    def answer():
        nonlocal forged
        if len(host.waiting) >= 8 or host.served_all():
            some, host.waiting = host.waiting, []
            chance.shuffle(some)
            # Far from any that may be outstanding, whatever their bits mean.
            wrong = [(channel, transaction ^ 0x4000000040000000 ^ chance.getrandbits(16), payload)
                     for channel, transaction, payload in some]
            wrong += rest + [(some[0][0], each, b'') for each in (0, 2 ** 64 - 1)] if some else []
            host.send(wrong)
            host.send(some)
            forged += len(wrong)
            rest[:] = some[:4]

    host.served_all = lambda: sum(
        channel.served[ECHO] for channel in host.channels.values()) == 100
    listen = host.listen
    host.listen = lambda *arguments: (listen(*arguments), answer())[0]
    said = tell(host, f'run 0 {ECHO} 100 8 10000 1 9')
    expect(said.startswith('0 0 100 10000 0 '), f'no echo but {said}')
    host.listen = listen
    expect(int(tell(host, 'dropped')) - before == forged, f'not {forged} completions dropped')
    host.leave()


def completions_of_every_shape(listener, tell, chance):
    """Where requests are outstanding: sizes and contents that no answer has."""
    host = all_open(come(listener, Slow))
    both_run(host, tell)
    listen = host.listen

    def answer(*arguments):
        came = listen(*arguments)
        some, host.waiting = host.waiting, []
        host.send([(channel, transaction, chance.randbytes(chance.randrange(3000)))
                   for channel, transaction, _ in some])
        return came

    host.listen = answer
    for op in (1, 2, 5, 6):
        tell(host, f'run 0 {op} 100 8 3000 1 9')
    host.leave()


# ---- rings, eventfds, files ----

def rings_that_lie(listener, _, chance):
    for _ in range(6):
        host = all_open(come(listener))
        for channel in host.channels.values():
            for ring in (channel.into, channel.out):
                ring.control[chance.randrange(4)] = chance.choice(
                    (ring.size, 0xffffffff, 4, ring.size - 8, chance.getrandbits(32)))
            channel.out.store(0, chance.randbytes(channel.out.size))
            channel.out.control[0] = chance.randrange(channel.out.size) & ~7
            channel.signal()
            channel.state = None
        host.listen(0.01)
        host.leave()


def synic_pages_of_noise(listener, _, chance):
    host = all_open(come(listener))
    for _ in range(100):
        for _, bell, flags, signals in host.vps.values():
            flags[:] = chance.randbytes(PAGE)
            signals[:] = chance.randbytes(PAGE)
            os.eventfd_write(bell, 1)
    host.leave()


def full_and_blocking_eventfds(listener, tell, _):
    """The guest's signals cannot be heard and cannot make it wait; the rings are looked at."""
    host = all_open(come(listener))
    for to_host, to_guest, _, _ in host.vps.values():
        for fd in (to_host, to_guest):
            os.set_blocking(fd, False)
            wire.drain(fd)
            os.eventfd_write(fd, 0xfffffffffffffffe)
            os.set_blocking(fd, True)
    listen = Host.listen

    def look(seconds, also=()):
        bells, host.vps = host.vps, {}
        listen(host, 0.001, also)
        host.vps = bells

    def ring(channel):
        _, bell, flags, _ = host.vps_of[channel.vp]
        wire.set_flag(flags[wire.FLAGS_AT:], channel.flag)
        os.set_blocking(bell, False)
        wire.drain(bell)
        os.eventfd_write(bell, 0xfffffffffffffffe)
        os.set_blocking(bell, True)

    host.vps_of = dict(host.vps)
    host.listen, host.signal = look, ring
    works(host, tell)
    host.leave()


def the_file_of_the_guest(listener, tell, _):
    """Nobody takes memory away from under the guest, or seals it."""
    kept = []

    class Keeper(Host):
        def show(self, data, fds):
            kept.append(os.dup(fds[0]))
            super().show(data, fds)

    host = all_open(come(listener, Keeper))
    size = os.fstat(kept[0]).st_size
    for what in (lambda: os.ftruncate(kept[0], 0), lambda: os.ftruncate(kept[0], size + PAGE),
                 lambda: fcntl.fcntl(kept[0], 1033, 8), lambda: fcntl.fcntl(kept[0], 1033, 16)):
        try:
            what()
        except PermissionError:
            continue
        raise wire.Violation('the file could be changed')
    works(host, tell)
    host.leave()
    os.close(kept[0])


# ---- silence ----

class Deaf(Host):
    """Answers messages up to a kind, and none of that."""

    deaf_to = 0

    def post(self, connection_id, kind, payload):
        if struct.unpack_from('<I', payload)[0] == self.deaf_to:
            self.heard_it = True
        else:
            super().post(connection_id, kind, payload)


def no_answer_to(kind):
    def act(listener, _, __):
        host = come(listener, Deaf)
        host.deaf_to, host.heard_it = kind, False
        host.serve(lambda: host.heard_it, f'message {kind}')
        host.leave()
    act.__name__ = f'no_answer_to_message_{kind}'
    return act


def no_answer_to_a_teardown(listener, tell, _):
    # Devices of the host before may be there until this one's channels are open.
    host = all_open(come(listener, Deaf))
    both_run(host, tell)
    host.deaf_to, host.heard_it = wire.GPADL_TEARDOWN, False
    tell.guest.stdin.write('run 0 6 1000 1 1000 1 9\n')
    tell.guest.stdin.flush()
    host.serve(lambda: host.heard_it, 'a teardown')
    host.leave()
    tell.guest.stdout.readline()


def requests_outstanding_at_the_end(listener, tell, _):
    """They end, each once, and the guest goes on to the next host."""
    host = all_open(come(listener, Slow))
    both_run(host, tell)
    guest = tell.guest
    guest.stdin.write(f'run 0 {ECHO} 100 8 3000 1 9\n')
    guest.stdin.flush()
    host.serve(lambda: len(host.waiting) == 8, 'eight requests')
    host.leave()
    status, mismatches, completed = guest.stdout.readline().split()[:3]
    expect(status != '0' and (mismatches, completed) == ('0', '0'), 'a run without a host')


ACTS = (wrong_answers_to_hello, wrong_answers_to_memory, death_at_every_step, malformed_frames,
        malformed_messages, descriptors_where_none_belong, a_flood_of_messages, offers_without_end,
        a_flood_of_signals, errors_without_end, completions_in_any_order,
        completions_of_every_shape, rings_that_lie, synic_pages_of_noise,
        full_and_blocking_eventfds, the_file_of_the_guest,
        *(no_answer_to(kind) for kind in (wire.CONTACT, wire.REQUEST_OFFERS, wire.GPADL_HEADER,
                                          wire.OPEN)),
        no_answer_to_a_teardown, requests_outstanding_at_the_end)
