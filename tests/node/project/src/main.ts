// What a new user writes: every function once, and types that must hold or must not.
import {
  canonicalQuery,
  Catalog,
  checkModelWorkerCompatibility,
  compatibilityMatrix,
  CompatError,
  filterCompatibleModels,
  filterWorkers,
  findCompatibleWorkers,
  getWorker,
  init,
  isCompatError,
  isModelCompatible,
  listWorkers,
} from "@rbee/compat";
import type {
  AnyCompatError,
  CatalogPage,
  CatalogQuery,
  ErrorCode,
  Facets,
  HubModel,
  Machine,
  ModelMetadata,
  Verdict,
  Worker,
  WorkerFilter,
} from "@rbee/compat";
import { wasmBytes } from "@rbee/compat/bytes";
import { checkGgufHeader, checkModelFiles, initFiles } from "@rbee/compat/files";
import type { HeaderAnswer } from "@rbee/compat/files";
import { check_model_worker_compatibility } from "./answers.js";

declare const console: { log(...words: unknown[]): void };

function must(good: boolean, what: string): asserts good {
  if (!good) throw new Error(what);
}

// ---- types ----

interface FromElsewhere {
  id: string;
  downloads: number;
  tags: string[];
  somethingElse: Map<string, number>;
}

const facts: ModelMetadata = { architecture: "llama", format: "gguf", quantization: "Q4_K_M", parameters: "8B", size_bytes: 5e9 };
const same: ModelMetadata = { architecture: "llama", format: "gguf", quantization: "Q4_K_M", parameters: "8B", sizeBytes: 5e9 };
const filters: WorkerFilter[] = [{ workerType: "cpu" }, { worker_type: "cpu", minContextLength: 4096 }];
const queries: CatalogQuery[] = [{ q: "qwen", minParams: "1B", capability: ["chat"] }, { min_params: 1e9, size: "4-9B" }, "q=qwen"];
const machine: Machine = { name: "laptop", memory: 16 * 2 ** 30, bandwidth: 40e9, threads: undefined };
// @ts-expect-error: a format that is none
const noFormat: ModelMetadata = { architecture: "llama", format: "zip" };
// @ts-expect-error: a member that is misspelt
const misspelt: ModelMetadata = { architecture: "llama", sizeBites: 1 };
// @ts-expect-error: a filter that does not exist
const noFilter: WorkerFilter = { shape: "round" };
// @ts-expect-error: a range that does not exist
const noQuery: CatalogQuery = { size: "huge" };
// @ts-expect-error: a verdict is read only
const write = (v: Verdict): void => void (v.compatible = true);
// @ts-expect-error: a code that is none
const noCode: ErrorCode = "oops";

function status(e: AnyCompatError): 400 | 404 | "other" {
  switch (e.code) {
    case "invalid_request":
      return e.status;
    case "not_found":
      return e.status;
    default:
      return "other";
  }
}

// ---- use ----

function models(): HubModel {
  const verdict: Verdict = isModelCompatible(facts);
  must(verdict.compatible && verdict.memory.weights === 5e9, "a model by its facts");
  must(JSON.stringify(isModelCompatible(same)) === JSON.stringify(verdict), "the other style of names");

  const repository: HubModel = {
    id: "a/Qwen3-8B-GGUF",
    gated: false,
    tags: ["gguf", "qwen3", "conversational"],
    siblings: [{ rfilename: "Qwen3-8B-Q4_K_M.gguf", size: 5027783488 }],
  };
  const fits = checkModelWorkerCompatibility(repository, "llm-worker-rbee-cpu", { machine, context: 8192, slots: 1, kvType: "q8_0" });
  must(fits.fits && fits.decode_tokens_per_s !== null && fits.decode_tokens_per_s > 1, "it fits, and how fast it is");

  const elsewhere: FromElsewhere = { id: "a/b", downloads: 1, tags: ["onnx"], somethingElse: new Map() };
  const kept: (FromElsewhere | HubModel)[] = filterCompatibleModels([elsewhere, repository]);
  must(kept.length === 1 && kept[0] === repository, "those that run");
  return repository;
}

function workers(repository: HubModel): void {
  const worker: Worker | undefined = getWorker("llm-worker-rbee-cpu");
  must(worker?.pure_backend === true && (worker.supported_parameters?.["temperature"]?.max ?? 0) > 0, "a worker");
  for (const filter of filters) must(filterWorkers(filter).length === 1, "a filter of workers");
  must(compatibilityMatrix({ modelArchitecture: "llama", compatible: true }).some((row) => row.quantization === "Q8_0"), "the matrix");
  must(findCompatibleWorkers(repository, { machine })[0]?.verdict.fits === true, "the workers of a model");
}

function catalogue(repository: HubModel): void {
  const catalog = new Catalog([machine], { context: 8192, slots: 1 });
  must(catalog.add([repository, { ...repository, id: "a/other", tags: ["onnx"], siblings: [] }]).added === 2, "two models");
  for (const query of queries) must(catalog.find(query).total === 1, "a query");
  const page: CatalogPage = catalog.find();
  must(page.models[0]?.verdict?.machine === "laptop" && page.hidden.count === 1 && page.next === null, "a page");
  const facets: Facets = catalog.facets({ all: true });
  must(facets.format.values.some((v) => v.value === "gguf" && v.count === 1), "facets");
  must(canonicalQuery({ maxParams: "9B", minParams: 1e9 }).includes("max_params"), "a query as text");
  catalog.free();
}

function files(): void {
  const config = { architectures: ["LlamaForCausalLM"], hidden_size: 2048, intermediate_size: 5632, num_hidden_layers: 22,
    num_attention_heads: 32, num_key_value_heads: 4, vocab_size: 32000, max_position_embeddings: 2048, torch_dtype: "bfloat16" };
  const verdict: Verdict = checkModelFiles({ config }, "llm-worker-rbee-cpu", { machine });
  must(verdict.compatible && !verdict.memory.estimated, "a config.json");
  const answer: HeaderAnswer = checkGgufHeader(new Uint8Array([0x47, 0x47, 0x55, 0x46]), "llm-worker-rbee-cpu");
  must(answer.need > 4 && answer.verdict === null, "four bytes of a header");
}

function errors(): void {
  try {
    isModelCompatible({ id: 7 } as unknown as HubModel);
    must(false, "a wrong reply of the Hub");
  } catch (e) {
    must(isCompatError(e) && status(e) === "other" && e.message.includes("id"), "an error that says what");
  }
}

async function main(): Promise<void> {
  try {
    listWorkers();
    must(false, "init() was not awaited");
  } catch (e) {
    must(e instanceof CompatError && e.code === "unavailable" && e.status === 503, "a clear error before init()");
  }
  await Promise.all([init(wasmBytes()), initFiles()]);
  const repository = models();
  workers(repository);
  catalogue(repository);
  files();
  errors();
  must(check_model_worker_compatibility.length > 20, "the vectors are verdicts");
  void [noFormat, misspelt, noFilter, noQuery, write, noCode];
  console.log("all is well");
}

await main();
