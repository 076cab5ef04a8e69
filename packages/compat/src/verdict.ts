/** Will it run? The judge's functions. */
import { CompatError } from "./errors.js";
import type { Model } from "./model.js";
import { snapshot } from "./snapshot.js";
import type { EitherStyle } from "./style.js";
import { call, callText } from "./main.js";
import { textOf } from "./wasm.js";
import type { Confidence, Format, KvType, Why } from "./words.js";
import type { WorkerCapabilities } from "./workers.js";

/** A machine, or one device of it. What is left out is not judged: without `memory` everything fits. */
export interface Machine {
  /** Shown in reasons: "laptop". */
  readonly name?: string | undefined;
  /** Bytes that a model may take. */
  readonly memory?: number | undefined;
  /** Bytes of weights that it reads a second. Gives tokens a second. */
  readonly bandwidth?: number | undefined;
  /** Multiplications and additions a second, each counted. Gives the speed of prompts. */
  readonly compute?: number | undefined;
  /** Threads of a worker. */
  readonly threads?: number | undefined;
  /** What the worker's kernels were measured at there, as `rates` of a device in the daemon's `GET /v1/hives`. */
  readonly rates?: object | undefined;
}

/** How it is to be run. Left out: as the worker would. */
export type RunOptions = EitherStyle<{
  /** Positions of one sequence. */
  readonly context?: number | undefined;
  /** Sequences at once. */
  readonly slots?: number | undefined;
  /** Type of the KV cache; default f16. */
  readonly kvType?: KvType | undefined;
  /** One set of files of the repository, by its place; default: the best one. */
  readonly set?: number | undefined;
}>;

/** Files of a repository, in place of those that the model lists: paths, or with sizes. */
export type FileList = readonly (string | { readonly path: string; readonly size?: number | undefined })[];

/** A worker: the name of one that comes with the package, or what it printed for `--capabilities`. */
export type WorkerChoice = string | WorkerCapabilities;

/** Bytes; `null`: not known. */
export interface Memory {
  readonly weights: number | null;
  readonly kv: number | null;
  readonly compute: number | null;
  readonly total: number | null;
  /** Cache and compute follow from the number of parameters, as in models of that size. */
  readonly estimated: boolean;
}

/** The nearest that would fit; 0, `null` or empty: there is no such way, or none is needed. */
export interface Fitting {
  readonly context: number;
  readonly slots: number;
  readonly kv_type: KvType | null;
  /** Another set of files of the same repository. */
  readonly file: string;
}

/** The judge's answer, member by member what the daemon and `rbee fit --json` write. */
export interface Verdict {
  /** The worker runs it, given the memory. */
  readonly compatible: boolean;
  /** It is compatible and the machine's memory suffices. */
  readonly fits: boolean;
  readonly confidence: Confidence;
  /** What the confidence rests on. */
  readonly evidence: string;
  /** The first reason as a word, to count and to group by; `runs` where there is none. */
  readonly why: Why;
  /** The reasons as sentences. */
  readonly reasons: readonly string[];
  readonly warnings: readonly string[];
  readonly recommendations: readonly string[];
  /** Of the model, as it says itself; empty: it does not. */
  readonly architecture: string;
  readonly format: Format | "unknown";
  readonly quantization: string;
  /** Positions and sequences that were judged; 0: not known. */
  readonly context: number;
  readonly slots: number;
  readonly memory: Memory;
  /** Bytes that are missing. */
  readonly short_by: number;
  /** What would fit. */
  readonly fitting: Fitting;
  readonly decode_tokens_per_s: number | null;
  readonly prefill_tokens_per_s: number | null;
}

let bundled: readonly WorkerCapabilities[] | undefined;

/** What the workers of this version of rbee say of themselves. */
export function bundledCapabilities(): readonly WorkerCapabilities[] {
  bundled ??= JSON.parse(snapshot) as readonly WorkerCapabilities[];
  return bundled;
}

/** The capabilities of a choice; without one, of the first worker. */
export function capabilitiesOf(choice: WorkerChoice | undefined): WorkerCapabilities {
  if (typeof choice === "object") return choice;
  const all = bundledCapabilities();
  const found = choice === undefined ? all[0] : all.find((w) => w.id === choice);
  if (found) return found;
  const known = all.map((w) => w.id).join();
  throw new CompatError("not_found", `there is no worker '${String(choice)}'; there are: ${known}`);
}

/**
 * Does any machine, however large, run this model with rbee?
 *
 * ```ts
 * const reply = await fetch("https://huggingface.co/api/models/Qwen/Qwen3-8B-GGUF?blobs=true");
 * const verdict = isModelCompatible(await reply.json());
 * if (!verdict.compatible) console.log(verdict.reasons);
 * ```
 *
 * @throws {CompatError} `malformed_file` when it is no reply of the Hub, with the member that is wrong
 */
export function isModelCompatible(
  model: Model,
  options: { readonly worker?: WorkerChoice | undefined; readonly files?: FileList | undefined } = {},
): Verdict {
  const { worker, files } = options;
  return call<Verdict>({ call: "is_model_compatible", model, files, worker: capabilitiesOf(worker) });
}

/**
 * Does this worker run this model on this machine, and how fast?
 *
 * ```ts
 * const verdict = checkModelWorkerCompatibility(model, "llm-worker-rbee-cpu", {
 *   machine: { name: "laptop", memory: 16 * 2 ** 30, bandwidth: 40e9 },
 *   context: 16384,
 * });
 * ```
 */
export function checkModelWorkerCompatibility(
  model: Model,
  worker: WorkerChoice,
  options: RunOptions & { readonly machine?: Machine | undefined; readonly files?: FileList | undefined } = {},
): Verdict {
  const { machine, ...run } = options;
  return call<Verdict>({
    ...run,
    call: "check_model_worker_compatibility",
    model,
    worker: capabilitiesOf(worker),
    device: machine,
  });
}

/** Characters of one request that filterCompatibleModels() sends at most; a single model may be longer. */
const BATCH = 1 << 20;

/** The models that some machine runs, in their order. What is no description of a model is not among them. */
export function filterCompatibleModels<M extends Model>(
  models: Iterable<M>,
  options: { readonly worker?: WorkerChoice | undefined } = {},
): M[] {
  const worker = capabilitiesOf(options.worker);
  const kept: M[] = [];
  let batch: M[] = [];
  let texts: string[] = [];
  let size = 0;
  const flush = (): void => {
    if (batch.length === 0) return;
    const request = `{"call":"compatible_indexes","worker":${JSON.stringify(worker)},"models":[${texts.join()}]}`;
    for (const i of callText<number[]>(request)) kept.push(batch[i] as M);
    batch = [];
    texts = [];
    size = 0;
  };
  for (const model of models) {
    const text = textOf(model);
    if (size + text.length > BATCH) flush();
    batch.push(model);
    texts.push(text);
    size += text.length;
  }
  flush();
  return kept;
}
