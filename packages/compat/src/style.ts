/** Names in either style: the package reads `kvType` and `kv_type` alike, and writes the second. */

type SnakeCase<S extends string> = S extends `${infer C}${infer Rest}`
  ? C extends Lowercase<C>
    ? `${C}${SnakeCase<Rest>}`
    : `_${Lowercase<C>}${SnakeCase<Rest>}`
  : S;

/** `T`, whose members are written in camelCase, with each member in snake_case as well. */
export type EitherStyle<T> = T & { readonly [K in keyof T as K extends string ? SnakeCase<K> : K]?: T[K] };
