/** Programs of others on the export: copies, verified load, a filesystem through a power cut. */
import assert from "node:assert/strict";
import { type Cluster, withCluster } from "./cluster.ts";
import { e2eTest, must, run } from "./network.ts";
import type { Node } from "./node.ts";

function uri(node: Node): string {
  return `nbd+unix:///data?socket=${node.socket}`;
}

e2eTest(
  "nbdcopy, qemu-img and fio read back what they wrote, and both replicas hold it",
  ["nbdcopy", "qemu-img", "qemu-io", "fio"],
  () =>
    withCluster({ sizeMiB: 32 }, async (cluster) => {
      // Breaks when the export is not what other makes of clients expect, replicated or not.
      const { alpha, network } = cluster;
      await cluster.start();
      const source = `${network.directory}/source`;
      const copy = `${network.directory}/copy`;
      await must(["dd", "if=/dev/urandom", `of=${source}`, "bs=1M", "count=32", "status=none"]);
      await must(["nbdcopy", "--flush", source, uri(alpha)]);
      assert.ok(await cluster.sameData());
      await must(["nbdcopy", uri(alpha), copy]);
      await must(["cmp", source, copy]);
      await must(["qemu-img", "compare", "-f", "raw", "-F", "raw", source, uri(alpha)]);
      const said = await must(
        ["qemu-io", "-f", "raw"].concat(
          ...["write -P 0x5a 1M 300k", "flush", "read -P 0x5a 1M 300k", "write -z 2M 64k"]
            .concat(["read -P 0 2M 64k", "discard 3M 1M", "flush"]).map((line) => ["-c", line]),
          uri(alpha),
        ),
      );
      assert.doesNotMatch(said, /fail|error|mismatch/i);
      await must([
        "fio",
        "--name=e2e",
        "--ioengine=nbd",
        `--uri=${uri(alpha)}`,
        "--rw=randwrite",
        "--bs=4k",
        "--iodepth=8",
        "--size=8M",
        "--verify=crc32c",
        "--do_verify=1",
        "--verify_state_save=0",
        "--end_fsync=1",
      ]);
      await cluster.waitForSameData();
      await cluster.waitInSync(alpha);
    }),
);

/** Mounts the export through FUSE and a loop device, as a shell on the node; `$m` is the mount. */
function mounted(node: Node, prepare: string, work: string): string[] {
  const script = `set -e
    cd "$1"; mkdir -p fuse mnt
    nbdfuse fuse "$2" & nbd=$!
    for _ in $(seq 600); do [ -e fuse/nbd ] && break; kill -0 $nbd; sleep 0.1; done
    ${prepare}
    mount -o loop fuse/nbd mnt
    m=mnt
    ${work}`;
  return ["sh", "-c", script, "sh", node.directory, uri(node)];
}

/** Whether FUSE and loop mounts work here at all. */
async function mountMissing(): Promise<string[]> {
  const test = "f=$(mktemp) && truncate -s 4M $f && mkfs.ext4 -q -F $f && d=$(mktemp -d) && " +
    "mount -o loop $f $d; code=$?; umount $d; rm -rf $f $d; exit $code";
  try {
    Deno.openSync("/dev/fuse", { read: true, write: true }).close();
    const { code } = await run(["unshare", "--mount", "sh", "-c", test]);
    return code === 0 ? [] : ["loop mounts"];
  } catch {
    return ["/dev/fuse"];
  }
}

/** Names and checksums of the files that were fsynced, from a list outside of the volume. */
function fsynced(cluster: Cluster): string[] {
  try {
    const text = Deno.readTextFileSync(`${cluster.alpha.directory}/fsynced`);
    return text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter((line) => line !== "");
  } catch {
    return [];
  }
}

const tools = ["nbdfuse", "fusermount3", "mkfs.ext4", "e2fsck", "mount"];
e2eTest(
  "ext4 on the volume: power cut of its node; on the other every fsynced file is whole",
  Deno.uid() === 0 ? [...tools, ...await mountMissing()] : tools,
  () =>
    withCluster({ sizeMiB: 64 }, async (cluster) => {
      // Breaks when a FLUSH is answered too early, or writes are reordered across one.
      const { alpha, beta, network } = cluster;
      await cluster.start();
      const [program = "", ...args] = network.on(
        "alpha",
        mounted(
          alpha,
          "mkfs.ext4 -q -F fuse/nbd",
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
      Deno.writeTextFileSync(
        `${beta.directory}/expected`,
        files.map((line) => `${line}\n`).join(""),
      );
      const said = await must(network.on(
        "beta",
        mounted(
          beta,
          "",
          `list="$PWD/expected"
          (cd $m && sha256sum --check --quiet "$list")
          umount $m
          e2fsck -f -n fuse/nbd
          umount fuse
          wait $nbd`,
        ),
      ));
      assert.doesNotMatch(said, /FAILED|WARNING/);
      assert.ok(files.length >= 30);
    }),
);
