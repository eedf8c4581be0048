/* tokenizer: from text to ids and back. WordPiece as BERT's cased and uncased tokenizers do it, byte-level BPE as GPT-2's,
 * RoBERTa's and BART's do it, and the trainers of both. Everything is local; a tokenizer is read-only after opening and
 * may be shared by threads. */
#ifndef KMASK_TOKENIZER_H
#define KMASK_TOKENIZER_H

#include "kmask/base.h"

typedef struct km_tokenizer km_tokenizer;

/* Ids of the special tokens; -1 where the vocabulary has none. */
typedef struct km_specials {
    int32_t pad, unk, cls, sep, mask;
} km_specials;

/* Opens a tokenizer folder: vocab.txt (WordPiece), vocab.json and merges.txt or encoder.json and vocab.bpe (BPE), or
 * tokenizer.json alone. What tokenizer_config.json, special_tokens_map.json and added_tokens.json do not say is taken
 * from tokenizer.json, then from config.json's model_type (a log line says so), then as usual: WordPiece lower-cases
 * and strips accents; special tokens go by their usual names; BPE's mask takes the space before it. A WordPiece
 * vocabulary without [UNK], [CLS], [SEP], [MASK] or [PAD], an empty file, a piece that stands twice and anything in
 * tokenizer.json that the two families do not use are errors. The caller destroys. */
km_status km_tokenizer_open(km_tokenizer **out, const char *folder) KM_NODISCARD;
/* The same from the text that km_tokenizer_print wrote (a corpus or model carries it). */
km_status km_tokenizer_parse(km_tokenizer **out, const char *json, size_t count, const char *origin) KM_NODISCARD;
void km_tokenizer_destroy(km_tokenizer *tokenizer);

/* Everything that encoding and decoding need, as JSON for km_tokenizer_parse. The caller frees. */
char *km_tokenizer_print(const km_tokenizer *tokenizer);
/* XXH3-128 of what decides ids: pieces, merges, normalization, special and added tokens. Equal hashes give equal ids;
 * it does not matter which files they were read from. */
km_hash km_tokenizer_hash(const km_tokenizer *tokenizer);
/* Writes the family's classic files (vocab.txt; vocab.json and merges.txt), tokenizer.json, tokenizer_config.json and
 * special_tokens_map.json into `folder` (made when missing); the other family's files there are removed. */
km_status km_tokenizer_save(const km_tokenizer *tokenizer, const char *folder) KM_NODISCARD;
/* KM_FAILED with a sentence that names what is missing of the mask, cls, sep and pad that masked language modelling
 * needs (GPT-2's vocabulary has none). `origin` heads it. */
km_status km_tokenizer_can_mask(const km_tokenizer *tokenizer, const char *origin) KM_NODISCARD;

int32_t km_tokenizer_size(const km_tokenizer *tokenizer); /* V: ids are 0..V-1 */
km_specials km_tokenizer_specials(const km_tokenizer *tokenizer);
const char *km_tokenizer_piece(const km_tokenizer *tokenizer,
                               int32_t id); /* "##ing", "\u0120the"; NULL out of range */
int32_t km_tokenizer_id(const km_tokenizer *tokenizer, const char *piece); /* -1 when absent */

/* A growing list of ids; starts_word[i] is 1 where ids[i] begins a word. A word is what BERT's tokenizers split text into
 * before pieces are looked for, and for BPE what GPT-2's pattern does: letters, digits and punctuation apart, each with
 * the space before it. So "home." is two words in both families: masking it whole would hide the word and ask for the
 * dot, which is no question. Zero-initialize; free with km_ids_free.
 * Where `ranges` was set before the first encoding, text[begins[i], ends[i]) is what ids[i] stands for, in bytes: the
 * whole word of a WordPiece token, with the marks that normalization drops from it; the token's own bytes without
 * its leading space for BPE. */
typedef struct km_ids {
    int32_t *ids;
    uint8_t *starts_word;
    size_t *begins, *ends; /* NULL without `ranges` */
    size_t count, capacity;
    bool ranges;
} km_ids;
void km_ids_free(km_ids *ids);

/* Appends the ids of `count` bytes of text ([CLS] and [SEP] are not put around them). Invalid UTF-8 becomes U+FFFD,
 * which BERT drops; the number of bad sequences is added to *invalid (may be NULL). With `specials`, "[MASK]" and its
 * like inside the text become their ids; without, they are text as any other. Tokens that were added to a vocabulary
 * and are not special are always found. Never fails. */
void km_encode(const km_tokenizer *tokenizer, const char *text, size_t count, bool specials, km_ids *out,
               uint64_t *invalid);
/* Text of ids. WordPiece: pieces joined, "##" removed, the spaces before punctuation as the `tokenizers` package leaves
 * them, and as transformers does where the tokenizer's clean_up_tokenization_spaces is true. BPE: the bytes, invalid
 * sequences as U+FFFD. Special tokens are kept unless skip_specials; ids out of range are left out. The caller frees. */
char *km_decode(const km_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_specials);
/* The same in place of what `out` holds; the text of BPE may have NUL bytes inside. */
void km_decode_to(km_buffer *out, const km_tokenizer *tokenizer, const int32_t *ids, size_t count,
                  bool skip_specials);

/* Learning a WordPiece vocabulary: words are counted, then the most frequent pair is merged until `vocab_size`
 * pieces exist (the merges of Sennrich et al. 2016 with "##" pieces, as the tokenizers package trains
 * WordPiece). Ties go to the lower pair of ids, so the result depends on the text alone. Words of more than 100
 * characters, which encoding does not know either, are left out. Memory grows with the number of different words
 * only. */
typedef struct km_wordpiece_trainer km_wordpiece_trainer;
typedef struct km_wordpiece_options {
    int vocab_size;
    bool cased;
    int min_frequency;  /* of a pair to be merged; default 2 */
    int alphabet_limit; /* different characters kept, most frequent first; default 1000 */
} km_wordpiece_options;
km_wordpiece_trainer *km_wordpiece_trainer_create(const km_wordpiece_options *options);
void km_wordpiece_trainer_add(km_wordpiece_trainer *trainer, const char *text, size_t count);
/* Makes the tokenizer; KM_FAILED when there was no text. The trainer stays and is destroyed by the caller. */
km_status km_wordpiece_trainer_end(km_wordpiece_trainer *trainer, km_tokenizer **out) KM_NODISCARD;
void km_wordpiece_trainer_destroy(km_wordpiece_trainer *trainer);

/* The same for byte-level BPE, as the tokenizers package trains it: <s>, <pad>, </s>, <unk> and <mask>, the 256 bytes,
 * then merges inside what GPT-2's pattern cuts. A line is a text: pre-tokens do not go on beyond its end, which belongs
 * to none. Pre-tokens of more than 4,096 bytes are left out. */
typedef struct km_bpe_trainer km_bpe_trainer;
typedef struct km_bpe_options {
    int vocab_size;    /* at least 261 */
    int min_frequency; /* of a pair to be merged; default 2 */
} km_bpe_options;
km_bpe_trainer *km_bpe_trainer_create(const km_bpe_options *options);
/* Whole lines, or a part of one that the next call goes on with at white space behind a word. */
void km_bpe_trainer_add(km_bpe_trainer *trainer, const char *text, size_t count);
km_status km_bpe_trainer_end(km_bpe_trainer *trainer, km_tokenizer **out) KM_NODISCARD;
void km_bpe_trainer_destroy(km_bpe_trainer *trainer);

#endif
