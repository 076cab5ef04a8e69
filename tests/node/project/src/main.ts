// What a new user writes: every function once, and types that must hold or must not.
import {
  checkModelWorkerCompatibility,
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
import type { AnyCompatError, ErrorCode, HubModel, Machine, ModelMetadata, Verdict, Worker, WorkerFilter } from "@rbee/compat";
import { verdicts } from "./verdicts.js";

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
const machine: Machine = { name: "laptop", memory: 16 * 2 ** 30, bandwidth: 40e9, threads: undefined };
// @ts-expect-error: a format that is none
const noFormat: ModelMetadata = { architecture: "llama", format: "zip" };
// @ts-expect-error: a member that is misspelt
const misspelt: ModelMetadata = { architecture: "llama", sizeBites: 1 };
// @ts-expect-error: a filter that does not exist
const noFilter: WorkerFilter = { shape: "round" };
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

async function main(): Promise<void> {
  try {
    listWorkers();
    must(false, "init() was not awaited");
  } catch (e) {
    must(e instanceof CompatError && e.code === "unavailable" && e.status === 503, "a clear error before init()");
  }
  await init();

  const verdict: Verdict = isModelCompatible(facts);
  must(verdict.compatible && verdict.memory.weights === 5e9, "a model by its facts");
  must(JSON.stringify(isModelCompatible(same)) === JSON.stringify(verdict), "the other style of names");

  const repository: HubModel = {
    id: "a/Qwen3-8B-GGUF",
    gated: false,
    tags: ["gguf", "qwen3"],
    siblings: [{ rfilename: "Qwen3-8B-Q4_K_M.gguf", size: 5027783488 }],
  };
  const fits = checkModelWorkerCompatibility(repository, "llm-worker-rbee-cpu", { machine, context: 8192, slots: 1, kvType: "q8_0" });
  must(fits.fits && fits.decode_tokens_per_s !== null && fits.decode_tokens_per_s > 1, "it fits, and how fast it is");

  const elsewhere: FromElsewhere = { id: "a/b", downloads: 1, tags: ["onnx"], somethingElse: new Map() };
  const kept: (FromElsewhere | HubModel)[] = filterCompatibleModels([elsewhere, repository]);
  must(kept.length === 1 && kept[0] === repository, "those that run");

  const worker: Worker | undefined = getWorker("llm-worker-rbee-cpu");
  must(worker?.pure_backend === true && (worker.supported_parameters?.["temperature"]?.max ?? 0) > 0, "a worker");
  for (const filter of filters) must(filterWorkers(filter).length === 1, "a filter of workers");
  must(findCompatibleWorkers(repository, { machine })[0]?.verdict.fits === true, "the workers of a model");

  try {
    isModelCompatible({ id: 7 } as unknown as HubModel);
    must(false, "a wrong reply of the Hub");
  } catch (e) {
    must(isCompatError(e) && status(e) === "other" && e.message.includes("id"), "an error that says what");
  }
  must(verdicts.length > 20, "the vectors are verdicts");
  void [noFormat, misspelt, noFilter, write, noCode];
  console.log("all is well");
}

await main();
