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

/* What is said of a key "section.key", or of a section, that the schema does not have: what was probably meant (schema_hint.c).
 * Both return KM_USAGE. */
km_status km_schema_unknown_key(const km_schema *schema, const char *key) KM_NODISCARD;
km_status km_schema_unknown_section(const km_schema *schema, const char *name) KM_NODISCARD;

#endif
