/* corpus_duplicates: every hash has an owner among the ranks and a round. In a round each rank sends the hashes that it has met first to
 * their owners, which answer whether a lower rank has sent them too. */
#include "corpus_duplicates.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 1024 };

/* ---- A set of hashes ---- */

typedef struct hash_set {
    km_hash *slots; /* (capacity) a power of two; {0, 0}: empty */
    size_t capacity, count;
} hash_set;

static bool is_empty(km_hash hash) {
    return hash.high == 0 && hash.low == 0;
}

static bool insert(hash_set *set, km_hash hash);

static void grow(hash_set *set) {
    hash_set larger = {.capacity = set->capacity > 0 ? 2 * set->capacity : 1024};
    larger.slots = km_new(larger.capacity, sizeof *larger.slots);
    for (size_t i = 0; i < set->capacity; i++) {
        if (!is_empty(set->slots[i])) {
            (void)insert(&larger, set->slots[i]);
        }
    }
    free(set->slots);
    *set = larger;
}

/* False where the set has the hash already. */
static bool insert(hash_set *set, km_hash hash) {
    if (2 * set->count >= set->capacity) {
        grow(set);
    }
    hash.low += is_empty(hash);
    size_t at = (size_t)hash.high & (set->capacity - 1);
    while (!is_empty(set->slots[at])) {
        if (km_hash_equal(set->slots[at], hash)) {
            return false;
        }
        at = (at + 1) & (set->capacity - 1);
    }
    set->slots[at] = hash;
    set->count++;
    return true;
}

/* ---- What ranks exchange ---- */

/* Bytes for each rank. */
typedef struct parcels {
    km_buffer *of; /* (ranks) */
    int ranks;
} parcels;

static parcels parcels_create(int ranks) {
    return (parcels){.of = km_new((size_t)ranks, sizeof(km_buffer)), .ranks = ranks};
}

static void parcels_free(parcels *p) {
    for (int i = 0; i < p->ranks; i++) {
        km_buffer_free(&p->of[i]);
    }
    free(p->of);
}

static void send_parcel(km_comm *comm, const km_buffer *parcel, int to) {
    const uint64_t size = parcel->size;
    km_comm_send(comm, &size, sizeof size, to);
    if (size > 0) {
        km_comm_send(comm, parcel->data, parcel->size, to);
    }
}

static void receive_parcel(km_comm *comm, km_buffer *parcel, int from) {
    uint64_t size = 0;
    km_comm_receive(comm, &size, sizeof size, from);
    if (size > 0) {
        parcel->data = km_grow(parcel->data, (size_t)size, 1);
        parcel->size = parcel->capacity = (size_t)size;
        km_comm_receive(comm, parcel->data, parcel->size, from);
    }
}

/* Each rank gets from each other one what that has for it: pairs in one order on all ranks, so that nobody waits for ever. Collective. */
static void exchange(km_comm *comm, const parcels *out, parcels *in) {
    const int rank = km_comm_rank(comm);
    for (int a = 0; a < out->ranks; a++) {
        for (int b = a + 1; b < out->ranks; b++) {
            if (rank == a) {
                send_parcel(comm, &out->of[b], b);
                receive_parcel(comm, &in->of[b], b);
            } else if (rank == b) {
                receive_parcel(comm, &in->of[a], a);
                send_parcel(comm, &out->of[a], a);
            }
        }
    }
    if (out->of[rank].size > 0) {
        km_buffer_add(&in->of[rank], out->of[rank].data, out->of[rank].size);
    }
}

/* ---- A round ---- */

typedef struct search {
    km_comm *comm;
    const km_spill *spill;
    km_passage_kind kind;
    const uint8_t *skip; /* a bit for each document whose paragraphs are passed over; NULL: none */
    uint64_t rounds;
    uint8_t *found; /* a bit for each passage */
    uint64_t count; /* of bits that are set */
} search;

static void set_found(search *s, uint64_t i) {
    s->found[i / 8] |= (uint8_t)(1u << (i % 8));
    s->count++;
}

/* Sorts this rank's passages of the round by their owners: hashes that are met for the first time, and where. */
static km_status scan(search *s, uint64_t round, parcels *hashes, parcels *places) {
    const uint64_t ranks = (uint64_t)hashes->ranks, all = km_spill_passages(s->spill, s->kind);
    km_passage read[AT_ONCE];
    hash_set own = {0};
    km_status status = KM_OK;
    for (uint64_t first = 0; first < all && status == KM_OK; first += AT_ONCE) {
        const size_t count = (size_t)KM_MIN((uint64_t)AT_ONCE, all - first);
        status = km_spill_read_passages(s->spill, s->kind, first, count, read);
        for (size_t i = 0; i < count && status == KM_OK; i++) {
            const uint64_t key = read[i].hash.low % (s->rounds * ranks), place = first + i;
            if (key / ranks != round || (s->skip != NULL && km_bit(s->skip, read[i].document))) {
                continue;
            }
            if (insert(&own, read[i].hash)) {
                km_buffer_add(&hashes->of[key % ranks], &read[i].hash, sizeof read[i].hash);
                km_buffer_add(&places->of[key % ranks], &place, sizeof place);
            } else {
                set_found(s, place);
            }
        }
    }
    free(own.slots);
    return status;
}

/* As the owner: a byte for each hash that was sent here, 1 where a lower rank has sent it too. */
static void answer(const parcels *hashes, parcels *answers) {
    hash_set met = {0};
    for (int rank = 0; rank < hashes->ranks; rank++) {
        const km_buffer *sent = &hashes->of[rank];
        for (size_t at = 0; at < sent->size; at += sizeof(km_hash)) {
            km_hash hash;
            memcpy(&hash, sent->data + at, sizeof hash);
            const uint8_t again = !insert(&met, hash);
            km_buffer_add(&answers->of[rank], &again, 1);
        }
    }
    free(met.slots);
}

static void take_answers(search *s, const parcels *places, const parcels *answers) {
    for (int rank = 0; rank < places->ranks; rank++) {
        for (size_t i = 0; i < answers->of[rank].size; i++) {
            if (answers->of[rank].data[i] != 0) {
                uint64_t place;
                memcpy(&place, places->of[rank].data + i * sizeof place, sizeof place);
                set_found(s, place);
            }
        }
    }
}

static km_status run_round(search *s, uint64_t round) {
    const int ranks = km_comm_size(s->comm);
    parcels hashes = parcels_create(ranks), places = parcels_create(ranks), sent = parcels_create(ranks);
    parcels answers = parcels_create(ranks), back = parcels_create(ranks);
    km_status status = km_comm_agree(s->comm, scan(s, round, &hashes, &places));
    if (status == KM_OK) {
        exchange(s->comm, &hashes, &sent);
        answer(&sent, &answers);
        exchange(s->comm, &answers, &back);
        take_answers(s, &places, &back);
    }
    parcels_free(&back);
    parcels_free(&answers);
    parcels_free(&sent);
    parcels_free(&places);
    parcels_free(&hashes);
    return status;
}

static km_status find(search *s, uint64_t at_once) {
    int64_t all = (int64_t)km_spill_passages(s->spill, s->kind);
    s->found = km_new((size_t)all / 8 + 1, 1);
    km_comm_sum(s->comm, &all, 1);
    s->rounds = (uint64_t)all / (at_once * (uint64_t)km_comm_size(s->comm)) + 1;
    for (uint64_t round = 0; round < s->rounds; round++) {
        KM_TRY(run_round(s, round));
    }
    return KM_OK;
}

km_status km_duplicates_find(km_duplicates *out, km_comm *comm, const km_spill *spill, uint64_t at_once) {
    search documents = {.comm = comm, .spill = spill, .kind = KM_PASSAGE_DOCUMENT};
    km_status status = find(&documents, at_once);
    search paragraphs = {.comm = comm, .spill = spill, .kind = KM_PASSAGE_PARAGRAPH, .skip = documents.found};
    if (status == KM_OK) {
        status = find(&paragraphs, at_once);
    }
    *out = (km_duplicates){.documents = documents.found,
                           .paragraphs = paragraphs.found,
                           .document_count = documents.count,
                           .paragraph_count = paragraphs.count};
    return status;
}

void km_duplicates_free(km_duplicates *d) {
    free(d->documents);
    free(d->paragraphs);
    *d = (km_duplicates){0};
}
