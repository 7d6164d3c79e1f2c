import assert from "node:assert/strict";
import { IP, resource, Script, VOLUME, WEB } from "./script.ts";

Deno.test("in maintenance what fails stays down and is restarted when that ends", () => {
  const script = new Script(VOLUME, WEB, IP).up();
  assert.equal(script.event({ type: "hold", on: true }), "");
  script.died("web");
  assert.equal(script.pass(60_000), "");
  assert.equal(script.states(), "running failed running");
  assert.match(script.event({ type: "hold", on: false }), /ip:stop/);
  script.ends("ip:stop");
  script.ends("web:stop");
  script.ends("web:start");
  script.ends("ip:start");
  assert.equal(script.states(), "running running running");
});

Deno.test("in maintenance monitors go on, and what a human mended counts as running", () => {
  const watched = resource("command", "web", { monitorInterval: 1000 });
  const script = new Script(VOLUME, watched).up();
  script.event({ type: "hold", on: true });
  assert.match(script.pass(1000), /web:monitor/);
  script.ends("web:monitor", "it is stopped");
  assert.equal(script.states(), "running failed");
  script.pass(1000);
  script.ends("web:monitor", "it is stopped");
  script.pass(1000);
  script.ends("web:monitor");
  assert.equal(script.states(), "running running");
  assert.equal(script.event({ type: "hold", on: false }), "");
});

Deno.test("in maintenance nothing starts, but a stop is a stop", () => {
  const script = new Script(VOLUME, WEB);
  script.event({ type: "hold", on: true });
  assert.equal(script.event({ type: "start" }), "");
  assert.equal(script.pass(60_000), "");
  assert.match(script.event({ type: "hold", on: false }), /volume:start/);
  script.ends("volume:start");
  script.ends("web:start");
  script.event({ type: "hold", on: true });
  assert.match(script.event({ type: "stop", forced: false }), /web:stop/);
  script.ends("web:stop");
  assert.match(script.ends("volume:stop"), /stopped/);
});

Deno.test("in maintenance an address that failed a monitor comes back with the lease", () => {
  // Breaks when a failed one is not resumed: its monitor may be well again, and it answers nobody.
  const watched = resource("ip", "ip", { monitorInterval: 1000, suspends: true });
  const script = new Script(VOLUME, watched).up();
  script.event({ type: "hold", on: true });
  script.pass(1000);
  script.ends("ip:monitor", "its interface is down");
  assert.equal(script.states(), "running failed");
  assert.match(script.event({ type: "suspend" }), /suspend\(ip\)/);
  assert.match(script.event({ type: "resume" }), /resume\(ip\)/);
  script.pass(1000);
  script.ends("ip:monitor");
  assert.equal(script.states(), "running running");
});
