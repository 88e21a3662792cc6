/* SPDX-License-Identifier: MIT */
/*
 * The hosting API's save and restore: the bus's host side. What drivers keep is theirs to save,
 * through the DDI.
 */
#include <errno.h>

#include "host/internal.h"

static int answer(int code, const struct part_save_error *error, char **text)
{
	if (text)
		*text = code ? sentence("%s", error->text) : NULL;
	return code;
}

int kmcl_partition_save(kmcl_partition *partition, void **state, size_t *size, char **error)
{
	struct part_save_error why;

	return answer(part_server_save(partition->part, state, size, &why), &why, error);
}

int kmcl_partition_resume(kmcl_partition *partition)
{
	return part_server_thaw(partition->part);
}

int kmcl_partition_restore(kmcl_partition *partition, const void *state, size_t size, char **error)
{
	struct part_save_error why;
	int code;

	pthread_mutex_lock(&partition->change);
	code = part_server_restore(partition->part, state, size, &why);
	pthread_mutex_unlock(&partition->change);
	return answer(code, &why, error);
}

void kmcl_partition_restored(kmcl_partition *partition)
{
	part_server_restored(partition->part);
}
