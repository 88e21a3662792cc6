/* SPDX-License-Identifier: MIT */
#include "driver.h"

void drivers_check(const struct drivers *d)
{
	const char *wrong = vmbus_client_check(d->c);

	if (wrong)
		broken(wrong);
}

struct driver_channel *drivers_channel(struct drivers *d, unsigned int which)
{
	struct driver_channel *live[DRIVER_CHANNELS];
	unsigned int count = 0;

	for (unsigned int i = 0; i < DRIVER_CHANNELS; i++) {
		if (d->channel[i].id)
			live[count++] = &d->channel[i];
	}
	return count ? live[which % count] : NULL;
}

static struct driver_channel *find(struct drivers *d, vmbus_channel_id id)
{
	for (unsigned int i = 0; i < DRIVER_CHANNELS; i++) {
		if (d->channel[i].id == id)
			return &d->channel[i];
	}
	broken(id ? "an action for a channel that is gone" : "more channels than the limit");
}

static struct driver_gpadl *find_gpadl(struct drivers *d, vmbus_channel_id channel, uint32_t id)
{
	for (unsigned int i = 0; i < DRIVER_GPADLS; i++) {
		if (d->gpadl[i].channel == channel && d->gpadl[i].id == id)
			return &d->gpadl[i];
	}
	broken("an action for a GPADL that is gone");
}

/* ---- what the client says ---- */

static void offered(struct drivers *d, const struct vmbus_client_action *a)
{
	struct driver_channel *ch = find(d, 0);

	for (unsigned int i = 0; i < DRIVER_CHANNELS; i++)
		must(d->channel[i].id != a->channel, "a channel is offered twice");
	must(a->offer.relid && a->offer.relid <= VMBUS_MAX_CHANNEL, "an offer's id");
	must(a->offer.monitored == (a->offer.monitor_id < VMBUS_MONITOR_IDS), "a monitor id");
	*ch = (struct driver_channel){.id = a->channel, .relid = a->offer.relid};
	vmbus_client_set_owner(d->c, a->channel, ch);
}

static void rescinded(struct drivers *d, const struct vmbus_client_action *a)
{
	struct driver_channel *ch = find(d, a->channel);

	must(!ch->rescinded, "a channel is rescinded twice");
	must(!ch->opening && !ch->modifying, "a rescind overtakes the end of a request");
	ch->rescinded = true;
	ch->open = false;
	for (unsigned int i = 0; i < DRIVER_GPADLS; i++) {
		struct driver_gpadl *g = &d->gpadl[i];

		if (g->channel != a->channel)
			continue;
		must(!g->creating && !g->deleting, "a rescind overtakes the end of a request");
		*g = (struct driver_gpadl){0};
	}
}

static void open_result(struct drivers *d, const struct vmbus_client_action *a)
{
	struct driver_channel *ch = find(d, a->channel);

	must(ch->opening, "an open ends that was not asked for");
	ch->opening = false;
	ch->open = a->status == 0;
	d->opens += a->status == 0;
}

static void modify_result(struct drivers *d, const struct vmbus_client_action *a)
{
	struct driver_channel *ch = find(d, a->channel);

	must(ch->modifying, "a modify ends that was not asked for");
	ch->modifying = false;
}

static void created(struct drivers *d, const struct vmbus_client_action *a)
{
	struct driver_gpadl *g = find_gpadl(d, a->channel, a->gpadl);

	must(g->creating, "a GPADL is made that was not asked for");
	g->creating = false;
	d->creates += a->status == 0;
	if (a->status)
		*g = (struct driver_gpadl){0};
}

static void torn_down(struct drivers *d, const struct vmbus_client_action *a)
{
	struct driver_gpadl *g = find_gpadl(d, a->channel, a->gpadl);

	must(g->deleting, "a GPADL is torn down that was to stay");
	*g = (struct driver_gpadl){0};
}

/* The client has ended everything before it says so. */
static void unloaded(struct drivers *d)
{
	must(d->unloading, "an unload ends that was not asked for");
	d->unloading = false;
	d->unloads++;
	for (unsigned int i = 0; i < DRIVER_CHANNELS; i++)
		must(!d->channel[i].id || d->channel[i].rescinded, "a channel outlives an unload");
	for (unsigned int i = 0; i < DRIVER_GPADLS; i++)
		must(!d->gpadl[i].channel, "a GPADL outlives an unload");
}

static void take(struct drivers *d, const struct vmbus_client_action *a)
{
	if (a->type != VMBUS_CLIENT_POST)
		TRACE("client says: action %d of channel %llx, GPADL %x, status %x\n", a->type,
		      (unsigned long long)a->channel, a->gpadl, a->status);
	switch (a->type) {
	case VMBUS_CLIENT_POST:
		check_posted(a->message.data, a->message.size, VMBUS_TO_SERVER);
		trace_message("client posts", a->message.data, a->message.size);
		d->posted(d->ctx, a);
		break;
	case VMBUS_CLIENT_CONNECTED:
		must(d->connecting, "a connection that was not asked for");
		must(vmbus_version_known(a->connected.version), "a version");
		d->connecting = false;
		d->connects++;
		break;
	case VMBUS_CLIENT_CONNECT_FAILED:
		must(d->connecting, "a connection fails that was not asked for");
		d->connecting = false;
		d->failures++;
		break;
	case VMBUS_CLIENT_OFFER:
		offered(d, a);
		break;
	case VMBUS_CLIENT_OFFERS_DELIVERED:
		break;
	case VMBUS_CLIENT_RESCIND:
		must(!a->owner || a->owner == find(d, a->channel), "an owner that is another's");
		rescinded(d, a);
		break;
	case VMBUS_CLIENT_OPEN_RESULT:
		open_result(d, a);
		break;
	case VMBUS_CLIENT_GPADL_CREATED:
		created(d, a);
		break;
	case VMBUS_CLIENT_GPADL_TORNDOWN:
		torn_down(d, a);
		break;
	case VMBUS_CLIENT_MODIFY_RESULT:
		modify_result(d, a);
		break;
	case VMBUS_CLIENT_CONNECTION_MODIFIED:
		must(d->moving_pages, "monitor pages move that were to stay");
		d->moving_pages = false;
		break;
	case VMBUS_CLIENT_UNLOADED:
		unloaded(d);
		break;
	}
}

void drivers_take(struct drivers *d, unsigned int most)
{
	struct vmbus_client_action a;

	while (most-- > 0 && vmbus_client_next_action(d->c, &a)) {
		take(d, &a);
		if (a.type == VMBUS_CLIENT_RESCIND && d->letting_go)
			drivers_release_all(d);
	}
	drivers_check(d);
}

/* ---- what drivers ask for, when they know of everything that happened ---- */

void drivers_connect(struct drivers *d)
{
	drivers_take(d, UINT32_MAX);
	if (vmbus_client_connect(d->c) == VMBUS_OK)
		d->connecting = true;
	drivers_check(d);
}

void drivers_create(struct drivers *d, const struct step *step)
{
	static uint64_t words[VMBUS_GPADL_MAX_WORDS];
	uint32_t pages = step->d & 0x100 ? 8190 - step->c : step->c, ranges = 1, count = 0, id;
	struct driver_gpadl *g = NULL;
	struct driver_channel *ch;

	drivers_take(d, UINT32_MAX);
	ch = drivers_channel(d, step->a);
	for (unsigned int i = 0; i < DRIVER_GPADLS; i++)
		g = d->gpadl[i].channel ? g : &d->gpadl[i];
	if (!g || !ch)
		return;
	if (step->d & 0x200 && pages < 0x100) {
		ranges = pages;
		pages = 1;
	}
	for (uint32_t r = 0; r < ranges; r++) {
		words[count++] = (uint64_t)pages * VMBUS_PAGE_SIZE;
		for (uint32_t i = 0; i < pages; i++)
			words[count++] = 0x1000 + i;
	}
	if (vmbus_client_gpadl_create(d->c, ch->id, words, count, ranges, step->d & 0x1fff, &id) ==
	    VMBUS_OK) {
		must(id && pages && ranges, "a GPADL of nothing, or with the id 0");
		for (unsigned int i = 0; i < DRIVER_GPADLS; i++)
			must(!d->gpadl[i].channel || d->gpadl[i].id != id, "two GPADLs, one id");
		*g = (struct driver_gpadl){ch->id, id, pages, true, false};
	}
	drivers_check(d);
}

void drivers_teardown(struct drivers *d, unsigned int which)
{
	struct driver_gpadl *live[DRIVER_GPADLS], *g;
	unsigned int count = 0;

	drivers_take(d, UINT32_MAX);
	for (unsigned int i = 0; i < DRIVER_GPADLS; i++) {
		if (d->gpadl[i].channel)
			live[count++] = &d->gpadl[i];
	}
	if (!count)
		return;
	g = live[which % count];
	if (vmbus_client_gpadl_teardown(d->c, g->channel, g->id) == VMBUS_OK) {
		must(!g->creating && !g->deleting, "the teardown of what is under way");
		g->deleting = true;
	}
	drivers_check(d);
}

/* On the channel's own ring, the last that was made. */
void drivers_open(struct drivers *d, const struct step *step)
{
	struct vmbus_client_open o = {.target_vp = step->d & 8 ? VMBUS_VP_NONE : step->d & 3};
	struct driver_channel *ch;
	uint32_t pages = 0;

	drivers_take(d, UINT32_MAX);
	ch = drivers_channel(d, step->a);
	if (!ch)
		return;
	for (unsigned int i = 0; i < DRIVER_GPADLS; i++) {
		if (d->gpadl[i].channel == ch->id && (!o.ring_gpadl || step->b & 1)) {
			o.ring_gpadl = d->gpadl[i].id;
			pages = d->gpadl[i].pages;
		}
	}
	o.downstream_page = step->c & 0x80 ? step->c & 0x7f : pages / 2;
	o.connection_id = step->d & 16 ? step->d >> 8 : 0x3000 + ch->relid;
	o.event_flag = (uint16_t)(step->d & 32 ? step->d >> 8 : ch->relid);
	o.open_flags = (uint16_t)(step->d >> 6 & 1);
	if (vmbus_client_open(d->c, ch->id, &o) == VMBUS_OK) {
		must(!ch->opening && !ch->open && !ch->rescinded, "an open of what is open");
		ch->opening = true;
	}
	drivers_check(d);
}

void drivers_close(struct drivers *d, unsigned int which)
{
	struct driver_channel *ch;

	drivers_take(d, UINT32_MAX);
	ch = drivers_channel(d, which);
	if (ch && vmbus_client_close(d->c, ch->id) == VMBUS_OK)
		ch->open = false;
	drivers_check(d);
}

void drivers_modify(struct drivers *d, unsigned int which, uint32_t vp)
{
	struct driver_channel *ch;

	drivers_take(d, UINT32_MAX);
	ch = drivers_channel(d, which);
	if (ch && vmbus_client_modify(d->c, ch->id, vp) == VMBUS_OK) {
		must(!ch->modifying, "a second modify before the end of the first");
		ch->modifying = true;
	}
	drivers_check(d);
}

void drivers_release(struct drivers *d, unsigned int which)
{
	struct driver_channel *ch;

	drivers_take(d, UINT32_MAX);
	ch = drivers_channel(d, which);
	if (!ch)
		return;
	must((vmbus_client_release(d->c, ch->id) == VMBUS_OK) == ch->rescinded,
	     "a release of what is rescinded");
	if (ch->rescinded)
		*ch = (struct driver_channel){0};
	drivers_check(d);
}

void drivers_move_pages(struct drivers *d, bool some)
{
	drivers_take(d, UINT32_MAX);
	if (vmbus_client_modify_connection(d->c, some ? 0x5000 : 0, some ? 0x6000 : 0) ==
	    VMBUS_OK) {
		must(!d->moving_pages, "monitor pages move twice at once");
		d->moving_pages = true;
	}
	drivers_check(d);
}

void drivers_unload(struct drivers *d)
{
	drivers_take(d, UINT32_MAX);
	if (vmbus_client_unload(d->c) == VMBUS_OK)
		d->unloading = true;
	drivers_check(d);
}

void drivers_lost(struct drivers *d)
{
	TRACE("client's transport is lost\n");
	vmbus_client_lost(d->c);
	drivers_check(d);
}

void drivers_query(const struct drivers *d)
{
	(void)vmbus_client_state(d->c);
	(void)vmbus_client_features(d->c);
	must(vmbus_client_statistics(d->c) != NULL, "statistics");
	must(!vmbus_client_version(d->c) || vmbus_version_known(vmbus_client_version(d->c)),
	     "a version");
}

/* ---- all of it ---- */

void drivers_close_all(struct drivers *d)
{
	drivers_take(d, UINT32_MAX);
	for (unsigned int i = 0; i < DRIVER_CHANNELS; i++) {
		struct driver_channel *ch = &d->channel[i];

		if (ch->id && ch->open) {
			must(vmbus_client_close(d->c, ch->id) == VMBUS_OK, "a close");
			ch->open = false;
		}
	}
	drivers_check(d);
}

void drivers_release_all(struct drivers *d)
{
	for (unsigned int i = 0; i < DRIVER_CHANNELS; i++) {
		struct driver_channel *ch = &d->channel[i];

		if (!ch->id || !ch->rescinded)
			continue;
		must(vmbus_client_release(d->c, ch->id) == VMBUS_OK, "a release");
		*ch = (struct driver_channel){0};
	}
	drivers_check(d);
}

void drivers_rest(const struct drivers *d)
{
	for (unsigned int i = 0; i < DRIVER_CHANNELS; i++)
		must(!d->channel[i].opening && !d->channel[i].modifying, "a request never ends");
	for (unsigned int i = 0; i < DRIVER_GPADLS; i++)
		must(!d->gpadl[i].creating && !d->gpadl[i].deleting, "a request never ends");
	must(!d->moving_pages, "a request never ends");
	must(!d->connecting && !d->unloading, "a connection never begins or ends");
}
