import assert from "node:assert/strict";
import { endLogging, logNote, logText, setUpLogging } from "../../src/status/logging.ts";
import { note } from "./fixtures.ts";

function logged(level: "debug" | "info" | undefined, body: () => void): string[] {
  const lines: string[] = [];
  setUpLogging({
    node: "serveur-a",
    write: (line) => void lines.push(line),
    ...(level !== undefined && { level }),
  });
  try {
    body();
  } finally {
    endLogging();
  }
  return lines;
}

Deno.test("a note is one line: time, level, node, rule, group, text", () => {
  const lines = logged(undefined, () => {
    logNote(note("took it from serveur-b"));
    logNote({ level: "error", rule: "peer-dead", node: "temoin", text: "silent", known: {} });
    logNote(note("tick", "debug"));
  });
  const time = String.raw`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}`;
  assert.equal(lines.length, 2);
  assert.match(
    lines[0]!,
    new RegExp(`${time} info    serveur-a take +web: took it from serveur-b\n$`),
  );
  assert.match(lines[1]!, new RegExp(`${time} error   temoin peer-dead +silent\n$`));
});

Deno.test("what a script said stays one line and steers no terminal; braces stay braces", () => {
  const lines = logged("debug", () => {
    logText("debug", "a\nb\x1b[31mc {text} \r\x9b");
  });
  assert.equal(lines.length, 1);
  assert.match(lines[0]!, /output +a b \[31mc \{text\} {1,2}\n$/);
});

Deno.test("after the end nothing is written", () => {
  const lines = logged(undefined, () => {});
  logNote(note("late"));
  assert.deepEqual(lines, []);
});
