/**
 * @rbee/compat: will this model run on that machine? The verdict of rbee's own C code as WebAssembly: the same rule and
 * the same bytes of JSON as in the daemon and on the command line. No network, no files, no clock.
 *
 * ```ts
 * import { init, isModelCompatible } from "@rbee/compat";
 * await init();
 * const verdict = isModelCompatible(replyOfTheHub);
 * ```
 *
 * @packageDocumentation
 */
export { CompatError, isCompatError, isErrorCode } from "./errors.js";
export type { AnyCompatError, ErrorCode } from "./errors.js";
export { answer, init, initSync, isReady, memoryBytes } from "./main.js";
export type { Answer, WasmModule, WasmSource } from "./wasm.js";
export {
  bundledCapabilities,
  checkModelWorkerCompatibility,
  filterCompatibleModels,
  isModelCompatible,
} from "./verdict.js";
export type { FileList, Fitting, Machine, Memory, RunOptions, Verdict, WorkerChoice } from "./verdict.js";
export { compatibilityMatrix, filterWorkers, findCompatibleWorkers, getWorker, listWorkers } from "./workers.js";
export type {
  CompatibleWorker,
  MatrixFilter,
  MatrixRow,
  Worker,
  WorkerCapabilities,
  WorkerFilter,
  WorkerParameter,
  WorkerSource,
} from "./workers.js";
export { canonicalQuery, Catalog } from "./catalog.js";
export type {
  Added,
  CatalogMachine,
  CatalogModel,
  CatalogPage,
  CatalogQuery,
  CatalogVerdict,
  Facet,
  Facets,
  Hidden,
  SearchParams,
} from "./catalog.js";
export type { QueryFields } from "./generated.js";
export type { HubFile, HubModel, Model, ModelMetadata } from "./model.js";
export type { Capability, Confidence, FacetName, Format, KvType, Quantization, Why } from "./words.js";
export type { EitherStyle } from "./style.js";
