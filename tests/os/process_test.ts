import assert from "node:assert/strict";
import {
  findMarked,
  groupMembers,
  identityOf,
  isRunning,
  killGroup,
  killProcess,
} from "../../src/os/process.ts";
import { libc } from "../../src/os/libc.ts";
import { sdNotify, watchdogInterval } from "../../src/os/notify.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const MSG_DONTWAIT = 0x40;

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`waited in vain: ${what}`);
}

function startShell(script: string, env: Record<string, string> = {}): Deno.ChildProcess {
  return new Deno.Command("sh", {
    args: ["-c", script],
    env,
    detached: true,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
}

Deno.test("a detached child leads a group that ends as a whole", async () => {
  const child = startShell("sleep 60 & sleep 60 & wait");
  try {
    await until("two grandchildren", () => groupMembers(child.pid).length === 3);
    const identity = identityOf(child.pid)!;
    assert.equal(isRunning(identity), true);
    assert.equal(isRunning({ ...identity, startTime: "1" }), false);
    assert.equal(isRunning({ ...identity, bootId: "another boot" }), false);
    assert.equal(killProcess({ ...identity, startTime: "1" }, "SIGKILL"), false);
    assert.equal(killGroup(child.pid, "SIGTERM"), true);
    assert.equal((await child.status).signal, "SIGTERM");
    await until("the group is empty", () => groupMembers(child.pid).length === 0);
    assert.equal(isRunning(identity), false);
    assert.equal(killProcess(identity, "SIGKILL"), false);
  } finally {
    if (groupMembers(child.pid).length > 0) killGroup(child.pid, "SIGKILL");
    await child.status;
  }
});

Deno.test("leftovers are found by the mark in their environment, in whatever group", async () => {
  const mark = crypto.randomUUID();
  const child = startShell("setsid sleep 60 & sleep 60", { BASCULE_TEST_MARK: mark });
  try {
    await until("three marked", () => findMarked("BASCULE_TEST_MARK", mark).length === 3);
    assert.equal(groupMembers(child.pid).length, 2);
    for (const identity of findMarked("BASCULE_TEST_MARK", mark)) {
      killProcess(identity, "SIGKILL");
    }
    await until("none left", () => findMarked("BASCULE_TEST_MARK", mark).length === 0);
  } finally {
    for (const identity of findMarked("BASCULE_TEST_MARK", mark)) {
      killProcess(identity, "SIGKILL");
    }
    await child.status;
  }
});

Deno.test("groups that would mean everybody are refused", () => {
  for (const group of [0, 1, -5, 1.5, NaN]) {
    assert.throws(() => killGroup(group, "SIGTERM"), RangeError);
  }
});

Deno.test("notify reaches the socket of the service manager, by path and abstract", () => {
  const directory = Deno.makeTempDirSync();
  const path = `${directory}/notify`;
  try {
    for (const name of [path, `@bascule-${crypto.randomUUID()}`]) {
      const sockaddr = new TextEncoder().encode(`\x01\x00${name}`);
      if (name.startsWith("@")) sockaddr[2] = 0;
      const fd = libc.socket(AF_UNIX, SOCK_DGRAM, 0);
      try {
        assert.equal(libc.bind(fd, sockaddr, sockaddr.length), 0);
        assert.equal(sdNotify("READY=1\nSTATUS=serving", name), true);
        const bytes = new Uint8Array(100);
        const got = libc.recvfrom(fd, bytes, bytes.length, MSG_DONTWAIT, null, null);
        assert.equal(new TextDecoder().decode(bytes.subarray(0, got)), "READY=1\nSTATUS=serving");
      } finally {
        libc.close(fd);
      }
      assert.throws(() => sdNotify("READY=1", name), { code: "ECONNREFUSED" });
    }
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
  assert.equal(sdNotify("READY=1", ""), false);
  assert.throws(() => sdNotify("READY=1", path), { code: "ENOENT" });
});

Deno.test("the watchdog interval counts for the process it was meant for", () => {
  const saved = ["WATCHDOG_USEC", "WATCHDOG_PID"].map((name) =>
    [name, Deno.env.get(name)] as const
  );
  try {
    Deno.env.delete("WATCHDOG_PID");
    Deno.env.set("WATCHDOG_USEC", "3000000");
    assert.equal(watchdogInterval(), 3000);
    Deno.env.set("WATCHDOG_PID", String(Deno.pid));
    assert.equal(watchdogInterval(), 3000);
    Deno.env.set("WATCHDOG_PID", "1");
    assert.equal(watchdogInterval(), undefined);
    Deno.env.delete("WATCHDOG_USEC");
    assert.equal(watchdogInterval(), undefined);
  } finally {
    for (const [name, value] of saved) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
});
