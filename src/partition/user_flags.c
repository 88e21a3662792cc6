/* SPDX-License-Identifier: MIT */
#include "partition/user_flags.h"

#define NO_PLACE 0xffffu

void user_flags_init(struct user_flags *f)
{
	for (uint32_t i = 0; i < HV_EVENT_FLAGS; i++)
		atomic_init(&f->head[i], NO_PLACE);
}

static void unlink_place(struct user_flags *f, uint16_t channel)
{
	_Atomic uint16_t *link = &f->head[f->place[channel].flag];

	while (atomic_load(link) != channel && atomic_load(link) != NO_PLACE)
		link = &f->place[atomic_load(link)].next;
	if (atomic_load(link) == channel)
		atomic_store(link, atomic_load(&f->place[channel].next));
	atomic_fetch_add(&f->moves, 1);
	f->place[channel].bound = false;
}

static void link_place(struct user_flags *f, uint16_t channel, uint16_t flag)
{
	f->place[channel].flag = flag;
	atomic_store(&f->place[channel].next, atomic_load(&f->head[flag]));
	f->place[channel].bound = true;
	atomic_store(&f->head[flag], channel);
	if (flag / 64u >= atomic_load(&f->words))
		atomic_store(&f->words, flag / 64u + 1);
}

void user_flags_bind(struct user_flags *f, uint32_t channel, uint32_t dispatcher,
		     uint32_t connection_id)
{
	atomic_store(&f->place[channel].dispatcher, (uint16_t)dispatcher);
	f->place[channel].connection_id = connection_id;
	link_place(f, (uint16_t)channel, (uint16_t)channel);
}

void user_flags_choose(struct user_flags *f, uint32_t channel, uint32_t flag)
{
	if (channel >= HV_EVENT_FLAGS || flag >= HV_EVENT_FLAGS || !f->place[channel].bound)
		return;
	unlink_place(f, (uint16_t)channel);
	link_place(f, (uint16_t)channel, (uint16_t)flag);
}

void user_flags_unbind(struct user_flags *f, uint32_t connection_id)
{
	for (uint32_t i = 0; i < HV_EVENT_FLAGS; i++)
		if (f->place[i].bound && f->place[i].connection_id == connection_id)
			unlink_place(f, (uint16_t)i);
}

void user_flags_ring(struct user_flags *f, uint32_t flag, struct hv_machine *m)
{
	unsigned int moves;

	do {
		uint16_t c;

		moves = atomic_load(&f->moves);
		for (c = atomic_load(&f->head[flag]); c != NO_PLACE;
		     c = atomic_load(&f->place[c].next))
			hv_machine_doorbell(m, atomic_load(&f->place[c].dispatcher), c);
	} while (atomic_load(&f->moves) != moves);
}

void user_flags_take(struct user_flags *f, struct hv_flags *signals, struct hv_machine *m)
{
	uint32_t words = atomic_load(&f->words);

	for (uint32_t word = f->first_word; word < words; word++) {
		uint64_t bits = hv_flags_take(signals, word);

		for (; bits; bits &= bits - 1)
			user_flags_ring(f, word * 64 + (uint32_t)__builtin_ctzll(bits), m);
	}
}
