/* SPDX-License-Identifier: MIT */
/*
 * External data of an outgoing packet: the GPA-direct header from an MDL chain or a page list, and
 * the bounce space for memory that the host cannot see.
 *
 * Extra header on the wire (from byte 16): reserved u32, range count u32, then per range byte
 * count u32, byte offset u32 and its page numbers.
 */
#include <stdlib.h>
#include <string.h>

#include "kmcl/channel.h"
#include "kmcl/verifier.h"

uint64_t kmcl_chain_length(PMDL mdl, uint32_t *mdls)
{
	uint64_t length = 0;
	uint32_t count = 0;

	for (; mdl; mdl = mdl->Next, count++)
		length += MmGetMdlByteCount(mdl);
	if (mdls)
		*mdls = count;
	return length;
}

static uint8_t *put_u32(uint8_t *at, uint32_t a, uint32_t b)
{
	for (int i = 0; i < 4; i++) {
		at[i] = (uint8_t)(a >> (8 * i));
		at[4 + i] = (uint8_t)(b >> (8 * i));
	}
	return at + 8;
}

static uint8_t *put_u64(uint8_t *at, uint64_t v)
{
	return put_u32(at, (uint32_t)v, (uint32_t)(v >> 32));
}

/* One MDL's part of the data as one range. False: a page of it has no page number. */
static bool put_mdl_range(uint8_t **at, PMDL mdl, uint32_t skip, uint32_t length)
{
	uint32_t start = MmGetMdlByteOffset(mdl) + skip;
	const PFN_NUMBER *pfns = MmGetMdlPfnArray(mdl) + start / PAGE_SIZE;
	uint32_t offset = start % PAGE_SIZE;
	uint32_t pages = (uint32_t)(((uint64_t)offset + length + PAGE_SIZE - 1) / PAGE_SIZE);

	*at = put_u32(*at, length, offset);
	for (uint32_t i = 0; i < pages; i++) {
		if (pfns[i] == NT_PFN_NONE)
			return false;
		*at = put_u64(*at, pfns[i]);
	}
	return true;
}

/* Describes `length` bytes from `offset` of the chain. False: the data must be bounced. */
static bool put_chain(struct kmcl_packet *p, PMDL mdl, uint32_t offset, uint32_t length, bool force)
{
	uint8_t *start = kmcl_packet_header(p), *at = start + 8;
	uint32_t ranges = 0;

	for (; mdl && length; mdl = mdl->Next) {
		uint32_t have = MmGetMdlByteCount(mdl), take;

		if (offset >= have && !force) {
			offset -= have;
			continue;
		}
		take = force || length < have - offset ? length : have - offset;
		if (!put_mdl_range(&at, mdl, offset, take))
			return false;
		offset = 0;
		length -= take;
		ranges++;
	}
	put_u32(start, 0, ranges);
	p->header_size = (uint32_t)(at - start);
	return true;
}

/* Length of the data and whether it is within what the DDI says; 0 in *length: see the status. */
static NTSTATUS measure(PMDL mdl, uint32_t offset, uint32_t *length, bool force, uint64_t total)
{
	uint64_t end = total;

	if (force)
		end = (((uint64_t)MmGetMdlByteOffset(mdl) + MmGetMdlByteCount(mdl) + PAGE_SIZE -
			1) &
		       ~(uint64_t)(PAGE_SIZE - 1)) -
		      MmGetMdlByteOffset(mdl);
	if (offset && offset >= end)
		return STATUS_INVALID_PARAMETER_5;
	if (!*length) {
		uint64_t rest = (force ? MmGetMdlByteCount(mdl) : total);

		rest = rest > offset ? rest - offset : 0;
		if (!rest || rest > UINT32_MAX)
			return STATUS_INVALID_BUFFER_SIZE;
		*length = (uint32_t)rest;
	}
	return *length > end - offset ? STATUS_INVALID_PARAMETER_6 : STATUS_SUCCESS;
}

NTSTATUS kmcl_external_from_mdl(struct kmcl_packet *p, PMDL mdl, uint32_t offset, uint32_t length,
				bool force)
{
	const struct kmcl_config *config = &p->channel->config;
	uint32_t mdls;
	uint64_t total = kmcl_chain_length(mdl, &mdls);
	NTSTATUS status = measure(mdl, offset, &length, force, total);

	if (!NT_SUCCESS(status))
		return status;
	if (length > config->max_external || (mdls > config->max_chain && !force))
		return STATUS_INVALID_BUFFER_SIZE;
	p->type = VMBUS_PKT_GPA_DIRECT;
	if (put_chain(p, mdl, offset, length, force))
		return STATUS_SUCCESS;
	p->bounce_needed = true;
	if (kmcl_verify() && !atomic_exchange(&p->channel->bounce_told, true))
		kmcl_report(p->channel, "buffer-bounced",
			    "%u bytes at %p are copied, as will be all others like them", length,
			    MmGetMdlVirtualAddress(mdl));
	p->bounce_mdl = mdl;
	p->bounce_offset = offset;
	p->bounce_length = length;
	p->header_size = 8 + 8 + 8 * ((length + PAGE_SIZE - 1) / PAGE_SIZE);
	return STATUS_SUCCESS;
}

NTSTATUS kmcl_external_from_pfns(struct kmcl_packet *p, PPFN_NUMBER pfns, uint32_t count)
{
	uint8_t *start = kmcl_packet_header(p), *at;

	if ((uint64_t)count * PAGE_SIZE > p->channel->config.max_external)
		return STATUS_INVALID_BUFFER_SIZE;
	at = put_u32(start, 0, 1);
	at = put_u32(at, count * PAGE_SIZE, 0);
	for (uint32_t i = 0; i < count; i++)
		at = put_u64(at, pfns[i]);
	p->type = VMBUS_PKT_GPA_DIRECT;
	p->header_size = (uint32_t)(at - start);
	return STATUS_SUCCESS;
}

/* ---- bounce space: reserved at open, handed out in runs of pages ---- */

void kmcl_bounce_init(struct kmcl_channel *ch)
{
	uint32_t pages = ch->config.max_external / PAGE_SIZE + 1;

	ch->out.bounce_pages = 0;
	if (ch->server)
		return;
	ch->out.bounce_map = calloc(1, pages);
	if (!ch->out.bounce_map || part_bounce_alloc(ch->ep, pages, &ch->out.bounce_gpa)) {
		free(ch->out.bounce_map);
		ch->out.bounce_map = NULL;
		kmcl_log_channel(ch, KMCL_LOG_INFO,
				 "no room to bounce external data: it must be in partition memory");
		return;
	}
	ch->out.bounce_va = part_memory_at(ch->ep, ch->out.bounce_gpa, (uint64_t)pages * PAGE_SIZE);
	ch->out.bounce_pages = pages;
}

void kmcl_bounce_destroy(struct kmcl_channel *ch)
{
	if (!ch->out.bounce_pages)
		return;
	part_bounce_free(ch->ep, ch->out.bounce_gpa, ch->out.bounce_pages);
	free(ch->out.bounce_map);
	ch->out.bounce_map = NULL;
	ch->out.bounce_pages = 0;
}

static bool find_run(struct kmcl_channel *ch, uint32_t pages, uint32_t *first)
{
	uint32_t run = 0;

	for (uint32_t i = 0; i < ch->out.bounce_pages; i++) {
		run = ch->out.bounce_map[i] ? 0 : run + 1;
		if (run == pages) {
			*first = i + 1 - pages;
			return true;
		}
	}
	return false;
}

bool kmcl_bounce_take(struct kmcl_packet *p)
{
	struct kmcl_channel *ch = p->channel;
	uint32_t pages = (p->bounce_length + PAGE_SIZE - 1) / PAGE_SIZE;
	uint8_t *start = kmcl_packet_header(p), *at;

	if (p->bounce_held)
		return true;
	if (!find_run(ch, pages, &p->bounce_first))
		return false;
	memset(ch->out.bounce_map + p->bounce_first, 1, pages);
	p->bounce_pages = pages;
	p->bounce_held = true;
	at = put_u32(start, 0, 1);
	at = put_u32(at, p->bounce_length, 0);
	for (uint32_t i = 0; i < pages; i++)
		at = put_u64(at, (ch->out.bounce_gpa >> PAGE_SHIFT) + p->bounce_first + i);
	atomic_fetch_add_explicit(&ch->counters.bounced, 1, memory_order_relaxed);
	return true;
}

void kmcl_bounce_give(struct kmcl_packet *p)
{
	if (!p->bounce_held)
		return;
	memset(p->channel->out.bounce_map + p->bounce_first, 0, p->bounce_pages);
	p->bounce_held = false;
}

void kmcl_bounce_copy(struct kmcl_packet *p, bool to_guest)
{
	uint8_t *guest = p->channel->out.bounce_va + (size_t)p->bounce_first * PAGE_SIZE;
	uint32_t offset = p->bounce_offset, left = p->bounce_length;

	for (PMDL mdl = p->bounce_mdl; mdl && left; mdl = mdl->Next) {
		uint32_t have = MmGetMdlByteCount(mdl), take;
		uint8_t *va;

		if (offset >= have && mdl->Next) {
			offset -= have;
			continue;
		}
		/* FORCE_MDL_LENGTH may reach past the byte count, within the last page */
		take = mdl->Next && have - offset < left ? have - offset : left;
		va = (uint8_t *)MmGetMdlVirtualAddress(mdl) + offset;
		if (to_guest)
			vmbus_shared_copy(guest, va, take);
		else
			vmbus_shared_copy(va, guest, take);
		guest += take;
		left -= take;
		offset = 0;
	}
}
