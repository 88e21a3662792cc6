/* SPDX-License-Identifier: MIT */
/* vmbus-user: a host that serves a socket, guests of ours, and a guest of bytes. */
#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "partition/server_end.h"
#include "partition/user.h"
#include "partition/user_wire.h"

#define CONNECTIONS 8u

/* ---- the host ---- */

struct served {
	struct user_host *host;
	struct device device, *more;
	unsigned int more_count;
	struct part *part;
	atomic_bool joined, left, gone;
};

struct server {
	char folder[64], path[96];
	int listener;
	pthread_t thread;
	atomic_bool stop;
	struct served guests[CONNECTIONS];
	atomic_uint count;
	_Atomic uint64_t memory_limit;
	atomic_uint queued_messages, more_devices, hello_ms, dispatchers; /* 0: the usual */
};

static bool joined(void *owner, struct part *part)
{
	struct served *s = owner;

	s->part = part;
	device_init(&s->device);
	atomic_store(&s->device.echo, true);
	device_offer(&s->device, part_server(part), 0);
	s->more = calloc(s->more_count, sizeof(*s->more));
	for (unsigned int i = 0; i < s->more_count; i++) {
		device_init(&s->more[i]);
		device_offer(&s->more[i], part_server(part), i + 1);
	}
	atomic_store(&s->joined, true);
	return true;
}

static void left(void *owner, struct part *part)
{
	struct served *s = owner;

	device_revoke(&s->device);
	device_destroy(&s->device);
	for (unsigned int i = 0; i < s->more_count; i++) {
		device_revoke(&s->more[i]);
		device_destroy(&s->more[i]);
	}
	free(s->more);
	atomic_store(&s->left, true);
}

static void gone(void *owner)
{
	atomic_store(&((struct served *)owner)->gone, true);
}

static void *accept_guests(void *arg)
{
	struct server *s = arg;

	while (!atomic_load(&s->stop)) {
		struct pollfd pfd = {.fd = s->listener, .events = POLLIN};
		struct user_host_options options = {
			.part = {.server_dispatchers = 1},
			.joined = joined,
			.left = left,
			.gone = gone,
		};
		unsigned int n;
		int fd;

		if (poll(&pfd, 1, 20) <= 0)
			continue;
		n = atomic_load(&s->count);
		if (n == CONNECTIONS)
			continue;
		fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
		options.memory_limit = s->memory_limit;
		options.part.queued_messages = s->queued_messages;
		if (s->dispatchers)
			options.part.server_dispatchers = s->dispatchers;
		options.hello_timeout_ms = s->hello_ms;
		s->guests[n].more_count = s->more_devices;
		options.owner = &s->guests[n];
		if (fd >= 0 && !user_host_serve(fd, &options, &s->guests[n].host))
			atomic_fetch_add(&s->count, 1);
	}
	return NULL;
}

static void server_listen(struct server *s)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", s->path);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(s->listener, 8), 0);
	atomic_store(&s->stop, false);
	assert_int_equal(pthread_create(&s->thread, NULL, accept_guests, s), 0);
}

static struct server *server_start(void)
{
	struct server *s = calloc(1, sizeof(*s));

	snprintf(s->folder, sizeof(s->folder), "/tmp/kmcl-user-XXXXXX");
	assert_non_null(mkdtemp(s->folder));
	snprintf(s->path, sizeof(s->path), "%s/bus", s->folder);
	server_listen(s);
	return s;
}

/* Every guest is told, as by a host that ends in order. */
static void server_end(struct server *s)
{
	atomic_store(&s->stop, true);
	pthread_join(s->thread, NULL);
	close(s->listener);
	unlink(s->path);
	for (unsigned int i = 0; i < atomic_load(&s->count); i++)
		user_host_end(s->guests[i].host);
	for (unsigned int i = 0; i < atomic_load(&s->count); i++) {
		user_host_join(s->guests[i].host);
		assert_true(atomic_load(&s->guests[i].gone));
		assert_int_equal(atomic_load(&s->guests[i].left),
				 atomic_load(&s->guests[i].joined));
	}
	memset(s->guests, 0, sizeof(s->guests));
	atomic_store(&s->count, 0);
}

static void server_stop(struct server *s)
{
	server_end(s);
	rmdir(s->folder);
	free(s);
}

/* ---- a guest of ours ---- */

struct guest {
	struct part *part;
	struct driver *driver;
};

static void guest_start_with(struct guest *g, const struct server *s, uint32_t vps, bool reconnect)
{
	struct user_guest_options options = {.part = {.memory = TEST_MEMORY, .vps = vps},
					     .wait_ms = 5000,
					     .reconnect = reconnect};
	const char *why;

	assert_int_equal(user_guest_create(s->path, &options, &g->part, &why), 0);
	g->driver = calloc(1, sizeof(*g->driver));
	driver_start(g->driver, part_client(g->part));
}

static void guest_start(struct guest *g, const struct server *s, bool reconnect)
{
	guest_start_with(g, s, 2, reconnect);
}

static void guest_stop(struct guest *g)
{
	driver_stop(g->driver);
	part_destroy(g->part);
	free(g->driver);
}

static void exchange(struct driver_channel *c, uint32_t count)
{
	uint8_t bytes[512];

	for (uint32_t id = 1; id <= count; id++) {
		uint32_t before = atomic_load(&c->received);

		memset(bytes, (int)id, sizeof(bytes));
		assert_int_equal(driver_send(c, bytes, sizeof(bytes), id), VMBUS_RING_OK);
		wait_until(atomic_load(&c->received) == before + 1);
		assert_memory_equal((uint8_t *)c->buffer + 16, bytes, sizeof(bytes));
	}
}

static void packets_cross_and_come_back(void **state)
{
	struct server *s = server_start();
	struct driver_channel *c;
	struct guest g;
	uint32_t status;

	guest_start(&g, s, false);
	c = driver_claim(g.driver, 0);
	for (uint32_t vp = 0; vp < 2; vp++) {
		assert_int_equal(driver_open(c, vp, &status), 0);
		exchange(c, 200);
		driver_close(c);
	}
	driver_put(c);
	guest_stop(&g);
	wait_until(atomic_load(&s->guests[0].gone));
	server_stop(s);
}

/* Whether each dispatcher has the bells of its own VPs or a thread hears them all, and whichever VP
 * a channel's signals come by. */
static void signals_find_their_dispatcher_whatever_their_numbers(void **state)
{
	static const struct {
		uint32_t dispatchers, vps;
	} ends[] = {{1, 1}, {1, 3}, {2, 2}, {2, 4}, {2, 1}, {2, 3}, {3, 2}};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct server *s = server_start();
		struct driver_channel *c[2];
		struct guest g;
		uint32_t status;

		s->dispatchers = ends[i].dispatchers;
		s->more_devices = 1;
		guest_start_with(&g, s, ends[i].vps, false);
		for (uint32_t k = 0; k < 2; k++)
			c[k] = driver_claim(g.driver, k);
		for (uint32_t vp = 0; vp < ends[i].vps; vp++) {
			for (uint32_t k = 0; k < 2; k++)
				assert_int_equal(driver_open(c[k], (vp + k) % ends[i].vps, &status),
						 0);
			for (uint32_t k = 0; k < 20; k++)
				exchange(c[k % 2], 5);
			for (uint32_t k = 0; k < 2; k++)
				driver_close(c[k]);
		}
		for (uint32_t k = 0; k < 2; k++)
			driver_put(c[k]);
		guest_stop(&g);
		server_stop(s);
	}
}

static void a_guest_that_leaves_hurts_no_other(void **state)
{
	struct server *s = server_start();
	struct driver_channel *a, *b;
	struct guest first, second;
	uint32_t status;

	guest_start(&first, s, false);
	a = driver_claim(first.driver, 0);
	assert_int_equal(driver_open(a, 0, &status), 0);
	guest_start(&second, s, false);
	b = driver_claim(second.driver, 0);
	assert_int_equal(driver_open(b, 0, &status), 0);
	exchange(b, 10);

	driver_close(a);
	driver_put(a);
	guest_stop(&first);
	wait_until(atomic_load(&s->guests[0].gone));
	exchange(b, 10);
	driver_close(b);
	driver_put(b);
	guest_stop(&second);
	server_stop(s);
}

static void a_host_that_ends_rescinds_and_one_that_comes_is_found(void **state)
{
	struct server *s = server_start();
	struct driver_channel *c;
	struct guest g;
	uint32_t status;

	guest_start(&g, s, true);
	c = driver_claim(g.driver, 0);
	assert_int_equal(driver_open(c, 0, &status), 0);
	exchange(c, 10);
	server_end(s);
	wait_until(atomic_load(&c->rescinds) == 1);
	driver_close(c);
	driver_put(c);
	server_listen(s);
	c = driver_claim(g.driver, 0);
	assert_int_equal(driver_open(c, 0, &status), 0);
	exchange(c, 10);
	driver_close(c);
	driver_put(c);
	guest_stop(&g);
	server_stop(s);
}

static void a_reset_is_answered_and_the_bus_begins_anew(void **state)
{
	struct server *s = server_start();
	struct driver_channel *c;
	struct guest g;
	uint32_t status;

	guest_start(&g, s, false);
	g.driver->put_on_rescind = true;
	for (int i = 0; i < 3; i++) {
		c = driver_claim(g.driver, 0);
		assert_int_equal(driver_open(c, 0, &status), 0);
		exchange(c, 5);
		assert_int_equal(part_reset(g.part), 0);
		wait_until(atomic_load(&c->rescinds) == (unsigned int)i + 1);
	}
	guest_stop(&g);
	server_stop(s);
}

/* ---- a guest of bytes ---- */

struct bytes {
	int fd, file, to_host, to_guest;
	uint8_t *memory;
};

static int sealed_file(uint64_t size)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	return fd;
}

static void bytes_connect(struct bytes *b, const struct server *s)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	b->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", s->path);
	assert_int_equal(connect(b->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	b->file = sealed_file(1 << 20);
	b->memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, b->file, 0);
	b->to_host = eventfd(0, EFD_CLOEXEC);
	b->to_guest = eventfd(0, EFD_CLOEXEC);
}

static void bytes_close(struct bytes *b)
{
	close(b->fd);
	close(b->file);
	close(b->to_host);
	close(b->to_guest);
	munmap(b->memory, 1 << 20);
}

/* Words of 32 bits behind the header, which says `size`. */
static void bytes_send(struct bytes *b, uint32_t op, const uint32_t *words, uint32_t count,
		       const int *fds, uint32_t fd_count)
{
	struct user_packet p = {.size = 8 + 4 * count, .fd_count = fd_count};

	vmbus_put32(p.data, op);
	vmbus_put32(p.data + 4, p.size);
	for (uint32_t i = 0; i < count; i++)
		vmbus_put32(p.data + 8 + 4 * i, words[i]);
	for (uint32_t i = 0; i < fd_count; i++)
		p.fds[i] = fds[i];
	assert_int_equal(user_send(b->fd, &p), 0);
}

static uint32_t bytes_receive(struct bytes *b, struct user_packet *p)
{
	struct pollfd pfd = {.fd = b->fd, .events = POLLIN};
	const char *why;

	assert_int_equal(poll(&pfd, 1, 20000), 1);
	switch (user_receive(b->fd, p, &why)) {
	case USER_RECEIVED:
		return user_op(p);
	case USER_HUNG_UP:
		return 0;
	default:
		fail_msg("the host sent no packet: %s", why);
		return 0;
	}
}

static void bytes_hello(struct bytes *b)
{
	struct user_packet p;
	uint32_t hello[4] = {1, 2, 0, 0};

	bytes_send(b, 0x0001, hello, 4, NULL, 0);
	assert_int_equal(bytes_receive(b, &p), 0x0081);
	assert_int_equal(p.size, 24);
	assert_int_equal(vmbus_get32(p.data + 8), 1);
	assert_int_equal(vmbus_get32(p.data + 12), 0);
	assert_int_equal(vmbus_get32(p.data + 16), 2047);
	assert_int_equal(vmbus_get32(p.data + 20), 0);
}

static uint32_t bytes_memory(struct bytes *b, int file, uint64_t gpa, uint64_t size,
			     uint64_t offset)
{
	uint32_t words[6] = {(uint32_t)gpa,    (uint32_t)(gpa >> 32),
			     (uint32_t)size,   (uint32_t)(size >> 32),
			     (uint32_t)offset, (uint32_t)(offset >> 32)};
	struct user_packet p;

	bytes_send(b, 0x0002, words, 6, &file, 1);
	assert_int_equal(bytes_receive(b, &p), 0x0082);
	assert_int_equal(p.size, 24);
	assert_int_equal(vmbus_get64(p.data + 16), gpa);
	return vmbus_get32(p.data + 8);
}

static void bytes_synic(struct bytes *b, uint32_t vp)
{
	uint32_t words[6] = {vp, 0, 0x1000, 0, 0x2000, 0};
	int fds[2] = {b->to_host, b->to_guest};
	struct user_packet p;

	bytes_send(b, 0x0003, words, 6, fds, 2);
	assert_int_equal(bytes_receive(b, &p), 0x0083);
	assert_int_equal(p.size, 16);
	assert_int_equal(vmbus_get32(p.data + 8), 0);
	assert_int_equal(vmbus_get32(p.data + 12), vp);
}

static void bytes_contact(struct bytes *b, uint32_t version)
{
	uint32_t contact[2 + 10] = {1, 1, 14, 0, version};

	bytes_send(b, 0x0004, contact, 12, NULL, 0);
}

static void hello_to_version_response_byte_for_byte(void **state)
{
	static const uint8_t expected[24 + 16] = {0x84, 0, 0, 0, 40, 0, 0,  0, 0, 0, 0,  0, 2, 0,
						  0,    0, 1, 0, 0,  0, 16, 0, 0, 0, 15, 0, 0, 0,
						  0,    0, 0, 0, 1,  0, 0,  0, 1, 0, 4,  0};
	struct server *s = server_start();
	struct user_packet p;
	struct bytes b;

	bytes_connect(&b, s);
	bytes_hello(&b);
	assert_int_equal(bytes_memory(&b, b.file, 0, 1 << 20, 0), 0);
	bytes_synic(&b, 0);
	assert_int_equal(s->guests[0].part->options.queued_messages, 4096);
	bytes_contact(&b, 0x00040001);
	assert_int_equal(bytes_receive(&b, &p), 0x0084);
	assert_int_equal(p.size, sizeof(expected));
	assert_memory_equal(p.data, expected, sizeof(expected));
	/* What is wrong with a post is told, and the connection stays. */
	bytes_send(&b, 0x0004, (uint32_t[]){77, 1, 3, 0}, 4, NULL, 0);
	assert_int_equal(bytes_receive(&b, &p), 0x008f);
	assert_int_equal(vmbus_get32(p.data + 8), 0x12);
	assert_int_equal(vmbus_get32(p.data + 12), 4);
	bytes_send(&b, 0x0004, (uint32_t[]){1, 2, 3, 0}, 4, NULL, 0);
	assert_int_equal(bytes_receive(&b, &p), 0x008f);
	assert_int_equal(vmbus_get32(p.data + 8), 0x05);
	bytes_send(&b, 0x0005, NULL, 0, NULL, 0);
	assert_int_equal(bytes_receive(&b, &p), 0x0085);
	assert_int_equal(p.size, 8);
	bytes_contact(&b, 0x00040001);
	assert_int_equal(bytes_receive(&b, &p), 0x0084);
	bytes_close(&b);
	server_stop(s);
}

static void a_version_that_is_not_spoken_gets_the_one_that_is(void **state)
{
	struct server *s = server_start();
	struct user_packet p;
	struct bytes b;

	bytes_connect(&b, s);
	bytes_send(&b, 0x0001, (uint32_t[]){2, 1, 0, 0}, 4, NULL, 0);
	assert_int_equal(bytes_receive(&b, &p), 0x0081);
	assert_int_equal(vmbus_get32(p.data + 8), 1);
	assert_int_equal(vmbus_get32(p.data + 12), 0xc00000bb);
	assert_int_equal(bytes_receive(&b, &p), 0);
	bytes_close(&b);
	server_stop(s);
}

static void files_that_could_kill_the_host_are_refused(void **state)
{
	int unsealed = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int frozen = sealed_file(1 << 20), plain = open("/dev/zero", O_RDWR | O_CLOEXEC);
	struct server *s = server_start();
	struct bytes b;

	atomic_store(&s->memory_limit, 2 << 20);
	assert_int_equal(ftruncate(unsealed, 1 << 20), 0);
	assert_int_equal(fcntl(frozen, F_ADD_SEALS, F_SEAL_WRITE), 0);
	bytes_connect(&b, s);
	bytes_hello(&b);
	assert_int_equal(bytes_memory(&b, unsealed, 0, 1 << 20, 0), 0xc000000d);
	assert_int_equal(bytes_memory(&b, frozen, 0, 1 << 20, 0), 0xc000000d);
	assert_int_equal(bytes_memory(&b, plain, 0, 1 << 20, 0), 0xc000000d);
	assert_int_equal(bytes_memory(&b, b.file, 0, 1 << 20, 4096), 0xc000000d);
	assert_int_equal(bytes_memory(&b, b.file, 0, 1 << 20, 1ull << 62), 0xc000000d);
	/* Where no processor finds it. */
	assert_int_equal(bytes_memory(&b, b.file, 1ull << 52, 1 << 20, 0), 0xc000000d);
	/* Beyond the limit in all. */
	assert_int_equal(bytes_memory(&b, b.file, 0, 4 << 20, 0), 0xc000000d);
	assert_int_equal(bytes_memory(&b, b.file, 0, 1 << 20, 0), 0);
	close(unsealed);
	close(frozen);
	close(plain);
	bytes_close(&b);
	server_stop(s);
}

/* The connection after HELLO, memory and VP 0's SYNIC; then one packet that breaks the rules. */
struct violation {
	const char *name;
	uint32_t op, size, word[8], words, fds;
	bool early; /* before HELLO */
};

static const struct violation violations[] = {
	{"an unknown op", 0x0077, 8, {0}, 0, 0, false},
	{"a host's op", 0x0084, 8, {0}, 0, 0, false},
	{"a second HELLO", 0x0001, 24, {1, 1}, 4, 0, false},
	{"an op before HELLO", 0x0005, 8, {0}, 0, 0, true},
	{"no VPs", 0x0001, 24, {1, 0}, 4, 0, true},
	{"too many VPs", 0x0001, 24, {1, 65}, 4, 0, true},
	{"a feature", 0x0001, 24, {1, 1, 1}, 4, 0, true},
	{"flags", 0x00010005, 8, {0}, 0, 0, false},
	{"a size too large", 0x0005, 12, {0}, 0, 0, false},
	{"a RESET with a body", 0x0005, 12, {0}, 1, 0, false},
	{"a short POST", 0x0004, 12, {1}, 1, 0, false},
	{"a long POST", 0x0004, 260, {1, 1}, 63, 0, false},
	{"a POST with a descriptor", 0x0004, 24, {1, 1, 3, 0}, 4, 1, false},
	{"MEMORY without a file", 0x0002, 32, {0x200000, 0, 4096}, 6, 0, false},
	{"MEMORY with two files", 0x0002, 32, {0x200000, 0, 4096}, 6, 2, false},
	{"MEMORY of no bytes", 0x0002, 32, {0x200000}, 6, 1, false},
	{"MEMORY off a page", 0x0002, 32, {0x200800, 0, 4096}, 6, 1, false},
	{"MEMORY over other memory", 0x0002, 32, {0x1000, 0, 4096}, 6, 1, false},
	{"MEMORY that wraps", 0x0002, 32, {0xfffff000, 0xffffffff, 8192}, 6, 1, false},
	{"MEMORY that wraps, too much",
	 0x0002,
	 32,
	 {0x1000, 0, 0xfffff000, 0xffffffff},
	 6,
	 1,
	 false},
	{"MEMORY over other memory, too much", 0x0002, 32, {0, 0, 0, 65 << 2}, 6, 1, false},
	{"SYNIC of no VP", 0x0003, 32, {2, 0, 0x1000, 0, 0x2000}, 6, 2, false},
	{"SYNIC a second time", 0x0003, 32, {0, 0, 0x1000, 0, 0x2000}, 6, 2, false},
	{"SYNIC outside memory", 0x0003, 32, {1, 0, 0x100000, 0, 0x2000}, 6, 2, false},
	{"SYNIC off a page", 0x0003, 32, {1, 0, 0x1000, 0, 0x2100}, 6, 2, false},
	{"SYNIC with reserved bits", 0x0003, 32, {1, 1, 0x1000, 0, 0x2000}, 6, 2, false},
	{"SYNIC with one descriptor", 0x0003, 32, {1, 0, 0x1000, 0, 0x2000}, 6, 1, false},
	{"SYNIC with files", 0x0003, 32, {1, 0, 0x1000, 0, 0x2000}, 6, 2, false},
};

static void violate(struct bytes *b, const struct violation *v)
{
	struct user_packet p = {.size = 8 + 4 * v->words, .fd_count = v->fds};

	vmbus_put32(p.data, v->op);
	vmbus_put32(p.data + 4, v->size);
	for (uint32_t i = 0; i < v->words && i < 8; i++)
		vmbus_put32(p.data + 8 + 4 * i, v->word[i]);
	for (uint32_t i = 0; i < v->fds; i++)
		p.fds[i] = b->file;
	assert_int_equal(user_send(b->fd, &p), 0);
}

static void a_violation_ends_its_connection_and_no_other(void **state)
{
	struct server *s = server_start();
	struct bytes neighbour;
	unsigned int fds = count_fds();
	struct user_packet p;

	bytes_connect(&neighbour, s);
	bytes_hello(&neighbour);
	for (size_t i = 0; i < sizeof(violations) / sizeof(violations[0]); i++) {
		const struct violation *v = &violations[i];
		struct bytes b;

		bytes_connect(&b, s);
		if (!v->early) {
			bytes_hello(&b);
			assert_int_equal(bytes_memory(&b, b.file, 0, 1 << 20, 0), 0);
			bytes_synic(&b, 0);
		}
		violate(&b, v);
		if (bytes_receive(&b, &p) != 0x008f)
			fail_msg("%s: no ERROR", v->name);
		assert_int_equal(vmbus_get32(p.data + 8), 0xc000000d);
		assert_int_equal(vmbus_get32(p.data + 12), v->op & 0xffff);
		assert_true(p.size > 16);
		assert_int_equal(bytes_receive(&b, &p), 0);
		bytes_close(&b);
		/* Its place is another's. */
		wait_until(atomic_load(&s->count) == 2 && atomic_load(&s->guests[1].gone));
		user_host_join(s->guests[1].host);
		memset(&s->guests[1], 0, sizeof(s->guests[1]));
		atomic_store(&s->count, 1);
	}
	assert_int_equal(bytes_memory(&neighbour, neighbour.file, 0, 1 << 20, 0), 0);
	bytes_close(&neighbour);
	wait_until(atomic_load(&s->guests[0].gone));
	user_host_join(s->guests[0].host);
	atomic_store(&s->count, 0);
	assert_int_equal(count_fds(), fds);
	server_stop(s);
}

static void eventfds_of_a_hostile_guest_block_nobody(void **state)
{
	uint64_t full = 0xfffffffffffffffeull, one = 1;
	struct server *s = server_start();
	struct user_packet p;
	struct bytes b;

	bytes_connect(&b, s);
	bytes_hello(&b);
	assert_int_equal(bytes_memory(&b, b.file, 0, 1 << 20, 0), 0);
	bytes_synic(&b, 0);
	assert_int_equal(read(b.to_guest, &one, 8), 8);
	assert_int_equal(read(b.to_host, &one, 8), 8);
	/* Blocking descriptors whose counters are full: a write to them would last for ever. */
	assert_int_equal(write(b.to_guest, &full, 8), 8);
	assert_int_equal(write(b.to_host, &full, 8), 8);
	for (int i = 0; i < 200; i++)
		s->guests[0].part->server.host->set_flag(s->guests[0].part->server.transport, 0, 2,
							 (uint16_t)(i % 64 + 1));
	for (int i = 1; i < 64; i++)
		assert_true(b.memory[0x1200 + i / 8] >> (i % 8) & 1);
	bytes_contact(&b, 0x00040000);
	assert_int_equal(bytes_receive(&b, &p), 0x0084);
	bytes_close(&b);
	server_stop(s);
}

static void who_does_not_say_hello_is_dropped(void **state)
{
	struct server *s = server_start();
	struct user_packet p;
	struct bytes b;

	atomic_store(&s->hello_ms, 50);
	bytes_connect(&b, s);
	assert_int_equal(bytes_receive(&b, &p), 0);
	wait_until(atomic_load(&s->guests[0].gone));
	assert_false(atomic_load(&s->guests[0].joined));
	bytes_close(&b);
	server_stop(s);
}

#define MANY 1500u /* offers, more than a socket holds */

/* Asks for offers, and reads nothing. */
static void ask_and_be_silent(struct bytes *b, const struct server *s)
{
	struct user_packet p;

	bytes_connect(b, s);
	bytes_hello(b);
	assert_int_equal(bytes_memory(b, b->file, 0, 1 << 20, 0), 0);
	bytes_synic(b, 0);
	bytes_contact(b, 0x00050003);
	assert_int_equal(bytes_receive(b, &p), 0x0084);
	bytes_send(b, 0x0004, (uint32_t[]){1, 1, 3, 0}, 4, NULL, 0);
}

static void a_guest_that_reads_late_gets_all_its_messages(void **state)
{
	struct server *s = server_start();
	struct user_packet p;
	struct bytes b;

	atomic_store(&s->more_devices, MANY);
	ask_and_be_silent(&b, s);
	wait_until(server_end_has_to_say(&s->guests[0].part->server));
	/* A request behind them waits until they are read. */
	bytes_send(&b, 0x0004, (uint32_t[]){1, 1, 16, 0}, 4, NULL, 0);
	for (unsigned int i = 0; i < MANY + 1; i++) {
		assert_int_equal(bytes_receive(&b, &p), 0x0084);
		assert_int_equal(vmbus_get32(p.data + 24), 1);
		assert_int_equal(p.size, 24 + 196);
	}
	assert_int_equal(bytes_receive(&b, &p), 0x0084);
	assert_int_equal(vmbus_get32(p.data + 24), 4);
	assert_int_equal(bytes_receive(&b, &p), 0x0084);
	assert_int_equal(vmbus_get32(p.data + 24), 17);
	bytes_close(&b);
	server_stop(s);
}

static uint64_t processor_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The host cannot answer, so it does not read, and it does not run in circles over that either. */
static void a_guest_that_says_its_last_and_reads_nothing_is_waited_for(void **state)
{
	struct server *s = server_start();
	struct user_packet p;
	unsigned int wrong = 0;
	struct bytes b;
	uint64_t used;

	bytes_connect(&b, s);
	bytes_hello(&b);
	user_packet_init(&p, USER_POST, USER_POST_SIZE);
	vmbus_put32(p.data + 8, 77);
	/* Until nobody reads them for a while. */
	for (int idle = 0; idle < 200;) {
		if (!user_send(b.fd, &p)) {
			wrong++;
			idle = 0;
		} else {
			poll(NULL, 0, 1);
			idle++;
		}
	}
	assert_int_equal(shutdown(b.fd, SHUT_WR), 0);
	used = processor_ns();
	poll(NULL, 0, 1000);
	assert_true(processor_ns() - used < 40000000);
	/* All of it is read and answered once there is room. */
	for (; wrong; wrong--) {
		assert_int_equal(bytes_receive(&b, &p), 0x008f);
		assert_int_equal(vmbus_get32(p.data + 8), 0x12);
	}
	assert_int_equal(bytes_receive(&b, &p), 0);
	bytes_close(&b);
	server_stop(s);
}

static void a_guest_that_is_owed_too_much_is_dropped(void **state)
{
	struct server *s = server_start();
	unsigned int offers = 0;
	struct user_packet p;
	struct bytes b, neighbour;
	uint32_t op;

	bytes_connect(&neighbour, s);
	bytes_hello(&neighbour);
	atomic_store(&s->more_devices, MANY);
	atomic_store(&s->queued_messages, 64);
	ask_and_be_silent(&b, s);
	wait_until(atomic_load(&s->guests[1].gone));
	while ((op = bytes_receive(&b, &p)) == 0x0084)
		offers++;
	assert_true(offers < MANY);
	/* It is told why if there was room for that. */
	if (op) {
		assert_int_equal(op, 0x008f);
		assert_int_equal(vmbus_get32(p.data + 8), 0xc000009a);
		assert_int_equal(bytes_receive(&b, &p), 0);
	}
	bytes_close(&b);
	assert_int_equal(bytes_memory(&neighbour, neighbour.file, 0, 1 << 20, 0), 0);
	bytes_close(&neighbour);
	server_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_cross_and_come_back),
		cmocka_unit_test(signals_find_their_dispatcher_whatever_their_numbers),
		cmocka_unit_test(a_guest_that_leaves_hurts_no_other),
		cmocka_unit_test(a_host_that_ends_rescinds_and_one_that_comes_is_found),
		cmocka_unit_test(a_reset_is_answered_and_the_bus_begins_anew),
		cmocka_unit_test(hello_to_version_response_byte_for_byte),
		cmocka_unit_test(a_version_that_is_not_spoken_gets_the_one_that_is),
		cmocka_unit_test(files_that_could_kill_the_host_are_refused),
		cmocka_unit_test(a_violation_ends_its_connection_and_no_other),
		cmocka_unit_test(eventfds_of_a_hostile_guest_block_nobody),
		cmocka_unit_test(who_does_not_say_hello_is_dropped),
		cmocka_unit_test(a_guest_that_reads_late_gets_all_its_messages),
		cmocka_unit_test(a_guest_that_says_its_last_and_reads_nothing_is_waited_for),
		cmocka_unit_test(a_guest_that_is_owed_too_much_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
