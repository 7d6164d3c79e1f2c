/**
 * Every transcript of this folder is performed again and must show what stands in it, to the letter.
 * `BASCULE_REWRITE=1` writes down what it shows instead: look at the difference before it is committed.
 */

import assert from "node:assert/strict";
import { type Block, formatTranscript, parseTranscript, type Piece } from "./language.ts";
import { createStage, perform } from "./commands.ts";
import type { Stage } from "./stage.ts";

const FOLDER = new URL(".", import.meta.url).pathname;
const REWRITE = Deno.env.get("BASCULE_REWRITE") === "1";

/** The transcript with what its commands show now. */
function performAll(pieces: readonly Piece[]): Piece[] {
  let stage: Stage | null = null;
  const result = pieces.map((piece): Piece => {
    if ("text" in piece) return piece;
    try {
      const { command, input } = piece;
      if (command.startsWith("cluster ")) {
        stage = createStage(command.split(/\s+/).slice(1), input);
      } else if (stage === null) throw new Error("a transcript begins with `cluster …`");
      else perform(stage, command);
      return { ...piece, output: stage.take() };
    } catch (error) {
      throw new Error(`line ${piece.line}: ${piece.command}`, { cause: error });
    }
  });
  stage!.checkHistories();
  return result;
}

const names = [...Deno.readDirSync(FOLDER)].map(({ name }) => name)
  .filter((name) => name.endsWith(".txt")).sort();

for (const name of names) {
  Deno.test(`transcript ${name}`, () => {
    const path = `${FOLDER}${name}`;
    const before = Deno.readTextFileSync(path);
    const pieces = parseTranscript(before);
    const after = formatTranscript(performAll(pieces));
    if (REWRITE) {
      if (after !== before) Deno.writeTextFileSync(path, after);
      return;
    }
    assert.equal(
      after,
      before,
      `${name} shows something else now; BASCULE_REWRITE=1 deno task test tests/scenarios writes it`,
    );
  });
}

Deno.test("every transcript says in its first line what it shows, and ends in a look at the whole", () => {
  for (const name of names) {
    const pieces = parseTranscript(Deno.readTextFileSync(`${FOLDER}${name}`));
    const [first] = pieces;
    assert.ok(first && "text" in first && first.text.startsWith("# "), `${name}: no first comment`);
    const blocks = pieces.filter((piece): piece is Block => "command" in piece);
    assert.ok(blocks.some(({ output }) => output.length > 0), `${name} shows nothing`);
  }
});

Deno.test("a transcript's text comes back as it was", () => {
  const text = '# what\n\ncluster a b\ngroups.web.failback = "now"\n----\n\nrun 3s\n----\n  1  x\n';
  assert.equal(formatTranscript(parseTranscript(text)), text);
  assert.throws(() => parseTranscript("run 3s\n\nrun 4s\n"), /line 2: "run 3s" has no ----/);
});
