/* SPDX-License-Identifier: MIT */
#include "witness.h"

static void ask(struct witness *w, uint32_t answer, uint32_t channel, uint32_t id)
{
	if (w->asked_count == WITNESS_ASKED)
		w->blind = true;
	else
		w->asked[w->asked_count++] = (struct asked){answer, channel, id};
}

/* Takes the question back; an answer without one ends the run. */
static void answered(struct witness *w, uint32_t answer, uint32_t channel, uint32_t id)
{
	unsigned int i = 0;

	while (i < w->asked_count && (w->asked[i].answer != answer ||
				      w->asked[i].channel != channel || w->asked[i].id != id))
		i++;
	if (i == w->asked_count) {
		must(w->blind, "an answer to what was never asked");
		return;
	}
	w->asked[i] = w->asked[--w->asked_count];
}

void witness_client(struct witness *w, const uint8_t *bytes, size_t size)
{
	struct vmbus_message m;

	if (vmbus_message_check(bytes, size, VMBUS_TO_SERVER) != VMBUS_CHECK_OK)
		return;
	vmbus_message_decode(&m, bytes, size);
	switch (m.type) {
	case VMBUS_MSG_REQUEST_OFFERS:
		ask(w, VMBUS_MSG_ALL_OFFERS_DELIVERED, 0, 0);
		break;
	case VMBUS_MSG_OPEN_CHANNEL:
		ask(w, VMBUS_MSG_OPEN_CHANNEL_RESULT, m.open_channel.channel_id,
		    m.open_channel.open_id);
		break;
	case VMBUS_MSG_OPEN_RESERVED_CHANNEL:
		ask(w, VMBUS_MSG_OPEN_RESERVED_CHANNEL, m.open_reserved_channel.channel_id, 0);
		break;
	case VMBUS_MSG_GPADL_HEADER:
		ask(w, VMBUS_MSG_GPADL_CREATED, m.gpadl_header.channel_id, m.gpadl_header.gpadl);
		break;
	case VMBUS_MSG_GPADL_TEARDOWN:
		ask(w, VMBUS_MSG_GPADL_TORNDOWN, 0, m.gpadl_teardown.gpadl);
		break;
	case VMBUS_MSG_RELID_RELEASED:
		if (m.relid_released.channel_id <= VMBUS_MAX_CHANNEL)
			w->released[m.relid_released.channel_id] = true;
		break;
	case VMBUS_MSG_INITIATE_CONTACT:
		ask(w, VMBUS_MSG_VERSION_RESPONSE, 0, 0);
		break;
	case VMBUS_MSG_UNLOAD:
		ask(w, VMBUS_MSG_UNLOAD_COMPLETE, 0, 0);
		break;
	case VMBUS_MSG_CLOSE_RESERVED_CHANNEL:
		ask(w, VMBUS_MSG_CLOSE_RESERVED_RESPONSE, m.close_reserved_channel.channel_id, 0);
		break;
	case VMBUS_MSG_MODIFY_CHANNEL:
		ask(w, VMBUS_MSG_MODIFY_CHANNEL_RESPONSE, m.modify_channel.channel_id, 0);
		break;
	case VMBUS_MSG_TL_CONNECT_REQUEST:
		ask(w, VMBUS_MSG_TL_CONNECT_REQUEST_RESULT, 0, 0);
		break;
	case VMBUS_MSG_MODIFY_CONNECTION:
		ask(w, VMBUS_MSG_MODIFY_CONNECTION_RESPONSE, 0, 0);
		break;
	case VMBUS_MSG_PAUSE:
		ask(w, VMBUS_MSG_PAUSE_RESPONSE, 0, 0);
		break;
	default:
		break;
	}
}

static void offered(struct witness *w, uint32_t relid)
{
	must(relid && relid <= VMBUS_MAX_CHANNEL, "an offer with an impossible id");
	must(!w->offered[relid] || w->released[relid], "an id is offered that the client holds");
	w->offered[relid] = true;
	w->rescinded[relid] = false;
	w->released[relid] = false;
}

static void rescinded(struct witness *w, uint32_t relid)
{
	must(relid && relid <= VMBUS_MAX_CHANNEL, "a rescind of an impossible id");
	must(!w->rescinded[relid], "a channel is rescinded twice");
	w->rescinded[relid] = true;
}

static void version_response(struct witness *w, const struct vmbus_message *m)
{
	answered(w, m->type, 0, 0);
	w->connected = m->version_response.supported && !m->version_response.state;
}

/* By the word about its state a connection may say this much: the rest needs one. */
static void may_be_said(const struct witness *w, uint32_t type, bool unqueued)
{
	must(w->connected || unqueued || type == VMBUS_MSG_VERSION_RESPONSE ||
		     type == VMBUS_MSG_UNLOAD_COMPLETE,
	     "something is said without a connection");
}

void witness_server(struct witness *w, const uint8_t *bytes, size_t size, bool unqueued)
{
	struct vmbus_message m;

	vmbus_message_decode(&m, bytes, size);
	may_be_said(w, m.type, unqueued);
	switch (m.type) {
	case VMBUS_MSG_OFFER_CHANNEL:
		offered(w, m.offer_channel.channel_id);
		break;
	case VMBUS_MSG_RESCIND_CHANNEL_OFFER:
		rescinded(w, m.rescind_channel_offer.channel_id);
		break;
	case VMBUS_MSG_OPEN_CHANNEL_RESULT:
		if (unqueued)
			answered(w, VMBUS_MSG_OPEN_RESERVED_CHANNEL,
				 m.open_channel_result.channel_id, 0);
		else
			answered(w, m.type, m.open_channel_result.channel_id,
				 m.open_channel_result.open_id);
		break;
	case VMBUS_MSG_GPADL_CREATED:
		answered(w, m.type, m.gpadl_created.channel_id, m.gpadl_created.gpadl);
		break;
	case VMBUS_MSG_GPADL_TORNDOWN:
		answered(w, m.type, 0, m.gpadl_torndown.gpadl);
		break;
	case VMBUS_MSG_VERSION_RESPONSE:
		if (unqueued)
			answered(w, m.type, 0, 0);
		else
			version_response(w, &m);
		break;
	case VMBUS_MSG_CLOSE_RESERVED_RESPONSE:
		answered(w, m.type, m.close_reserved_response.channel_id, 0);
		break;
	case VMBUS_MSG_MODIFY_CHANNEL_RESPONSE:
		answered(w, m.type, m.modify_channel_response.channel_id, 0);
		break;
	case VMBUS_MSG_ALL_OFFERS_DELIVERED:
	case VMBUS_MSG_UNLOAD_COMPLETE:
	case VMBUS_MSG_TL_CONNECT_REQUEST_RESULT:
	case VMBUS_MSG_MODIFY_CONNECTION_RESPONSE:
	case VMBUS_MSG_PAUSE_RESPONSE:
		answered(w, m.type, 0, 0);
		break;
	default:
		broken("a message that a server does not send");
	}
}

/* Questions of a connection end with it, but for those that begin or end one. */
static bool outlives(uint32_t answer)
{
	switch (answer) {
	case VMBUS_MSG_VERSION_RESPONSE:
	case VMBUS_MSG_UNLOAD_COMPLETE:
	case VMBUS_MSG_OPEN_RESERVED_CHANNEL:
	case VMBUS_MSG_CLOSE_RESERVED_RESPONSE:
		return true;
	default:
		return false;
	}
}

void witness_disconnected(struct witness *w)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < w->asked_count; i++) {
		if (outlives(w->asked[i].answer))
			w->asked[kept++] = w->asked[i];
	}
	w->asked_count = kept;
	w->connected = false;
	memset(w->offered, 0, sizeof(w->offered));
	memset(w->rescinded, 0, sizeof(w->rescinded));
	memset(w->released, 0, sizeof(w->released));
}

void witness_reset(struct witness *w)
{
	memset(w, 0, sizeof(*w));
}
