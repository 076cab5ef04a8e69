/**
 * @rbee/compat/files: surer verdicts, by what a repository's files say: config.json, or the first bytes of a GGUF file.
 * The model's plan is built and each of its steps held against the worker's kernels, as a worker does when it loads.
 *
 * A module of its own, so that who asks repositories only does not load it.
 *
 * @packageDocumentation
 */
import type { HubModel } from "./model.js";
import type { EitherStyle } from "./style.js";
import { capabilitiesOf } from "./verdict.js";
import type { Machine, RunOptions, Verdict, WorkerChoice } from "./verdict.js";
import { exchange, instanceOf, start, startSync, textOf, valueOf } from "./wasm.js";
import type { Answer, Module, WasmModule, WasmSource } from "./wasm.js";

const files: Module = {
  name: "files",
  init: "initFiles",
  bytes: () => import("./files-bytes.js").then((m) => m.filesBytes()),
};

/** Makes this part ready, as `init()` does with the other. */
export function initFiles(source?: WasmSource | PromiseLike<WasmSource>): Promise<void> {
  return start(files, source);
}

/** The same at once, from bytes (`filesBytes()` of "@rbee/compat/files-bytes") or a compiled module. */
export function initFilesSync(source: ArrayBuffer | ArrayBufferView | WasmModule): void {
  startSync(files, source);
}

/** Small files of a repository, each as an object or as its text. */
export type ModelFiles = { readonly config: object | string } & EitherStyle<{
  /** The reply of the Hub, for the sizes of weights and for other formats. */
  readonly model?: HubModel | undefined;
  readonly tokenizerConfig?: object | string | null | undefined;
  readonly generationConfig?: object | string | null | undefined;
}>;

/** A machine and a configuration. */
export type FilesOptions = RunOptions & { readonly machine?: Machine | undefined };

/**
 * Does this worker run the model of this config.json?
 *
 * ```ts
 * import { checkModelFiles, initFiles } from "@rbee/compat/files";
 * await initFiles();
 * const config = await (await fetch("https://huggingface.co/Qwen/Qwen3-8B/raw/main/config.json")).json();
 * const verdict = checkModelFiles({ config }, "llm-worker-rbee-cpu", { machine: { memory: 32 * 2 ** 30 } });
 * ```
 */
export function checkModelFiles(given: ModelFiles, worker: WorkerChoice, options: FilesOptions = {}): Verdict {
  const { machine, ...run } = options;
  const call = "check_model_worker_compatibility";
  return ask<Verdict>({ ...run, ...given, call, worker: capabilitiesOf(worker), device: machine });
}

/** The verdict, or how many of the file's first bytes would be enough for one. */
export type HeaderAnswer =
  | { readonly need: 0; readonly verdict: Verdict }
  | { readonly need: number; readonly verdict: null };

/**
 * Does this worker run this GGUF file? By its first bytes; where they are too few, `need` says how many to come with.
 *
 * ```ts
 * let size = 1 << 20, answer;
 * do {
 *   const reply = await fetch(url, { headers: { range: `bytes=0-${size - 1}` } });
 *   answer = checkGgufHeader(await reply.arrayBuffer(), "llm-worker-rbee-cpu", { machine });
 *   size = answer.need;
 * } while (answer.need);
 * ```
 *
 * @param options `fileSize`, where it is known, is held against what the header says
 * @throws {CompatError} `malformed_file` when it is no GGUF file, `unsupported` for one part of a file that was split
 */
export function checkGgufHeader(
  header: ArrayBuffer | Uint8Array,
  worker: WorkerChoice,
  options: FilesOptions & EitherStyle<{ readonly fileSize?: number | undefined }> = {},
): HeaderAnswer {
  const { machine, ...run } = options;
  const bytes = header instanceof Uint8Array ? header : new Uint8Array(header);
  const request = { ...run, call: "check_gguf_header", worker: capabilitiesOf(worker), device: machine };
  return ask<HeaderAnswer>(request, bytes);
}

/** The function behind both: the text of a request, and bytes behind it, to the text of its answer. */
export function answerFiles(request: string, bytes?: Uint8Array): Answer {
  return exchange(instanceOf(files), request, bytes);
}

function ask<T>(request: object, bytes?: Uint8Array): T {
  return valueOf<T>(exchange(instanceOf(files), textOf(request), bytes));
}
