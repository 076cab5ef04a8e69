/** What a model is told by: a reply of the Hub, or a few facts. */
import type { EitherStyle } from "./style.js";
import type { Format, Quantization } from "./words.js";

/** A file of a repository. */
export interface HubFile {
  readonly rfilename: string;
  readonly size?: number | null | undefined;
  readonly lfs?: { readonly size?: number | undefined; readonly sha256?: string | undefined } | null | undefined;
}

/**
 * A repository as the Hub's API describes it: an entry of `/api/models?...&full=true` or, better, the reply to
 * `/api/models/{id}?blobs=true`, which has the sizes of files. Give it as it came; all members are optional, those that
 * are not listed here are ignored, and a member of another type than here is an error that names it.
 */
export interface HubModel {
  readonly id?: string | undefined;
  readonly modelId?: string | undefined;
  readonly author?: string | null | undefined;
  readonly sha?: string | null | undefined;
  readonly private?: boolean | undefined;
  readonly gated?: boolean | "auto" | "manual" | undefined;
  readonly disabled?: boolean | undefined;
  readonly downloads?: number | undefined;
  readonly likes?: number | undefined;
  readonly trendingScore?: number | null | undefined;
  readonly createdAt?: string | Date | undefined;
  readonly lastModified?: string | Date | undefined;
  readonly pipeline_tag?: string | null | undefined;
  readonly library_name?: string | null | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly siblings?: readonly HubFile[] | undefined;
  /** Of GGUF repositories. */
  readonly gguf?:
    | {
        readonly total?: number | undefined;
        readonly architecture?: string | undefined;
        readonly context_length?: number | undefined;
        readonly chat_template?: string | undefined;
      }
    | null
    | undefined;
  /** Of SafeTensors repositories. */
  readonly safetensors?:
    | { readonly total?: number | undefined; readonly parameters?: Readonly<Record<string, number>> | undefined }
    | null
    | undefined;
  readonly config?: object | null | undefined;
  readonly cardData?: object | null | undefined;
  readonly usedStorage?: number | undefined;
}

/** What a catalogue of models mostly knows. Members may be written in snake_case as well. */
export type ModelMetadata = { readonly architecture: string } & EitherStyle<{
  readonly id?: string | undefined;
  readonly format?: Format | "bin" | null | undefined;
  readonly quantization?: Quantization | (string & {}) | null | undefined;
  /** A number, or a word as in names of models: `"7B"`, `"8x7B"`, `"270M"`. */
  readonly parameters?: number | string | null | undefined;
  readonly sizeBytes?: number | null | undefined;
  readonly maxContextLength?: number | null | undefined;
}>;

export type Model = HubModel | ModelMetadata;
