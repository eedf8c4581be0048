/* tokenizer: from text to token ids and back. WordPiece as BERT's cased and uncased tokenizers do it, byte-level BPE as
 * GPT-2's, RoBERTa's and BART's do it, and the trainers of both; also WordPiece and BPE behind the steps that a tokenizer.json lists
 * (text.h). Ids are those of HuggingFace's tokenizers package.
 * Everything is local; a tokenizer is read-only after opening and may be shared by threads. */
#ifndef KMASK_TOKENIZER_H
#define KMASK_TOKENIZER_H

#include "kmask/base.h"

typedef struct km_tokenizer km_tokenizer;

/* Ids of the special tokens; -1 where the vocabulary has none. In RoBERTa's vocabulary cls is <s> and sep is </s>. */
typedef struct km_specials {
    int32_t pad, unk, cls, sep, mask;
} km_specials;

/* ---- Files ----------------------------------------------------------------------------------------------------- */

/* Opens a tokenizer folder. The vocabulary is that of tokenizer.json or, where there is none, vocab.txt (WordPiece), vocab.json with
 * merges.txt, or encoder.json with vocab.bpe (both byte-level BPE); a warning tells the first piece or merge that differs between
 * them. Settings are taken from tokenizer_config.json, special_tokens_map.json and added_tokens.json; a setting that these files do
 * not give comes from tokenizer.json, or else has its usual value: WordPiece lower-cases and strips accents; special tokens have their
 * usual names; BPE's mask token takes the space before it. A line in the log says so where tokenizer.json, or a config.json of a model
 * beside the vocabulary, had to decide. It is an error if a vocab.txt has no [UNK], [CLS], [SEP], [MASK] or [PAD], if a vocabulary is
 * empty, and if tokenizer.json asks for something that is not supported. The caller destroys. */
km_status km_tokenizer_open(km_tokenizer **out, const char *folder) KM_NODISCARD;
/* Makes a tokenizer from what km_tokenizer_print wrote; corpora and model files carry that text. `origin` begins error
 * messages. */
km_status km_tokenizer_parse(km_tokenizer **out, const char *json, size_t count, const char *origin) KM_NODISCARD;
void km_tokenizer_destroy(km_tokenizer *tokenizer);

/* Everything that encoding and decoding need, as JSON for km_tokenizer_parse. The caller frees. */
char *km_tokenizer_print(const km_tokenizer *tokenizer);
/* XXH3-128 of everything that decides ids: pieces, merges, normalization, special and added tokens. Tokenizers with equal
 * hashes give equal ids, whichever files they were read from. */
km_hash km_tokenizer_hash(const km_tokenizer *tokenizer);
/* Writes the family's classic files (vocab.txt, or vocab.json and merges.txt), tokenizer.json, tokenizer_config.json and
 * special_tokens_map.json into `folder`, which is made if it is missing. Files of another tokenizer there are removed. */
km_status km_tokenizer_save(const km_tokenizer *tokenizer, const char *folder) KM_NODISCARD;

/* ---- The vocabulary -------------------------------------------------------------------------------------------- */

/* KM_FAILED, with the missing tokens in the message, where the vocabulary lacks one of mask, cls, sep and pad, which masked
 * language modelling needs. GPT-2's vocabulary is such a one. `origin` begins the message. */
km_status km_tokenizer_can_mask(const km_tokenizer *tokenizer, const char *origin) KM_NODISCARD;
int32_t km_tokenizer_size(const km_tokenizer *tokenizer); /* V: ids are 0..V-1 */
/* Whether blanks are part of pieces, as in byte-level BPE: a line end inside a paragraph must then be read as a blank. */
bool km_tokenizer_has_blanks(const km_tokenizer *tokenizer);
km_specials km_tokenizer_specials(const km_tokenizer *tokenizer);
/* A piece as the vocabulary writes it, such as "##ing" or "\u0120the"; NULL for an id out of range. */
const char *km_tokenizer_piece(const km_tokenizer *tokenizer, int32_t id);
int32_t km_tokenizer_id(const km_tokenizer *tokenizer, const char *piece); /* -1 when absent */

/* ---- Encoding and decoding ------------------------------------------------------------------------------------- */

/* A growing list of ids; starts_word[i] is 1 where ids[i] begins a word. Words are what a tokenizer splits text into before
 * it looks for pieces: BERT's splits at white space and around punctuation; GPT-2's pattern separates letters, digits and
 * punctuation, each with the space before it. So "home." is two words in both families, and masking a word never hides its
 * punctuation too, which would be trivial to predict. Where a tokenizer.json does not split text at blanks at all, a token that begins
 * with one (or with a sign for one) begins a word. Zero-initialize; free with km_ids_free.
 *
 * With `ranges`, which is set before the first encoding, ids[i] stands for text[begins[i], ends[i]), in bytes. For WordPiece
 * that is the whole word that the token belongs to, with marks that normalization dropped from it; for BPE the token's own
 * bytes without its leading space. */
typedef struct km_ids {
    int32_t *ids;
    uint8_t *starts_word;
    size_t *begins, *ends; /* NULL without `ranges` */
    size_t count, capacity;
    bool ranges;
} km_ids;
void km_ids_free(km_ids *ids);

/* Appends the ids of `count` bytes of text, without [CLS] and [SEP] around them. Invalid UTF-8 is read as U+FFFD, which BERT's
 * normalizer drops; the number of invalid sequences is added to *invalid, which may be NULL. With `specials`, special tokens
 * that the text spells out ("[MASK]") become their ids; without, they are ordinary text. Added tokens that are not special are
 * always found. Never fails. */
void km_encode(const km_tokenizer *tokenizer, const char *text, size_t count, bool specials, km_ids *out,
               uint64_t *invalid);
/* The text of ids. WordPiece joins pieces, removes "##", and treats the spaces before punctuation as the tokenizers package
 * does and, where clean_up_tokenization_spaces is true, as transformers does on top of it. BPE gives the bytes, with U+FFFD
 * for invalid sequences. Special tokens are kept unless skip_specials; ids out of range are left out. The caller frees. */
char *km_decode(const km_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_specials);
/* Like km_decode, but replaces what `out` holds, whose size also tells of NUL bytes in the text of BPE. */
void km_decode_to(km_buffer *out, const km_tokenizer *tokenizer, const int32_t *ids, size_t count,
                  bool skip_specials);

/* ---- Training -------------------------------------------------------------------------------------------------- */

/* Learns a WordPiece vocabulary as the tokenizers package does: counts the words of the text, then merges the most frequent
 * pair of neighbouring pieces until there are `vocab_size` pieces (Sennrich et al. 2016, with "##" for pieces inside words).
 * Between equally frequent pairs the one with the lower ids wins, so the result depends on the text alone. Words of more than
 * KM_WORD_CHARS characters (text.h) are left out, because encoding makes them [UNK]. Memory grows with the number of
 * different words only. */
typedef struct km_wordpiece_trainer km_wordpiece_trainer;
typedef struct km_wordpiece_options {
    int vocab_size;
    bool cased;
    int min_frequency;  /* least number of occurrences of a pair that is merged; usually 2 */
    int alphabet_limit; /* most different characters, the most frequent ones; usually 1000 */
} km_wordpiece_options;
km_wordpiece_trainer *km_wordpiece_trainer_create(const km_wordpiece_options *options);
void km_wordpiece_trainer_add(km_wordpiece_trainer *trainer, const char *text, size_t count);
/* Makes the tokenizer; KM_FAILED if there was no text. The caller destroys both, the trainer and the tokenizer. */
km_status km_wordpiece_trainer_end(km_wordpiece_trainer *trainer, km_tokenizer **out) KM_NODISCARD;
void km_wordpiece_trainer_destroy(km_wordpiece_trainer *trainer);

/* Learns a byte-level BPE vocabulary as the tokenizers package does: <s>, <pad>, </s>, <unk> and <mask>, the 256 bytes, then
 * merges inside the pre-tokens of GPT-2's pattern. Every line is split by itself, without its line end. Pre-tokens of more
 * than 4,096 bytes are left out. */
typedef struct km_bpe_trainer km_bpe_trainer;
typedef struct km_bpe_options {
    int vocab_size;    /* at least 261 */
    int min_frequency; /* least number of occurrences of a pair that is merged; usually 2 */
    bool prefix_space; /* the tokenizer puts a space before a text; texts to learn from come with that space */
} km_bpe_options;
km_bpe_trainer *km_bpe_trainer_create(const km_bpe_options *options);
/* Takes whole lines. A long line may come in several parts that are cut behind a word, before white space. */
void km_bpe_trainer_add(km_bpe_trainer *trainer, const char *text, size_t count);
km_status km_bpe_trainer_end(km_bpe_trainer *trainer, km_tokenizer **out) KM_NODISCARD;
void km_bpe_trainer_destroy(km_bpe_trainer *trainer);

#endif
