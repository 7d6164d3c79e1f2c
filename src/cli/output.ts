/**
 * Lines and tables for people and scripts. Writing is synchronous, so that nothing is lost when the
 * process exits right after.
 *
 * @module
 */

/** What can be written to; `Deno.stdout` and `Deno.stderr` are. */
export interface Sink {
  /** Takes some of the bytes and returns how many. */
  writeSync(bytes: Uint8Array): number;
}

/** A reader that takes nothing for so long, in milliseconds, has hung. */
const PATIENCE = 10_000;
const PAUSE = 5;

/** Writes a line to standard output. */
export function printLine(line: string): void {
  writeText(Deno.stdout, line + "\n");
}

/** Writes a line to standard error. */
export function printError(line: string): void {
  writeText(Deno.stderr, line + "\n");
}

/**
 * Asks on the terminal: the line that was typed, trimmed; empty at the end of the input. The global
 * `prompt` is not for a program whose main module is also that of Workers, which have none.
 */
export function askLine(question: string): string {
  writeText(Deno.stderr, question);
  const line = new Uint8Array(256);
  return new TextDecoder().decode(line.subarray(0, Deno.stdin.readSync(line) ?? 0)).trim();
}

/**
 * Writes a whole text. A reader that went away (`bascule status | head -1`) is no error: it has
 * seen what it wanted. A pipe that is full and set to non-blocking is waited for.
 */
export function writeText(sink: Sink, text: string): void {
  const bytes = new TextEncoder().encode(text);
  let written = 0;
  let waited = 0;
  while (written < bytes.length) {
    try {
      written += sink.writeSync(bytes.subarray(written));
      waited = 0;
    } catch (error) {
      if (error instanceof Deno.errors.BrokenPipe) return;
      if (!(error instanceof Deno.errors.WouldBlock) || waited >= PATIENCE) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE);
      waited += PAUSE;
    }
  }
}

/**
 * Lines of a plain table: a header row, then one line a row, columns aligned to the left and two
 * spaces apart, no space at the ends of lines. Rows may be shorter than the header.
 */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string[] {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => width(row[column] ?? ""))));
  return all.map((row) => {
    const cells = widths.map((columnWidth, column) => {
      const cell = row[column] ?? "";
      return cell + " ".repeat(columnWidth - width(cell));
    });
    return cells.join("  ").trimEnd();
  });
}

/** `1 node`, `2 nodes`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function width(cell: string): number {
  return [...cell].length;
}
