/* Finds names, dates and numbers by patterns over words and their shapes. Whether a capitalized word at the beginning of a
 * sentence is a name is decided by how the same word is written inside sentences of the same block of text. */
#include <stdlib.h>
#include <string.h>

#include "span_words.h"

enum {
    BLOCK = 1 << 20, /* bytes that are looked at together */
    SLOTS = 1 << 16, /* most slots of the table of words, so that memory is bounded */
    NAME_WORDS = 12  /* most words of a name */
};

/* How often a word stands inside sentences, capitalized and in small letters. */
typedef struct slot {
    uint32_t hash; /* 0: empty */
    uint32_t capital, small;
} slot;

typedef struct finder {
    const char *text; /* the block */
    km_span_words words;
    slot *slots; /* a hash table with open addressing */
    size_t mask, used;
    size_t base; /* where the block begins in the whole text */
    km_spans *out;
} finder;

/* ---- Lists of words ------------------------------------------------------------------------------------------ */

/* Every list is in lower case and has one blank before and after each word. */
static const char months[] = " january february march april may june july august september october november "
                             "december jan feb mar apr jun jul aug "
                             "sep sept oct nov dec januar februar märz mai juni juli oktober dezember janvier "
                             "février mars avril juin juillet août "
                             "septembre octobre novembre décembre enero febrero marzo abril mayo junio julio "
                             "agosto septiembre octubre noviembre "
                             "diciembre gennaio febbraio aprile maggio giugno luglio settembre ottobre dicembre "
                             "janeiro fevereiro março maio junho "
                             "julho setembro outubro novembro dezembro januari februari maart mei augustus ";
/* Names of months that mean nothing else, so that they are a date without a day or year beside them. */
static const char sure_months[] =
    " january february april june july september october november december januar februar "
    "märz oktober dezember ";
static const char weekdays[] = " monday tuesday wednesday thursday friday saturday sunday montag dienstag mittwoch "
                               "donnerstag freitag samstag sonntag ";
static const char short_weekdays[] = " mon tue wed thu fri sat sun tues thur thurs ";
static const char seasons[] = " spring summer autumn fall winter ";
static const char eras[] = " bc bce ad ce ";
/* Words that show that the number behind them is a year. */
static const char before_year[] =
    " in since by from until till to of before after around circa during year early late mid "
    "between about through jahr year году года год anno vers depuis seit um en ab bis ";
/* Words that belong to the number before them. */
static const char magnitudes[] = " hundred thousand million billion trillion dozen percent dollars euros pounds ";
/* Words in small letters that may stand inside a name. */
static const char particles[] =
    " of de van von der den del della di da du la le el al bin ibn ter ten dos das do des y zu zur "
    "und et af av ";
/* Titles and other abbreviations that stand before a name. */
static const char titles[] =
    " mr mrs ms dr prof st gen col capt lt sgt sen rep gov rev hon mt ft ste messrs mme mlle ";
/* Words that begin sentences and never a name. */
static const char no_names[] =
    " a about above according actually after afterwards again against all almost along already also although "
    "always among an "
    "and another any anyone are as at because been before being below besides between both but by can compare "
    "could despite did "
    "do does during each either else even every everyone except few finally first following for from further "
    "furthermore he hence "
    "her here hers him his how however i i'd i'll i'm i've if in indeed instead into is it it's its just last "
    "later let like many "
    "may maybe meanwhile might more moreover most much must my near never nevertheless next no nobody none nor not "
    "note nothing now "
    "of often ok on once one only or other others otherwise our out over people perhaps please rather second see "
    "several she should "
    "similarly since so some someone sometimes soon still such suddenly than that that's the their them then there "
    "there's "
    "therefore these they they're this those though three through thus to today together tomorrow too two under "
    "unless unlike "
    "until up upon us use used using usually very was we we're well were what what's when whenever where whereas "
    "whether which "
    "while who whom whose why will with within without would yes yesterday yet you you're your "
    "der die das ein eine und in im am es er sie wir ich nicht mit von zu auf für als auch bei nach wenn aber "
    "les l un une des et il elle nous vous je ce cette ces dans pour sur avec mais si en "
    "una unos y o pero por con para se su sus este esta como no lo ";

/* Whether a word, in any case, is one of a list. */
static bool is_one_of(const finder *f, const km_span_word *word, const char *list) {
    char key[24] = " ";
    size_t length = word->end - word->begin;
    if (length + 2 >= sizeof key) {
        return false;
    }
    const char *text = f->text + word->begin;
    for (size_t i = 0; i < length; i++) {
        key[i + 1] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
        if (text[i] == ' ' || text[i] == '\0') {
            return false;
        }
    }
    key[length + 1] = ' ';
    return strstr(list, key) != NULL;
}

static bool is(const km_span_word *word, km_word_shape shape) {
    return word->shape == shape;
}

static bool is_capital(const km_span_word *word) {
    return is(word, KM_SHAPE_CAPITAL) || is(word, KM_SHAPE_UPPER);
}

static bool is_name_like(const km_span_word *word) {
    return is_capital(word) || is(word, KM_SHAPE_MIXED);
}

/* Word i; NULL where it does not exist or begins another line. */
static const km_span_word *follow(const finder *f, size_t i) {
    return i < f->words.count && !f->words.words[i].first_in_line ? &f->words.words[i] : NULL;
}

/* Word i, where one or two blanks and nothing else separate it from word i - 1; NULL otherwise. */
static const km_span_word *follow_spaced(const finder *f, size_t i) {
    const km_span_word *word = follow(f, i);
    return word != NULL && word->after_space && word->begin - f->words.words[i - 1].end <= 2 ? word : NULL;
}

static bool follows_mark(const finder *f, size_t i, char mark) {
    const km_span_word *word = follow(f, i);
    return word != NULL && is(word, KM_SHAPE_MARK) && word->mark == (uint8_t)mark && !word->after_space;
}

/* ---- Dates ---------------------------------------------------------------------------------------------------- */

static bool is_year(const km_span_word *word) {
    return word != NULL && is(word, KM_SHAPE_NUMBER) && word->value >= 1000 && word->value <= 2199 &&
           word->end - word->begin == 4;
}

static bool is_day(const km_span_word *word) {
    return word != NULL && (is(word, KM_SHAPE_NUMBER) || is(word, KM_SHAPE_ORDINAL)) && word->value >= 1 &&
           word->value <= 31;
}

/* Whether a word names a month: capitalized, or, as in other languages than English, in small letters. */
static bool is_month(const finder *f, const km_span_word *word) {
    return word != NULL && (is_capital(word) || (is(word, KM_SHAPE_LOWER) && word->end - word->begin > 3)) &&
           is_one_of(f, word, months);
}

/* How many words from word i on are a year with what connects it (", 1999", "of 1999", "de 1999" or "1999"); 0 for none. This
 * and the functions below return numbers of words. */
static size_t year_behind(const finder *f, size_t i) {
    const km_span_word *word = follow(f, i);
    size_t taken = word != NULL && (follows_mark(f, i, ',') || is_one_of(f, word, " of de del ")) ? 1 : 0;
    return is_year(follow_spaced(f, i + taken)) ? taken + 1 : 0;
}

/* "March 12, 1999", "March 12-15", "March 1999", "Jan. 5", and "March" alone where the word before it shows that it is a
 * date. */
static size_t month_first(const finder *f, size_t i) {
    const km_span_word *month = &f->words.words[i];
    if (!is_month(f, month) || is(month, KM_SHAPE_LOWER)) {
        return 0;
    }
    size_t n = 1 + follows_mark(f, i + 1, '.');
    if (is_year(follow_spaced(f, i + n)) || year_behind(f, i + n) > 0) {
        return n + year_behind(f, i + n);
    }
    if (is_day(follow_spaced(f, i + n))) {
        n++;
        if (follows_mark(f, i + n, '-') && is_day(follow(f, i + n + 1)) && !f->words.words[i + n + 1].after_space) {
            n += 2;
        }
        return n + year_behind(f, i + n);
    }
    const km_span_word *before = i > 0 && !month->first_in_line ? &f->words.words[i - 1] : NULL;
    bool shown = before != NULL && month->after_space &&
                 is_one_of(f, before, " in since until by from of last next early late mid during this ");
    bool sure = is_one_of(f, month, sure_months) && is(month, KM_SHAPE_CAPITAL);
    return sure || (shown && is(month, KM_SHAPE_CAPITAL)) ? 1 : 0;
}

/* "12 March 1999", "12th of March", "12. März", "12 de marzo de 1999". */
static size_t day_first(const finder *f, size_t i) {
    if (!is_day(&f->words.words[i])) {
        return 0;
    }
    size_t n = 1 + follows_mark(f, i + 1, '.');
    const km_span_word *next = follow_spaced(f, i + n);
    if (next != NULL && is_one_of(f, next, " of de ")) {
        n++;
        next = follow_spaced(f, i + n);
    }
    if (!is_month(f, next)) {
        return 0;
    }
    n++;
    n += follows_mark(f, i + n, '.') && year_behind(f, i + n + 1) > 0;
    return n + year_behind(f, i + n);
}

static bool is_era(const finder *f, size_t i) {
    const km_span_word *word = follow_spaced(f, i);
    return word != NULL && is(word, KM_SHAPE_UPPER) && is_one_of(f, word, eras);
}

/* "1984", "1939-1945", "1939-45", "44 BC", "5 p.m.". A number alone is a year where the word before it says so, or where it
 * lies between 1800 and 2039 and no word in small letters follows that it could count. */
static size_t year_or_hour(const finder *f, size_t i) {
    const km_span_word *word = &f->words.words[i];
    const km_span_word *before = i > 0 && !word->first_in_line ? &f->words.words[i - 1] : NULL;
    const km_span_word *next = follow_spaced(f, i + 1);
    if (!is(word, KM_SHAPE_NUMBER) || word->value < 0) {
        return 0;
    }
    if (is_era(f, i + 1)) {
        return 2;
    }
    if (word->value <= 24 && next != NULL && is_one_of(f, next, " am pm a.m p.m a.m. p.m. o'clock ")) {
        return 2;
    }
    bool shown =
        before != NULL && (is_one_of(f, before, before_year) || before->mark == '(' || before->mark == ',');
    bool counted = next != NULL && is(next, KM_SHAPE_LOWER) && !is_one_of(f, next, before_year) && !shown;
    if (!is_year(word) || (!shown && (word->value < 1800 || word->value > 2039 || counted))) {
        return 0;
    }
    const km_span_word *to = follow(f, i + 2);
    bool dash = follow(f, i + 1) != NULL && is(&f->words.words[i + 1], KM_SHAPE_MARK) &&
                !f->words.words[i + 1].after_space &&
                (f->words.words[i + 1].mark == '-' || f->words.words[i + 1].mark == 0);
    bool range = dash && to != NULL && !to->after_space && is(to, KM_SHAPE_NUMBER) && to->value > 0 &&
                 (is_year(to) || (to->end - to->begin == 2 && to->value > word->value % 100));
    return range ? 3 : 1;
}

/* "19th century", "1st century BC". */
static size_t century(const finder *f, size_t i) {
    const km_span_word *next = follow_spaced(f, i + 1);
    bool found =
        is(&f->words.words[i], KM_SHAPE_ORDINAL) && next != NULL && is_one_of(f, next, " century centuries ");
    return found ? 2 + (size_t)is_era(f, i + 2) : 0;
}

/* A date without the name of a day before it. */
static size_t core_date(const finder *f, size_t i) {
    size_t n = month_first(f, i);
    n = n > 0 ? n : day_first(f, i);
    n = n > 0 ? n : century(f, i);
    n = n > 0 ? n : year_or_hour(f, i);
    if (n == 0 && (is(&f->words.words[i], KM_SHAPE_DATE) || is(&f->words.words[i], KM_SHAPE_TIME))) {
        const km_span_word *next = follow_spaced(f, i + 1);
        bool half = is(&f->words.words[i], KM_SHAPE_TIME) && next != NULL &&
                    is_one_of(f, next, " am pm a.m p.m a.m. p.m. ");
        n = half ? 2 : 1;
    }
    return n;
}

/* How many words from word i on are a date; 0 for none. */
static size_t date_at(const finder *f, size_t i) {
    const km_span_word *word = &f->words.words[i];
    bool day = is_capital(word) && is_one_of(f, word, weekdays), season = false;
    if (day || (is(word, KM_SHAPE_CAPITAL) && is_one_of(f, word, short_weekdays))) {
        size_t comma = 1 + (size_t)(follows_mark(f, i + 1, ',') || follows_mark(f, i + 1, '.'));
        size_t n = follow_spaced(f, i + comma) != NULL ? core_date(f, i + comma) : 0;
        return n > 0 ? comma + n : day ? 1 : 0;
    }
    season = (is(word, KM_SHAPE_LOWER) || is(word, KM_SHAPE_CAPITAL)) && is_one_of(f, word, seasons);
    if (season) {
        size_t n = year_behind(f, i + 1);
        return n > 0 && !follows_mark(f, i + 1, ',') ? 1 + n : 0;
    }
    if (is(word, KM_SHAPE_UPPER) && is_one_of(f, word, " ad ")) {
        const km_span_word *next = follow_spaced(f, i + 1);
        return next != NULL && is(next, KM_SHAPE_NUMBER) && next->value > 0 ? 2 : 0;
    }
    return core_date(f, i);
}

/* ---- Names ------------------------------------------------------------------------------------------------------ */

static slot *slot_of(const finder *f, uint32_t hash) {
    size_t at = hash * 0x9E3779B1U & f->mask;
    while (f->slots[at].hash != hash && f->slots[at].hash != 0) {
        at = (at + 1) & f->mask;
    }
    return &f->slots[at];
}

/* Counts how words are written inside sentences. Once the table is half full, no new words are counted. */
static void gather_evidence(finder *f) {
    for (size_t i = 0; i < f->words.count; i++) {
        const km_span_word *word = &f->words.words[i];
        bool capital = is(word, KM_SHAPE_CAPITAL) && !word->may_begin_sentence && !word->first_in_line;
        if (!capital && !is(word, KM_SHAPE_LOWER)) {
            continue;
        }
        slot *s = slot_of(f, word->hash | 1);
        if (s->hash == 0 && 2 * f->used > f->mask) {
            continue;
        }
        f->used += s->hash == 0;
        s->hash = word->hash | 1;
        s->capital += capital;
        s->small += !capital;
    }
}

/* 1 where the block mostly writes the word with a capital inside sentences, -1 where mostly without, 0 where it does not
 * tell. */
static int evidence(const finder *f, const km_span_word *word) {
    const slot *s = slot_of(f, word->hash | 1);
    return s->capital > s->small ? 1 : s->small > s->capital ? -1 : 0;
}

/* How many words from word i on continue a name that word i - 1 belongs to: another capitalized word, or particles ("of the",
 * "van der", "&") together with the capitalized word behind them. */
static size_t continuation(const finder *f, size_t i) {
    const km_span_word *word = follow_spaced(f, i);
    if (word == NULL) {
        return 0;
    }
    if ((is_name_like(word) && !is_one_of(f, word, no_names)) || is(word, KM_SHAPE_INITIAL)) {
        return is_one_of(f, word, weekdays) || date_at(f, i) > 1 ? 0 : 1;
    }
    size_t n = 0;
    if (is(word, KM_SHAPE_MARK) && word->mark == '&') {
        n = 1;
    } else {
        while (n < 3 && word != NULL && is(word, KM_SHAPE_LOWER) &&
               is_one_of(f, word, n > 0 ? " the der den la las los " : particles)) {
            word = follow_spaced(f, i + ++n);
        }
    }
    word = n > 0 ? follow_spaced(f, i + n) : NULL;
    bool capital = word != NULL && is_name_like(word) && !is_one_of(f, word, no_names) && !is_month(f, word);
    return capital ? n + 1 : 0;
}

/* Whether word i stands in a line written all in capitals, which say nothing about names there. */
static bool in_all_capitals(const finder *f, size_t i) {
    size_t first = i, uppers = 0;
    while (first > 0 && i - first < 12 && !f->words.words[first].first_in_line) {
        first--;
    }
    for (size_t w = first; w < f->words.count && w < first + 24 && (w == first || !f->words.words[w].first_in_line);
         w++) {
        const km_span_word *word = &f->words.words[w];
        if (is(word, KM_SHAPE_LOWER) || is(word, KM_SHAPE_CAPITAL) || is(word, KM_SHAPE_MIXED)) {
            return false;
        }
        uppers += is(word, KM_SHAPE_UPPER);
    }
    const km_span_word *word = &f->words.words[i];
    return uppers > 1 || (uppers == 1 && word->end - word->begin > 5);
}

/* Whether word i may begin a name of `n` words. */
static bool begins_name(const finder *f, size_t i, size_t n) {
    const km_span_word *word = &f->words.words[i];
    if (is(word, KM_SHAPE_UPPER)) {
        return !in_all_capitals(f, i);
    }
    if (is(word, KM_SHAPE_INITIAL)) {
        return n > 1 && !is(&f->words.words[i + n - 1], KM_SHAPE_INITIAL);
    }
    if (is(word, KM_SHAPE_MIXED) || !word->may_begin_sentence) {
        return true;
    }
    return evidence(f, word) > (n > 1 ? -1 : 0);
}

/* How many words from word i on are a name; 0 for none. */
static size_t name_at(const finder *f, size_t i) {
    const km_span_word *word = &f->words.words[i];
    if ((!is_name_like(word) && !is(word, KM_SHAPE_INITIAL)) || is_one_of(f, word, no_names)) {
        return 0;
    }
    bool title = is(word, KM_SHAPE_CAPITAL) && is_one_of(f, word, titles);
    size_t n = 1 + (size_t)(title && follows_mark(f, i + 1, '.'));
    size_t more = continuation(f, i + n);
    bool alone = more == 0;
    while (more > 0 && n < NAME_WORDS) {
        n += more;
        bool dot = is(&f->words.words[i + n - 1], KM_SHAPE_CAPITAL) &&
                   is_one_of(f, &f->words.words[i + n - 1], titles) && follows_mark(f, i + n, '.') &&
                   continuation(f, i + n + 1) > 0;
        n += dot;
        more = continuation(f, i + n);
    }
    if (title) {
        return alone ? 0 : n;
    }
    return begins_name(f, i, n) ? n : 0;
}

/* ---- Numbers, and the whole text ---------------------------------------------------------------------------------- */

/* How many words from word i on are a number, such as "3 million"; 0 for none. */
static size_t number_at(const finder *f, size_t i) {
    const km_span_word *word = &f->words.words[i];
    if (is(word, KM_SHAPE_ORDINAL)) {
        return 1;
    }
    if (!is(word, KM_SHAPE_NUMBER)) {
        return 0;
    }
    size_t n = 1;
    for (const km_span_word *next = follow_spaced(f, i + 1);
         n < 4 && next != NULL && is(next, KM_SHAPE_LOWER) && is_one_of(f, next, magnitudes);
         next = follow_spaced(f, i + n)) {
        n++;
    }
    return n;
}

static void find_in_block(finder *f, size_t count) {
    km_span_words_read(&f->words, f->text, count);
    size_t slots = 64;
    while (slots < SLOTS && slots < 2 * f->words.count) {
        slots *= 2;
    }
    f->slots = km_new(slots, sizeof *f->slots);
    f->mask = slots - 1;
    f->used = 0;
    gather_evidence(f);
    for (size_t i = 0; i < f->words.count;) {
        km_span_kind kind = KM_SPAN_DATE;
        size_t n = date_at(f, i);
        if (n == 0) {
            kind = KM_SPAN_NUMBER;
            n = number_at(f, i);
        }
        if (n == 0) {
            kind = KM_SPAN_ENTITY;
            n = name_at(f, i);
        }
        if (n > 0) {
            km_spans_add(f->out, f->base + f->words.words[i].begin, f->base + f->words.words[i + n - 1].end,
                         (int)kind);
        }
        i += n > 0 ? n : 1;
    }
    free(f->slots);
}

/* Where a long text is cut into blocks: behind a line if there is one, else behind a blank, else between two characters. */
static size_t block_end(const char *text, size_t count) {
    if (count <= BLOCK) {
        return count;
    }
    const char *cut = memrchr(text, '\n', BLOCK);
    cut = cut != NULL ? cut : memrchr(text, ' ', BLOCK);
    size_t end = cut != NULL ? (size_t)(cut - text) + 1 : BLOCK;
    for (int i = 0; cut == NULL && i < 3 && ((uint8_t)text[end] & 0xC0) == 0x80; i++) {
        end--;
    }
    return end;
}

void km_find_spans(const char *text, size_t count, km_spans *out) {
    finder f = {.out = out};
    for (size_t at = 0, size = 0; at < count; at += size) {
        size = block_end(text + at, count - at);
        f.text = text + at;
        f.base = at;
        find_in_block(&f, size);
    }
    free(f.words.words);
}
