/** File systems on an export, mounted through FUSE and a loop device: this kernel may have no nbd. */
import { run } from "./network.ts";
import type { Node } from "./node.ts";

/** What a mount takes, beside the programs of the file system. */
export const MOUNT_TOOLS = ["nbdfuse", "fusermount3", "mount", "losetup"];

/** The export of volume data on a node. */
export function uri(node: Node): string {
  return `nbd+unix:///data?socket=${node.socket}`;
}

/** Mounts the export, as a shell on the node; `$m` is the mount. */
export function mounted(node: Node, prepare: string, work: string): string[] {
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

/** What is missing for mounts of a file system here, of names as `hasTool` takes them. */
export async function mountMissing(type: string): Promise<string[]> {
  if (Deno.uid() !== 0) return ["the rights of root"];
  const test = "f=$(mktemp) && truncate -s 400M $f && " +
    `mkfs.${type} -q $f && d=$(mktemp -d) && mount -o loop $f $d; code=$?; ` +
    "umount $d; rm -rf $f $d; exit $code";
  try {
    Deno.openSync("/dev/fuse", { read: true, write: true }).close();
    const { code } = await run(["unshare", "--mount", "sh", "-c", test]);
    return code === 0 ? [] : [`loop mounts of ${type}`];
  } catch {
    return ["/dev/fuse"];
  }
}
