/* SPDX-License-Identifier: MIT */
/* A 16550A: what is sent is shown at once, what is received waits in its FIFO. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "internal.h"

enum {
	DATA = 0,
	INTERRUPT_ENABLE = 1,
	INTERRUPT_IDENTITY = 2, /* written: FIFO control */
	LINE_CONTROL = 3,
	MODEM_CONTROL = 4,
	LINE_STATUS = 5,
	MODEM_STATUS = 6,
	SCRATCH = 7,
};

#define IER_RECEIVE  1u
#define IER_SEND     2u
#define IIR_NONE     1u
#define IIR_SEND     2u
#define IIR_RECEIVE  4u
#define IIR_FIFO     0xc0u
#define FCR_ENABLE   1u
#define FCR_CLEAR_IN 2u
#define LCR_DIVISOR  0x80u
#define MCR_LOOP     0x10u
#define LSR_READY    1u
#define LSR_SENT     0x60u
#define MSR_LINES    0xb0u

#define LAST_MS 1000

void serial_init(struct serial *s, int output)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	s->output = output;
	s->irq_fd = -1;
}

void serial_reset(struct serial *s, int vm_fd)
{
	pthread_mutex_lock(&s->lock);
	s->dll = s->dlm = s->ier = s->lcr = s->mcr = s->scr = 0;
	s->fifo = s->thr_empty = s->level = false;
	s->in_count = 0;
	s->irq_fd = vm_fd;
	if (vm_fd >= 0) {
		atomic_store(&s->ending, false);
		s->deaf = false;
	}
	pthread_mutex_unlock(&s->lock);
}

void serial_end(struct serial *s)
{
	atomic_store(&s->ending, true);
}

/* ---- the interrupt ---- */

static uint8_t pending(const struct serial *s)
{
	if (s->ier & IER_RECEIVE && s->in_count)
		return IIR_RECEIVE;
	if (s->ier & IER_SEND && s->thr_empty)
		return IIR_SEND;
	return IIR_NONE;
}

static void set_level(struct serial *s, bool level)
{
	struct kvm_irq_level irq = {.irq = SERIAL_IRQ, .level = level};

	if (level == s->level || s->irq_fd < 0)
		return;
	s->level = level;
	ioctl(s->irq_fd, KVM_IRQ_LINE, &irq);
}

/* The interrupt is an edge. A guest that is told looks until nothing is pending, and so lets the
 * line fall; bytes that it sends while the line is up need no further edge. */
static void update(struct serial *s)
{
	set_level(s, pending(s) != IIR_NONE);
}

/* ---- output ---- */

/* A guest waits for whoever reads its console; its end does not, but for a moment. */
static bool wait_for_reader(struct serial *s)
{
	struct pollfd out = {.fd = s->output, .events = POLLOUT};
	bool ending;
	int ready;

	do {
		ending = atomic_load(&s->ending);
		ready = s->deaf ? 0 : poll(&out, 1, LAST_MS);
	} while (!ending && (!ready || (ready < 0 && errno == EINTR)));
	s->deaf = ready <= 0;
	return ready > 0;
}

static void flush_line(struct serial *s)
{
	uint32_t done = 0;

	while (done < s->line_count && wait_for_reader(s)) {
		ssize_t n = write(s->output, s->line + done, s->line_count - done);

		if (n <= 0)
			break; /* nobody reads any more */
		done += (uint32_t)n;
	}
	s->line_count = 0;
}

static void send(struct serial *s, uint8_t value)
{
	if (s->mcr & MCR_LOOP)
		return;
	s->line[s->line_count++] = (char)value;
	s->bytes++;
	if (value == '\n' || s->line_count == SERIAL_LINE)
		flush_line(s);
}

void serial_flush(struct serial *s)
{
	pthread_mutex_lock(&s->lock);
	flush_line(s);
	pthread_mutex_unlock(&s->lock);
}

/* ---- input ---- */

uint32_t serial_room(struct serial *s)
{
	uint32_t most, room;

	pthread_mutex_lock(&s->lock);
	most = s->fifo ? SERIAL_FIFO : 1;
	room = s->ier & IER_RECEIVE && s->in_count < most ? most - s->in_count : 0;
	pthread_mutex_unlock(&s->lock);
	return room;
}

void serial_receive(struct serial *s, const uint8_t *bytes, uint32_t count)
{
	pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < count && s->in_count < SERIAL_FIFO; i++)
		s->in[s->in_count++] = bytes[i];
	update(s);
	pthread_mutex_unlock(&s->lock);
}

static uint8_t take_input(struct serial *s)
{
	uint8_t value = s->in_count ? s->in[0] : 0;

	if (s->in_count)
		memmove(s->in, s->in + 1, --s->in_count);
	return value;
}

/* ---- registers ---- */

static uint8_t identity(struct serial *s)
{
	uint8_t value = pending(s);

	if (value == IIR_SEND)
		s->thr_empty = false;
	return value | (s->fifo ? IIR_FIFO : 0);
}

/* In loopback the outputs are the inputs. */
static uint8_t modem_status(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_LINES;
	return (uint8_t)((s->mcr & 1) << 5 | (s->mcr & 2) << 3 | (s->mcr & 4) << 4 |
			 (s->mcr & 8) << 4);
}

static uint8_t read_register(struct serial *s, uint16_t offset)
{
	bool divisor = s->lcr & LCR_DIVISOR;

	switch (offset) {
	case DATA:
		return divisor ? s->dll : take_input(s);
	case INTERRUPT_ENABLE:
		return divisor ? s->dlm : s->ier;
	case INTERRUPT_IDENTITY:
		return identity(s);
	case LINE_CONTROL:
		return s->lcr;
	case MODEM_CONTROL:
		return s->mcr;
	case LINE_STATUS:
		return LSR_SENT | (s->in_count ? LSR_READY : 0);
	case MODEM_STATUS:
		return modem_status(s);
	default:
		return s->scr;
	}
}

uint8_t serial_read(struct serial *s, uint16_t offset)
{
	uint8_t value;

	pthread_mutex_lock(&s->lock);
	value = read_register(s, offset);
	update(s);
	pthread_mutex_unlock(&s->lock);
	return value;
}

static void write_register(struct serial *s, uint16_t offset, uint8_t value)
{
	bool divisor = s->lcr & LCR_DIVISOR;

	switch (offset) {
	case DATA:
		if (divisor) {
			s->dll = value;
		} else {
			send(s, value);
			s->thr_empty = true;
		}
		break;
	case INTERRUPT_ENABLE:
		if (divisor) {
			s->dlm = value;
		} else {
			s->thr_empty |= value & ~s->ier & IER_SEND;
			s->ier = value & 0xf;
		}
		break;
	case INTERRUPT_IDENTITY:
		s->fifo = value & FCR_ENABLE;
		if (value & FCR_CLEAR_IN)
			s->in_count = 0;
		break;
	case LINE_CONTROL:
		s->lcr = value;
		break;
	case MODEM_CONTROL:
		s->mcr = value & 0x1f;
		break;
	case SCRATCH:
		s->scr = value;
		break;
	default:
		break;
	}
}

void serial_write(struct serial *s, uint16_t offset, uint8_t value)
{
	pthread_mutex_lock(&s->lock);
	write_register(s, offset, value);
	update(s);
	pthread_mutex_unlock(&s->lock);
}
