/* SPDX-License-Identifier: MIT */
/* Conversations of a real guest, played to the server, and demanded of the client. */
#include <stdlib.h>

#include "control.h"

#include "vmbus/message.h"

#define MAX_LINES 1024

static const char *folder = "tests/vectors";

static const char *const files[] = {"linux-6.1-storage.txt", "linux-6.1-uio.txt",
				    "linux-6.1-modify-channel.txt", "linux-6.1-panic.txt",
				    "linux-6.1-kexec.txt"};
#define FILES (sizeof(files) / sizeof(files[0]))

struct line {
	char kind; /* > or < */
	uint32_t port;
	struct raw r;
};

struct recording {
	struct line *lines;
	size_t count;
};

static void read_line(struct recording *rec, char *text)
{
	struct line *l = &rec->lines[rec->count];
	char *rest = text + 2;

	if (text[0] != '>' && text[0] != '<')
		return;
	assert_true(rec->count < MAX_LINES);
	l->kind = text[0];
	if (l->kind == '>')
		l->port = (uint32_t)strtoul(rest, &rest, 10);
	l->r = from_hex(rest);
	rec->count++;
}

static struct recording load(const char *name)
{
	struct recording rec = {calloc(MAX_LINES, sizeof(struct line)), 0};
	char path[512], *text = NULL;
	size_t size = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "r");
	if (!f)
		fail_msg("cannot open %s", path);
	assert_non_null(rec.lines);
	while (getline(&text, &size, f) > 0)
		read_line(&rec, text);
	free(text);
	fclose(f);
	assert_true(rec.count > 10);
	return rec;
}

static uint32_t type_of(const struct line *l)
{
	return get32(l->r.b, 0);
}

/* ---- the server ---- */

/* The device behind a recorded OFFER, so that the server would offer the same. */
static void offer_as_recorded(struct bench *t, const struct raw *r, uint32_t order)
{
	struct vmbus_offer o = {.order = order};
	vmbus_offer_id id;

	memcpy(o.interface_id.b, r->b + 8, 16);
	memcpy(o.instance_id.b, r->b + 24, 16);
	o.flags = (uint16_t)(r->b[56] | r->b[57] << 8);
	o.mmio_megabytes = (uint16_t)(r->b[58] | r->b[59] << 8);
	memcpy(o.user_data, r->b + 60, 120);
	o.subchannel = (uint16_t)(r->b[180] | r->b[181] << 8);
	o.fixed_channel_id = get32(r->b, 184);
	o.monitored = r->b[189] != 0;
	assert_int_equal(vmbus_server_offer(t->s, &o, t, &id), VMBUS_OK);
}

static void same_answer(const struct vmbus_server_action *a, const struct line *l)
{
	struct raw got = {.n = a->message.size}, want = l->r;

	memcpy(got.b, a->message.data, got.n);
	/* Which monitor id a channel has, or what stands there if it has none, is the host's
	 * choice. */
	if (type_of(l) == 1)
		got.b[188] = want.b[188] = 0;
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.b, want.b, want.n);
}

/* A device that agrees to everything at once; messages are compared in their order. */
static size_t carry_out(struct bench *t, const struct recording *rec, size_t next)
{
	while (vmbus_server_next_action(t->s, &t->a)) {
		switch (t->a.type) {
		case VMBUS_SERVER_POST:
			while (next < rec->count && rec->lines[next].kind != '<')
				next++;
			assert_true(next < rec->count);
			same_answer(&t->a, &rec->lines[next++]);
			break;
		case VMBUS_SERVER_CONNECT:
			vmbus_server_connect_done(t->s, true);
			break;
		case VMBUS_SERVER_OPEN:
			vmbus_server_open_done(t->s, t->a.offer, 0);
			break;
		case VMBUS_SERVER_CLOSE:
			vmbus_server_close_done(t->s, t->a.offer);
			break;
		case VMBUS_SERVER_GPADL:
			vmbus_server_gpadl_done(t->s, t->a.offer, t->a.gpadl.id, true);
			break;
		case VMBUS_SERVER_GPADL_TEARDOWN:
			vmbus_server_gpadl_released(t->s, t->a.offer, t->a.gpadl.id);
			break;
		case VMBUS_SERVER_MODIFY:
			vmbus_server_modify_done(t->s, t->a.offer, 0);
			break;
		case VMBUS_SERVER_DISCONNECTED:
			break;
		case VMBUS_SERVER_MONITOR:
		case VMBUS_SERVER_HVSOCK:
		case VMBUS_SERVER_RESTORED:
			fail_msg("unexpected action %d", t->a.type);
		}
		check_at(t, __LINE__);
	}
	return next;
}

static void play(struct bench *t, const struct recording *rec)
{
	uint32_t order = 0, posted = 0;
	size_t answers = 0;

	t->config.message_connection_id = 4;
	t->config.vp_count = 2;
	t->config.features = 0;
	bench_restart(t);
	for (size_t i = 0; i < rec->count && (order == 0 || rec->lines[i].kind == '<'); i++) {
		if (rec->lines[i].kind == '<' && type_of(&rec->lines[i]) == 1)
			offer_as_recorded(t, &rec->lines[i].r, ++order);
	}
	for (size_t i = 0; i < rec->count; i++) {
		if (rec->lines[i].kind != '>')
			continue;
		post_to(t, rec->lines[i].port, &rec->lines[i].r);
		answers = carry_out(t, rec, answers);
		posted++;
	}
	while (answers < rec->count && rec->lines[answers].kind != '<')
		answers++;
	assert_int_equal(answers, rec->count);
	assert_int_equal(vmbus_server_statistics(t->s)->received, posted);
}

static void no_message_was_dropped(const struct bench *t)
{
	const struct vmbus_server_stats *s = vmbus_server_statistics(t->s);

	assert_int_equal(s->dropped_short + s->dropped_type + s->dropped_direction +
				 s->dropped_version + s->dropped_state + s->dropped_vtl +
				 s->dropped_unknown + s->dropped_paused + s->dropped_busy,
			 0);
	assert_int_equal(s->gpadls_refused, 0);
	assert_int_equal(s->late_answers, 0);
}

static void the_server_answers_a_real_guest_as_recorded(void **state)
{
	struct bench *t = *state;

	for (size_t i = 0; i < FILES; i++) {
		struct recording rec = load(files[i]);

		play(t, &rec);
		no_message_was_dropped(t);
		free(rec.lines);
	}
}

static void the_big_gpadls_arrive_whole(void **state)
{
	struct bench *t = *state;
	struct recording rec = load("linux-6.1-uio.txt");
	struct vmbus_gpadl_view view;
	uint32_t pages = 0;

	play(t, &rec);
	for (uint32_t slot = 1; slot <= 4; slot++) {
		for (vmbus_offer_id gen = 1; gen <= 4; gen++) {
			if (!vmbus_server_gpadl(t->s, gen << 16 | slot, 0xe1e12, &view))
				pages = view.page_count;
		}
	}
	assert_int_equal(pages, 31 * 256);
	free(rec.lines);
}

/* ---- the codec ---- */

static bool has_data(uint32_t type)
{
	return type == 8 || type == 9;
}

static void the_codec_keeps_every_recorded_byte(void **state)
{
	for (size_t i = 0; i < FILES; i++) {
		struct recording rec = load(files[i]);

		for (size_t n = 0; n < rec.count; n++) {
			const struct raw *r = &rec.lines[n].r;
			size_t size = has_data(type_of(&rec.lines[n]))
					      ? vmbus_message_info(get32(r->b, 0))->sizes[0]
					      : r->n;
			uint8_t back[VMBUS_MAX_MESSAGE];
			struct vmbus_message m;

			vmbus_message_decode(&m, r->b, r->n);
			vmbus_message_encode(&m, back, size);
			assert_memory_equal(back, r->b, size);
		}
		free(rec.lines);
	}
}

/* ---- the client ---- */

struct guest {
	struct heap heap;
	struct vmbus_client_config config;
	struct vmbus_client *c;
	struct vmbus_client_action a;
	vmbus_channel_id by_relid[2048];
	uint32_t open_id[2048];
	const struct recording *rec;
	size_t said; /* lines compared so far */
	bool unloaded;
	unsigned int results; /* of opens */
};

static uint64_t get64(const uint8_t *b, size_t at)
{
	return get32(b, at) | (uint64_t)get32(b, at + 4) << 32;
}

/* The open id is the client's own affair; everything else must be the recorded byte. */
static void says_as_recorded(struct guest *g)
{
	const struct line *l;
	struct raw got = {.n = g->a.message.size}, want;

	while (g->said < g->rec->count && g->rec->lines[g->said].kind != '>')
		g->said++;
	assert_true(g->said < g->rec->count);
	l = &g->rec->lines[g->said++];
	want = l->r;
	memcpy(got.b, g->a.message.data, got.n);
	if (type_of(l) == 5) {
		g->open_id[get32(got.b, 8) & 2047] = get32(got.b, 12);
		put32(&got, 12, 0);
		put32(&want, 12, 0);
	}
	assert_int_equal(g->a.message.connection_id, l->port);
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.b, want.b, want.n);
}

static void listen_to_client(struct guest *g)
{
	while (vmbus_client_next_action(g->c, &g->a)) {
		assert_null(vmbus_client_check(g->c));
		switch (g->a.type) {
		case VMBUS_CLIENT_POST:
			says_as_recorded(g);
			break;
		case VMBUS_CLIENT_OFFER:
			g->by_relid[g->a.offer.relid] = g->a.channel;
			break;
		case VMBUS_CLIENT_UNLOADED:
			g->unloaded = true;
			break;
		case VMBUS_CLIENT_RESCIND:
			assert_int_equal(vmbus_client_release(g->c, g->a.channel), VMBUS_OK);
			break;
		case VMBUS_CLIENT_CONNECTED:
		case VMBUS_CLIENT_OFFERS_DELIVERED:
		case VMBUS_CLIENT_GPADL_TORNDOWN:
			break;
		case VMBUS_CLIENT_OPEN_RESULT:
			g->results++;
			assert_int_equal(g->a.status, 0);
			break;
		case VMBUS_CLIENT_GPADL_CREATED:
		case VMBUS_CLIENT_MODIFY_RESULT:
		case VMBUS_CLIENT_CONNECTION_MODIFIED:
			assert_int_equal(g->a.status, 0);
			break;
		case VMBUS_CLIENT_CONNECT_FAILED:
			fail_msg("the client gave up");
		}
	}
}

/* Each contact is another kernel's: a new client, counting from the start. */
static void client_contact(struct guest *g, const struct raw *r)
{
	vmbus_client_destroy(g->c);
	g->config.allocator = heap_allocator(&g->heap);
	g->config.max_version = get32(r->b, 8);
	g->config.target_vp = get32(r->b, 12);
	g->config.monitor_parent_to_child = get64(r->b, 24);
	g->config.monitor_child_to_parent = get64(r->b, 32);
	g->c = vmbus_client_create(&g->config);
	assert_non_null(g->c);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
}

/* The words of the GPADL whose HEADER is line n, out of it and the BODYs that follow. */
static uint32_t collect(const struct recording *rec, size_t n, uint64_t *words)
{
	const struct raw *r = &rec->lines[n].r;
	uint32_t want = (uint32_t)(r->b[16] | r->b[17] << 8) / 8, have = 0;

	for (size_t at = 20; have < want && at + 8 <= r->n; at += 8)
		words[have++] = get64(r->b, at);
	while (have < want) {
		r = &rec->lines[++n].r;
		assert_int_equal(get32(r->b, 0), 9);
		for (size_t at = 16; have < want && at + 8 <= r->n; at += 8)
			words[have++] = get64(r->b, at);
	}
	return want;
}

static void client_header(struct guest *g, size_t n)
{
	const struct raw *r = &g->rec->lines[n].r;
	uint64_t *words = calloc(8192, sizeof(*words));
	uint32_t count, id;

	assert_non_null(words);
	count = collect(g->rec, n, words);
	assert_int_equal(vmbus_client_gpadl_create(g->c, g->by_relid[get32(r->b, 8)], words, count,
						   r->b[18], 0, &id),
			 VMBUS_OK);
	assert_int_equal(id, get32(r->b, 12));
	free(words);
}

static void client_open(struct guest *g, const struct raw *r)
{
	struct vmbus_client_open o = {.ring_gpadl = get32(r->b, 16),
				      .target_vp = get32(r->b, 20),
				      .downstream_page = get32(r->b, 24)};

	memcpy(o.user_data, r->b + 28, 120);
	assert_int_equal(vmbus_client_open(g->c, g->by_relid[get32(r->b, 8)], &o), VMBUS_OK);
}

/* Makes the client do what the guest had done when it posted line n. */
static void prompt(struct guest *g, size_t n)
{
	const struct raw *r = &g->rec->lines[n].r;
	vmbus_channel_id ch = g->by_relid[get32(r->b, 8) & 2047];

	switch (get32(r->b, 0)) {
	case 3: /* follows from the answer to the contact */
	case 9: /* follows from the HEADER */
		return;
	case 14:
		client_contact(g, r);
		break;
	case 8:
		client_header(g, n);
		break;
	case 5:
		client_open(g, r);
		break;
	case 7:
		assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_OK);
		break;
	case 11:
		assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, get32(r->b, 12)), VMBUS_OK);
		break;
	case 22:
		assert_int_equal(vmbus_client_modify(g->c, ch, get32(r->b, 12)), VMBUS_OK);
		break;
	case 16:
		assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
		break;
	default:
		fail_msg("the guest said %u", get32(r->b, 0));
	}
}

/* The host's line, with the open id that a host would have echoed to us. */
static void hear(struct guest *g, const struct line *l)
{
	struct raw r = l->r;

	if (type_of(l) == 6)
		put32(&r, 12, g->open_id[get32(r.b, 8) & 2047]);
	vmbus_client_receive(g->c, r.b, r.n);
}

static void speak(struct guest *g, const struct recording *rec)
{
	bool unloads = false;
	unsigned int results = 0;

	g->rec = rec;
	for (size_t n = 0; n < rec->count; n++) {
		const struct line *l = &rec->lines[n];

		if (l->kind == '>')
			prompt(g, n);
		else
			hear(g, l);
		listen_to_client(g);
		unloads |= l->kind == '<' && type_of(l) == 17;
		results += l->kind == '<' && type_of(l) == 6;
	}
	while (g->said < rec->count && rec->lines[g->said].kind != '>')
		g->said++;
	assert_int_equal(g->said, rec->count);
	assert_int_equal(g->unloaded, unloads);
	assert_int_equal(g->results, results);
}

static void the_client_says_what_the_guest_said(void **state)
{
	for (size_t i = 0; i < FILES; i++) {
		struct recording rec = load(files[i]);
		struct guest *g = calloc(1, sizeof(*g));

		assert_non_null(g);
		g->heap.allowed = SIZE_MAX;
		speak(g, &rec);
		vmbus_client_destroy(g->c);
		assert_int_equal(g->heap.live, 0);
		free(g);
		free(rec.lines);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_server_answers_a_real_guest_as_recorded,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(the_big_gpadls_arrive_whole, bench_setup,
						bench_teardown),
		cmocka_unit_test(the_codec_keeps_every_recorded_byte),
		cmocka_unit_test(the_client_says_what_the_guest_said),
	};

	if (argc > 1)
		folder = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
