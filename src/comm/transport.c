/* transport: the name of the transport that MPI's messages take, for people to read. */
#include "kmask/comm.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>

/* Open MPI's components are shared libraries named mca_<kind>_<name>.so. At its start it unloads those that it will not use, so
 * the ones that are still mapped are in use. Adds the names of the components of `kind`, except those in `skip`. */
static void add_components(km_buffer *text, const char *maps, const char *kind, const char *skip) {
    char *start = km_format("/mca_%s_", kind);
    const char *between = " ", *at = maps;
    km_buffer seen = {0};
    while ((at = strstr(at, start)) != NULL) {
        at += strlen(start);
        char *name = km_format("%.*s,", (int)strcspn(at, ".\n"), at);
        if (strstr(skip, name) == NULL && (seen.size == 0 || strstr(seen.data, name) == NULL)) {
            km_buffer_print(text, "%s%.*s", between, (int)strlen(name) - 1, name);
            km_buffer_print(&seen, "%s", name);
            between = ", ";
        }
        free(name);
    }
    km_buffer_free(&seen);
    free(start);
}

static void read_maps(km_buffer *out) {
    FILE *file = fopen("/proc/self/maps", "re");
    char line[4096];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        km_buffer_add(out, line, strlen(line));
    }
    if (file != NULL) {
        fclose(file);
    }
}

char *km_comm_transport(void) {
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(version, &length);
    int ready = 0;
    MPI_Initialized(&ready);
    if (!ready) {
        return km_format("%.*s: not started", (int)strcspn(version, ","), version);
    }
    km_buffer text = {0}, maps = {0};
    km_buffer_print(&text, "%.*s:", (int)strcspn(version, ","), version);
    read_maps(&maps);
    const char *all = maps.data != NULL ? maps.data : "";
    size_t before = text.size;
    add_components(&text, all, "pml", "monitoring,");
    if (strstr(all, "/mca_pml_cm") != NULL) {
        km_buffer_print(&text, " over");
        add_components(&text, all, "mtl", "");
    } else if (strstr(all, "/mca_pml_ob1") != NULL) {
        km_buffer_print(&text, " over");
        add_components(&text, all, "btl", "self,");
    }
    if (text.size == before) {
        km_buffer_print(&text, " transport unknown");
    }
    km_buffer_free(&maps);
    return text.data;
}
