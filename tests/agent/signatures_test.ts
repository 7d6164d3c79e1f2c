import assert from "node:assert/strict";
import { findSignatures, HEAD_BYTES, TAIL_BYTES } from "../../src/agent/signatures.ts";
import { contentOf, signaturesOf } from "../../src/agent/disk_content.ts";
import { formatReplica, must, toolTest } from "../dataplane/fixtures.ts";

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

/** What each tool makes on an empty file or, where it insists, on a loop device of it. */
const MAKERS: readonly [tool: string, args: readonly string[], name: string, device?: true][] = [
  ["mkfs.ext4", ["-q", "-F"], "an ext2, ext3 or ext4 file system"],
  ["mkfs.xfs", ["-q", "-f"], "an XFS file system"],
  ["mkfs.btrfs", ["-q", "-f"], "a Btrfs file system"],
  ["mkfs.vfat", [], "a FAT file system"],
  ["mkswap", [], "swap space"],
  ["sgdisk", ["--new=1:0:0"], "a GPT partition table"],
  ["pvcreate", ["-q", "-ff", "-y"], "an LVM2 physical volume", true],
];

for (const [tool, args, name, device] of MAKERS) {
  const tools = device === true ? [tool, "losetup"] : [tool];
  toolTest(
    tools,
    `what ${tool} makes is found, and no replica is made on it`,
    () =>
      withImage(async (path) => {
        Deno.truncateSync(path, 512 << 20);
        if (device === true) await onLoopDevice(path, (loop) => must(tool, [...args, loop]));
        else await must(tool, [...args, path]);
        const { size } = Deno.statSync(path);
        assert.deepEqual(signaturesOf(path, size), [name]);
        assert.equal(contentOf({ path, size, block: true }), name);
      }),
  );
}

toolTest(
  ["sfdisk"],
  "an MBR partition table that sfdisk makes is found",
  () =>
    withImage(async (path) => {
      Deno.truncateSync(path, SIZE);
      await must("sh", ["-c", `echo 'label: dos\n,,L' | sfdisk -q ${path}`]);
      assert.equal(contentOf({ path, size: SIZE, block: true }), "an MBR partition table");
    }),
);

for (const type of ["luks1", "luks2"]) {
  toolTest(["cryptsetup"], `a ${type} container is found`, () =>
    withImage(async (path) => {
      Deno.truncateSync(path, 64 << 20);
      Deno.writeFileSync(`${path}.key`, new Uint8Array(32).fill(5));
      const cheap = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
      const args = ["luksFormat", "-q", "--type", type, ...cheap, path, `${path}.key`];
      await must("cryptsetup", args);
      assert.equal(contentOf({ path, size: 64 << 20, block: true }), "a LUKS container");
    }));
}

Deno.test("another volume's replica is found on a device, whatever its size", () =>
  withImage((path) => {
    const size = 64 << 20;
    formatReplica(path, size, "0123456789abcdef");
    const slack = 5 << 20;
    Deno.truncateSync(path, Deno.statSync(path).size + slack);
    const disk = { path, size: Deno.statSync(path).size, block: true };
    assert.equal(contentOf(disk), "a replica of bascule volume data");
    // As an external meta_disk it begins with the superblock.
    Deno.writeFileSync(path, Deno.readFileSync(path).subarray(size));
    assert.match(contentOf({ ...disk, size: Deno.statSync(path).size })!, /bascule volume/);
    return Promise.resolve();
  }));

async function withImage(test: (path: string) => Promise<void>): Promise<void> {
  const directory = Deno.makeTempDirSync({ prefix: "bascule-signature-" });
  try {
    Deno.writeFileSync(`${directory}/image`, new Uint8Array(0));
    await test(`${directory}/image`);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

async function onLoopDevice(
  path: string,
  work: (device: string) => Promise<unknown>,
): Promise<void> {
  const device = (await must("losetup", ["--find", "--show", path])).trim();
  try {
    await work(device);
  } finally {
    await must("losetup", ["--detach", device]);
  }
}
