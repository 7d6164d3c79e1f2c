import assert from "node:assert/strict";

/** Fields 40 and 41 of proc_pid_stat(5): real-time priority and policy. */
const PROGRAM = `
import { runInRealTime } from ${
  JSON.stringify(new URL("../../src/os/scheduling.ts", import.meta.url).href)
};
function scheduled(pid) {
  const stat = Deno.readTextFileSync("/proc/" + pid + "/stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[38]);
}
const refused = runInRealTime();
const child = new Deno.Command("sleep", { args: ["60"] }).spawn();
const found = { refused, self: scheduled("self"), child: scheduled(child.pid) };
child.kill("SIGKILL");
await child.status;
console.log(JSON.stringify(found));
`;

Deno.test("a process runs in real time where it may, and its children never do", async () => {
  // Breaks when services compete with everything else of the machine in real time.
  const args = ["eval", "--quiet", PROGRAM];
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  const text = new TextDecoder();
  assert.ok(stdout.length > 0, text.decode(stderr));
  const { refused, self, child } = JSON.parse(text.decode(stdout));
  const [ordinary, roundRobin] = [0, 2];
  assert.equal(self, refused === null ? roundRobin : ordinary);
  assert.equal(child, ordinary);
  if (refused !== null) assert.equal(refused, "EPERM");
});
