import assert from "node:assert/strict";
import { Journal, PAGE } from "../../src/status/journal.ts";
import { note, withDirectory } from "./fixtures.ts";

const OPTIONS = { node: "a" };

function texts(journal: Journal, after = 0): string[] {
  return journal.after(after).map(({ id, text }) => `${id} ${text}`);
}

withDirectory("what was decided is there after a restart, and ids go on", async (dir) => {
  const first = Journal.open(dir, OPTIONS);
  const entry = first.append(note("taken"));
  assert.deepEqual({ ...entry, time: "" }, {
    id: 1,
    time: "",
    level: "info",
    rule: "take",
    group: "web",
    node: "a",
    text: "taken",
    known: { epoch: 4, sole: true },
  });
  assert.match(entry?.time ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.equal(first.append({ ...note("about b"), node: "b" })?.node, "b");
  await first.close();
  const second = Journal.open(dir, OPTIONS);
  second.append(note("released"));
  assert.deepEqual(texts(second), ["1 taken", "2 about b", "3 released"]);
  assert.deepEqual(texts(second, 2), ["3 released"]);
  assert.deepEqual(texts(second, 99), []);
  assert.equal(second.last, 3);
  await second.close();
});

withDirectory("debug notes are not kept", async (dir) => {
  const journal = Journal.open(dir, OPTIONS);
  assert.equal(journal.append(note("tick", "debug")), undefined);
  assert.equal(journal.last, 0);
  await journal.close();
});

withDirectory("a line torn at any byte is dropped, all before it stay", async (dir) => {
  const first = Journal.open(dir, OPTIONS);
  first.append(note("one"));
  first.append(note("two é"));
  await first.close();
  const path = `${dir}/journal.jsonl`;
  const whole = Deno.readFileSync(path);
  const line = whole.indexOf(0x0a) + 1;
  for (let cut = line; cut < whole.length; cut++) {
    Deno.writeFileSync(path, whole.subarray(0, cut));
    const journal = Journal.open(dir, OPTIONS);
    assert.deepEqual(texts(journal), ["1 one"]);
    journal.append(note("next"));
    await journal.close();
    const again = Journal.open(dir, OPTIONS);
    assert.deepEqual(texts(again), ["1 one", "2 next"]);
    await again.close();
  }
});

withDirectory("damaged lines are passed over", async (dir) => {
  const good = (id: number) => JSON.stringify({ id, time: "t", rule: "r", text: "x", known: {} });
  Deno.writeTextFileSync(
    `${dir}/journal.jsonl`,
    [good(1), "{", "null", "[]", '{"id":"2"}', good(1), good(5), ""].join("\n"),
  );
  const journal = Journal.open(dir, OPTIONS);
  assert.deepEqual(texts(journal), ["1 x", "5 x"]);
  assert.equal(journal.append(note("next"))?.id, 6);
  await journal.close();
});

withDirectory("the journal is bounded, and followers find what is still there", async (dir) => {
  const journal = Journal.open(dir, { ...OPTIONS, maxBytes: 400_000 });
  for (let n = 1; n <= 8000; n++) journal.append(note(`note ${n}`));
  const sizes = ["journal.jsonl", "journal.1.jsonl"].map((name) =>
    Deno.statSync(`${dir}/${name}`).size
  );
  assert.ok(sizes.every((size) => size <= 400_000), `${sizes}`);
  assert.deepEqual(texts(journal, 7998), ["7999 note 7999", "8000 note 8000"]);
  const oldest = journal.after(0);
  assert.equal(oldest.length, PAGE);
  assert.ok(oldest[0]!.id > 1 && oldest[0]!.id < 7000, "from the files, not from memory");
  assert.equal(oldest.at(-1)!.id, oldest[0]!.id + PAGE - 1);
  await journal.close();
  const again = Journal.open(dir, OPTIONS);
  assert.equal(again.last, 8000);
  await again.close();
});

withDirectory("a disk that refuses is told once and stops nobody", async (dir) => {
  const told: string[] = [];
  const journal = Journal.open(`${dir}/state`, {
    node: "a",
    maxBytes: 1,
    onFailure: (text) => told.push(text),
  });
  journal.append(note("one"));
  Deno.removeSync(`${dir}/state`, { recursive: true });
  journal.append(note("two"));
  journal.append(note("three"));
  assert.equal(told.length, 1);
  assert.match(told[0]!, /cannot be written: .*; free space there/);
  assert.deepEqual(texts(journal), ["1 one", "2 two", "3 three"]);
  Deno.mkdirSync(`${dir}/state`);
  Deno.writeTextFileSync(`${dir}/state/journal.jsonl`, "");
  journal.append(note("four"));
  await journal.close();
  const again = Journal.open(`${dir}/state`, OPTIONS);
  assert.deepEqual(texts(again), ["4 four"]);
  await again.close();
});
