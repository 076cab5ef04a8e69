/** A catalogue of models: loaded once, judged for machines, then searched as fast as one can type. */
import { CompatError, isCompatError } from "./errors.js";
import type { QueryFields } from "./generated.js";
import { call, callText, instance } from "./main.js";
import type { Model } from "./model.js";
import type { EitherStyle } from "./style.js";
import { capabilitiesOf } from "./verdict.js";
import type { Machine, Memory, RunOptions, WorkerChoice } from "./verdict.js";
import { textOf } from "./wasm.js";
import type { Instance } from "./wasm.js";
import type { Capability, FacetName, Format, Quantization, Why } from "./words.js";

/** A machine with a worker on it; default: the first worker that comes with the package. */
export interface CatalogMachine extends Machine {
  readonly worker?: WorkerChoice | undefined;
  /** Shown and filtered by; default: the worker's. */
  readonly backend?: string | undefined;
}

/**
 * What to look for, as an object, as a query string (`"q=qwen&size=4-9B"`, what `page.query` gives) or as
 * `URLSearchParams`. Several values of a field are alternatives, but for capabilities, which all must be there.
 */
export type CatalogQuery = EitherStyle<QueryFields> | string | SearchParams;

/** As much of `URLSearchParams` as is needed here. */
export interface SearchParams {
  getAll(name: string): string[];
  toString(): string;
}

/** How a model does on the machine that it does best on. */
export interface CatalogVerdict {
  readonly compatible: boolean;
  readonly fits: boolean;
  readonly why: Why;
  /** The same as a phrase, as behind "it does not run because". */
  readonly text: string;
  readonly machine: string;
  readonly backend: string;
  /** All machines that it fits on. */
  readonly machines: readonly string[];
  readonly context: number;
  readonly slots: number;
  readonly memory: Memory;
  readonly short_by: number;
  readonly decode_tokens_per_s: number | null;
  readonly prefill_tokens_per_s: number | null;
}

/** A model of a catalogue, with its best set of files and the verdict on that. `null`: not known. */
export interface CatalogModel {
  readonly id: string;
  readonly author: string;
  readonly architecture: string | null;
  readonly family: string | null;
  readonly base_model: string | null;
  readonly licence: string | null;
  readonly task: string | null;
  readonly library: string | null;
  readonly gated: boolean;
  readonly downloads: number;
  readonly likes: number;
  readonly trending: number;
  /** Seconds since 1970. */
  readonly created: number | null;
  readonly updated: number | null;
  readonly parameters: number | null;
  /** Of a mixture of experts, those that a token uses. */
  readonly parameters_active: number | null;
  readonly context: number | null;
  /** Of the repository. */
  readonly bytes: number | null;
  readonly capabilities: readonly Capability[];
  readonly formats: readonly Format[];
  readonly languages: readonly string[];
  readonly quantizations: readonly string[];
  /** Sets of weights. */
  readonly sets: number;
  readonly set: {
    readonly name: string | null;
    readonly format: Format | null;
    readonly quantization: Quantization | null;
    readonly bytes: number | null;
    /** The bytes follow from the number of parameters. */
    readonly estimated: boolean;
  };
  /** `null` while the catalogue is not judged for any machine. */
  readonly verdict: CatalogVerdict | null;
}

/** Models that pass the filters and are not shown, since they run on none of the machines. */
export interface Hidden {
  readonly count: number;
  /** Most frequent first; "12 hidden because " + text. */
  readonly reasons: readonly { readonly reason: Why; readonly text: string; readonly count: number }[];
}

/** A page of models. */
export interface CatalogPage {
  readonly models: readonly CatalogModel[];
  /** Of all pages. */
  readonly total: number;
  /** The `cursor` of the next page; `null`: this is the last. */
  readonly next: string | null;
  /** The query in its one canonical form, to be put into an address. */
  readonly query: string;
  readonly hidden: Hidden;
}

/** How many models each value of a filter would show. */
export interface Facet {
  readonly values: readonly { readonly value: string; readonly count: number; readonly chosen: boolean }[];
  /** Values that are left out. */
  readonly more: number;
}

/** Each facet is counted with all other filters of the query, and without its own. */
export type Facets = { readonly [F in FacetName]: Facet };

/** What became of models that were added. */
export interface Added {
  readonly added: number;
  /** Those that are no descriptions of models, by their place. */
  readonly rejected: readonly { readonly index: number; readonly message: string }[];
}

/** Characters of one request at most, unless a single model is longer. */
const BATCH = 1 << 20;

/**
 * A catalogue of models, in the module's memory.
 *
 * ```ts
 * const catalog = new Catalog([{ name: "laptop", memory: 16 * 2 ** 30, bandwidth: 40e9 }]);
 * catalog.add(entriesOfTheHub);
 * const page = catalog.find({ q: "qwen", size: "4-9B", sort: "downloads" });
 * console.log(page.total, page.hidden.reasons);
 * catalog.free();
 * ```
 *
 * There can be 16 at once. What is not freed is freed when the object is collected, some time.
 */
export class Catalog {
  readonly #of: Instance;
  #number: number;

  /** @param machines where the models are to run; without one nothing is judged and all models are shown */
  constructor(machines: readonly CatalogMachine[] = [], options: RunOptions = {}) {
    this.#of = instance();
    this.#number = call<{ catalog: number }>({ call: "catalog_new" }, this.#of).catalog;
    collected()?.register(this, { of: this.#of, number: this.#number }, this);
    if (machines.length > 0) {
      try {
        this.judge(machines, options);
      } catch (error) {
        this.free();
        throw error;
      }
    }
  }

  /** Adds models, or replaces those of the same id. What is no description of a model is left out, and said. */
  add(models: Iterable<Model>): Added {
    return this.#put(models, textOf);
  }

  /**
   * Adds models from text without parsing it here: JSON, one model a line, or what `rbee catalog export` wrote. A list
   * as the Hub sends it, `[{...}, {...}]`, is taken too.
   */
  load(text: string): Added {
    if (/^\s*\[/.test(text)) {
      let list: unknown;
      try {
        list = JSON.parse(text);
      } catch (cause) {
        throw new CompatError("malformed_file", "the text begins as a list and is not JSON", { cause });
      }
      return this.add(list as Iterable<Model>);
    }
    return this.#put(linesOf(text), (line) => line);
  }

  /** Removes a model; `false`: it was not there. */
  remove(id: string): boolean {
    return this.#ask<boolean>({ call: "catalog_remove", id });
  }

  /** How many models there are. */
  get size(): number {
    return this.#ask<{ models: number }>({ call: "catalog_count" }).models;
  }

  /** Judges all models for these machines, and how they are to be run unless a query says otherwise. */
  judge(machines: readonly CatalogMachine[], options: RunOptions = {}): void {
    const list = machines.map((m) => ({ ...m, worker: capabilitiesOf(m.worker) }));
    this.#ask<boolean>({ ...options, call: "catalog_judge", machines: list });
  }

  /** One page of what is looked for. */
  find(query: CatalogQuery = {}): CatalogPage {
    return this.#ask<CatalogPage>({ call: "catalog_find", query: plain(query) });
  }

  /** All pages, one after the other. */
  *pages(query: CatalogQuery = {}): Generator<CatalogPage, void> {
    const text = canonicalQuery(query);
    let page = this.find(text);
    for (;;) {
      yield page;
      if (page.next === null) return;
      page = this.find(`${text}${text === "" ? "" : "&"}cursor=${encodeURIComponent(page.next)}`);
    }
  }

  /** One model, whatever hides it; `undefined`: there is none of this id. */
  get(id: string, query: CatalogQuery = {}): CatalogModel | undefined {
    try {
      return this.#ask<CatalogModel>({ call: "catalog_get", id, query: plain(query) });
    } catch (error) {
      if (isCompatError(error) && error.code === "model_not_found") return undefined;
      throw error;
    }
  }

  /** How many models each value of each filter would show. */
  facets(query: CatalogQuery = {}): Facets {
    return this.#ask<Facets>({ call: "catalog_facets", query: plain(query) });
  }

  /** Gives the memory back to later catalogues. The object cannot be used afterwards. */
  free(): void {
    if (this.#number === 0) return;
    collected()?.unregister(this);
    release({ of: this.#of, number: this.#number });
    this.#number = 0;
  }

  #put<T>(models: Iterable<T>, text: (model: T) => string): Added {
    const rejected: { index: number; message: string }[] = [];
    let added = 0;
    let first = 0; // place of the first model of the batch
    let batch: string[] = [];
    let size = 0;
    const send = (texts: readonly string[], at: number): void => {
      try {
        const request = `{"call":"catalog_put","catalog":${this.#id()},"models":[${texts.join()}]}`;
        const done = callText<Added>(request, this.#of);
        added += done.added;
        for (const { index, message } of done.rejected) rejected.push({ index: at + index, message });
      } catch (error) {
        if (!isCompatError(error) || error.code !== "malformed_file") throw error;
        if (texts.length === 1) rejected.push({ index: at, message: error.message });
        else texts.forEach((one, i) => send([one], at + i)); // which of them is no JSON?
      }
    };
    const flush = (): void => {
      if (batch.length > 0) send(batch, first);
      first += batch.length;
      batch = [];
      size = 0;
    };
    for (const model of models) {
      const one = text(model);
      if (size + one.length > BATCH) flush();
      batch.push(one);
      size += one.length;
    }
    flush();
    return { added, rejected };
  }

  #id(): number {
    if (this.#number === 0) throw new CompatError("invalid_request", "this catalogue was freed");
    if (!this.#of.alive) throw new CompatError("internal_error", "this catalogue ended with a defect in another call");
    return this.#number;
  }

  #ask<T>(request: object): T {
    return call<T>({ ...request, catalog: this.#id() }, this.#of);
  }
}

/** The query string that stands for all spellings of a query, without "?". */
export function canonicalQuery(query: CatalogQuery): string {
  return call<string>({ call: "catalog_query", query: plain(query) });
}

/** A query as JSON has it. */
function plain(query: CatalogQuery): object | string {
  if (typeof query === "string") return query.startsWith("?") ? query.slice(1) : query;
  return "getAll" in query ? query.toString() : query;
}

/** Lines that hold something; of a snapshot without its head and its end. */
function* linesOf(text: string): Generator<string, void> {
  let at = 0;
  while (at < text.length) {
    const found = text.indexOf("\n", at);
    const end = found < 0 ? text.length : found;
    const line = text.slice(at, end).trim();
    at = end + 1;
    if (line !== "" && !/^\{"(format":"rbee catalogue"|end":)/.test(line)) yield line;
  }
}

interface Held {
  readonly of: Instance;
  readonly number: number;
}

/** Gives the memory back; a defect in that ends the instance, and with it the memory. */
function release({ of, number }: Held): void {
  try {
    if (of.alive) call<boolean>({ call: "catalog_free", catalog: number }, of);
  } catch (error) {
    if (of.alive) throw error;
  }
}

let registry: FinalizationRegistry<Held> | undefined;

/** Frees what nobody holds any longer, where the engine can tell. */
function collected(): FinalizationRegistry<Held> | undefined {
  if (typeof FinalizationRegistry === "function") registry ??= new FinalizationRegistry(release);
  return registry;
}
