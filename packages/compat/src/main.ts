/** The module of repositories, workers and catalogues. */
import { exchange, instanceOf, start, startSync, textOf, valueOf } from "./wasm.js";
import type { Answer, Instance, Module, WasmModule, WasmSource } from "./wasm.js";

const main: Module = { name: "compat", init: "init", bytes: () => import("./bytes.js").then((m) => m.wasmBytes()) };

/**
 * Makes the package ready; later calls return at once. Without an argument it uses the bytes that come with the
 * package, as a part of it that is loaded by `import()`: nothing is fetched that a bundler or an import map does not see.
 *
 * @param source where else to take compat.wasm from: an address (`string` or `URL`), a `Response`, bytes, or a compiled
 * `WebAssembly.Module`
 * @throws {CompatError} `unavailable` when it cannot be fetched, `malformed_file` when it is not the module
 */
export function init(source?: WasmSource | PromiseLike<WasmSource>): Promise<void> {
  return start(main, source);
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
  startSync(main, source);
}

/** Has {@link init} or {@link initSync} succeeded? */
export function isReady(): boolean {
  return main.current !== undefined;
}

/** Bytes that the module holds: as many as the largest request and the catalogues so far needed, and never fewer. */
export function memoryBytes(): number {
  return main.current?.exports.memory.buffer.byteLength ?? 0;
}

/**
 * The function behind all others: the text of a request to the text of its answer, for those who keep both. The bytes
 * of a verdict are those that the daemon writes.
 */
export function answer(request: string): Answer {
  return exchange(instanceOf(main), request);
}

/** The instance that answers now. */
export function instance(): Instance {
  return instanceOf(main);
}

/** The answer to a request as text. */
export function callText<T>(request: string, of: Instance = instance()): T {
  return valueOf<T>(exchange(of, request));
}

/** The answer to a request as an object. */
export function call<T>(request: object, of?: Instance): T {
  return callText<T>(textOf(request), of);
}
