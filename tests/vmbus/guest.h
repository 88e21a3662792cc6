/* SPDX-License-Identifier: MIT */
/* A client on the bench, and the few steps that most of its tests begin with. */
#ifndef TESTS_VMBUS_GUEST_H
#define TESTS_VMBUS_GUEST_H

#include "control.h"

#define GOOD 0x00050003u
#define GONE VMBUS_STATUS_GONE

struct guest {
	struct heap heap;
	struct vmbus_client_config config;
	struct vmbus_client *c;
	struct vmbus_client_action a;
	char owner;
};

extern const uint64_t guest_words[9]; /* a GPADL of eight pages */

void guest_restart(struct guest *g);
int guest_setup(void **state);
int guest_teardown(void **state);
/* The host posts r. */
void host(struct guest *g, struct raw r);
/* The invariants hold. */
void sound(struct guest *g, int line);
void none_at(struct guest *g, int line);
struct vmbus_client_action *take_at(struct guest *g, enum vmbus_client_action_type type, int line);
void posted_at(struct guest *g, uint32_t port, struct raw r, int line);
/* The message has no effect, and is counted. */
void ignored(struct guest *g, struct raw r);
/* The INITIATE_CONTACT that the client is to send, without pages. */
struct raw contact_of(uint32_t version, uint32_t features);
/* A VERSION_RESPONSE of that size, naming port 9. */
struct raw response6(size_t size, uint32_t features, uint64_t p2c, uint64_t c2p);
/* What comes of asking for features at 6.0 and being answered so. */
uint32_t features_after(struct guest *g, uint32_t asked, struct raw answer);
/* Connected at that version, offers asked for; from 5.0 on posts go to connection 9. */
void connect_at(struct guest *g, uint32_t version);
vmbus_channel_id offered(struct guest *g, int device, uint32_t relid);
vmbus_channel_id one_channel(struct guest *g);
struct raw header_of(uint32_t relid, uint32_t id);
/* A GPADL whose HEADER was sent; one that the host has accepted; an OPEN that was sent (its open
 * id). */
uint32_t announced(struct guest *g, vmbus_channel_id ch, uint32_t relid);
void result_at(struct guest *g, enum vmbus_client_action_type type, vmbus_channel_id ch,
	       uint32_t gpadl, uint32_t status, int line);
uint32_t created(struct guest *g, vmbus_channel_id ch, uint32_t relid);
uint32_t opening(struct guest *g, vmbus_channel_id ch, uint32_t relid, uint32_t gpadl);
void opened(struct guest *g, vmbus_channel_id ch, uint32_t relid);
struct raw rescind(uint32_t relid);
struct raw released(uint32_t relid);

#define none(g)                            none_at(g, __LINE__)
#define take(g, type)                      take_at(g, type, __LINE__)
#define posted(g, port, r)                 posted_at(g, port, r, __LINE__)
#define result(g, type, ch, gpadl, status) result_at(g, type, ch, gpadl, status, __LINE__)

#endif
