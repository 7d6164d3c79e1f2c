/**
 * Transcripts: what a cluster did, as text that is checked in.
 *
 * A transcript is comments (`# …`), and blocks of a command, perhaps some lines of input, a line
 * `----`, and what the command showed. Blank lines stand between blocks.
 *
 *     cut serveur-a
 *     ----
 *
 *     run 3s
 *     ----
 *       4.2  serveur-b  peer-dead   No frame from serveur-a …
 */

/** A command and what it showed. */
export interface Block {
  /** Of the command, from 1 on. */
  readonly line: number;
  readonly command: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
}

/** A comment or a blank line, or a block. */
export type Piece = { readonly text: string } | Block;

const SEPARATOR = "----";

/** Throws with the line if the text is no transcript. */
export function parseTranscript(text: string): Piece[] {
  const pieces: Piece[] = [];
  const lines = text.replace(/\n$/, "").split("\n");
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!;
    if (line === "" || line.startsWith("#")) {
      pieces.push({ text: line });
      continue;
    }
    const first = at;
    const input: string[] = [];
    for (at++; at < lines.length && lines[at] !== SEPARATOR; at++) {
      if (lines[at] === "") throw new Error(`line ${at + 1}: "${line}" has no ${SEPARATOR} below`);
      input.push(lines[at]!);
    }
    if (at === lines.length) throw new Error(`line ${at}: "${line}" has no ${SEPARATOR} below`);
    const output: string[] = [];
    while (at + 1 < lines.length && lines[at + 1] !== "") output.push(lines[++at]!);
    pieces.push({ line: first + 1, command: line, input, output });
  }
  return pieces;
}

/** The text of a transcript. */
export function formatTranscript(pieces: readonly Piece[]): string {
  const lines = pieces.flatMap((piece) =>
    "text" in piece ? [piece.text] : [piece.command, ...piece.input, SEPARATOR, ...piece.output]
  );
  return lines.join("\n") + "\n";
}

/** Milliseconds of `200ms`, `3s`, `2m`. */
export function parseDuration(text: string): number {
  const [, value, unit] = /^(\d+(?:\.\d+)?)(ms|s|m)$/.exec(text) ?? [];
  if (value === undefined) throw new Error(`"${text}" is no duration such as 200ms, 3s or 2m`);
  return Number(value) * ({ ms: 1, s: 1000, m: 60_000 } as const)[unit as "ms" | "s" | "m"];
}
