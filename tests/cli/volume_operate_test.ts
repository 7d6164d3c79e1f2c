import assert from "node:assert/strict";
import { progressLines } from "../../src/cli/progress.ts";
import { splitLines } from "../../src/cli/volume_operate.ts";
import { checkCommand } from "../../src/status/api.ts";
import type { VolumeStatus } from "../../src/status/types.ts";
import { ResyncShare } from "../../src/agent/resync_share.ts";
import { VolumeOperations } from "../../src/agent/volume_operations.ts";
import { VOLUME_OPERATIONS, type VolumeOrder, type VolumeReport } from "../../src/volume/types.ts";
import { DOCUMENT } from "../status/fixtures.ts";

const VOLUME: VolumeStatus = {
  ...DOCUMENT.volumes[0]!,
  peers: [{ node: "serveur-b", disk: "DUnknown", outOfSyncBytes: 0 }],
};
const SPLIT = {
  reason: "the target was written apart from the source",
  blocks: 8,
  own: { dirtyBlocks: 3, lastWrite: Date.UTC(2026, 0, 2, 3, 4, 5), primarySince: 0 },
  peer: { dirtyBlocks: 5, lastWrite: 0, primarySince: Date.UTC(2026, 0, 3) },
};

Deno.test("before a discard both sides are summed up: how much differs, who wrote when", () => {
  assert.deepEqual(splitLines(VOLUME, "serveur-a"), []);
  assert.deepEqual(splitLines({ ...VOLUME, split: SPLIT }, "serveur-a"), [
    "volume data: both replicas have data of their own (the target was written apart from the " +
    "source); at most 8 blocks of 4 KiB differ",
    "  serveur-a: 3 blocks written since, the last about 2026-01-02T03:04:05.000Z; " +
    "Primary since not known",
    "  serveur-b: 5 blocks written since, the last about not known; " +
    "Primary since 2026-01-03T00:00:00.000Z",
  ]);
  const unknown = splitLines({ ...VOLUME, split: { ...SPLIT, blocks: null } }, "serveur-a");
  assert.match(unknown[0]!, /how many blocks differ is not known, all of them may$/);
});

Deno.test("the status shows a verify, its last result, a split and a disconnection", () => {
  assert.deepEqual(progressLines(VOLUME), []);
  const verify = { doneBytes: 500, totalBytes: 1000, bytesPerSecond: 100 };
  const running = { ...VOLUME, peers: [{ ...VOLUME.peers[0]!, verify }] };
  assert.match(
    progressLines(running)[1]!,
    /^data: verify with serveur-b \[#+-+\] 50 %, .* 5 s left$/,
  );
  const verified = { at: 0, differing: 2, repaired: true };
  assert.deepEqual(progressLines({ ...VOLUME, verified }), [
    "",
    "data: last verify 1970-01-01T00:00:00.000Z, 2 blocks differed, repaired",
  ]);
  assert.match(
    progressLines({ ...VOLUME, split: SPLIT })[1]!,
    /there, with bascule volume discard data$/,
  );
  assert.match(
    progressLines({ ...VOLUME, split: SPLIT, discard: true })[1]!,
    /what is here is given up$/,
  );
  assert.equal(
    progressLines({ ...VOLUME, standAlone: "disconnected by an operator" })[1],
    "data: disconnected by an operator",
  );
});

Deno.test("operations on volumes pass the API, others are refused", () => {
  for (const what of VOLUME_OPERATIONS) {
    const command = { type: "volume", volume: "data", what };
    assert.deepEqual({ ...checkCommand(command) }, command);
  }
  assert.throws(() => checkCommand({ type: "volume", volume: "data", what: "erase" }), /one of/);
});

Deno.test("an operation is answered when the data plane answers, or is gone", async () => {
  const operations = new VolumeOperations();
  const orders: VolumeOrder[] = [];
  const ask = (volume: string) => operations.ask(volume, "verify", (order) => orders.push(order));
  const [one, two, three] = [ask("data"), ask("data"), ask("logs")];
  const ids = orders.map((order) => order.type === "operate" ? order.id : -1);
  operations.answered({ type: "operated", id: ids[1]!, error: "a verify runs already" });
  operations.lost("data", "its disk failed");
  operations.answered({ type: "operated", id: ids[2]!, error: null });
  assert.equal(await two, "volume data: a verify runs already");
  assert.equal(await one, "volume data: its disk failed");
  assert.equal(await three, null);
});

Deno.test("what a node may spend on resyncs is divided among those that run", () => {
  const told: [string, number | null][] = [];
  const share = new ResyncShare(100, (volume, order) => {
    if (order.type === "pace") told.push([volume, order.ceiling]);
  });
  const report = (role: "Primary" | "Secondary", active: boolean) =>
    ({
      role,
      peers: [active ? { resync: { doneBytes: 0, totalBytes: 1, bytesPerSecond: 0 } } : {}],
    }) as unknown as VolumeReport;
  share.reported("data", report("Primary", true));
  share.reported("logs", report("Secondary", true));
  share.reported("data", report("Primary", true));
  assert.deepEqual(told.splice(0), [["data", 100]]);
  share.reported("logs", report("Primary", true));
  assert.deepEqual(told.splice(0), [["data", 50], ["logs", 50]]);
  share.reported("data", null);
  assert.deepEqual(told.splice(0), [["logs", 100]]);
  share.reported("logs", report("Primary", false));
  assert.deepEqual(told, []);
});
