# SPDX-License-Identifier: MIT
"""Makes the table of status names from ntstatus.h: the first name of each value."""
import re
import sys

source, target = sys.argv[1:3]
names = {}
for line in open(source, encoding='utf-8'):
    m = re.match(r'#define\s+(STATUS_\w+)\s+\(\(NTSTATUS\)(0x[0-9A-Fa-f]+)L?\)', line)
    if m:
        names.setdefault(int(m.group(2), 16), m.group(1))
with open(target, 'w', encoding='utf-8') as out:
    out.write('#include "nt/nt.h"\n\n#include <stdlib.h>\n\n')
    out.write('static const struct { uint32_t value; const char *name; } names[] = {\n')
    for value in sorted(names):
        out.write('\t{0x%08xu, "%s"},\n' % (value, names[value]))
    out.write('};\n\n')
    out.write('static int compare(const void *key, const void *entry)\n{\n'
              '\tuint32_t a = *(const uint32_t *)key, b = *(const uint32_t *)entry;\n\n'
              '\treturn a < b ? -1 : a > b;\n}\n\n'
              'const char *nt_status_name(NTSTATUS status)\n{\n'
              '\tuint32_t value = (uint32_t)status;\n'
              '\tconst void *found = bsearch(&value, names, sizeof(names) / sizeof(names[0]),\n'
              '\t\t\t\t    sizeof(names[0]), compare);\n\n'
              '\treturn found ? names[(size_t)((const char *)found - (const char *)names) /\n'
              '\t\t\t\tsizeof(names[0])].name : NULL;\n}\n')
