/** The catalogue of workers: the programs that run models, what each can, and how to get it. */
import { isCompatError } from "./errors.js";
import type { Model } from "./model.js";
import type { EitherStyle } from "./style.js";
import { checkModelWorkerCompatibility, bundledCapabilities } from "./verdict.js";
import type { Machine, RunOptions, Verdict } from "./verdict.js";
import { call } from "./main.js";
import type { Confidence, Format, Quantization } from "./words.js";

/** What a worker prints for `--capabilities`. Members that are not listed here are kept as they are. */
export interface WorkerCapabilities {
  readonly id: string;
  readonly version?: string | undefined;
  readonly type?: string | undefined;
  readonly formats: readonly string[];
  readonly families: readonly { readonly name: string }[];
  readonly backends: readonly object[];
}

/** A parameter of requests. */
export interface WorkerParameter {
  readonly min?: number;
  readonly max?: number;
  readonly default?: unknown;
}

/** An entry of the catalogue, as the daemon's `GET /workers/{id}` has it. A field that is not known is absent. */
export interface Worker {
  readonly id: string;
  readonly implementation?: string;
  readonly worker_type?: string;
  readonly version: string;
  readonly platforms?: readonly string[];
  readonly architectures?: readonly string[];
  readonly name?: string;
  readonly description?: string;
  readonly license?: string;
  readonly pkgbuild_url?: string | null;
  readonly build_system?: string;
  readonly source?: { readonly type: string; readonly url: string | null };
  readonly build?: { readonly flags: readonly string[] };
  readonly depends?: readonly string[];
  readonly makedepends?: readonly string[];
  readonly binary_name?: string;
  readonly install_path?: string;
  readonly supported_formats?: readonly Format[];
  readonly supported_architectures: readonly string[];
  readonly supported_quantizations: readonly Quantization[];
  readonly supported_parameters?: Readonly<Record<string, WorkerParameter>>;
  readonly max_context_length?: number;
  readonly supports_streaming?: boolean;
  readonly supports_batching?: boolean;
  /** One device, one back end: never a fallback to another. */
  readonly pure_backend?: boolean;
  readonly supports_offloading?: boolean;
}

/** All that are given must hold; a worker that does not say a field is not among the matches. */
export type WorkerFilter = EitherStyle<{
  /** "cpu", "cuda", "metal". */
  readonly workerType?: string | undefined;
  /** "linux", "macos". */
  readonly platform?: string | undefined;
  /** Of the machine: "x86_64", "aarch64". */
  readonly architecture?: string | undefined;
  readonly minContextLength?: number | undefined;
  /** A GGUF architecture, a class or a model type of config.json: "llama", "Qwen3ForCausalLM". */
  readonly modelArchitecture?: string | undefined;
  readonly modelFormat?: Format | undefined;
}>;

/** Other workers than those of this version of rbee: what they printed for `--capabilities`. */
export interface WorkerSource {
  readonly workers?: readonly WorkerCapabilities[] | undefined;
}

/** All workers. Only those that exist are listed. */
export function listWorkers(from: WorkerSource = {}): Worker[] {
  return call<{ workers: Worker[] }>({ call: "list_workers", workers: from.workers ?? bundledCapabilities() }).workers;
}

/** A worker by its id; `undefined` when there is none. */
export function getWorker(id: string, from: WorkerSource = {}): Worker | undefined {
  try {
    return call<Worker>({ call: "get_worker", id, workers: from.workers ?? bundledCapabilities() });
  } catch (error) {
    if (isCompatError(error) && error.code === "not_found") return undefined;
    throw error;
  }
}

/** The workers that match. */
export function filterWorkers(filter: WorkerFilter, from: WorkerSource = {}): Worker[] {
  const workers = from.workers ?? bundledCapabilities();
  return call<{ workers: Worker[] }>({ call: "filter_workers", filter, workers }).workers;
}

/** Which of the matrix; words are compared without case. */
export type MatrixFilter = EitherStyle<{
  readonly worker?: string | undefined;
  /** As GGUF, a class or a model type of config.json has it. */
  readonly modelArchitecture?: string | undefined;
  readonly modelFormat?: Format | undefined;
  readonly quantization?: Quantization | undefined;
  /** Only what runs. */
  readonly compatible?: boolean | undefined;
}>;

/** A row of the matrix. */
export interface MatrixRow {
  readonly worker: string;
  readonly version: string;
  /** `"*"` here and as quantisation: no model is read from this format. */
  readonly architecture: string;
  readonly format: Format;
  readonly quantization: Quantization | "*";
  readonly compatible: boolean;
  /** `high`: golden models of the architecture, in this format and of this type, were passed. `medium`: kernels exist. */
  readonly confidence: Confidence;
  /** The golden models. */
  readonly evidence: readonly string[];
}

/** Which worker runs which architecture in which format and quantisation, as the daemon's `GET /compatibility`. */
export function compatibilityMatrix(filter: MatrixFilter = {}, from: WorkerSource = {}): MatrixRow[] {
  const workers = from.workers ?? bundledCapabilities();
  return call<{ rows: MatrixRow[] }>({ call: "compatibility", filter, workers }).rows;
}

/** A worker and its verdict on a model. */
export interface CompatibleWorker {
  readonly worker: Worker;
  readonly verdict: Verdict;
}

/**
 * The workers that run a model, each with its verdict; judged by what the worker says of itself and not by names.
 * With a `machine` the model must fit there as well.
 */
export function findCompatibleWorkers(
  model: Model,
  options: RunOptions &
    WorkerSource & { readonly machine?: Machine | undefined; readonly filter?: WorkerFilter | undefined } = {},
): CompatibleWorker[] {
  const { workers = bundledCapabilities(), filter = {}, ...run } = options;
  const found: CompatibleWorker[] = [];
  for (const worker of filterWorkers(filter, { workers })) {
    const said = workers.find((w) => w.id === worker.id);
    if (!said) continue;
    const verdict = checkModelWorkerCompatibility(model, said, run);
    if (verdict.compatible && verdict.fits) found.push({ worker, verdict });
  }
  return found;
}
