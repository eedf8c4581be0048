/* Writes the header of a safetensors file, and sets the length of the file. */
#include "store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 8 };

/* Orders tensors by the size of their type, the largest first, so that each begins at a multiple of that size; then by name. */
static int by_width(const void *a, const void *b) {
    const km_array *x = *(km_array *const *)a, *y = *(km_array *const *)b;
    size_t wide = km_dtype_size(x->type), other = km_dtype_size(y->type);
    return wide != other ? (wide > other ? -1 : 1) : strcmp(x->name, y->name);
}

static void print_metadata(km_buffer *out, const km_store *store) {
    km_json *json = km_json_object();
    km_json_set_string(json, "format", "pt");
    for (int i = 0; i < store->attribute_count; i++) {
        const km_attribute *attribute = &store->attributes[i];
        char *number = km_format("%lld", (long long)attribute->number);
        km_json_set_string(json, attribute->name, attribute->text != NULL ? attribute->text : number);
        free(number);
    }
    char *text = km_json_print(json, false);
    km_buffer_print(out, "{\"__metadata__\":%s", text);
    free(text);
    km_json_destroy(json);
}

/* Places an array at byte `at` behind the header, prints its entry of the header, and returns where it ends. */
static uint64_t print_array(km_buffer *out, km_array *array, uint64_t at) {
    uint64_t end = at + array->count * km_dtype_size(array->type);
    km_buffer_print(out, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", array->name, km_dtype_code(array->type));
    for (int i = 0; i < array->rank; i++) {
        km_buffer_print(out, "%s%llu", i > 0 ? "," : "", (unsigned long long)array->dims[i]);
    }
    km_buffer_print(out, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)end);
    array->offset = at;
    return end;
}

static uint64_t print_header(km_buffer *out, km_store *store) {
    uint64_t end = 0, length = 0;
    km_array **order = km_new((size_t)store->array_count, sizeof(km_array *));
    for (int i = 0; i < store->array_count; i++) {
        order[i] = &store->arrays[i];
    }
    if (store->array_count > 0) {
        qsort(order, (size_t)store->array_count, sizeof *order, by_width);
    }
    km_buffer_add(out, &length, sizeof length);
    print_metadata(out, store);
    for (int i = 0; i < store->array_count; i++) {
        end = print_array(out, order[i], end);
    }
    free(order);
    km_buffer_print(out, "}");
    while (out->size % ALIGNMENT != 0) {
        km_buffer_print(out, " ");
    }
    length = out->size - sizeof length;
    memcpy(out->data, &length, sizeof length);
    return end;
}

km_status km_safetensors_write(km_store *store) {
    km_buffer header = {0};
    uint64_t size = print_header(&header, store) + header.size;
    for (int i = 0; i < store->array_count; i++) {
        store->arrays[i].offset += header.size;
    }
    int fd = open(store->temporary, O_WRONLY | O_CLOEXEC);
    km_status status = KM_OK;
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0) {
        status = km_fail_errno(errno, "%s: cannot write", store->temporary);
    } else {
        status = km_pwrite_all(fd, header.data, header.size, 0, store->temporary);
    }
    if (fd >= 0 && close(fd) != 0 && status == KM_OK) {
        status = km_fail_errno(errno, "%s: cannot write", store->temporary);
    }
    km_buffer_free(&header);
    return status;
}
