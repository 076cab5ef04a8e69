/** Words of the C tables, as types. */
import type { WORDS } from "./generated.js";

type Word<K extends keyof typeof WORDS> = (typeof WORDS)[K][number];

/** A format of weights. All are recognised; a worker says which it reads. */
export type Format = Exclude<Word<"formats">, "unknown">;
/** A quantisation by its one spelling. */
export type Quantization = Word<"quantizations">;
/** What a verdict rests on: `high`, `medium`, `low`; `none` where it is no. */
export type Confidence = Word<"confidences">;
/** Why a model does not run, or `runs`. */
export type Why = Word<"whys">;
/** A type of the KV cache. */
export type KvType = Word<"kv_types">;
/** What a model can do. */
export type Capability = Word<"capabilities">;
/** A filter whose values are counted. */
export type FacetName = Word<"facets">;
