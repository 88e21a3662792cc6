/* SPDX-License-Identifier: MIT */
/**
 * @file
 * GPADLs of one connection, found by (channel, id), with the bounds on their number and size. The
 * states are those of their owner, the server or the client; this file stores and finds.
 */
#ifndef VMBUS_GPADL_H
#define VMBUS_GPADL_H

#include "vmbus/wire.h"

/** One GPADL. Server states first, client states after. */
enum vmbus_gpadl_state {
	VMBUS_GPADL_INCOMPLETE,      /**< S: bodies are missing; the device knows nothing */
	VMBUS_GPADL_OFFERED,         /**< S: the device has been asked; the client waits */
	VMBUS_GPADL_ACCEPTED,        /**< S: CREATED with success was sent */
	VMBUS_GPADL_TEARING,         /**< S: the device has been told to let go */
	VMBUS_GPADL_OFFERED_TEARING, /**< S: unwanted by now, but the device has yet to answer */
	VMBUS_GPADL_CREATING,        /**< C: CREATED is awaited, the caller too */
	VMBUS_GPADL_CREATED,         /**< C: usable */
	VMBUS_GPADL_DELETING,        /**< C: TORNDOWN is awaited, the caller too */
	VMBUS_GPADL_CREATING_GONE,   /**< C: rescinded; the caller knows, CREATED is still owed */
	VMBUS_GPADL_DELETING_GONE,   /**< C: rescinded; the caller knows, TORNDOWN is still owed */
	VMBUS_GPADL_GONE,            /**< C: rescinded, nothing owed; keeps the id until release */
};

struct vmbus_gpadl {
	struct vmbus_gpadl *hash_next;
	struct vmbus_gpadl *next, *prev; /**< of the same channel */
	const void *channel;
	uint32_t id;
	enum vmbus_gpadl_state state;
	bool silent;   /**< S: no TORNDOWN: its connection is over */
	bool released; /**< S, TEARING: the device let go, but the channel still uses it as ring */
	uint32_t range_count;
	uint32_t page_count;
	uint32_t word_count; /**< announced; once complete, those in use */
	uint32_t received;   /**< words so far */
	uint32_t allocated;  /**< words */
	uint64_t *words;     /**< NULL at the client */
};

struct vmbus_gpadl_table {
	struct vmbus_gpadl **buckets;
	uint32_t mask;
	uint32_t count, max_count;
	uint32_t words, max_words; /**< allocated for all of them */
};

/** A channel's own list, in order of creation. */
struct vmbus_gpadl_list {
	struct vmbus_gpadl *first, *last;
};

enum vmbus_status vmbus_gpadl_table_init(struct vmbus_gpadl_table *t,
					 const struct vmbus_allocator *a, uint32_t max_count,
					 uint32_t max_words);
/** The table is empty by now. */
void vmbus_gpadl_table_free(struct vmbus_gpadl_table *t, const struct vmbus_allocator *a);

/** NULL: none. `channel` NULL: on any channel. */
struct vmbus_gpadl *vmbus_gpadl_find(const struct vmbus_gpadl_table *t, const void *channel,
				     uint32_t id);
/** The one half-received GPADL with that id on the whole connection. */
struct vmbus_gpadl *vmbus_gpadl_find_incomplete(const struct vmbus_gpadl_table *t, uint32_t id);
/** E_LIMIT, E_NO_MEMORY: nothing changed. */
enum vmbus_status vmbus_gpadl_add(struct vmbus_gpadl_table *t, const struct vmbus_allocator *a,
				  struct vmbus_gpadl_list *list, const void *channel, uint32_t id,
				  uint32_t words, struct vmbus_gpadl **gpadl);
void vmbus_gpadl_remove(struct vmbus_gpadl_table *t, const struct vmbus_allocator *a,
			struct vmbus_gpadl_list *list, struct vmbus_gpadl *g);
/** Appends what is still missing of `bytes`; more than that and a partial word are ignored. */
void vmbus_gpadl_append(struct vmbus_gpadl *g, const uint8_t *bytes, size_t size);
/** NULL: table and list agree with each other. */
const char *vmbus_gpadl_list_check(const struct vmbus_gpadl_table *t,
				   const struct vmbus_gpadl_list *list, const void *channel);

#endif
