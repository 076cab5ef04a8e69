/* catalog_int: the insides of the index, shared by its files.
 *
 * Rows are numbered densely; a removed row's place is taken by the last one. `hot` is what filters
 * read, `cold` what a page shows. Words of few different values are codes of a dictionary. Strings
 * lie in one pool of bytes and sets in one array, both with gaps where rows were replaced; when the
 * gaps outweigh the rest, both are rewritten (catalog.c). Nothing holds a pointer into a row.
 */
#ifndef MODEL_CATALOG_INT_H
#define MODEL_CATALOG_INT_H

#include "base/limits.h"
#include "model/catalog.h"

/* ---- dictionaries: code 0 is the empty word ---- */

struct catalog_dict {
    char *text;
    uint32_t n_text, size_text;
    uint32_t *at; /* [n + 1] where words begin */
    uint32_t n, size;
    uint32_t *slot; /* open addressing: code + 1; 0: free */
    uint32_t n_slots;
};

enum catalog_words {
    CATALOG_D_ARCHITECTURE,
    CATALOG_D_FAMILY,
    CATALOG_D_BASE_MODEL,
    CATALOG_D_AUTHOR,
    CATALOG_D_LICENCE,
    CATALOG_D_TASK,
    CATALOG_D_LANGUAGE,
    CATALOG_D_LIBRARY,
    CATALOG_D_QUANT,
    CATALOG_DICTS
};

str catalog_dict_word(const struct catalog_dict *d, uint32_t code);

/* ---- rows ---- */

#define CATALOG_SIZE_BUCKETS    6
#define CATALOG_CONTEXT_BUCKETS 4
#define CATALOG_NO_BUCKET       15

/* A string of the pool. */
struct catalog_text {
    uint32_t at, n;
};

struct catalog_hot {
    uint64_t pairs;                    /* one bit of 64 for each pair of characters of `search` */
    uint32_t word[CATALOG_D_LANGUAGE]; /* codes, by enum catalog_words */
    uint32_t first_set, n_sets;
    uint32_t first_language;
    uint16_t n_languages;
    uint8_t can;
    uint8_t gated;
    uint8_t size, context; /* buckets */
};

struct catalog_cold {
    int64_t created, updated;
    uint64_t downloads, likes, bytes;
    double trending;
    struct catalog_text id, search; /* search: lower-cased id, author, base model, by lines */
    uint32_t library, formats;
};

/* What a set is called and how large it is; what it is to the judge lies beside it, and so does
 * what filters read. */
struct catalog_set {
    struct catalog_text name;
    uint64_t bytes; /* of its files; 0: not said */
};

struct catalog_key {
    uint8_t quant;  /* code */
    uint8_t format; /* enum filename_format; NONE: it stands for a repository whose files are not
                     * known, and what the repository says of formats holds */
};

/* ---- what the judge said, for one configuration ---- */

/* The best set of a row on one machine. */
struct catalog_cell {
    uint64_t beside; /* bytes that it takes beside its weights */
    uint32_t set;
    float decode; /* tokens a second; 0: not known */
    uint8_t why;
};

struct catalog_verdicts {
    struct verdict_ask ask;
    uint64_t revision; /* of the catalogue that it was made for; 0: empty */
    uint64_t used;     /* the higher, the later */
    /* Over all sets. Bits of masks are machines. */
    size_t size_sets;
    uint64_t *runs, *fits;
    uint64_t *weights; /* bytes that they take in memory; 0: not known */
    uint8_t *why;      /* of machines that refuse it, the reason that is nearest to running */
    /* Over all rows: machines on which one of its sets does, and the machine it does best on. */
    size_t size_rows;
    uint64_t *row_runs, *row_fits;
    uint8_t *row_machine;
    /* Over all rows and machines, [row * machines + machine]. */
    size_t size_cells;
    struct catalog_cell *cell;
};

struct catalog {
    struct catalog_dict dict[CATALOG_DICTS];
    size_t n, size; /* rows */
    struct catalog_hot *hot;
    struct catalog_cold *cold;
    struct judge_model *model;
    uint32_t *slot; /* of ids: row + 1; 0: free */
    size_t n_slots;
    size_t n_sets, size_sets, live_sets;
    struct catalog_set *set;
    struct catalog_key *key;
    struct judge_set *judge;
    uint32_t *language;
    size_t n_languages, size_languages, live_languages;
    char *text;
    size_t n_text, size_text, live_text;
    uint64_t revision; /* grows with every change */
    /* machines */
    struct arena names; /* of machines and back ends */
    struct catalog_device device[LIMIT_INDEX_DEVICES];
    size_t n_devices;
    struct verdict_ask ask;
    struct catalog_verdicts verdicts[LIMIT_INDEX_ASKS];
    uint64_t clock; /* of `used` */
};

static inline bool catalog_has_files(const struct catalog *c, size_t row)
{
    return c->key[c->hot[row].first_set].format != FILENAME_NONE;
}

static inline const struct catalog_cell *
catalog_cell(const struct catalog *c, const struct catalog_verdicts *v, size_t row, size_t machine)
{
    return &v->cell[row * c->n_devices + machine];
}

static inline str catalog_str(const struct catalog *c, struct catalog_text t)
{
    return (str){c->text + t.at, t.n};
}

/* The row of an id; SIZE_MAX: none. */
size_t catalog_row_of(const struct catalog *c, str id);
/* Bits of the pairs of neighbours in a text that is folded. */
uint64_t catalog_pairs(str folded);
/* One byte as searches see it: lower case, '_' as '-'. */
char catalog_fold(char ch);
unsigned catalog_size_bucket(uint64_t params);
unsigned catalog_context_bucket(uint32_t context);
/* "<=1B", "8-32K"; NULL behind the last. */
const char *catalog_bucket_name(enum catalog_kind kind, unsigned i);
const char *catalog_can_name(unsigned bit); /* "chat"; NULL behind the last */

/* The verdicts for a configuration, made if they are not there or are of an older revision. NULL in
 * *out when there are no machines. */
MUST_CHECK enum err catalog_verdicts_for(struct catalog *c, const struct verdict_ask *ask,
                                         const struct catalog_verdicts **out, struct err_info *e);
void catalog_verdicts_fini(struct catalog_verdicts *v);
/* What a machine says of a set of a row, in full. */
void catalog_judge_set(const struct catalog *c, const struct verdict_ask *ask, size_t row,
                       size_t set, size_t machine, struct judge_out *o);
/* Of the words of two machines on a row: the faster of those that run it; the one that lacks less
 * memory; the one that is nearer to running it. */
bool catalog_beats(const struct judge_out *a, const struct judge_out *b);

/* ---- a query, ready for rows ---- */

/* Codes of a dictionary as bits; NULL: all. */
struct catalog_codes {
    uint64_t *bit;
};

struct catalog_filter {
    const struct catalog *c;
    const struct catalog_verdicts *v; /* NULL: nothing is judged */
    const struct catalog_query *q;
    str word[LIMIT_INDEX_WORDS]; /* folded */
    size_t n_words;
    uint64_t pairs; /* of all words */
    struct catalog_codes codes[CATALOG_DICTS];
    unsigned sizes, contexts;                  /* bits of buckets; 0: all */
    unsigned cans, formats;                    /* 0: all */
    uint64_t on_machine, on_backend, machines; /* masks; the last: both */
    bool all, too_large;      /* what is shown: everything, also what does not fit */
    bool by_bytes, by_memory; /* sets are filtered so */
    bool by_set;              /* they are filtered in any way */
};

MUST_CHECK enum err catalog_filter_init(struct catalog_filter *f, struct catalog *c,
                                        const struct catalog_query *q, struct arena *a,
                                        struct err_info *e);

/* Facets of rows, as bits of catalog_row_fails(); below them the dictionaries up to languages. */
enum {
    CATALOG_F_CAPABILITY = CATALOG_D_LANGUAGE + 1,
    CATALOG_F_GATED,
    CATALOG_F_SIZE,
    CATALOG_F_CONTEXT
};
#define CATALOG_FAILS UINT32_MAX /* a filter that is no facet, or more than one facet */
/* The facet that a row fails as a bit; sets and machines are not looked at. */
uint32_t catalog_row_fails(const struct catalog_filter *f, size_t row);

/* Bytes of the files of a set; by parameters and bits where files have no sizes; 0: not known. */
uint64_t catalog_set_bytes(const struct catalog_filter *f, size_t set);
uint64_t catalog_set_limits(const struct catalog_filter *f, size_t row, size_t set);
/* A set of a row by its bytes and memory: the machines on which it takes no more memory than
 * max_memory; 0: it does not pass. All machines there are when the query does not say. */
static inline uint64_t catalog_set_within(const struct catalog_filter *f, size_t row, size_t set)
{
    return f->by_bytes || f->by_memory ? catalog_set_limits(f, row, set) : UINT64_MAX;
}

/* Bits 1 << enum filename_format: one, or several where files are not known. */
static inline unsigned catalog_set_formats(const struct catalog *c, size_t row, size_t set)
{
    uint8_t format = c->key[set].format;
    return format ? 1u << format : c->cold[row].formats;
}

static inline bool catalog_set_format(const struct catalog_filter *f, size_t row, size_t set)
{
    return !f->formats || (f->formats & catalog_set_formats(f->c, row, set));
}

static inline bool catalog_set_quant(const struct catalog_filter *f, size_t set)
{
    const uint64_t *bit = f->codes[CATALOG_D_QUANT].bit;
    uint8_t quant = f->c->key[set].quant;
    return !bit || (bit[quant / 64] >> (quant % 64) & 1);
}

/* ---- the set that a row shows ---- */

enum catalog_seen { CATALOG_NO_SET, CATALOG_HIDDEN, CATALOG_SHOWN };

/* A row under the filters. */
struct catalog_look {
    enum catalog_seen seen;
    bool runs, fits; /* a set that passes, on a machine that is asked about */
    size_t first;    /* set that passes */
};

struct catalog_look catalog_look(const struct catalog_filter *f, size_t row);
/* Whether a set that does so is shown. */
static inline bool catalog_shows(const struct catalog_filter *f, bool runs, bool fits)
{
    return f->all || !f->v || fits || (f->too_large && runs);
}

/* The best set of a row that passes, on the best machine for it. */
struct catalog_pick {
    size_t set, machine;  /* machine SIZE_MAX: none is asked about */
    struct judge_out out; /* its word, in full only by catalog_pick_full() */
};

void catalog_pick(const struct catalog_filter *f, size_t row, const struct catalog_look *look,
                  struct catalog_pick *p);
void catalog_pick_full(const struct catalog_filter *f, size_t row, const struct catalog_look *look,
                       struct catalog_pick *p);

#endif
