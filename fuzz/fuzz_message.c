/* SPDX-License-Identifier: MIT */
/* The codec: whatever passes the checks survives a turn through host order. */
#include <stdlib.h>

#include "vmbus/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void turn(const uint8_t *data, size_t size, size_t form)
{
	uint8_t once[VMBUS_MAX_MESSAGE], twice[VMBUS_MAX_MESSAGE];
	struct vmbus_message m;

	vmbus_message_decode(&m, data, size);
	vmbus_message_encode(&m, once, form);
	vmbus_message_decode(&m, once, form);
	vmbus_message_encode(&m, twice, form);
	if (memcmp(once, twice, form) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool to_server = vmbus_message_check(data, size, VMBUS_TO_SERVER) == VMBUS_CHECK_OK;
	bool to_client = vmbus_message_check(data, size, VMBUS_TO_CLIENT) == VMBUS_CHECK_OK;
	const struct vmbus_message_info *info;

	if (to_server && to_client)
		abort();
	if (!to_server && !to_client)
		return 0;
	info = vmbus_message_info(vmbus_get32(data));
	for (unsigned int i = 0; i < VMBUS_MESSAGE_FORMS; i++) {
		if (info->sizes[i] && info->sizes[i] <= size)
			turn(data, size, info->sizes[i]);
	}
	return 0;
}
