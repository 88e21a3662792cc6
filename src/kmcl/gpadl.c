/* SPDX-License-Identifier: MIT */
/*
 * GPADLs: a client announces memory to the host, a server maps what was announced.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kmcl/channel.h"
#include "kmcl/inject.h"
#include "kmcl/verifier.h"

#define STATE_CALLBACKS                                                           \
	(KMCL_CB_BIT(OPENED) | KMCL_CB_BIT(STARTED) | KMCL_CB_BIT(POST_STARTED) | \
	 KMCL_CB_BIT(SUSPEND) | KMCL_CB_BIT(CLOSED))

static struct kmcl_gpadl *list_take(struct kmcl_channel *ch, uint32_t id, bool any)
{
	struct kmcl_gpadl *g = NULL;

	spin_lock(&ch->gpadls.lock);
	for (struct kmcl_gpadl **p = &ch->gpadls.list; *p; p = &(*p)->next) {
		if (any || (*p)->id == id) {
			g = *p;
			*p = g->next;
			break;
		}
	}
	spin_unlock(&ch->gpadls.lock);
	return g;
}

static void list_add(struct kmcl_channel *ch, struct kmcl_gpadl *g)
{
	spin_lock(&ch->gpadls.lock);
	g->next = ch->gpadls.list;
	ch->gpadls.list = g;
	spin_unlock(&ch->gpadls.lock);
}

static NTSTATUS from_errno(int error)
{
	switch (error) {
	case 0:
		return STATUS_SUCCESS;
	case -ECONNREFUSED:
		return STATUS_UNSUCCESSFUL;
	case -ENODEV:
		return STATUS_DEVICE_REMOVED;
	case -EINVAL:
		return STATUS_INVALID_PARAMETER;
	case -EFAULT:
		return STATUS_INVALID_ADDRESS;
	default:
		return STATUS_INSUFFICIENT_RESOURCES;
	}
}

/* ---- client ---- */

struct ranges {
	uint64_t *words;
	uint32_t count; /* words used */
	uint32_t capacity;
	uint32_t ranges;
};

static NTSTATUS ranges_init(struct ranges *r, uint64_t pages, uint32_t ranges)
{
	uint64_t words = pages + ranges;

	memset(r, 0, sizeof(*r));
	if (words > 0xfff8 / 8)
		return STATUS_INVALID_BUFFER_SIZE;
	r->capacity = (uint32_t)words;
	r->words = malloc(words * sizeof(*r->words));
	return r->words ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

static void range_begin(struct ranges *r, uint32_t bytes, uint32_t offset)
{
	r->words[r->count++] = bytes | (uint64_t)offset << 32;
	r->ranges++;
}

static NTSTATUS outside_memory(struct kmcl_channel *ch, const void *va)
{
	kmcl_log_channel(
		ch, KMCL_LOG_ERROR,
		"the memory of a GPADL (at %p) is not the partition's: allocate it from the "
		"driver's pool (ExAllocatePool*, MmAllocate*)",
		va);
	return STATUS_INVALID_ADDRESS;
}

/* A client channel between Opened and Closed. */
static NTSTATUS client_open(VMBCHANNEL handle, UINT32 flags, struct kmcl_channel **ch)
{
	*ch = kmcl_channel_of(handle);
	if (!*ch || (*ch)->server)
		return STATUS_INVALID_PARAMETER_1;
	if (flags & ~(UINT32)VMBUS_CHANNEL_GPADL_FLAGS)
		return STATUS_INVALID_PARAMETER_2;
	return STATUS_SUCCESS;
}

static NTSTATUS ready_to_create(struct kmcl_channel *ch)
{
	if (kmcl_link(ch) != KMCL_LINK_OPEN)
		return STATUS_INVALID_DEVICE_STATE;
	if (kmcl_forbidden_except(ch, "VmbChannelCreateGpadl*",
				  KMCL_CB_BIT(OPENED) | KMCL_CB_BIT(STARTED) |
					  KMCL_CB_BIT(POST_STARTED)))
		return STATUS_INVALID_DEVICE_STATE;
	return STATUS_SUCCESS;
}

static NTSTATUS create(struct kmcl_channel *ch, const struct ranges *r, bool read_only,
		       PUINT32 handle)
{
	struct kmcl_gpadl *g =
		kmcl_fault_alloc(ch, "VmbChannelCreateGpadl*") ? NULL : calloc(1, sizeof(*g));
	int error;

	if (!g)
		return STATUS_INSUFFICIENT_RESOURCES;
	error = part_client_gpadl_create(ch->claimed, r->words, r->count, r->ranges, read_only,
					 &g->id);
	if (error) {
		free(g);
		return from_errno(error);
	}
	*handle = g->id;
	list_add(ch, g);
	return STATUS_SUCCESS;
}

static NTSTATUS buffer_ranges(struct kmcl_channel *ch, struct ranges *r, const uint8_t *buffer,
			      uint32_t bytes)
{
	uint32_t offset = (uint32_t)((uintptr_t)buffer % PAGE_SIZE);
	uint64_t pages = ((uint64_t)offset + bytes + PAGE_SIZE - 1) / PAGE_SIZE;
	NTSTATUS status = ranges_init(r, pages, 1);

	if (!NT_SUCCESS(status))
		return status;
	range_begin(r, bytes, offset);
	for (uint64_t i = 0; i < pages; i++) {
		const uint8_t *page = buffer - offset + i * PAGE_SIZE;
		uint64_t gpa;

		if (!part_memory_gpa(ch->ep, page, &gpa))
			return outside_memory(ch, page);
		r->words[r->count++] = gpa >> PAGE_SHIFT;
	}
	return STATUS_SUCCESS;
}

NTSTATUS VmbChannelCreateGpadlFromBuffer(VMBCHANNEL Channel, UINT32 Flags, PVOID Buffer,
					 UINT32 ByteCount, PUINT32 GpadlHandle)
{
	struct kmcl_channel *ch;
	struct ranges r;
	NTSTATUS status = client_open(Channel, Flags, &ch);

	if (!NT_SUCCESS(status))
		return status;
	if (!Buffer)
		return STATUS_INVALID_PARAMETER_3;
	if (!ByteCount)
		return STATUS_INVALID_PARAMETER_4;
	if (!GpadlHandle)
		return STATUS_INVALID_PARAMETER_5;
	status = ready_to_create(ch);
	if (!NT_SUCCESS(status))
		return status;
	status = buffer_ranges(ch, &r, Buffer, ByteCount);
	if (NT_SUCCESS(status))
		status = create(ch, &r, Flags & VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY, GpadlHandle);
	free(r.words);
	return status;
}

/* Calls `each` for every part of [offset, offset+length) of the chain. */
static NTSTATUS walk_chain(PMDL mdl, uint32_t offset, uint64_t length,
			   NTSTATUS (*each)(void *ctx, PMDL mdl, uint32_t skip, uint32_t bytes),
			   void *ctx)
{
	NTSTATUS status = STATUS_SUCCESS;

	for (; mdl && length && NT_SUCCESS(status); mdl = mdl->Next) {
		uint32_t have = MmGetMdlByteCount(mdl), take;

		if (offset >= have) {
			offset -= have;
			continue;
		}
		take = length < have - offset ? (uint32_t)length : have - offset;
		status = each(ctx, mdl, offset, take);
		offset = 0;
		length -= take;
	}
	return status;
}

struct measure {
	uint64_t pages;
	uint32_t ranges;
};

static uint64_t part_pages(PMDL mdl, uint32_t skip, uint32_t bytes)
{
	uint32_t offset = (MmGetMdlByteOffset(mdl) + skip) % PAGE_SIZE;

	return ((uint64_t)offset + bytes + PAGE_SIZE - 1) / PAGE_SIZE;
}

static NTSTATUS measure_part(void *ctx, PMDL mdl, uint32_t skip, uint32_t bytes)
{
	struct measure *m = ctx;

	m->pages += part_pages(mdl, skip, bytes);
	m->ranges++;
	return STATUS_SUCCESS;
}

static NTSTATUS append_part(void *ctx, PMDL mdl, uint32_t skip, uint32_t bytes)
{
	struct ranges *r = ctx;
	uint32_t start = MmGetMdlByteOffset(mdl) + skip;
	const PFN_NUMBER *pfns = MmGetMdlPfnArray(mdl) + start / PAGE_SIZE;
	uint64_t pages = part_pages(mdl, skip, bytes);

	range_begin(r, bytes, start % PAGE_SIZE);
	for (uint64_t i = 0; i < pages; i++) {
		if (pfns[i] == NT_PFN_NONE)
			return STATUS_INVALID_ADDRESS;
		r->words[r->count++] = pfns[i];
	}
	return STATUS_SUCCESS;
}

static NTSTATUS chain_ranges(struct kmcl_channel *ch, struct ranges *r, PMDL mdl, uint32_t offset,
			     uint64_t length)
{
	struct measure m = {0};
	NTSTATUS status;

	walk_chain(mdl, offset, length, measure_part, &m);
	status = ranges_init(r, m.pages, m.ranges);
	if (NT_SUCCESS(status))
		status = walk_chain(mdl, offset, length, append_part, r);
	return status == STATUS_INVALID_ADDRESS ? outside_memory(ch, MmGetMdlVirtualAddress(mdl))
						: status;
}

NTSTATUS VmbChannelCreateGpadlFromMdl(VMBCHANNEL Channel, UINT32 Flags, PMDL Mdl,
				      UINT32 StartOffsetWithinMdl, UINT32 DataLengthWithinMdl,
				      PUINT32 GpadlHandle)
{
	struct kmcl_channel *ch;
	struct ranges r;
	uint64_t total, length;
	NTSTATUS status = client_open(Channel, Flags, &ch);

	if (!NT_SUCCESS(status))
		return status;
	if (!Mdl)
		return STATUS_INVALID_PARAMETER_3;
	total = kmcl_chain_length(Mdl, NULL);
	if (StartOffsetWithinMdl >= total)
		return STATUS_INVALID_PARAMETER_4;
	length = DataLengthWithinMdl ? DataLengthWithinMdl : total - StartOffsetWithinMdl;
	if (length > total - StartOffsetWithinMdl)
		return STATUS_INVALID_PARAMETER_5;
	if (!GpadlHandle)
		return STATUS_INVALID_PARAMETER_6;
	status = ready_to_create(ch);
	if (!NT_SUCCESS(status))
		return status;
	status = chain_ranges(ch, &r, Mdl, StartOffsetWithinMdl, length);
	if (NT_SUCCESS(status))
		status = create(ch, &r, Flags & VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY, GpadlHandle);
	free(r.words);
	return status;
}

VOID VmbChannelDeleteGpadl(VMBCHANNEL Channel, UINT32 GpadlHandle)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);
	struct kmcl_gpadl *g;

	if (!ch || ch->server) {
		kmcl_violation(ch, "bad-handle", "VmbChannelDeleteGpadl: not a client channel");
		return;
	}
	if (kmcl_forbidden_except(ch, "VmbChannelDeleteGpadl", STATE_CALLBACKS))
		return;
	g = list_take(ch, GpadlHandle, false);
	if (!g) {
		kmcl_violation(ch, "unknown-gpadl",
			       "VmbChannelDeleteGpadl: the channel has no GPADL 0x%x", GpadlHandle);
		return;
	}
	part_client_gpadl_delete(ch->claimed, g->id);
	free(g);
}

/* ---- server ---- */

static NTSTATUS check_map(VMBCHANNEL handle, UINT32 flags, UINT32 gpadl, PMDL *mdl,
			  struct kmcl_channel **ch)
{
	*ch = kmcl_channel_of(handle);
	if (!*ch || !(*ch)->server)
		return STATUS_INVALID_PARAMETER_1;
	if (flags & ~(UINT32)VMBUS_CHANNEL_GPADL_FLAGS)
		return STATUS_INVALID_PARAMETER_2;
	if (!mdl)
		return STATUS_INVALID_PARAMETER_4;
	if (kmcl_link(*ch) != KMCL_LINK_OPEN ||
	    kmcl_forbidden_except(*ch, "VmbChannelMapGpadl",
				  KMCL_CB_BIT(OPENED) | KMCL_CB_BIT(STARTED) |
					  KMCL_CB_BIT(POST_STARTED) | KMCL_CB_BIT(PROCESS)))
		return STATUS_INVALID_DEVICE_STATE;
	return STATUS_SUCCESS;
}

static NTSTATUS check_pages(struct kmcl_channel *ch, const struct vmbus_gpa_range *range)
{
	for (uint32_t i = 0; i < range->page_count; i++) {
		if (range->pfns[i] >= UINT64_MAX >> PAGE_SHIFT ||
		    !part_memory_at(ch->port.ep, range->pfns[i] << PAGE_SHIFT, PAGE_SIZE))
			return STATUS_INVALID_ADDRESS;
	}
	return STATUS_SUCCESS;
}

/* A chain of MDLs, one a range, in one block. */
static NTSTATUS build_mdls(struct kmcl_channel *ch, struct kmcl_gpadl *g,
			   const struct part_gpadl *pinned)
{
	struct vmbus_gpa_range_iter iter;
	struct vmbus_gpa_range range;
	PMDL *link = &g->mdl;
	NTSTATUS status = STATUS_SUCCESS;
	uint8_t *at;

	g->mdls = calloc(
		pinned->range_count * sizeof(MDL) + pinned->page_count * sizeof(PFN_NUMBER), 1);
	if (!g->mdls)
		return STATUS_INSUFFICIENT_RESOURCES;
	at = g->mdls;
	vmbus_gpa_range_begin(&iter, pinned->words, pinned->word_count, pinned->range_count);
	while (NT_SUCCESS(status) && vmbus_gpa_range_next(&iter, &range)) {
		status = check_pages(ch, &range);
		if (!NT_SUCCESS(status))
			break;
		nt_mdl_init_pages((PMDL)at, part_nt_memory(ch->port.ep), range.pfns,
				  range.page_count, range.byte_offset, range.byte_count);
		*link = (PMDL)at;
		link = &(*link)->Next;
		at += sizeof(MDL) + range.page_count * sizeof(PFN_NUMBER);
	}
	return status;
}

static void free_mapping(struct kmcl_channel *ch, struct kmcl_gpadl *g)
{
	for (PMDL mdl = g->mdl; mdl;) {
		PMDL next = mdl->Next;

		nt_mdl_release(mdl);
		mdl = next;
	}
	free(g->mdls);
	if (ch->offer)
		part_server_gpadl_unpin(ch->offer, g->id);
	free(g);
}

NTSTATUS VmbChannelMapGpadl(VMBCHANNEL Channel, UINT32 Flags, UINT32 GpadlHandle, PMDL *Mdl)
{
	struct kmcl_channel *ch;
	struct part_gpadl pinned;
	struct kmcl_gpadl *g;
	NTSTATUS status = check_map(Channel, Flags, GpadlHandle, Mdl, &ch);
	int error;

	if (!NT_SUCCESS(status))
		return status;
	error = part_server_gpadl_pin(ch->offer, GpadlHandle, &pinned);
	if (error)
		return error == -EBUSY    ? STATUS_SHARING_VIOLATION
		       : error == -ENOENT ? STATUS_INVALID_PARAMETER_3
					  : STATUS_INSUFFICIENT_RESOURCES;
	g = kmcl_fault_alloc(ch, "VmbChannelMapGpadl") ? NULL : calloc(1, sizeof(*g));
	if (!g) {
		part_server_gpadl_unpin(ch->offer, GpadlHandle);
		status = STATUS_INSUFFICIENT_RESOURCES;
		goto out;
	}
	g->id = GpadlHandle;
	if (part_gpadl_is_read_only(GpadlHandle) && !(Flags & VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY))
		status = STATUS_ACCESS_DENIED;
	else
		status = build_mdls(ch, g, &pinned);
	if (NT_SUCCESS(status)) {
		list_add(ch, g);
		*Mdl = g->mdl;
	} else {
		free_mapping(ch, g);
	}
out:
	free(pinned.words);
	return status;
}

VOID VmbChannelUnmapGpadl(VMBCHANNEL Channel, UINT32 GpadlHandle)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);
	struct kmcl_gpadl *g;

	if (!ch || !ch->server) {
		kmcl_violation(ch, "bad-handle", "VmbChannelUnmapGpadl: not a server channel");
		return;
	}
	if (kmcl_forbidden_except(ch, "VmbChannelUnmapGpadl",
				  STATE_CALLBACKS | KMCL_CB_BIT(PROCESS)))
		return;
	g = list_take(ch, GpadlHandle, false);
	if (!g) {
		kmcl_violation(ch, "unmapped-gpadl",
			       "VmbChannelUnmapGpadl: the channel has not mapped GPADL 0x%x",
			       GpadlHandle);
		return;
	}
	free_mapping(ch, g);
}

/* The handle of one of them is enough to find the mistake. */
void kmcl_gpadls_check(struct kmcl_channel *ch)
{
	uint32_t count = 0, id = 0;

	if (!kmcl_verify())
		return;
	spin_lock(&ch->gpadls.lock);
	for (struct kmcl_gpadl *g = ch->gpadls.list; g; g = g->next, count++)
		id = g->id;
	spin_unlock(&ch->gpadls.lock);
	if (!count)
		return;
	kmcl_violation(ch, "gpadl-at-close",
		       "%u GPADLs were left %s at the close, GPADL 0x%x first", count,
		       ch->server ? "mapped" : "undeleted", id);
}

void kmcl_gpadls_drop(struct kmcl_channel *ch)
{
	struct kmcl_gpadl *g;

	while ((g = list_take(ch, 0, true))) {
		kmcl_log_channel(ch, KMCL_LOG_WARNING, "GPADL 0x%x was left %s at close", g->id,
				 ch->server ? "mapped" : "undeleted");
		if (ch->server) {
			free_mapping(ch, g);
		} else {
			part_client_gpadl_delete(ch->claimed, g->id);
			free(g);
		}
	}
}
