/* SPDX-License-Identifier: MIT */
/*
 * Key-value pairs and addresses. Requests have the size of the largest answer, because the guest
 * answers in their bytes; answers are taken apart with no trust in any of their sizes.
 */
#include "ic_vsp.h"

#define VALUE(member) FIELD_OFFSET(struct ic_kvp_value, member)
#define IP_AT         FIELD_OFFSET(struct ic_kvp_ip, ip)

static const struct ic_version Versions[] = {{3, 0}, {4, 0}};

/* ---- asking ---- */

/* A key: text that ends within its size. */
static BOOLEAN IsKey(const struct ic_kvp_value *Value)
{
	UINT32 size = Value->key_size;

	return size > sizeof(UINT16) && size <= sizeof(Value->key) && size % sizeof(UINT16) == 0 &&
	       IcTextLength((const UINT8 *)Value + VALUE(key), size / 2) == size / 2 - 1;
}

static BOOLEAN IsValue(const struct ic_kvp_value *Value)
{
	UINT32 size = Value->value_size;

	switch (Value->type) {
	case IC_KVP_STRING:
	case IC_KVP_EXPAND_STRING:
		return size >= sizeof(UINT16) && size <= IC_KVP_VALUE &&
		       size % sizeof(UINT16) == 0 &&
		       IcTextLength(Value->value, size / 2) == size / 2 - 1;
	case IC_KVP_U32:
		return size == sizeof(UINT32);
	case IC_KVP_U64_LINUX:
	case IC_KVP_U64:
		return size == sizeof(UINT64);
	default:
		return FALSE;
	}
}

static BOOLEAN IsRequest(const struct ic_kvp_request *Request)
{
	if (Request->pool >= IC_KVP_POOLS)
		return FALSE;
	switch (Request->operation) {
	case IC_KVP_SET:
		return IsKey(&Request->value) && IsValue(&Request->value);
	case IC_KVP_GET:
	case IC_KVP_DELETE:
		return IsKey(&Request->value);
	case IC_KVP_ENUMERATE:
		return TRUE;
	default:
		return FALSE;
	}
}

static VOID PutValue(struct ic_kvp_value *To, const struct ic_kvp_value *From, BOOLEAN Whole)
{
	To->key_size = From->key_size;
	RtlCopyMemory((UINT8 *)To + VALUE(key), (const UINT8 *)From + VALUE(key), From->key_size);
	if (!Whole)
		return;
	To->type = From->type;
	To->value_size = From->value_size;
	RtlCopyMemory(To->value, From->value, From->value_size);
}

NTSTATUS IcKvpAsk(PIC Ic, PIRP Irp, const struct ic_kvp_request *Request)
{
	NTSTATUS status = IcMayAsk(Ic);
	struct ic_kvp *body;

	if (!IsRequest(Request))
		return STATUS_INVALID_PARAMETER;
	if (Request->operation == IC_KVP_ENUMERATE && Request->index >= IC_KVP_MOST_INDEX)
		return STATUS_NO_MORE_ENTRIES;
	if (!NT_SUCCESS(status))
		return status;
	body = IcBody(Ic, sizeof(*body));
	body->operation = (UINT8)Request->operation;
	body->pool = (UINT8)Request->pool;
	switch (Request->operation) {
	case IC_KVP_DELETE:
		body->remove.key_size = Request->value.key_size;
		RtlCopyMemory((UINT8 *)body + FIELD_OFFSET(struct ic_kvp, remove.key),
			      (const UINT8 *)&Request->value + VALUE(key), Request->value.key_size);
		break;
	case IC_KVP_ENUMERATE:
		body->enumerate.index = Request->index;
		break;
	default:
		PutValue(&body->value, &Request->value, Request->operation == IC_KVP_SET);
		break;
	}
	status = IcSend(Ic, IC_KVP, sizeof(*body));
	return NT_SUCCESS(status) ? IcPend(Ic, Irp, Request->wait) : status;
}

/* Text that fits its field. */
static BOOLEAN IsText(const struct ic_ip *Ip, ULONG Offset, ULONG Size)
{
	return IcTextLength((const UINT8 *)Ip + Offset, Size / 2) < Size / 2;
}

static const struct {
	ULONG Offset, Size;
} IpTexts[] = {
#define IP_TEXT(member)                                                                 \
	{                                                                               \
		FIELD_OFFSET(struct ic_ip, member), sizeof(((struct ic_ip *)0)->member) \
	}
	IP_TEXT(adapter), IP_TEXT(addresses), IP_TEXT(subnets), IP_TEXT(gateways), IP_TEXT(dns),
};

NTSTATUS IcIpAsk(PIC Ic, PIRP Irp, const struct ic_ip_request *Request)
{
	NTSTATUS status = IcMayAsk(Ic);
	struct ic_kvp_ip *body;

	if ((Request->operation != IC_KVP_GET_IP && Request->operation != IC_KVP_SET_IP) ||
	    Request->ip.family > IC_IP_BOTH || Request->ip.dhcp > 1)
		return STATUS_INVALID_PARAMETER;
	for (ULONG i = 0; i < RTL_NUMBER_OF(IpTexts); i++)
		if (!IsText(&Request->ip, IpTexts[i].Offset, IpTexts[i].Size))
			return STATUS_INVALID_PARAMETER;
	if (!NT_SUCCESS(status))
		return status;
	body = IcBody(Ic, sizeof(*body));
	body->operation = (UINT8)Request->operation;
	body->ip = Request->ip;
	status = IcSend(Ic, IC_KVP, sizeof(*body));
	return NT_SUCCESS(status) ? IcPend(Ic, Irp, Request->wait) : status;
}

/* ---- answers ---- */

/* Text of `Size` bytes, the final 0 included, into a field of zeroes. FALSE: it is none. */
static BOOLEAN TakeText(UINT8 *To, const UINT8 *From, UINT32 Size, UINT32 Room, UINT32 *Taken)
{
	ULONG length;

	if (Size < sizeof(UINT16) || Size > Room || Size % sizeof(UINT16))
		return FALSE;
	length = IcTextLength(From, Size / 2);
	if (length == Size / 2)
		return FALSE;
	IcTextCopy(To, From, length);
	*Taken = (UINT32)((length + 1) * sizeof(UINT16));
	return TRUE;
}

static BOOLEAN TakeValue(struct ic_kvp_value *To, const UINT8 *From)
{
	struct ic_kvp_value sizes;
	UINT32 taken;

	RtlCopyMemory(&sizes, From, VALUE(key));
	RtlZeroMemory(To, sizeof(*To));
	if (!TakeText((UINT8 *)To + VALUE(key), From + VALUE(key), sizes.key_size, sizeof(To->key),
		      &taken))
		return FALSE;
	To->key_size = taken;
	To->type = sizes.type;
	switch (sizes.type) {
	case IC_KVP_STRING:
	case IC_KVP_EXPAND_STRING:
		if (!TakeText(To->value, From + VALUE(value), sizes.value_size, IC_KVP_VALUE,
			      &taken))
			return FALSE;
		To->value_size = taken;
		return TRUE;
	case IC_KVP_U32:
	case IC_KVP_U64_LINUX:
	case IC_KVP_U64:
		taken = sizes.type == IC_KVP_U32 ? sizeof(UINT32) : sizeof(UINT64);
		if (sizes.value_size < taken || sizes.value_size > IC_KVP_VALUE)
			return FALSE;
		To->value_size = taken;
		RtlCopyMemory(To->value, From + VALUE(value), taken);
		return TRUE;
	default:
		return FALSE;
	}
}

/* Where an operation's answer has a value; 0: it has none. */
static ULONG ValueAt(UINT32 Operation)
{
	switch (Operation) {
	case IC_KVP_GET:
		return FIELD_OFFSET(struct ic_kvp, value);
	case IC_KVP_ENUMERATE:
		return FIELD_OFFSET(struct ic_kvp, enumerate.value);
	default:
		return 0;
	}
}

static NTSTATUS TakePair(PIC Ic, const struct ic_header *Header, const UINT8 *Body, UINT32 Size,
			 ULONG_PTR *Information)
{
	struct ic_kvp_request *out = Ic->Pending->AssociatedIrp.SystemBuffer;
	ULONG at = ValueAt(out->operation);

	out->status = Header->status;
	*Information = sizeof(*out);
	if (!at || Header->status != IC_STATUS_OK)
		return STATUS_SUCCESS;
	if (Size < at + sizeof(struct ic_kvp_value) || !TakeValue(&out->value, Body + at)) {
		IcReject(Ic, "a key or a value with impossible sizes");
		return STATUS_DATA_ERROR;
	}
	return STATUS_SUCCESS;
}

static NTSTATUS TakeIp(PIC Ic, const struct ic_header *Header, const UINT8 *Body, UINT32 Size,
		       ULONG_PTR *Information)
{
	struct ic_ip_request *out = Ic->Pending->AssociatedIrp.SystemBuffer;
	struct ic_ip *ip = &out->ip;
	UINT32 ignored;

	out->status = Header->status;
	*Information = sizeof(*out);
	if (out->operation != IC_KVP_GET_IP || Header->status != IC_STATUS_OK)
		return STATUS_SUCCESS;
	RtlZeroMemory(ip, sizeof(*ip));
	if (Size < IP_AT + sizeof(*ip)) {
		IcReject(Ic, "addresses that are cut short");
		return STATUS_DATA_ERROR;
	}
	ip->family = Body[IP_AT + FIELD_OFFSET(struct ic_ip, family)];
	ip->dhcp = Body[IP_AT + FIELD_OFFSET(struct ic_ip, dhcp)] != 0;
	for (ULONG i = 0; i < RTL_NUMBER_OF(IpTexts); i++) {
		if (TakeText((UINT8 *)ip + IpTexts[i].Offset, Body + IP_AT + IpTexts[i].Offset,
			     IpTexts[i].Size, IpTexts[i].Size, &ignored))
			continue;
		IcReject(Ic, "addresses without an end");
		return STATUS_DATA_ERROR;
	}
	return STATUS_SUCCESS;
}

/* What was asked stands in our own copy: the guest's may say something else by now. */
static VOID Answer(PIC Ic, const struct ic_header *Header, const UINT8 *Body, UINT32 Size)
{
	ULONG_PTR information = 0;
	NTSTATUS status;

	if (!Ic->Pending)
		return;
	if (Ic->Out.Bytes[sizeof(Ic->Out.Header)] >= IC_KVP_GET_IP)
		status = TakeIp(Ic, Header, Body, Size, &information);
	else
		status = TakePair(Ic, Header, Body, Size, &information);
	IcFinish(Ic, status, NT_SUCCESS(status) ? information : 0);
}

const IC_KIND IcKvp = {
	.Component = IC_COMPONENT_KVP,
	.Name = L"key-value pairs",
	.Type = IC_KVP_INTERFACE_TYPE,
	.Instance = IC_KVP_INSTANCE,
	.Versions = Versions,
	.VersionCount = RTL_NUMBER_OF(Versions),
	.Answer = Answer,
};
