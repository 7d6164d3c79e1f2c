import assert from "node:assert/strict";
import {
  closeDisk,
  diskSize,
  extentAt,
  lockDirectory,
  openDisk,
  sectorSize,
  syncDirectory,
  writeFileAtomically,
} from "../../src/os/files.ts";
import { fromFileUrl } from "./paths.ts";

function withDirectory(run: (directory: string) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const directory = Deno.makeTempDirSync();
    try {
      await run(directory);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  };
}

Deno.test(
  "a file is replaced whole, and a failed attempt leaves the old one",
  withDirectory((directory) => {
    const path = `${directory}/state`;
    writeFileAtomically(path, new TextEncoder().encode("one"));
    writeFileAtomically(path, new TextEncoder().encode("two"));
    assert.equal(Deno.readTextFileSync(path), "two");
    assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
    assert.deepEqual([...Deno.readDirSync(directory)].map((entry) => entry.name), ["state"]);
    Deno.mkdirSync(`${directory}/taken`);
    Deno.writeTextFileSync(`${directory}/taken/x`, "");
    assert.throws(() => writeFileAtomically(`${directory}/taken`, new Uint8Array(3)));
    assert.ok(!existsSync(`${directory}/taken.tmp`));
    assert.throws(() => syncDirectory(`${directory}/none`), { code: "ENOENT" });
  }),
);

function existsSync(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

Deno.test(
  "sizes, holes and direct access of a file",
  withDirectory((directory) => {
    const path = `${directory}/disk`;
    assert.throws(() => openDisk(path), { message: new RegExp(`^open ${path}: ENOENT`) });
    Deno.writeFileSync(path, new Uint8Array(8192).fill(1));
    Deno.truncateSync(path, 2 ** 33);
    const fd = openDisk(path);
    try {
      assert.equal(diskSize(fd), 2 ** 33);
      assert.equal(sectorSize(fd), 4096);
      assert.deepEqual(extentAt(fd, 0, 2 ** 33), { hole: false, end: 8192 });
      assert.deepEqual(extentAt(fd, 0, 4096), { hole: false, end: 4096 });
      assert.deepEqual(extentAt(fd, 16384, 2 ** 33), { hole: true, end: 2 ** 33 });
    } finally {
      closeDisk(fd);
    }
    assert.throws(() => closeDisk(fd), { code: "EBADF" });
  }),
);

Deno.test(
  "a directory is locked by one process, which is named to the other",
  withDirectory(async (directory) => {
    const lock = lockDirectory(directory);
    assert.throws(() => lockDirectory(directory), {
      code: "EAGAIN",
      message: new RegExp(`lock \\(held by process ${Deno.pid}\\): EAGAIN`),
    });
    lock.release();
    lock.release();
    const script = `
      import { lockDirectory } from ${JSON.stringify(import.meta.resolve("../../src/os/files.ts"))};
      lockDirectory(Deno.args[0]);
      console.log("locked");
      await Deno.stdin.read(new Uint8Array(1));
    `;
    const file = `${directory}/holder.ts`;
    Deno.writeTextFileSync(file, script);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--config", fromFileUrl("../../deno.json"), file, directory],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    try {
      assert.match(new TextDecoder().decode((await reader.read()).value), /locked/);
      assert.throws(() => lockDirectory(directory), new RegExp(`held by process ${child.pid}`));
    } finally {
      child.kill("SIGKILL");
      await child.status;
      await reader.cancel();
      await child.stdin.abort().catch(() => {});
    }
    // The kernel has let go with the process.
    lockDirectory(directory).release();
  }),
);
