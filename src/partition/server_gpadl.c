/* SPDX-License-Identifier: MIT */
/* GPADLs that the host's side has in use: rings, and what devices pin. A teardown waits for them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "partition/server_end.h"

static struct gpadl_use **find_use(struct part_server_channel *ch, uint32_t gpadl)
{
	struct gpadl_use **u = &ch->uses;

	while (*u && (*u)->gpadl != gpadl)
		u = &(*u)->next;
	return u;
}

int server_use_gpadl(struct part_server_channel *ch, uint32_t gpadl, bool ring)
{
	struct gpadl_use *u;

	if (*find_use(ch, gpadl))
		return -EBUSY;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	*u = (struct gpadl_use){.next = ch->uses, .gpadl = gpadl, .ring = ring};
	ch->uses = u;
	return 0;
}

/* The last access is over: a teardown that waited for that goes on. */
void server_end_use(struct part_server_channel *ch, uint32_t gpadl)
{
	struct gpadl_use **link = find_use(ch, gpadl);
	struct gpadl_use *u = *link;
	bool teardown;

	if (!u)
		return;
	teardown = u->teardown;
	*link = u->next;
	free(u);
	if (teardown)
		vmbus_server_gpadl_released(ch->ep->srv->s, ch->id, gpadl);
}

void server_gpadl_teardown(struct part_server_channel *ch, uint32_t gpadl)
{
	struct gpadl_use *u = *find_use(ch, gpadl);

	if (u)
		u->teardown = true;
	else
		vmbus_server_gpadl_released(ch->ep->srv->s, ch->id, gpadl);
}

/* ---- what devices call ---- */

int part_server_gpadl_pin(struct part_server_channel *ch, uint32_t gpadl, struct part_gpadl *out)
{
	struct part_endpoint *ep = ch->ep;
	struct vmbus_gpadl_view view;
	int error;

	pthread_mutex_lock(&ep->lock);
	error = endpoint_errno(vmbus_server_gpadl(ep->srv->s, ch->id, gpadl, &view));
	if (!error)
		error = server_use_gpadl(ch, gpadl, false);
	if (!error) {
		*out = (struct part_gpadl){
			.id = gpadl,
			.range_count = view.range_count,
			.page_count = view.page_count,
			.word_count = view.word_count,
			.words = malloc(view.word_count * sizeof(*out->words)),
		};
		if (out->words) {
			memcpy(out->words, view.words, view.word_count * sizeof(*out->words));
		} else {
			server_end_use(ch, gpadl);
			error = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&ep->lock);
	return error;
}

void part_server_gpadl_unpin(struct part_server_channel *ch, uint32_t gpadl)
{
	struct part_endpoint *ep = ch->ep;
	struct gpadl_use *u;

	pthread_mutex_lock(&ep->lock);
	u = *find_use(ch, gpadl);
	if (u && !u->ring) {
		server_end_use(ch, gpadl);
		server_carry_out_actions(ep);
		part_event_raise(&ep->messages);
	}
	pthread_mutex_unlock(&ep->lock);
}
