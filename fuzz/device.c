/* SPDX-License-Identifier: MIT */
#include "device.h"
#include "vmbus/gparange.h"
#include "vmbus/server_internal.h"
#include "vmbus/server_save.h"

void devices_check(const struct devices *d)
{
	const char *wrong = vmbus_server_check(d->s);

	if (wrong)
		broken(wrong);
}

static struct device *find(struct devices *d, vmbus_offer_id offer)
{
	for (unsigned int i = 0; i < DEVICES; i++) {
		if (d->device[i].offer == offer && d->device[i].state != DEVICE_NONE)
			return &d->device[i];
	}
	return NULL;
}

static unsigned int gpadl_slot(const struct device *v, uint32_t id)
{
	unsigned int i = 0;

	while (i < DEVICE_GPADLS &&
	       (v->gpadl[i].state == DEVICE_GPADL_NONE || v->gpadl[i].id != id))
		i++;
	return i;
}

static unsigned int free_slot(const struct device *v)
{
	unsigned int i = 0;

	while (i < DEVICE_GPADLS && v->gpadl[i].state != DEVICE_GPADL_NONE)
		i++;
	must(i < DEVICE_GPADLS, "a device is given more GPADLs than the limit");
	return i;
}

/* ---- what the server may ask ---- */

/* A GPADL that a device may look at is whole, and its ranges are what they were checked to be. */
static void check_view(const struct devices *d, const struct device *v, uint32_t id)
{
	struct vmbus_gpadl_view view;
	uint32_t pages = 0;
	uint64_t sum = 0;

	must(vmbus_server_gpadl(d->s, v->offer, id, &view) == VMBUS_OK, "a GPADL cannot be seen");
	must(view.id == id && view.word_count == view.page_count + view.range_count,
	     "a GPADL's size");
	must(vmbus_gparange_validate(view.words, view.word_count, view.range_count, view.word_count,
				     &pages) == VMBUS_OK &&
		     pages == view.page_count,
	     "a GPADL's ranges");
	for (uint32_t i = 0; i < view.word_count; i++)
		sum += view.words[i];
	must(sum != 1 || view.word_count, "read every word of it");
}

static bool in_use(const struct device *v)
{
	return v->state == DEVICE_ASKED || v->state == DEVICE_OPEN || v->state == DEVICE_CLOSING;
}

static void check_open(struct devices *d, struct device *v, const struct vmbus_server_action *a)
{
	unsigned int ring = gpadl_slot(v, a->open.ring_gpadl);

	must(v->state == DEVICE_CLOSED, "a device that is not closed is asked to open");
	must(ring < DEVICE_GPADLS && v->gpadl[ring].state == DEVICE_GPADL_HELD,
	     "an open on a ring that the device does not hold");
	must(a->open.channel_id && a->open.channel_id <= VMBUS_MAX_CHANNEL, "a channel's id");
	must(a->open.target_vp == VMBUS_VP_NONE || a->open.target_vp < d->vps, "a target VP");
	must(a->open.event_flag && a->open.event_flag <= VMBUS_MAX_CHANNEL, "an event flag");
	must(a->open.sint < VMBUS_SINT_COUNT, "a SINT");
	must(a->open.monitored == (a->open.monitor_id < VMBUS_MONITOR_IDS), "a monitor id");
}

static void bind(struct devices *d, struct device *v, uint32_t port)
{
	for (unsigned int i = 0; i < DEVICES; i++)
		must(!d->device[i].port || d->device[i].port != port || !in_use(&d->device[i]),
		     "two channels on one port");
	v->port = port;
}

static void asked_open(struct devices *d, struct device *v, const struct vmbus_server_action *a)
{
	struct vmbus_gpadl_view view;

	check_open(d, v, a);
	v->port = 0;
	v->ring = UINT32_MAX;
	/* A ring that is unwanted by now cannot be seen, and a device binds nothing for it. */
	if (vmbus_server_gpadl(d->s, v->offer, a->open.ring_gpadl, &view) == VMBUS_OK) {
		must(view.range_count == 1 && a->open.downstream_page >= 2 &&
			     a->open.downstream_page + 2 <= view.page_count,
		     "the shape of a ring");
		bind(d, v, a->open.connection_id & VMBUS_PORT_MASK);
		v->ring = a->open.ring_gpadl;
	}
	v->state = DEVICE_ASKED;
}

static void asked_gpadl(struct devices *d, struct device *v, uint32_t id)
{
	unsigned int slot = free_slot(v);

	must(gpadl_slot(v, id) == DEVICE_GPADLS, "a device is given a GPADL that it has");
	v->gpadl[slot].state = DEVICE_GPADL_ASKED;
	v->gpadl[slot].id = id;
}

static void asked_teardown(struct device *v, uint32_t id)
{
	unsigned int slot = gpadl_slot(v, id);

	must(slot < DEVICE_GPADLS && v->gpadl[slot].state == DEVICE_GPADL_HELD,
	     "the teardown of a GPADL that the device does not hold");
	v->gpadl[slot].state = DEVICE_GPADL_TEARING;
}

/* Whether some other device has or had a GPADL of that id: the message does not tell whose it is.
 */
static bool others_had(const struct devices *d, const struct device *v, uint32_t id)
{
	for (unsigned int i = 0; i < DEVICES; i++) {
		for (unsigned int g = 0; g < DEVICE_GPADLS && &d->device[i] != v; g++) {
			if (d->device[i].gpadl[g].id == id)
				return true;
		}
	}
	return false;
}

/* The memory is the client's again, so no device may be using it as its rings. */
static void check_torn_down(const struct devices *d, uint32_t id)
{
	for (unsigned int i = 0; i < DEVICES; i++) {
		const struct device *v = &d->device[i];

		must(!in_use(v) || v->ring != id || !vmbus_server_channel_id(d->s, v->offer) ||
			     others_had(d, v, id),
		     "a ring is given back while it is in use");
	}
}

/* The question as the device sees it; what it may not be asked ends the run. */
static void asked(struct devices *d, const struct vmbus_server_action *a)
{
	struct device *v = find(d, a->offer);

	if (!v || d->lawless)
		return;
	switch (a->type) {
	case VMBUS_SERVER_OPEN:
		asked_open(d, v, a);
		break;
	case VMBUS_SERVER_CLOSE:
		must(v->state == DEVICE_OPEN, "a device that is not open is told to close");
		v->state = DEVICE_CLOSING;
		break;
	case VMBUS_SERVER_GPADL:
		asked_gpadl(d, v, a->gpadl.id);
		break;
	case VMBUS_SERVER_GPADL_TEARDOWN:
		asked_teardown(v, a->gpadl.id);
		break;
	case VMBUS_SERVER_MODIFY:
		must(a->modify.vp < d->vps, "interrupts moved to a VP that does not exist");
		break;
	default:
		break;
	}
}

/* ---- answers ---- */

static void answered_gpadl(struct devices *d, struct device *v, uint32_t id, bool ok)
{
	unsigned int slot = gpadl_slot(v, id);
	struct vmbus_gpadl_view view;

	if (slot == DEVICE_GPADLS)
		return;
	if (vmbus_server_gpadl(d->s, v->offer, id, &view) == VMBUS_OK)
		check_view(d, v, id);
	v->gpadl[slot].state = ok ? DEVICE_GPADL_HELD : DEVICE_GPADL_NONE;
}

/* What the device has become by its answer, before the server hears it. */
static void answering(struct devices *d, const struct vmbus_server_action *a, bool ok)
{
	struct device *v = find(d, a->offer);
	unsigned int slot;

	if (!v)
		return;
	switch (a->type) {
	case VMBUS_SERVER_OPEN:
		v->state = ok ? DEVICE_OPEN : DEVICE_CLOSED;
		break;
	case VMBUS_SERVER_CLOSE:
		v->state = DEVICE_CLOSED;
		break;
	case VMBUS_SERVER_GPADL:
		answered_gpadl(d, v, a->gpadl.id, ok);
		break;
	case VMBUS_SERVER_GPADL_TEARDOWN:
		slot = gpadl_slot(v, a->gpadl.id);
		if (slot < DEVICE_GPADLS)
			v->gpadl[slot].state = DEVICE_GPADL_NONE;
		break;
	default:
		break;
	}
}

static void answer(struct devices *d, const struct vmbus_server_action *a, bool ok, uint32_t status)
{
	TRACE("device answers action %d of offer %llx: %s\n", a->type, (unsigned long long)a->offer,
	      ok ? "yes" : "no");
	answering(d, a, ok);
	switch (a->type) {
	case VMBUS_SERVER_CONNECT:
		vmbus_server_connect_done(d->s, ok);
		break;
	case VMBUS_SERVER_OPEN:
		vmbus_server_open_done(d->s, a->offer, ok ? 0 : status);
		break;
	case VMBUS_SERVER_CLOSE:
		vmbus_server_close_done(d->s, a->offer);
		break;
	case VMBUS_SERVER_GPADL:
		vmbus_server_gpadl_done(d->s, a->offer, a->gpadl.id, ok);
		break;
	case VMBUS_SERVER_GPADL_TEARDOWN:
		vmbus_server_gpadl_released(d->s, a->offer, a->gpadl.id);
		break;
	case VMBUS_SERVER_MODIFY:
		vmbus_server_modify_done(d->s, a->offer, ok ? 0 : status);
		break;
	case VMBUS_SERVER_MONITOR:
		vmbus_server_monitor_done(d->s, ok);
		break;
	case VMBUS_SERVER_HVSOCK:
		vmbus_server_hvsock_done(d->s, &a->hvsock.endpoint, &a->hvsock.service, ok);
		break;
	default:
		break;
	}
	devices_check(d);
}

void devices_take(struct devices *d, unsigned int most)
{
	struct vmbus_server_action a;

	while (most-- > 0 && vmbus_server_next_action(d->s, &a)) {
		if (a.type == VMBUS_SERVER_POST) {
			check_posted(a.message.data, a.message.size, VMBUS_TO_CLIENT);
			must(a.message.vp < d->vps && a.message.sint < VMBUS_SINT_COUNT,
			     "a message to a VP or SINT that does not exist");
			trace_message("server posts", a.message.data, a.message.size);
			if (vmbus_get32(a.message.data) == VMBUS_MSG_GPADL_TORNDOWN && !d->lawless)
				check_torn_down(d, vmbus_get32(a.message.data + 8));
			d->posted(d->ctx, &a);
			continue;
		}
		if (a.type == VMBUS_SERVER_RESTORED)
			continue;
		if (a.type == VMBUS_SERVER_DISCONNECTED) {
			d->disconnected(d->ctx);
			continue;
		}
		TRACE("device is asked: action %d of offer %llx\n", a.type,
		      (unsigned long long)a.offer);
		asked(d, &a);
		if (d->prompt || d->owed_count == DEVICE_OWED)
			answer(d, &a, true, 0);
		else
			d->owed[d->owed_count++] = a;
	}
}

void devices_answer(struct devices *d, unsigned int which, bool ok, uint32_t status)
{
	struct vmbus_server_action a;

	if (!d->owed_count)
		return;
	which %= d->owed_count;
	a = d->owed[which];
	d->owed_count--;
	memmove(&d->owed[which], &d->owed[which + 1], (d->owed_count - which) * sizeof(d->owed[0]));
	answer(d, &a, ok, status ? status : 0xc0000001);
}

void devices_settle(struct devices *d, bool ok)
{
	devices_take(d, UINT32_MAX);
	while (d->owed_count) {
		devices_answer(d, 0, ok, 0);
		devices_take(d, UINT32_MAX);
	}
}

void devices_answer_unasked(struct devices *d, const struct step *step)
{
	struct vmbus_server_action a = {.offer = d->device[step->a % DEVICES].offer};

	d->lawless = true;
	a.type = (enum vmbus_server_action_type)(VMBUS_SERVER_CONNECT +
						 step->b % (VMBUS_SERVER_HVSOCK + 1));
	a.gpadl.id = step->c;
	answer(d, &a, step->d & 1, 1);
}

/* As the partition does it: a device that has yet to answer an open keeps its rings, not its port.
 */
void devices_reset(struct devices *d)
{
	TRACE("reset\n");
	vmbus_server_reset(d->s);
	devices_check(d);
	for (uint32_t i = 0; i < d->s->channel_count; i++)
		must(d->s->sorted[i]->state != CHANNEL_OPENING_RELEASED,
		     "a reset waits for an open");
	for (unsigned int i = 0; i < DEVICES; i++) {
		if (d->device[i].state != DEVICE_ASKED)
			continue;
		d->device[i].port = 0;
		d->device[i].ring = UINT32_MAX;
	}
}

/* ---- offers ---- */

void devices_offer(struct devices *d, const struct step *step)
{
	unsigned int n = step->a % DEVICES;
	struct device *v = &d->device[n];
	struct vmbus_offer o = {.order = step->c & 3, .monitor_latency = (uint16_t)step->d};
	vmbus_offer_id id = 0;
	enum vmbus_status status;

	o.instance_id.b[0] = (uint8_t)(n + 1);
	o.monitored = step->b & 1;
	o.subchannel = step->b >> 1 & 1;
	o.flags = (uint16_t)(step->b & 0x10 ? 0x201f : 0);
	if (step->b & 4)
		o.fixed_channel_id = step->b & 8 ? 2040 + step->c % 10u : n + 1;
	status = vmbus_server_offer(d->s, &o, NULL, &id);
	devices_check(d);
	TRACE("device %u is offered: %d, offer %llx\n", n, status, (unsigned long long)id);
	if (status)
		return;
	must(v->state == DEVICE_NONE || o.subchannel || v->offer != id,
	     "one key was offered twice");
	/* A second offer of the same device, as a subchannel, is not followed further. */
	if (v->state != DEVICE_NONE) {
		vmbus_server_revoke(d->s, id);
		devices_check(d);
		return;
	}
	memset(v, 0, sizeof(*v));
	v->state = DEVICE_CLOSED;
	v->offer = id;
	v->offered = o;
}

static void come_back(struct devices *d, struct device *v, bool with_state, bool new_channel)
{
	struct vmbus_offer o = v->offered;
	enum vmbus_status status;

	o.resume = with_state;
	o.force_new = new_channel;
	memset(v->gpadl, 0, sizeof(v->gpadl));
	status = vmbus_server_offer(d->s, &o, NULL, &v->offer);
	devices_check(d);
	/* Of a channel that the client had given back nothing is saved: another may have its id. */
	if (status == VMBUS_E_EXISTS && o.fixed_channel_id && d->s->by_relid[o.fixed_channel_id])
		return;
	must(status == VMBUS_OK, "a device comes back");
	v->state = DEVICE_CLOSED;
}

static void replace_server(struct devices *d, const struct vmbus_server_config *config)
{
	struct vmbus_saved_error error;
	struct vmbus_server *s;
	uint8_t *bytes;
	size_t size;

	must(vmbus_server_save(d->s, NULL, 0, &bytes, &size) == VMBUS_OK, "a server is saved");
	vmbus_server_destroy(d->s);
	if (vmbus_server_restore(config, bytes, size, &s, &error) != VMBUS_OK) {
		fprintf(stderr, "%s: %s\n", error.field, error.why);
		broken("what was saved is refused");
	}
	config->allocator.free(config->allocator.ctx, bytes, size);
	d->s = s;
	devices_check(d);
}

void devices_restore(struct devices *d, const struct vmbus_server_config *config,
		     const struct step *step)
{
	TRACE("save and restore\n");
	replace_server(d, config);
	d->owed_count = 0;
	d->restoring = true;
	d->lawless = true;
	for (unsigned int n = 0; n < DEVICES; n++) {
		struct device *v = &d->device[n];

		bool comes = v->state != DEVICE_NONE && !(step->b >> n & 1);

		v->state = DEVICE_NONE;
		v->offer = 0;
		if (comes)
			come_back(d, v, !(step->c >> n & 1), step->d >> n & 1);
	}
	if (!(step->a & 1))
		devices_restored(d);
}

void devices_restored(struct devices *d)
{
	if (!d->restoring)
		return;
	d->restoring = false;
	vmbus_server_restore_done(d->s);
	devices_check(d);
}

void devices_revoke(struct devices *d, unsigned int n)
{
	struct device *v = &d->device[n % DEVICES];
	vmbus_offer_id old = v->offer;
	bool live = v->state != DEVICE_NONE;

	TRACE("device %u is revoked\n", n % DEVICES);
	v->state = DEVICE_NONE;
	must((vmbus_server_revoke(d->s, old) == VMBUS_OK) == live, "a revoke of what is offered");
	devices_check(d);
}

void devices_query(const struct devices *d)
{
	(void)vmbus_server_state(d->s);
	(void)vmbus_server_features(d->s);
	(void)vmbus_server_ready(d->s);
	must(vmbus_server_statistics(d->s) != NULL, "statistics");
	must(!vmbus_server_version(d->s) || vmbus_version_known(vmbus_server_version(d->s)),
	     "a version");
	for (unsigned int i = 0; i < DEVICES; i++) {
		const struct device *v = &d->device[i];

		must(vmbus_server_channel_id(d->s, v->offer) <= VMBUS_MAX_CHANNEL, "an id");
		for (unsigned int g = 0; g < DEVICE_GPADLS && !d->lawless; g++) {
			struct vmbus_gpadl_view view;

			if (v->state != DEVICE_NONE && v->gpadl[g].state == DEVICE_GPADL_HELD &&
			    vmbus_server_gpadl(d->s, v->offer, v->gpadl[g].id, &view) == VMBUS_OK)
				check_view(d, v, v->gpadl[g].id);
		}
	}
}
