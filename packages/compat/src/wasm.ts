/**
 * The module: one instance a process or page, made by init(), one function of text to text.
 *
 * The WebAssembly imports nothing, so it cannot reach the network, files or a clock. An instance that stopped at a
 * defect is thrown away and a new one is made by the next call.
 */
import { CompatError, isErrorCode } from "./errors.js";

/** The compiled module, or what it is compiled from. */
export type WasmSource =
  | string
  | { readonly href: string }
  | ArrayBuffer
  | ArrayBufferView
  | { arrayBuffer(): Promise<ArrayBuffer> }
  | WasmModule;

/** A `WebAssembly.Module`; declared here so that these types need neither those of a browser nor of Node. */
export interface WasmModule {}

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  compat_room(bytes: number): number;
  compat_answer(bytes: number): number;
  compat_reply(): number;
  compat_reply_size(): number;
}

/** One instance of the module. Catalogues belong to one and end with it. */
export interface Instance {
  readonly exports: Exports;
  alive: boolean;
}

let compiled: WebAssembly.Module | undefined;
let current: Instance | undefined;
let starting: Promise<void> | undefined;

/**
 * Makes the package ready. Without an argument it uses the bytes that come with the package, loaded as a module of
 * their own; no request is made that a bundler or an import map does not see. Later calls return at once.
 *
 * @param source where else to take the module from: an address (`string` or `URL`), a `Response`, bytes, or a compiled
 * `WebAssembly.Module`
 * @throws {CompatError} `unavailable` when it cannot be fetched, `malformed_file` when it is not the module
 */
export function init(source?: WasmSource | PromiseLike<WasmSource>): Promise<void> {
  if (current?.alive) return Promise.resolve();
  starting ??= start(source).finally(() => {
    starting = undefined;
  });
  return starting;
}

/**
 * The same at once, from bytes or a compiled module:
 *
 * ```ts
 * import { initSync } from "@rbee/compat";
 * import { wasmBytes } from "@rbee/compat/bytes";
 * initSync(wasmBytes());
 * ```
 *
 * On the main thread of a page prefer {@link init}, which compiles in the background.
 */
export function initSync(source: ArrayBuffer | ArrayBufferView | WasmModule): void {
  if (current?.alive) return;
  try {
    compiled = source instanceof WebAssembly.Module ? source : new WebAssembly.Module(source as BufferSource);
    current = instantiate(compiled);
  } catch (cause) {
    throw notTheModule(cause);
  }
}

/** Has {@link init} or {@link initSync} succeeded? */
export function isReady(): boolean {
  return current !== undefined;
}

async function start(source: WasmSource | PromiseLike<WasmSource> | undefined): Promise<void> {
  const from = await (source ?? import("./bytes.js").then((m) => m.wasmBytes()));
  const bytes = await bytesOf(from);
  try {
    compiled = bytes instanceof WebAssembly.Module ? bytes : await WebAssembly.compile(bytes);
    current = instantiate(compiled);
  } catch (cause) {
    throw notTheModule(cause);
  }
}

async function bytesOf(source: WasmSource): Promise<WebAssembly.Module | BufferSource> {
  if (source instanceof WebAssembly.Module) return source;
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return source as BufferSource;
  try {
    if (typeof source === "object" && "arrayBuffer" in source) return await source.arrayBuffer();
    const url = typeof source === "string" ? source : (source as { readonly href: string }).href;
    if (/^file:/.test(url)) {
      const files = "node:fs/promises"; // not a literal, so that bundlers for pages leave it alone
      const fs = (await import(/* @vite-ignore */ /* webpackIgnore: true */ files)) as {
        readFile(path: URL): Promise<Uint8Array<ArrayBuffer>>;
      };
      return await fs.readFile(new URL(url));
    }
    const reply = await fetch(url);
    if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
    return await reply.arrayBuffer();
  } catch (cause) {
    throw new CompatError("unavailable", `the module of @rbee/compat cannot be fetched: ${wordsOf(cause)}`, { cause });
  }
}

function instantiate(module: WebAssembly.Module): Instance {
  const exports = new WebAssembly.Instance(module, {}).exports as unknown as Exports;
  if (typeof exports.compat_answer !== "function") throw new Error("it exports no compat_answer");
  return { exports, alive: true };
}

function notTheModule(cause: unknown): CompatError {
  if (cause instanceof CompatError) return cause;
  return new CompatError("malformed_file", `this is not the module of @rbee/compat: ${wordsOf(cause)}`, { cause });
}

/** Bytes that the module holds: as many as the largest request and the catalogues so far needed, and never fewer. */
export function memoryBytes(): number {
  return current?.exports.memory.buffer.byteLength ?? 0;
}

/** The instance that answers. */
export function instance(): Instance {
  if (current?.alive) return current;
  if (!compiled) throw new CompatError("unavailable", "@rbee/compat is not ready: await init() first, once");
  try {
    current = instantiate(compiled);
  } catch (cause) {
    throw new CompatError("internal_error", `the module cannot be started again: ${wordsOf(cause)}`, { cause });
  }
  return current;
}

/** What was thrown, in words; anything can be. */
function wordsOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : `${typeof cause} was thrown`;
}

let encoder: TextEncoder | undefined;
let decoder: TextDecoder | undefined;

/** A reply of the module. */
export interface Answer {
  readonly ok: boolean;
  /** JSON: the answer, or `{"error": {...}}`. */
  readonly text: string;
}

function exchange(request: string, of: Instance): Answer {
  encoder ??= new TextEncoder();
  decoder ??= new TextDecoder();
  const bytes = encoder.encode(request);
  const { exports } = of;
  try {
    const room = exports.compat_room(bytes.length);
    if (room === 0) throw new CompatError("limit_exceeded", `a request of ${bytes.length} bytes is too large`);
    new Uint8Array(exports.memory.buffer, room, bytes.length).set(bytes);
    const status = exports.compat_answer(bytes.length);
    const reply = new Uint8Array(exports.memory.buffer, exports.compat_reply(), exports.compat_reply_size());
    return { ok: status === 0, text: decoder.decode(reply) };
  } catch (cause) {
    if (cause instanceof CompatError) throw cause;
    of.alive = false; // it stopped in the middle of something
    throw new CompatError("internal_error", `a defect in @rbee/compat: ${wordsOf(cause)}`, { cause });
  }
}

/**
 * The function behind all others: the text of a request to the text of its answer, for those who keep both. The bytes
 * of a verdict are those that the daemon writes.
 */
export function answer(request: string): Answer {
  return exchange(request, instance());
}

/** The JSON text of an argument. */
export function textOf(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw new CompatError("invalid_request", `an argument is no JSON value: ${wordsOf(cause)}`, { cause });
  }
  if (text === undefined) throw new CompatError("invalid_request", `an argument is ${typeof value} and no JSON value`);
  return text;
}

/** The answer to a request as text, or the error as one. */
export function callText<T>(request: string, of: Instance = instance()): T {
  const { ok, text } = exchange(request, of);
  const value: unknown = JSON.parse(text);
  if (ok) return value as T;
  const { message, code } = (value as { error: { message: string; code: string } }).error;
  throw new CompatError(isErrorCode(code) ? code : "internal_error", message);
}

/** The same for a request as an object. */
export function call<T>(request: object, of?: Instance): T {
  return callText<T>(textOf(request), of);
}
