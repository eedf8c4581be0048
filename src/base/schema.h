/* schema: walking the sections of a schema. */
#ifndef KMASK_BASE_SCHEMA_H
#define KMASK_BASE_SCHEMA_H

#include "option.h"

/* How many sections a schema has, with those of the schema that it begins with (km_schema.first); and one of them, NULL past the
 * end. */
int km_schema_parts(const km_schema *schema);
const km_part *km_schema_part(const km_schema *schema, int index);
/* The section whose name is the first `length` bytes of `name`; NULL when there is none. */
const km_part *km_schema_find(const km_schema *schema, const char *name, size_t length);

#endif
