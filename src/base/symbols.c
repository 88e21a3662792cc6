/* SPDX-License-Identifier: MIT */
#include "base/symbols.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct image {
	const uint8_t *at;
	size_t size;
};

static bool image_open(struct image *image, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p = MAP_FAILED;

	if (fd < 0)
		return false;
	if (!fstat(fd, &st) && st.st_size > (off_t)sizeof(ElfW(Ehdr))) {
		image->size = (size_t)st.st_size;
		p = mmap(NULL, image->size, PROT_READ, MAP_PRIVATE, fd, 0);
	}
	close(fd);
	image->at = p == MAP_FAILED ? NULL : p;
	return image->at != NULL;
}

/* The file may be damaged: whatever it says is looked up within its bounds. */
static const void *part(const struct image *image, uint64_t offset, uint64_t size)
{
	if (offset > image->size || size > image->size - offset)
		return NULL;
	return image->at + offset;
}

static const ElfW(Shdr) * sections(const struct image *image, unsigned int *count)
{
	const ElfW(Ehdr) *header = part(image, 0, sizeof(*header));

	if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) ||
	    header->e_shentsize != sizeof(ElfW(Shdr)))
		return NULL;
	*count = header->e_shnum;
	return part(image, header->e_shoff, (uint64_t)header->e_shnum * sizeof(ElfW(Shdr)));
}

static const char *name_at(const struct image *image, const ElfW(Shdr) * strings, uint32_t offset)
{
	const char *table = part(image, strings->sh_offset, strings->sh_size);

	if (!table || offset >= strings->sh_size ||
	    !memchr(table + offset, 0, strings->sh_size - offset))
		return NULL;
	return table + offset;
}

static const char *find(const struct image *image, uint64_t address, uint64_t *start)
{
	unsigned int count = 0;
	const ElfW(Shdr) *section = sections(image, &count);

	for (unsigned int i = 0; section && i < count; i++) {
		const ElfW(Shdr) *s = &section[i];
		const ElfW(Sym) * symbol;

		if (s->sh_type != SHT_SYMTAB || s->sh_link >= count)
			continue;
		symbol = part(image, s->sh_offset, s->sh_size);
		for (uint64_t n = 0; symbol && n < s->sh_size / sizeof(*symbol); n++) {
			if ((symbol[n].st_info & 0xf) != STT_FUNC || address < symbol[n].st_value ||
			    address - symbol[n].st_value >= symbol[n].st_size)
				continue;
			*start = symbol[n].st_value;
			return name_at(image, &section[s->sh_link], symbol[n].st_name);
		}
	}
	return NULL;
}

static const char *file_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

void symbols_describe(const void *pc, char *text, size_t size)
{
	struct image image = {0};
	struct link_map *map = NULL;
	uint64_t start = 0, address;
	const char *name = NULL, *file;
	Dl_info info;

	if (!dladdr1(pc, &info, (void **)&map, RTLD_DL_LINKMAP) || !info.dli_fname || !map) {
		snprintf(text, size, "%p", pc);
		return;
	}
	/* a program itself may have no name of its own in the link map */
	file = map->l_name[0] ? map->l_name : "/proc/self/exe";
	address = (uint64_t)(uintptr_t)pc - map->l_addr;
	if (image_open(&image, file))
		name = find(&image, address, &start);
	if (name)
		snprintf(text, size, "%s+0x%llx (%s)", name, (unsigned long long)(address - start),
			 file_of(info.dli_fname));
	else
		snprintf(text, size, "%s+0x%llx", file_of(info.dli_fname),
			 (unsigned long long)address);
	if (image.at)
		munmap((void *)(uintptr_t)image.at, image.size);
}
