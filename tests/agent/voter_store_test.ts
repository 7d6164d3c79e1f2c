import assert from "node:assert/strict";
import type { VoterLogRecord } from "../../src/cluster/types.ts";
import { VoterStore } from "../../src/agent/voter_store.ts";
import { decodeMark } from "../../src/wire/voter_log.ts";

const IDENTITY: VoterLogRecord = { kind: "identity", voterId: "5eed" };

function promise(n: number, register: `group:${string}` = "group:web"): VoterLogRecord {
  return { kind: "promise", register, ballot: { n, node: "a", incarnation: 1 } };
}

function withDirectory(name: string, body: (dir: string) => void): void {
  Deno.test(name, () => {
    const dir = Deno.makeTempDirSync({ prefix: "bascule-voter-" });
    try {
      body(`${dir}/state`);
    } finally {
      Deno.removeSync(dir, { recursive: true });
    }
  });
}

/** Writes records as an agent does, and ends as a crash does: nothing is written at the end. */
function write(dir: string, ...records: readonly VoterLogRecord[]): void {
  const { store } = VoterStore.open(dir);
  for (const record of records) store.append(record);
  store.close();
}

function read(dir: string): Omit<ReturnType<typeof VoterStore.open>, "store"> {
  const { store, ...rest } = VoterStore.open(dir);
  store.close();
  return rest;
}

withDirectory("a new voter has no state and no id", (dir) => {
  assert.deepEqual(read(dir), { records: [], voterId: null });
  assert.deepEqual(read(dir), { records: [], voterId: null });
});

withDirectory("what was appended is there after a crash, many times over", (dir) => {
  write(dir, IDENTITY);
  for (let n = 1; n <= 5; n++) {
    write(dir, promise(n));
    assert.deepEqual(read(dir), { records: [IDENTITY, promise(n)], voterId: "5eed" });
  }
});

withDirectory("when append returns, log and mark agree on the disk", (dir) => {
  const { store } = VoterStore.open(dir);
  for (let n = 1; n < 4; n++) {
    store.append(promise(n));
    const mark = decodeMark(Deno.readFileSync(`${dir}/voter.mark`));
    assert.equal(mark?.length, Deno.statSync(`${dir}/voter.log`).size);
  }
  store.close();
});

withDirectory("a torn last record that was never answered for is cut", (dir) => {
  write(dir, IDENTITY, promise(1));
  const mark = Deno.readFileSync(`${dir}/voter.mark`);
  const size = Deno.statSync(`${dir}/voter.log`).size;
  const { store } = VoterStore.open(dir);
  store.close();
  const opened = Deno.readFileSync(`${dir}/voter.mark`);
  assert.notDeepEqual(opened, mark);
  Deno.writeFileSync(`${dir}/voter.log`, new Uint8Array([0, 0, 0, 90, 1, 2, 3]), { append: true });
  const found = read(dir);
  assert.deepEqual(found.records, [IDENTITY, promise(1)]);
  assert.match(found.torn ?? "", new RegExp(`incomplete record at byte ${size}`));
  assert.equal(read(dir).torn, undefined);
});

withDirectory("a whole record whose mark was not written yet counts", (dir) => {
  write(dir, IDENTITY);
  const { store } = VoterStore.open(dir);
  const before = Deno.readFileSync(`${dir}/voter.mark`);
  store.append(promise(1));
  store.close();
  Deno.writeFileSync(`${dir}/voter.mark`, before);
  assert.deepEqual(read(dir), { records: [IDENTITY, promise(1)], voterId: "5eed" });
});

withDirectory(
  "damage at any byte of answered state is lost state, moved aside, never believed",
  (dir) => {
    write(dir, IDENTITY, promise(1), promise(2));
    const log = Deno.readFileSync(`${dir}/voter.log`);
    const mark = Deno.readFileSync(`${dir}/voter.mark`);
    for (let at = 0; at < log.length; at += 5) {
      const damaged = log.slice();
      damaged[at]! ^= 0x10;
      Deno.writeFileSync(`${dir}/voter.log`, damaged);
      Deno.writeFileSync(`${dir}/voter.mark`, mark);
      const found = read(dir);
      assert.deepEqual(found.records, []);
      assert.equal(found.voterId, null);
      assert.equal(found.lost?.kept.length, 2, `byte ${at}`);
      assert.deepEqual(Deno.readFileSync(found.lost!.kept[0]!), damaged);
      for (const kept of found.lost!.kept) Deno.removeSync(kept);
      assert.equal(read(dir).lost, undefined, "the loss is reported once");
    }
  },
);

withDirectory("a rolled-back log, a missing log or a missing mark is lost state", (dir) => {
  write(dir, IDENTITY, promise(1));
  const older = Deno.readFileSync(`${dir}/voter.log`);
  write(dir, promise(2));
  write(dir, promise(3));
  Deno.writeFileSync(`${dir}/voter.log`, older);
  assert.match(read(dir).lost?.reason ?? "", /generation/);

  write(dir, IDENTITY, promise(1));
  Deno.removeSync(`${dir}/voter.mark`);
  assert.match(read(dir).lost?.reason ?? "", /mark/);

  write(dir, IDENTITY, promise(1));
  Deno.removeSync(`${dir}/voter.log`);
  assert.match(read(dir).lost?.reason ?? "", /missing/);
});

withDirectory("a crash between the rename of a rewritten log and its mark loses nothing", (dir) => {
  write(dir, IDENTITY, promise(1), promise(2));
  const mark = Deno.readFileSync(`${dir}/voter.mark`);
  read(dir);
  Deno.writeFileSync(`${dir}/voter.mark`, mark);
  assert.deepEqual(read(dir), { records: [IDENTITY, promise(2)], voterId: "5eed" });
});

withDirectory(
  "a crash before the first mark is a new voter; a left-over rewrite is ignored",
  (dir) => {
    read(dir);
    Deno.truncateSync(`${dir}/voter.mark`, 0);
    assert.deepEqual(read(dir), { records: [], voterId: null });
    write(dir, IDENTITY);
    Deno.writeTextFileSync(`${dir}/voter.log.new`, "half a rewrite");
    assert.equal(read(dir).voterId, "5eed");
  },
);

withDirectory("a long-running voter's log stays small", (dir) => {
  const { store } = VoterStore.open(dir, { rewriteAbove: 2000 });
  store.append(IDENTITY);
  for (let n = 1; n <= 100; n++) {
    store.append(promise(n));
    store.append(promise(n, "group:mail"));
    assert.ok(Deno.statSync(`${dir}/voter.log`).size < 2200);
  }
  store.close();
  const found = read(dir);
  assert.deepEqual(found.records, [IDENTITY, promise(100), promise(100, "group:mail")]);
});

withDirectory("two agents cannot keep one state", (dir) => {
  const { store } = VoterStore.open(dir);
  try {
    assert.throws(() => VoterStore.open(dir), /held by another process/);
  } finally {
    store.close();
  }
  read(dir);
});

withDirectory("after a failed write nothing more is appended", (dir) => {
  const { store } = VoterStore.open(dir, { rewriteAbove: 1 });
  store.append(IDENTITY);
  Deno.removeSync(dir, { recursive: true });
  assert.throws(() => store.append(promise(1)), /cannot be written .*start the agent again/s);
  Deno.mkdirSync(dir);
  assert.throws(() => store.append(promise(1)), /start the agent again/);
  store.close();
});
