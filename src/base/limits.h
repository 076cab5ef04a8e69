/* limits: every cap of the program in one list.
 *
 * A growable thing without a row here is a defect. Bytes unless the name says otherwise.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)
#define GIB(n) ((size_t)(n) << 30)

/* files */
#define LIMIT_GGUF_KV            (1u << 16) /* metadata entries */
#define LIMIT_GGUF_TENSORS       (1u << 16) /* tensors in one file */
#define LIMIT_GGUF_KEY           KIB(64)    /* the specification's own cap on a key */
#define LIMIT_GGUF_SPLITS        1024       /* files of one model */
#define LIMIT_GGUF_ARENA         MIB(256)   /* header and directory of one model */
#define LIMIT_GGUF_HEADER        MIB(256)   /* bytes before the tensor data */
#define LIMIT_ST_HEADER          100000000  /* SafeTensors: the specification's own cap */
#define LIMIT_ST_TENSORS         (1u << 18) /* tensors of one SafeTensors model */
#define LIMIT_ST_NAME            512        /* bytes of a tensor's name */
#define LIMIT_ST_SHARDS          1024       /* files of one SafeTensors model */
#define LIMIT_ST_ARENA           GIB(1)     /* a header as a tree, while it is read */
#define LIMIT_HF_INDEX           MIB(64)    /* model.safetensors.index.json */
#define LIMIT_HF_ARENA           MIB(512)   /* names, keys and vocabulary of a Hugging Face model */
#define LIMIT_MODEL_LAYERS       1024
#define LIMIT_MODEL_HEADS        1024
#define LIMIT_MODEL_EXPERTS      2048
#define LIMIT_MODEL_EXPERTS_USED 256
#define LIMIT_MODEL_DIM          (1u << 20)
#define LIMIT_MODEL_CONTEXT      (1u << 24)
#define LIMIT_VOCAB              (1u << 22) /* tokens */
#define LIMIT_PLAN_STEPS         (1u << 16)
#define LIMIT_CONFIG_FILE        MIB(1)
#define LIMIT_TEXT_FILE          MIB(256) /* text given to tokenize and eval */
#define LIMIT_VET_HEAP           GIB(2)   /* that a model may make its first reader allocate */
#define LIMIT_VET_SECONDS        60u      /* that opening a model may take */
#define LIMIT_VET_FOLDER         GIB(4096) /* of a model's folder; sets memory and time of its vetting */

/* hub */
#define LIMIT_HUB_FILES 20000  /* of one repository */
#define LIMIT_HUB_TAGS  4096   /* of one repository: tags, languages, types */
#define LIMIT_HUB_STR   1024   /* bytes of an id, a tag, a path; longer ones are cut */
#define LIMIT_LINK      KIB(4) /* an rbee:// address */

/* text */
#define LIMIT_TOK_ARENA      MIB(512)   /* indexes of one vocabulary */
#define LIMIT_TOK_FILE       MIB(256)   /* a tokenizer.json, tokenizer.model or list of ranks */
#define LIMIT_TOK_TEXT       GIB(1)     /* text of one tok_encode() */
#define LIMIT_JSON_NODES     (1u << 22) /* values waiting for their container to close */
#define LIMIT_TEMPLATE       MIB(1)     /* chat template source */
#define LIMIT_TEMPLATE_OUT   MIB(16)    /* rendered prompt */
#define LIMIT_TEMPLATE_STEPS 10000000   /* interpreter steps of one rendering */
#define LIMIT_TEMPLATE_ARENA MIB(64)
#define LIMIT_STOP_STRINGS   32
#define LIMIT_STOP_LEN       KIB(1)

/* engine */
#define LIMIT_SLOTS        256  /* sequences decoded together */
#define LIMIT_BATCH        2048 /* tokens of one step */
#define LIMIT_THREADS      256
#define LIMIT_TOP_LOGPROBS 20
#define LIMIT_JOB_QUEUE    8192 /* requests waiting in a worker */

/* index of models */
#define LIMIT_INDEX_ROWS    (1u << 21) /* models */
#define LIMIT_INDEX_SETS    (1u << 24) /* sets of weights of all models; languages of all models */
#define LIMIT_INDEX_TEXT    GIB(1)     /* ids, names of sets, what searches read */
#define LIMIT_INDEX_NAMES   KIB(256)   /* of machines and back ends */
#define LIMIT_INDEX_DEVICES 64         /* machines that one is judged for: bits of a word */
#define LIMIT_INDEX_ASKS    4          /* configurations whose verdicts are kept */
#define LIMIT_INDEX_WORDS   16         /* of a search */
#define LIMIT_INDEX_VALUES  64         /* of one filter */
#define LIMIT_INDEX_PAGE    1000       /* models of one page */
#define LIMIT_INDEX_FACET   50         /* values of one facet */
#define LIMIT_INDEX_QUERY   KIB(256)   /* a query in its canonical form */

/* store */
#define LIMIT_STORE_MODELS   10000
#define LIMIT_STORE_DEPTH    4 /* folders below a root */
#define LIMIT_STORE_ARENA    MIB(64)
#define LIMIT_FIT_LINES      20000   /* files times machines that are judged at once */
#define LIMIT_FIT_ARENA      GIB(2)  /* the headers of one model */
#define LIMIT_PULL_STREAMS   16      /* ranges of one file that come at once */
#define LIMIT_PULL_REPLY     MIB(64) /* what the hub says of one repository */
#define LIMIT_PULL_SMALL     MIB(64) /* a config.json, read before its weights */
#define LIMIT_PULL_TOKEN     512
#define LIMIT_REMOTE_ENTRY   MIB(64) /* a header or a config that is kept */
#define LIMIT_REMOTE_ENTRIES 4096
#define LIMIT_REMOTE_SHARDS  64       /* whose headers are read; with more, config.json has to do */
#define LIMIT_REMOTE_CACHE   MIB(512) /* all of them */
#define LIMIT_DB_VALUE       MIB(64)  /* one text in a database */
#define LIMIT_CATALOG_ENTRY  MIB(8)   /* what the hub says of one repository, shortened */
#define LIMIT_CATALOG_PAGE   MIB(256) /* one page of the hub's list */
#define LIMIT_CATALOG_SETS   4096     /* of one repository whose shape is kept */

/* hive and queen */
#define LIMIT_WORKERS 64  /* of one hive */
#define LIMIT_HIVES   256 /* of one queen */

/* http */
#define LIMIT_HTTP_HEAD    KIB(64) /* request or status line and headers */
#define LIMIT_HTTP_HEADERS 100     /* header fields */
#define LIMIT_HTTP_TARGET  KIB(8)  /* path and query of a request */
#define LIMIT_HTTP_BODY    MIB(32) /* request body */
#define LIMIT_HTTP_REPLY   MIB(64) /* a whole reply held by a client */
#define LIMIT_HTTP_CONNS   16384   /* open connections of one daemon */
#define LIMIT_HTTP_OUT     MIB(4)  /* bytes waiting for one slow client */
#define LIMIT_HTTP_PIPE    KIB(64) /* bytes of later requests kept while one is answered */
#define LIMIT_HTTP_CALLS   16384   /* connections a client keeps to one peer */
#define LIMIT_HTTP_EXTRA   KIB(16) /* header fields a handler adds; trailers and chunk extensions */
#define LIMIT_REQ_ARENA    MIB(256)
#define LIMIT_SSE_EVENT    MIB(4)

#endif
