/**
 * What is wrong with a file, and where. Reading goes on after a problem, so that one run of
 * `bascule check` shows everything there is to mend.
 *
 * @module
 */

/** A spot in a file, with the path of the key it belongs to. */
export interface Place {
  /** 1-based; 0 means the file as a whole. */
  readonly line: number;
  /** 1-based; 0 means the file as a whole. */
  readonly column: number;
  /** As in `nodes.serveur-a.links[0]`; empty where no key is concerned. */
  readonly key: string;
}

/** An error makes the file unusable, a warning does not. */
export type Severity = "error" | "warning";

/** One thing to mend. The message says what is wrong and what to write instead. */
export interface Problem extends Place {
  readonly severity: Severity;
  readonly message: string;
}

/** The place of problems that concern a file as a whole. */
export const WHOLE_FILE: Place = { line: 0, column: 0, key: "" };

/** Collects problems while a file is read. */
export class Problems {
  readonly #list: Problem[] = [];

  /** Records an error at a place. */
  error(at: Place, message: string): void {
    this.#add("error", at, message);
  }

  /** Records a warning at a place. */
  warning(at: Place, message: string): void {
    this.#add("warning", at, message);
  }

  /** Whether an error, not merely a warning, was recorded. */
  get failed(): boolean {
    return this.#list.some((problem) => problem.severity === "error");
  }

  /** Everything recorded, in the order of the file. */
  list(): Problem[] {
    return this.#list.toSorted((a, b) => a.line - b.line || a.column - b.column);
  }

  #add(severity: Severity, at: Place, message: string): void {
    this.#list.push({ severity, line: at.line, column: at.column, key: at.key, message });
  }
}

/**
 * One line for the user: `FILE:LINE:COLUMN: KEY: MESSAGE`, with `warning: ` before the message of
 * a warning, and without the parts that a problem does not have.
 */
export function formatProblem(file: string, problem: Problem): string {
  const where = problem.line === 0 ? file : `${file}:${problem.line}:${problem.column}`;
  const key = problem.key === "" ? "" : `${problem.key}: `;
  const severity = problem.severity === "warning" ? "warning: " : "";
  return `${where}: ${key}${severity}${problem.message}`;
}
