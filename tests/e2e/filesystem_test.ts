/** File systems on the volume, through a power cut of the node that writes. */
import assert from "node:assert/strict";
import { type Cluster, withCluster } from "./cluster.ts";
import { MOUNT_TOOLS, mounted, mountMissing } from "./mounts.ts";
import { e2eTest, must } from "./network.ts";

/** How a file system is made, and checked without a change. */
interface FileSystem {
  readonly type: "ext4" | "xfs";
  readonly sizeMiB: number;
  readonly check: string;
}

const FILE_SYSTEMS: readonly FileSystem[] = [
  { type: "ext4", sizeMiB: 64, check: "e2fsck -f -n" },
  // It refuses to be smaller than 300 MiB.
  { type: "xfs", sizeMiB: 320, check: "xfs_repair -n" },
];

/** Names and checksums of the files that were fsynced, from a list outside of the volume. */
function fsynced(cluster: Cluster): string[] {
  try {
    const text = Deno.readTextFileSync(`${cluster.alpha.directory}/fsynced`);
    return text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter((line) => line !== "");
  } catch {
    return [];
  }
}

for (const { type, sizeMiB, check } of FILE_SYSTEMS) {
  const tools = [...MOUNT_TOOLS, `mkfs.${type}`, check.split(" ")[0]!, ...await mountMissing(type)];
  e2eTest(
    `${type} on the volume: power cut of its node; on the other every fsynced file is whole`,
    tools,
    () => withCluster({ sizeMiB }, (cluster) => cutPower(cluster, type, check)),
  );
}

/** Breaks when a FLUSH is answered too early, or writes are reordered across one. */
async function cutPower(cluster: Cluster, type: string, check: string): Promise<void> {
  const { alpha, beta, network } = cluster;
  await cluster.start();
  const [program = "", ...args] = network.on(
    "alpha",
    mounted(
      alpha,
      `mkfs.${type} -q fuse/nbd`,
      `i=0
      while [ $i -lt 400 ]; do
        i=$((i + 1))
        head -c $((i % 50 * 1000 + 1)) /dev/urandom >$m/file-$i
        sync $m/file-$i $m
        (cd $m && sha256sum file-$i) >>fsynced
      done
      sleep 7654321`,
    ),
  );
  const writer = new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let ended = false;
  writer.status.then(() => ended = true);
  await cluster.until("some files are written and fsynced", () => {
    assert.ok(!ended, "the writer ended");
    return fsynced(cluster).length >= 30;
  });
  await alpha.powerCut();
  await writer.status;
  await cluster.waitForOwner(beta);

  const files = fsynced(cluster);
  Deno.writeTextFileSync(`${beta.directory}/expected`, files.map((line) => `${line}\n`).join(""));
  const said = await must(network.on(
    "beta",
    mounted(
      beta,
      "",
      `list="$PWD/expected"
      (cd $m && sha256sum --check --quiet "$list")
      umount $m
      ${check} fuse/nbd
      umount fuse
      wait $nbd`,
    ),
  ));
  assert.doesNotMatch(said, /FAILED|WARNING/);
  assert.ok(files.length >= 30);
}
