/**
 * A WebAssembly module: one instance of each a page or process, and one function of text to text.
 *
 * The modules import nothing, so they cannot reach the network, files or a clock. An instance that stopped at a defect
 * is thrown away and a new one is made by the next call.
 */
import { CompatError, isErrorCode } from "./errors.js";

/** What a module is made from: an address, a reply of `fetch()`, its bytes, or a compiled module. */
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

/** One instance of a module. Catalogues belong to one and end with it. */
export interface Instance {
  readonly exports: Exports;
  alive: boolean;
}

/** A module of the package and how far it is. */
export interface Module {
  readonly name: string;
  /** The function that makes it ready, for messages. */
  readonly init: string;
  /** Its bytes as they come with the package. */
  readonly bytes: () => Promise<Uint8Array>;
  compiled?: WasmModule;
  current?: Instance;
  starting?: Promise<void> | undefined;
}

/** Makes a module ready, once. */
export function start(m: Module, source?: WasmSource | PromiseLike<WasmSource>): Promise<void> {
  if (m.current?.alive) return Promise.resolve();
  m.starting ??= load(m, source).finally(() => {
    m.starting = undefined;
  });
  return m.starting;
}

/** The same at once. */
export function startSync(m: Module, source: ArrayBuffer | ArrayBufferView | WasmModule): void {
  if (m.current?.alive) return;
  try {
    m.compiled = source instanceof WebAssembly.Module ? source : new WebAssembly.Module(source as BufferSource);
    m.current = instantiate(m.compiled);
  } catch (cause) {
    throw notTheModule(m, cause);
  }
}

async function load(m: Module, source: WasmSource | PromiseLike<WasmSource> | undefined): Promise<void> {
  const bytes = await bytesOf(m, source);
  try {
    m.compiled = bytes instanceof WebAssembly.Module ? bytes : await WebAssembly.compile(bytes);
    m.current = instantiate(m.compiled);
  } catch (cause) {
    throw notTheModule(m, cause);
  }
}

async function bytesOf(
  m: Module,
  given: WasmSource | PromiseLike<WasmSource> | undefined,
): Promise<WebAssembly.Module | BufferSource> {
  try {
    const source = await (given ?? m.bytes());
    if (source instanceof WebAssembly.Module) return source;
    if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return source as BufferSource;
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
    throw new CompatError("unavailable", `${m.name}.wasm cannot be fetched: ${wordsOf(cause)}`, { cause });
  }
}

function instantiate(module: WasmModule): Instance {
  const exports = new WebAssembly.Instance(module as WebAssembly.Module, {}).exports as unknown as Exports;
  if (typeof exports.compat_answer !== "function") throw new Error("it exports no compat_answer");
  return { exports, alive: true };
}

function notTheModule(m: Module, cause: unknown): CompatError {
  return new CompatError("malformed_file", `this is not ${m.name}.wasm: ${wordsOf(cause)}`, { cause });
}

/** What was thrown, in words; anything can be. */
function wordsOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : `${typeof cause} was thrown`;
}

/** The instance that answers. */
export function instanceOf(m: Module): Instance {
  if (m.current?.alive) return m.current;
  if (!m.compiled) throw new CompatError("unavailable", `${m.name}.wasm is not ready: await ${m.init}() first, once`);
  try {
    m.current = instantiate(m.compiled);
  } catch (cause) {
    throw new CompatError("internal_error", `${m.name}.wasm cannot be started again: ${wordsOf(cause)}`, { cause });
  }
  return m.current;
}

/** A reply of a module. */
export interface Answer {
  readonly ok: boolean;
  /** JSON: the answer, or `{"error": {...}}`. */
  readonly text: string;
}

let encoder: TextEncoder | undefined;
let decoder: TextDecoder | undefined;

/** Text to text, with bytes behind the text where there are some. */
export function exchange(of: Instance, request: string, bytes?: Uint8Array): Answer {
  encoder ??= new TextEncoder();
  decoder ??= new TextDecoder();
  const text = encoder.encode(request);
  const size = text.length + (bytes ? 1 + bytes.length : 0);
  const { exports } = of;
  try {
    const room = exports.compat_room(size);
    if (room === 0) throw new CompatError("limit_exceeded", `a request of ${size} bytes is too large`);
    const memory = new Uint8Array(exports.memory.buffer, room, size);
    memory.set(text);
    if (bytes) {
      memory[text.length] = 0;
      memory.set(bytes, text.length + 1);
    }
    const status = exports.compat_answer(size);
    const reply = new Uint8Array(exports.memory.buffer, exports.compat_reply(), exports.compat_reply_size());
    return { ok: status === 0, text: decoder.decode(reply) };
  } catch (cause) {
    if (cause instanceof CompatError) throw cause;
    of.alive = false; // it stopped in the middle of something
    throw new CompatError("internal_error", `a defect in @rbee/compat: ${wordsOf(cause)}`, { cause });
  }
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

/** The value of an answer; an error is thrown. */
export function valueOf<T>({ ok, text }: Answer): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CompatError("out_of_memory", "there is no memory for the answer", { cause });
  }
  if (ok) return value as T;
  const { message, code } = (value as { error: { message: string; code: string } }).error;
  throw new CompatError(isErrorCode(code) ? code : "internal_error", message);
}
