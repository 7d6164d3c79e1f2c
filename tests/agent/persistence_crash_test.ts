/** Power is lost after, or the disk refuses, any single operation of what makes votes and runs durable. */

import assert from "node:assert/strict";
import type { VoterLogRecord } from "../../src/cluster/types.ts";
import { raiseIncarnation } from "../../src/agent/incarnation.ts";
import { VoterStore } from "../../src/agent/voter_store.ts";
import { compactRecords } from "../../src/wire/voter_log.ts";
import { CrashDisk, materialize, withoutSync } from "./crash_disk.ts";

/** Records as a voter appends them: two registers, more than a rewrite keeps. */
const RECORDS: readonly VoterLogRecord[] = [
  { kind: "identity", voterId: "5eed" },
  promise(1),
  { kind: "accept", register: "cluster", ballot: ballot(1), proposal: proposal(1) },
  promise(2),
  { kind: "accept", register: "cluster", ballot: ballot(2), proposal: proposal(2) },
];

function ballot(n: number) {
  return { n, node: "a", incarnation: 1 };
}

function promise(n: number): VoterLogRecord {
  return { kind: "promise", register: "cluster", ballot: ballot(n) };
}

function proposal(version: number) {
  const voters = [{ node: "a", voterId: "5eed" }];
  return {
    value: { version, voters, votersVersion: 1, lineage: "1", standby: [], maintenance: false },
  };
}

function withDirectory(name: string, body: (dir: string) => void): void {
  Deno.test(name, () => {
    const dir = Deno.makeTempDirSync({ prefix: "bascule-crash-" });
    try {
      Deno.mkdirSync(`${dir}/state`);
      Deno.mkdirSync(`${dir}/after`);
      body(dir);
    } finally {
      Deno.removeSync(dir, { recursive: true });
    }
  });
}

/** An agent's life, and another's: the log is rewritten at each opening and once while it runs. */
function live(dir: string, answered: (count: number) => void): void {
  let count = 0;
  for (const part of [RECORDS.slice(0, 3), RECORDS.slice(3)]) {
    const { store } = VoterStore.open(dir, { rewriteAbove: 330 });
    try {
      for (const record of part) {
        store.append(record);
        answered(++count);
      }
    } finally {
      store.close();
    }
  }
}

/** The state that these records lead to, comparable. */
function stateOf(records: readonly VoterLogRecord[]): string {
  return JSON.stringify(
    compactRecords(records).map((record) => JSON.stringify(record)).sort(),
  );
}

withDirectory(
  "a power loss after any operation, at any byte, takes no answered vote back",
  (dir) => {
    const disk = new CrashDisk(`${dir}/state`);
    /** How many records were answered after so many operations. */
    const answered: number[] = [];
    disk.watch(() =>
      live(`${dir}/state`, (count) => {
        answered[disk.operations.length] = count;
      })
    );
    assert.equal(Math.max(...answered.filter((count) => count !== undefined)), RECORDS.length);
    let sure = 0;
    const seen = new Set<string>();
    for (let count = 0; count <= disk.operations.length; count++) {
      sure = answered[count] ?? sure;
      const allowed = [sure, sure + 1].map((length) => stateOf(RECORDS.slice(0, length)));
      for (const contents of disk.statesAfter(count)) {
        const key = `${sure} ${
          [...contents].map(([path, bytes]) => `${path} ${bytes.toHex()}`).sort()
        }`;
        if (seen.has(key)) continue;
        seen.add(key);
        materialize(contents, `${dir}/state`, `${dir}/after`);
        const { store, records, lost } = VoterStore.open(`${dir}/after`);
        store.close();
        const where = `after operation ${count}: ${JSON.stringify(disk.operations[count - 1])}`;
        assert.equal(lost, undefined, where);
        assert.ok(allowed.includes(stateOf(records)), `${where}: ${JSON.stringify(records)}`);
      }
    }
    assert.ok(seen.size > 500, `${seen.size} states`);
  },
);

withDirectory(
  "whatever operation the disk refuses, it is said, and no answered vote is lost",
  (dir) => {
    const first = new CrashDisk(`${dir}/state`);
    first.watch(() => live(`${dir}/state`, () => {}));
    for (let failing = 0; failing < first.operations.length; failing++) {
      for (const short of [false, true]) {
        materialize(new Map(), "", `${dir}/state`);
        const disk = new CrashDisk(`${dir}/state`);
        let sure = 0;
        const what = JSON.stringify(first.operations[failing]);
        assert.throws(
          () => disk.watch(() => live(`${dir}/state`, (count) => sure = count), failing, short),
          /No space left on device/,
          what,
        );
        const { store, records, lost } = VoterStore.open(`${dir}/state`);
        store.close();
        assert.equal(lost, undefined, what);
        const allowed = [sure, sure + 1].map((length) => stateOf(RECORDS.slice(0, length)));
        assert.ok(allowed.includes(stateOf(records)), what);
      }
    }
  },
);

withDirectory(
  "after a refused append the message names the mend, and nothing is appended",
  (dir) => {
    const mend = /mend the disk or free space on it, then start the agent again/;
    const opening = new CrashDisk(`${dir}/state`);
    opening.watch(() => VoterStore.open(`${dir}/state`).store.close());
    for (let step = 0; step < 4; step++) {
      materialize(new Map(), "", `${dir}/state`);
      new CrashDisk(`${dir}/state`).watch(() => {
        const { store } = VoterStore.open(`${dir}/state`);
        try {
          assert.throws(() => store.append(promise(1)), mend);
          assert.throws(() => store.append(promise(2)), mend);
        } finally {
          store.close();
        }
      }, opening.operations.length + step);
    }
  },
);

withDirectory("an incarnation is never given twice, wherever the power is lost", (dir) => {
  const disk = new CrashDisk(`${dir}/state`);
  const given: number[] = [];
  disk.watch(() => {
    for (let run = 0; run < 3; run++) {
      const incarnation = raiseIncarnation(`${dir}/state`, 98);
      given[disk.operations.length] = incarnation;
    }
  });
  assert.deepEqual(given.filter((each) => each !== undefined), [98, 99, 100]);
  let newest = 0;
  for (let count = 0; count <= disk.operations.length; count++) {
    newest = given[count] ?? newest;
    for (const contents of disk.statesAfter(count)) {
      materialize(contents, `${dir}/state`, `${dir}/after`);
      // The clock may have gone back meanwhile.
      const next = withoutSync(() => raiseIncarnation(`${dir}/after`, 0));
      assert.ok(next > newest, `${next} after ${newest}, operation ${count}`);
    }
  }
});

withDirectory("an incarnation is not given if the disk refuses any step of it", (dir) => {
  for (const short of [false, true]) {
    for (let failing = 0; failing < 5; failing++) {
      materialize(new Map(), "", `${dir}/state`);
      const disk = new CrashDisk(`${dir}/state`);
      assert.equal(raiseIncarnation(`${dir}/state`, 98), 98);
      assert.throws(
        () => disk.watch(() => void raiseIncarnation(`${dir}/state`, 0), failing, short),
        /No space left on device/,
      );
      assert.ok(raiseIncarnation(`${dir}/state`, 0) > 98);
    }
  }
});

withDirectory("an unreadable incarnation is refused with the mend, never guessed", (dir) => {
  for (const text of ["", "x\n", "-3\n", "1e999\n", "0\n"]) {
    Deno.writeTextFileSync(`${dir}/state/incarnation`, text);
    assert.throws(() => raiseIncarnation(`${dir}/state`, 5), /is no incarnation; remove the file/);
  }
});
