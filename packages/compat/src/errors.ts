/**
 * Every failure of this package is a {@link CompatError}: a wrong argument, a reply of the Hub that is not what it
 * claims to be, a limit. Its `code` is one of the words that the daemon's HTTP replies and the command line use, from
 * the same table.
 */
import { ERRORS } from "./generated.js";

/** What went wrong, as a word: `"invalid_request"`, `"malformed_file"`, `"limit_exceeded"`, ... */
export type ErrorCode = keyof typeof ERRORS;

/** The code of an error with the facts that follow from it. */
type ErrorFacts<C extends ErrorCode> = {
  readonly code: C;
  /** The HTTP status that the daemon answers with. */
  readonly status: (typeof ERRORS)[C]["status"];
  /** The exit code of the command line. */
  readonly exit: (typeof ERRORS)[C]["exit"];
  /** The `error.type` of OpenAI's API. */
  readonly type: (typeof ERRORS)[C]["type"];
};

/** An error of this package. To narrow by code, test with {@link isCompatError}. */
export class CompatError<C extends ErrorCode = ErrorCode> extends Error implements ErrorFacts<C> {
  override readonly name = "CompatError";
  readonly code: C;
  readonly status: (typeof ERRORS)[C]["status"];
  readonly exit: (typeof ERRORS)[C]["exit"];
  readonly type: (typeof ERRORS)[C]["type"];

  /** `message` says what, which input, and what to do. */
  constructor(code: C, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.status = ERRORS[code].status;
    this.exit = ERRORS[code].exit;
    this.type = ERRORS[code].type;
  }
}

/** The union over all codes: `switch (e.code)` narrows `e.status` and `e.type`, and is checked for completeness. */
export type AnyCompatError = { [C in ErrorCode]: CompatError<C> }[ErrorCode];

/** Is this an error of the package? */
export function isCompatError(error: unknown): error is AnyCompatError {
  return error instanceof CompatError;
}

/** Is this a word of {@link ErrorCode}? */
export function isErrorCode(word: unknown): word is ErrorCode {
  return typeof word === "string" && Object.prototype.hasOwnProperty.call(ERRORS, word);
}
