/** The export under other people's programs. */
import assert from "node:assert/strict";
import { ENGINES, MIB, must, randomBytes, Replica, toolTest, withRig } from "./fixtures.ts";

function uri(replica: Replica): string {
  return `nbd+unix:///data?socket=${replica.socket}`;
}

for (const engine of ENGINES) {
  toolTest(
    ["nbdinfo"],
    `${engine}: nbdinfo sees what the export can do`,
    () =>
      withRig(async (rig) => {
        const replica = await rig.serve({ engine });
        const info = JSON.parse(await must("nbdinfo", ["--json", uri(replica)]));
        assert.equal(info.protocol, "newstyle-fixed");
        assert.equal(info.structured, true);
        const [one] = info.exports;
        assert.equal(one["export-size"], replica.size);
        assert.deepEqual(one.contexts, ["base:allocation"]);
        const abilities = ["flush", "fua", "trim", "zero", "multi_conn", "df", "cache"];
        for (const ability of abilities) assert.equal(one[`can_${ability}`], true, ability);
        assert.equal(one.is_read_only, false);
        const list = JSON.parse(await must("nbdinfo", ["--list", "--json", uri(replica)]));
        assert.equal(list.exports[0]["export-name"], "data");
      }),
  );

  toolTest(["nbdcopy"], `${engine}: nbdcopy there and back`, () =>
    withRig(async (rig) => {
      const replica = await rig.serve({ engine });
      const [source, copy] = [`${rig.directory}/source`, `${rig.directory}/copy`];
      const data = randomBytes(replica.size);
      // Holes and zeroes too, which nbdcopy treats in its own ways.
      data.fill(0, 8 * MIB, 24 * MIB);
      data.fill(0, 30 * MIB + 1000, 31 * MIB);
      Deno.writeFileSync(source, data);
      await must("nbdcopy", ["--flush", source, uri(replica)]);
      await must("nbdcopy", [uri(replica), copy]);
      assert.deepEqual(Deno.readFileSync(copy), data);
      assert.deepEqual(Deno.readFileSync(replica.disk).subarray(0, data.length), data);
      await must("nbdcopy", ["--destination-is-zero", "--requests=64", source, uri(replica)]);
      await must("nbdcopy", [uri(replica), copy]);
      assert.deepEqual(Deno.readFileSync(copy), data);
    }));

  toolTest(
    ["qemu-io"],
    `${engine}: qemu-io finds its patterns again`,
    () =>
      withRig(async (rig) => {
        const replica = await rig.serve({ engine });
        const script = [
          "write -P 0xab 0 1M",
          "write -P 0xcd 65k 3k",
          "aio_write -P 0x11 2M 512k",
          "aio_write -P 0x22 4M 512k",
          "aio_flush",
          "flush",
          "write -f -P 0x33 6M 4k",
          "write -z 256k 128k",
          "write -z -u 512k 128k",
          "discard 768k 64k",
          "read -P 0xab 0 65k",
          "read -P 0xcd 65k 3k",
          "read -P 0xab 68k 188k",
          "read -P 0 256k 128k",
          "read -P 0xab 384k 128k",
          "read -P 0 512k 128k",
          "read -P 0 768k 64k",
          "read -P 0x11 2M 512k",
          "read -P 0x22 4M 512k",
          "read -P 0x33 6M 4k",
          "alloc 0 1M",
        ];
        const args = script.flatMap((command) => ["-c", command]);
        const nbd = `nbd:unix:${replica.socket}:exportname=data`;
        const said = await must("qemu-io", ["-f", "raw", ...args, nbd]);
        assert.doesNotMatch(said, /Pattern verification failed|error/i);
      }),
  );

  toolTest(
    ["fio"],
    `${engine}: fio verifies every block that it wrote`,
    () =>
      withRig(async (rig) => {
        const replica = await rig.serve({ engine });
        const said = await must("fio", [
          "--name=verify",
          "--ioengine=nbd",
          `--uri=${uri(replica)}`,
          "--rw=randwrite",
          "--bsrange=512-64k",
          "--blockalign=512",
          "--iodepth=32",
          "--io_size=48M",
          "--verify=crc32c",
          "--verify_state_save=0",
          "--verify_fatal=1",
          "--output-format=json",
        ], 60);
        const [job] = JSON.parse(said.slice(said.indexOf("{"))).jobs;
        assert.equal(job.error, 0);
        assert.ok(job.read.total_ios > 0, "nothing was verified");
      }),
  );
}
