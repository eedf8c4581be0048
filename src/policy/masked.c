/* masked: which pieces a policy masks, counted over the contexts of one step or of an evaluation. */
#include "train.h"

#include <stdlib.h>

enum { REPORTED = 10 };

void km_masked_create(km_masked *out, int pieces) {
    *out = (km_masked){.pieces = pieces,
                       .masked = km_new((size_t)pieces, sizeof *out->masked),
                       .seen = km_new((size_t)pieces, sizeof *out->seen)};
}

void km_masked_free(km_masked *masked) {
    free(masked->masked);
    free(masked->seen);
    *masked = (km_masked){0};
}

void km_masked_add(km_masked *masked, int32_t id, double decision) {
    masked->masked[id] += km_loss_units(decision);
    masked->seen[id]++;
}

void km_masked_join(km_masked *into, km_masked *from) {
    for (int id = 0; id < into->pieces; id++) {
        into->masked[id] += from->masked[id];
        into->seen[id] += from->seen[id];
        from->masked[id] = from->seen[id] = 0;
    }
}

/* The piece that is masked most, of equal ones the first, below the counts of the last one; -1: there is none. */
static int next_most(const km_masked *m, int last) {
    int best = -1;
    for (int id = 0; id < m->pieces; id++) {
        const bool later =
            last < 0 || m->masked[id] < m->masked[last] || (m->masked[id] == m->masked[last] && id > last);
        if (m->masked[id] > 0 && later && (best < 0 || m->masked[id] > m->masked[best])) {
            best = id;
        }
    }
    return best;
}

void km_masked_report(km_masked *m, km_comm *comm, const km_tokenizer *tokenizer, km_json *line) {
    km_comm_sum(comm, m->masked, m->pieces);
    km_comm_sum(comm, m->seen, m->pieces);
    km_json *list = km_json_array();
    double all = 0;
    for (int id = 0; id < m->pieces; id++) {
        all += (double)m->masked[id];
    }
    for (int i = 0, id = next_most(m, -1); i < REPORTED && id >= 0; i++, id = next_most(m, id)) {
        const char *piece = km_tokenizer_piece(tokenizer, id);
        km_json *one = km_json_array();
        km_json_push_string(one, piece != NULL ? piece : "?");
        km_json_push_number(one, (double)m->masked[id] / all);
        km_json_push_number(one, km_loss_of_units(m->masked[id]) / (double)KM_MAX(m->seen[id], 1));
        km_json_push(list, one);
    }
    km_json_set(line, "most_masked", list);
    for (int id = 0; id < m->pieces; id++) {
        m->masked[id] = m->seen[id] = 0;
    }
}
