/** Programs of others on the export: copies and verified load. */
import assert from "node:assert/strict";
import { withCluster } from "./cluster.ts";
import { uri } from "./mounts.ts";
import { e2eTest, must } from "./network.ts";

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
