/* SPDX-License-Identifier: MIT */
/*
 * A producer and a consumer on threads of their own, which only signals wake. A wait that outlasts
 * the watchdog is a lost wake-up. KMCL_SOAK=1 runs ten times as many packets.
 */
#include "ring_rig.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define D           4096u
#define WATCHDOG_MS 10000

/* Positions in the stream of ring bytes, in the order in which they came about. */
struct positions {
	uint64_t *at;
	uint32_t count, size;
};

struct run {
	struct rig *g;
	uint32_t packets;
	uint32_t largest;
	bool naps;
	int to_reader, to_writer;
	struct positions signalled; /* where the ring ended when a publish owed a signal */
	struct positions released;  /* where the reader had released to */
	uint32_t blocks, room_signals;
	atomic_bool lost;
};

static void note(struct positions *p, uint64_t at)
{
	if (p->count == p->size) {
		p->size = p->size ? 2 * p->size : 4096;
		p->at = realloc(p->at, p->size * sizeof(*p->at));
		if (!p->at)
			abort();
	}
	p->at[p->count++] = at;
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

/* False: nothing came for as long as the watchdog has patience. */
static bool wait_fd(struct run *r, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t n;

	if (poll(&p, 1, WATCHDOG_MS) != 1) {
		atomic_store(&r->lost, true);
		return false;
	}
	return read(fd, &n, sizeof(n)) == sizeof(n);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 8;
}

static void nap(struct run *r, uint32_t *seed)
{
	if (r->naps && next_random(seed) % 256 == 0)
		usleep(next_random(seed) % 100);
}

static uint32_t size_of(const struct run *r, uint32_t number)
{
	return 8 + (number * 2654435761u >> 16) % (r->largest - 8);
}

static bool place(struct run *r, uint8_t *payload, uint32_t number)
{
	uint32_t size = size_of(r, number);

	memset(payload, (int)(number & 0xff), size);
	memcpy(payload, &number, sizeof(number));
	return rig_write(r->g, payload, size) == VMBUS_RING_OK;
}

static void *produce(void *arg)
{
	struct run *r = arg;
	struct vmbus_ring_writer *w = &r->g->w;
	uint64_t end = 0, published = 0;
	uint32_t number = 0, seed = 1;
	uint8_t payload[4096];

	while (number < r->packets && !atomic_load(&r->lost)) {
		uint32_t batch = 1 + next_random(&seed) % 40;
		bool full = false;

		while (batch-- && number < r->packets) {
			full = !place(r, payload, number);
			if (full)
				break;
			end += vmbus_ring_packet_size(0, size_of(r, number));
			number++;
		}
		if (vmbus_ring_publish(w)) {
			note(&r->signalled, published);
			signal_fd(r->to_reader);
		}
		published = end;
		if (full) {
			r->blocks++;
			while (vmbus_ring_writer_block(
				w, vmbus_ring_packet_size(0, size_of(r, number)))) {
				if (!wait_fd(r, r->to_writer))
					return NULL;
				r->blocks++;
			}
		}
		nap(r, &seed);
	}
	return NULL;
}

static bool check_packet(struct run *r, const struct vmbus_packet_in *p, uint32_t number)
{
	uint32_t size = size_of(r, number), got;

	memcpy(&got, p->payload, sizeof(got));
	if (got != number || p->payload_size != (size + 7) / 8 * 8)
		return false;
	for (uint32_t i = 4; i < size; i++)
		if (p->payload[i] != (number & 0xff))
			return false;
	return true;
}

static void give_back(struct run *r, uint64_t end)
{
	if (r->released.count && r->released.at[r->released.count - 1] == end)
		return;
	note(&r->released, end);
	if (vmbus_ring_release(&r->g->r)) {
		r->room_signals++;
		signal_fd(r->to_writer);
	}
}

/* Returns the number of packets that came well. */
static uint32_t consume(struct run *r)
{
	struct vmbus_ring_reader *reader = &r->g->r;
	uint32_t number = 0, seed = 2;
	uint64_t end = 0;

	note(&r->released, 0);
	while (number < r->packets) {
		vmbus_ring_mask(reader);
		while (rig_read(r->g) == VMBUS_RING_OK) {
			if (!check_packet(r, &r->g->p, number))
				return number;
			end += vmbus_ring_packet_size(0, size_of(r, number));
			number++;
			nap(r, &seed);
			if (next_random(&seed) % 8 == 0)
				give_back(r, end);
		}
		give_back(r, end);
		if (number < r->packets && !vmbus_ring_unmask(reader) && !wait_fd(r, r->to_reader))
			break;
	}
	return number;
}

static void check_signals(const struct run *r)
{
	uint32_t k = 0;

	/* each came at a position that the reader had released to, where the ring was empty, once
	 */
	for (uint32_t i = 0; i < r->signalled.count; i++) {
		while (k < r->released.count && r->released.at[k] < r->signalled.at[i])
			k++;
		assert_true(k < r->released.count && r->released.at[k] == r->signalled.at[i]);
		assert_true(!i || r->signalled.at[i] > r->signalled.at[i - 1]);
	}
	assert_true(r->signalled.count > 0);
	/* one for each need, and one for a need withdrawn while a release was under way */
	assert_true(r->room_signals <= 2 * r->blocks);
}

static void run_threads(enum rig_view view, uint32_t size, uint32_t packets, uint32_t largest,
			bool naps)
{
	struct run r = {
		.g = rig_new(view, size), .packets = packets, .largest = largest, .naps = naps};
	pthread_t thread;
	uint32_t read;

	r.to_reader = eventfd(0, EFD_CLOEXEC);
	r.to_writer = eventfd(0, EFD_CLOEXEC);
	assert_true(r.to_reader >= 0 && r.to_writer >= 0);
	assert_int_equal(pthread_create(&thread, NULL, produce, &r), 0);
	read = consume(&r);
	if (read != packets) {
		atomic_store(&r.lost, true);
		signal_fd(r.to_writer);
	}
	pthread_join(thread, NULL);
	assert_int_equal(read, packets);
	assert_false(atomic_load(&r.lost));
	assert_false(vmbus_ring_has_data(&r.g->r));
	check_signals(&r);
	close(r.to_reader);
	close(r.to_writer);
	free(r.signalled.at);
	free(r.released.at);
	rig_free(r.g);
}

static uint32_t soak(uint32_t packets)
{
	const char *s = getenv("KMCL_SOAK");

	return s && *s == '1' ? 10 * packets : packets;
}

static void ring_046_056_no_packet_waits_and_no_signal_is_idle(void **state)
{
	run_threads(RIG_CONTIGUOUS, D, soak(400000), 200, true);
	run_threads(RIG_MIRRORED, D, soak(300000), 200, true);
	run_threads(RIG_SCATTERED, 2 * D, soak(200000), 200, true);
	run_threads(RIG_MIRRORED, D, soak(100000), 2000, false);
}

static void ring_053_a_writer_that_is_blocked_most_of_the_time(void **state)
{
	run_threads(RIG_CONTIGUOUS, D, soak(50000), 3000, true);
	run_threads(RIG_SCATTERED, D, soak(50000), 3900, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_046_056_no_packet_waits_and_no_signal_is_idle),
		cmocka_unit_test(ring_053_a_writer_that_is_blocked_most_of_the_time),
	};

	return cmocka_run_group_tests_name("ring_threads", tests, NULL, NULL);
}
