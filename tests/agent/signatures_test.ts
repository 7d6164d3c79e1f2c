import assert from "node:assert/strict";
import { findSignatures, HEAD_BYTES, TAIL_BYTES } from "../../src/agent/signatures.ts";
import { must, toolTest } from "../dataplane/fixtures.ts";

const SIZE = 16 << 20;

function look(disk: Uint8Array): string[] {
  const tail = disk.subarray(Math.max(0, disk.length - TAIL_BYTES));
  return findSignatures(disk.subarray(0, HEAD_BYTES), tail, disk.length);
}

function disk(...content: [number, string][]): Uint8Array {
  const bytes = new Uint8Array(SIZE);
  for (const [offset, hex] of content) bytes.set(Uint8Array.fromHex(hex), offset);
  return bytes;
}

Deno.test("nothing is found on an empty disk, or on a tiny one", () => {
  assert.deepEqual(look(disk()), []);
  for (const size of [0, 1, 511, 512, 4096, 70_000]) {
    assert.deepEqual(look(new Uint8Array(size)), []);
  }
});

Deno.test("known content is named", () => {
  const cases: [string, Uint8Array][] = [
    ["a Btrfs file system", disk([0x10040, "5f42485266535f4d"])],
    ["an LVM2 physical volume", disk([512, "4c4142454c4f4e45"])],
    ["a LUKS container", disk([0, "4c554b53babe0002"])],
    ["a GPT partition table", disk([512, "4546492050415254"])],
    ["a GPT partition table", disk([SIZE - 512, "4546492050415254"])],
    ["a member of an md RAID", disk([4096, "fc4e2ba9"])],
    ["a member of an md RAID", disk([SIZE - 8192, "fc4e2ba9"])],
    ["a member of an md RAID", disk([SIZE - 65536, "fc4e2ba9"])],
    ["a ZFS pool", disk([128 * 1024, "0cb1ba0000000000"])],
    ["DRBD's metadata", disk([SIZE - 4096 + 60, "8374026d"])],
    ["an NTFS file system", disk([3, "4e54465320202020"], [510, "55aa"])],
    ["an MBR partition table", disk([446, "80010100830fffff"], [510, "55aa"])],
  ];
  for (const [name, bytes] of cases) assert.deepEqual(look(bytes), [name], name);
});

Deno.test("a boot sector's last bytes alone are no partition table", () => {
  assert.deepEqual(look(disk([510, "55aa"])), []);
});

for (
  const [tool, args, name] of [
    ["mkfs.ext4", ["-q", "-F"], "an ext2, ext3 or ext4 file system"],
    ["mkswap", [], "swap space"],
  ] as const
) {
  toolTest([tool], `what ${tool} makes is found`, async () => {
    const path = Deno.makeTempFileSync();
    try {
      Deno.truncateSync(path, SIZE);
      await must(tool, [...args, path]);
      assert.deepEqual(look(Deno.readFileSync(path)), [name]);
    } finally {
      Deno.removeSync(path);
    }
  });
}
