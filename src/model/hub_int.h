/* hub_int: what the files of hub share. */
#ifndef MODEL_HUB_INT_H
#define MODEL_HUB_INT_H

#include "model/hub.h"

/* ---- hub_arch: the family ---- */
/* A class or model type; the first that is a family's counts. */
void hub_take_arch(struct hub_model *m, str word);
/* Of n strings, where nothing better was said. */
void hub_arch_by_tags(struct hub_model *m, const struct json *tags, size_t n);
/* The last resort, for repositories of GGUF files. */
void hub_arch_by_name(struct hub_model *m, struct arena *a, const struct filename *id);
/* Task and library, where the reply has no fields of them. */
void hub_task_by_tags(struct hub_model *m, const struct json *tags, size_t n);
/* By the task or the library that the reply names. */
bool hub_other_task(const struct hub_model *m);
/* Whether SafeTensors of the family are read, when only the family is known. */
bool hub_class_loads(const struct family *f);

/* ---- hub_pack: SafeTensors that are packed ---- */
/* Formats of their own in place of SafeTensors, foreign_quant, scaled, and the sets' loaded. */
void hub_pack(struct hub_model *m, const struct json *v, const struct filename *id);

#endif
