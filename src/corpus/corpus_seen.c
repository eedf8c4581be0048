/* What was read of each piece of the input, so that a file which another program has written to meanwhile is noticed. */
#include <stdlib.h>

#include "corpus_read.h"

void km_reading_note_seen(km_reading *reading, size_t file) {
    if (reading->seen_count == reading->seen_room) {
        reading->seen_room = 2 * reading->seen_room + 16;
        reading->seen = km_grow(reading->seen, reading->seen_room, sizeof *reading->seen);
    }
    reading->seen[reading->seen_count++] = (km_seen_piece){file, reading->now};
}

void km_reading_free_seen(km_reading *reading) {
    free(reading->seen);
    reading->seen = NULL;
    reading->seen_count = reading->seen_room = 0;
}

km_status km_reading_check_seen(const km_reading *reading) {
    km_status status = KM_OK;
    for (size_t i = 0; i < reading->seen_count && status == KM_OK; i++) {
        const km_seen_piece *piece = &reading->seen[i];
        status = km_input_check_seen(&reading->inputs->files[piece->file], &piece->seen);
    }
    return status;
}
