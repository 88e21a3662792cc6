/* SPDX-License-Identifier: MIT */
/*
 * The terminal: raw while the guest has it, as it was before when this process ends in whatever
 * way it can notice. And the thread that reads it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "internal.h"

#define ESCAPE  0x1d /* Ctrl-] ends the guest */
#define TICK_MS 20

static struct termios before;
static volatile sig_atomic_t raw_fd = -1;

static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGQUIT};

void console_restore(void)
{
	int fd = raw_fd;

	raw_fd = -1;
	if (fd >= 0)
		tcsetattr(fd, TCSANOW, &before);
}

static void restore_and_die(int signal)
{
	console_restore();
	/* The handler was reset when it was called: this ends as it would have. */
	raise(signal);
}

void console_raw(int fd)
{
	struct sigaction action = {.sa_handler = restore_and_die, .sa_flags = (int)SA_RESETHAND};
	struct termios raw;
	static bool registered;

	if (tcgetattr(fd, &before))
		return;
	raw = before;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST; /* what the host says goes to the same terminal */
	if (!registered)
		atexit(console_restore);
	registered = true;
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		sigaction(fatal[i], &action, NULL);
	raw_fd = fd;
	tcsetattr(fd, TCSANOW, &raw);
}

/* ---- input ---- */

static struct {
	pthread_t thread;
	bool running;
	atomic_bool stop;
} reader;

/* False: no more will come. */
static bool carry(struct vmm *vm, uint32_t room)
{
	uint8_t bytes[SERIAL_FIFO];
	ssize_t n = read(vm->config.input, bytes, room);

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	if (raw_fd >= 0 && memchr(bytes, ESCAPE, (size_t)n)) {
		vmm_stop(vm);
		return false;
	}
	serial_receive(&vm->serial, bytes, (uint32_t)n);
	return true;
}

/* Also shows unfinished lines, such as a prompt, soon after they came. */
static void *read_input(void *machine)
{
	struct vmm *vm = machine;
	bool open = vm->config.input >= 0;

	while (!atomic_load(&reader.stop)) {
		uint32_t room = open ? serial_room(&vm->serial) : 0;
		struct pollfd poll_in = {.fd = room ? vm->config.input : -1, .events = POLLIN};

		if (poll(&poll_in, 1, TICK_MS) > 0)
			open = carry(vm, room);
		else
			serial_flush(&vm->serial);
	}
	return NULL;
}

int console_start(struct vmm *vm)
{
	int error;

	atomic_store(&reader.stop, false);
	error = -pthread_create(&reader.thread, NULL, read_input, vm);
	reader.running = !error;
	return error;
}

void console_stop(void)
{
	atomic_store(&reader.stop, true);
	if (reader.running)
		pthread_join(reader.thread, NULL);
	reader.running = false;
}
