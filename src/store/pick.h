/* pick: which files of a repository a name means.
 *
 * A name is "ORG/REPO", with ":QUANT" or ":FILE" behind it where one of several files is meant, and
 * may be spelt as the Hub's own addresses are ("hf.co/ORG/REPO", "https://huggingface.co/...").
 * Pure; used on the Hub's lists and on folders of the store alike.
 */
#ifndef STORE_PICK_H
#define STORE_PICK_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "model/filename.h"

struct pick_name {
    str id;       /* "ORG/REPO" */
    str want;     /* a quantisation or a file; empty: not said */
    str revision; /* empty: "main" */
};

/* ERR_INVALID says what a name looks like. Views of `text`. */
MUST_CHECK enum err pick_name(str text, struct pick_name *out, struct err_info *e);
struct pick_file {
    str path;
    uint64_t bytes;
    str digest; /* of a list of the Hub: see download.h */
    struct filename name;
};

struct pick {
    uint32_t *files; /* indices; those that make a model visible are the last */
    size_t n;
    uint32_t main;  /* of the first GGUF part, or of config.json */
    bool folder;    /* SafeTensors: the model is the folder */
    uint64_t bytes; /* of all of them */
    char why[200];  /* why this one */
};

/* `memory`: bytes that weights may have, 0: any; it decides only where `want` is empty.
 * ERR_NOTFOUND names what there is; ERR_UNSUPPORTED: nothing that can be run, by its formats. */
MUST_CHECK enum err pick_files(const struct pick_file *f, size_t n, str want, uint64_t memory,
                               struct pick *out, struct arena *a, struct err_info *e);

#endif
