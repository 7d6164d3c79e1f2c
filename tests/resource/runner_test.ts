import assert from "node:assert/strict";
import fc from "fast-check";
import { Runner } from "../../src/resource/runner.ts";
import type { RunnerEvent } from "../../src/resource/runner_types.ts";

import { FORCE, IP, resource, Script, START, STOP, table, VOLUME, WEB } from "./script.ts";

Deno.test("start in order, stop in reverse", () => {
  const s = new Script(VOLUME, WEB, IP);
  table(
    [() => s.event(START), "volume:start"],
    [() => s.states(), "starting stopped stopped"],
    [() => s.ends("volume:start"), "web:start"],
    [() => s.ends("web:start"), "ip:start"],
    [() => s.ends("ip:start"), "started"],
    [() => s.states(), "running running running"],
    [() => s.event(STOP), "ip:stop"],
    [() => s.ends("ip:stop"), "web:stop"],
    [() => s.ends("web:stop"), "volume:stop"],
    [() => s.states(), "stopping stopped stopped"],
    [() => s.ends("volume:stop"), "stopped"],
    [() => s.states(), "stopped stopped stopped"],
  );
});

Deno.test("a part of a group: only what is named starts, and the stop asks for nothing else", () => {
  const s = new Script(VOLUME, WEB, IP);
  table(
    [() => s.event({ type: "start", only: [0] }), "volume:start"],
    [() => s.ends("volume:start"), "started"],
    [() => s.states(), "running stopped stopped"],
    [() => s.event(STOP), "volume:stop"],
    [() => s.event(START), ""],
    [() => s.ends("volume:stop"), "stopped volume:start"],
    [() => s.ends("volume:start"), "web:start"],
  );
});

Deno.test("a group without resources starts and stops at once; every stop is answered", () => {
  const s = new Script();
  table(
    [() => s.event(STOP), "stopped"],
    [() => s.event(START), "started"],
    [() => s.event(START), "started"],
    [() => s.event(STOP), "stopped"],
    [() => s.event(FORCE), "stopped"],
  );
});

Deno.test("a start that fails is reported; the stop takes down what was up, it included", () => {
  const s = new Script(VOLUME, WEB, IP);
  table(
    [() => s.event(START), "volume:start"],
    [() => s.ends("volume:start"), "web:start"],
    [() => s.ends("web:start", "no such file"), "startFailed"],
    [() => s.states(), "running failed stopped"],
    [() => s.pass(60_000), ""],
    [() => s.event(STOP), "web:stop"],
    [() => s.ends("web:stop"), "volume:stop"],
    [() => s.ends("volume:stop"), "stopped"],
  );
});

Deno.test("a start that hangs is ended at its deadline, and not waited for for ever", () => {
  const s = new Script(WEB);
  table(
    [() => s.event(START), "web:start"],
    [() => s.pass(999), ""],
    [() => s.pass(1), "abort(web:start)"],
    [() => s.pass(4999), ""],
    [() => s.pass(1), "startFailed"],
    [() => s.ends("web:start"), ""],
    [() => s.states(), "failed"],
  );
});

Deno.test("a start that ends well only after its deadline has failed", () => {
  const s = new Script(WEB);
  table(
    [() => s.event(START), "web:start"],
    [() => s.pass(1000), "abort(web:start)"],
    [() => s.ends("web:start"), "startFailed"],
    [() => s.event(STOP), "web:stop"],
  );
});

Deno.test("a stop that hangs climbs the ladder, and what is below is stopped after it", () => {
  const s = new Script(VOLUME, WEB).up();
  table(
    [() => s.event(STOP), "web:stop"],
    [() => s.pass(500), "abort(web:stop)"],
    [() => s.ends("web:stop", "told to end"), "web:forcedStop"],
    [() => s.ends("web:forcedStop"), "volume:stop"],
    [() => s.ends("volume:stop"), "stopped"],
  );
});

Deno.test("a group is cleanly stopped only if every resource says that nothing is lost", () => {
  const s = new Script(VOLUME, IP).up();
  table(
    [() => s.event(STOP), "ip:stop"],
    [() => s.ends("ip:stop", "no such device"), "ip:forcedStop"],
    [() => s.ends("ip:forcedStop"), "volume:stop"],
    [() => s.ends("volume:stop", "a client holds it"), "volume:forcedStop"],
    [() => s.ends("volume:forcedStop", undefined, true), "stopped-unclean"],
    [() => s.event(START), "volume:start"],
    [() => s.ends("volume:start"), "ip:start"],
    [() => s.ends("ip:start"), "started"],
    [() => s.event(STOP), "ip:stop"],
    [() => s.ends("ip:stop"), "volume:stop"],
    [() => s.ends("volume:stop", undefined, true), "stopped-unclean"],
  );
});

Deno.test("what withstands the forced stop is unclean, tried once a stop, and stopped first later", () => {
  const s = new Script(VOLUME, WEB).up();
  table(
    [() => s.event(STOP), "web:stop"],
    [() => s.ends("web:stop", "x"), "web:forcedStop"],
    [() => s.pass(500), "abort(web:forcedStop)"],
    [() => s.pass(5000), "volume:stop"],
    [() => s.ends("volume:stop"), "stopped-unclean"],
    [() => s.states(), "stopped unclean"],
    [() => s.event(START), "web:stop"],
    [() => s.ends("web:stop"), "volume:start"],
    [() => s.ends("volume:start"), "web:start"],
    [() => s.ends("web:start"), "started"],
  );
});

Deno.test("a start over an unclean resource that still cannot be stopped fails", () => {
  const s = new Script(WEB).up();
  table(
    [() => s.event(STOP), "web:stop"],
    [() => s.ends("web:stop", "x"), "web:forcedStop"],
    [() => s.ends("web:forcedStop", "x"), "stopped-unclean"],
    [() => s.event(START), "web:stop"],
    [() => s.ends("web:stop", "x"), "web:forcedStop"],
    [() => s.ends("web:forcedStop", "x"), "startFailed"],
    [() => s.event(STOP), "web:stop"],
  );
});

Deno.test("a stop during a start ends that start and takes down what is up", () => {
  const s = new Script(VOLUME, WEB, IP);
  table(
    [() => s.event(START), "volume:start"],
    [() => s.ends("volume:start"), "web:start"],
    [() => s.event(STOP), "abort(web:start)"],
    [() => s.ends("web:start", "ended"), "web:stop"],
    [() => s.ends("web:stop"), "volume:stop"],
    [() => s.ends("volume:stop"), "stopped"],
  );
});

Deno.test("a deposed group is stopped by force, also in the middle of an orderly stop", () => {
  const s = new Script(VOLUME, WEB, IP).up();
  table(
    [() => s.event(STOP), "ip:stop"],
    [() => s.ends("ip:stop"), "web:stop"],
    [() => s.event(FORCE), "abort(web:stop)"],
    [() => s.event(FORCE), ""],
    [() => s.ends("web:stop", "ended"), "web:forcedStop"],
    [() => s.ends("web:forcedStop"), "volume:forcedStop"],
    [() => s.ends("volume:forcedStop", undefined, true), "stopped-unclean"],
  );
  const t = new Script(VOLUME, WEB).up();
  table(
    [() => t.event(FORCE), "web:forcedStop"],
    [() => t.event(STOP), ""],
    [() => t.ends("web:forcedStop"), "volume:forcedStop"],
  );
});

Deno.test("a start during a stop waits for its end", () => {
  const s = new Script(WEB).up();
  table(
    [() => s.event(STOP), "web:stop"],
    [() => s.event(START), ""],
    [() => s.ends("web:stop"), "stopped web:start"],
    [() => s.ends("web:start"), "started"],
    [() => s.event(STOP), "web:stop"],
    [() => s.event(START), ""],
    [() => s.event(STOP), ""],
    [() => s.ends("web:stop"), "stopped"],
  );
});

Deno.test("what died is restarted with all that stands on it, with growing pauses, then given up", () => {
  const s = new Script(VOLUME, WEB, IP).up();
  table(
    [() => s.died("web"), "ip:stop"],
    [() => s.ends("ip:stop"), "web:stop"],
    [() => s.ends("web:stop"), "web:start"],
    [() => s.ends("web:start"), "ip:start"],
    [() => s.ends("ip:start"), ""],
    [() => s.died("web"), "ip:stop"],
    [() => s.ends("ip:stop"), "web:stop"],
    [() => s.ends("web:stop"), ""],
    [() => s.pass(999), ""],
    [() => s.pass(1), "web:start"],
    [() => s.ends("web:start", "port in use"), "failed"],
    [() => s.died("web"), ""],
    [() => s.pass(100_000), ""],
    [() => s.event(STOP), "web:stop"],
    [() => s.ends("web:stop"), "volume:stop"],
  );
});

Deno.test("restarts age out of their window", () => {
  const s = new Script(WEB).up();
  for (let round = 0; round < 5; round++) {
    assert.equal(s.died("web"), "web:stop");
    assert.equal(s.ends("web:stop"), "web:start");
    assert.equal(s.ends("web:start"), "");
    s.pass(60_001);
  }
});

Deno.test("no restarts allowed: the first failure is the group's", () => {
  const s = new Script(resource("process", "web", { restarts: 0 })).up();
  assert.equal(s.died("web"), "failed");
});

Deno.test("a restart whose stop cannot be done fails the group", () => {
  const s = new Script(WEB).up();
  table(
    [() => s.died("web"), "web:stop"],
    [() => s.ends("web:stop", "x"), "web:forcedStop"],
    [() => s.ends("web:forcedStop", "x"), "failed"],
  );
});

Deno.test("what dies while others start is restarted before they are", () => {
  const s = new Script(WEB, IP);
  table(
    [() => s.event(START), "web:start"],
    [() => s.ends("web:start"), "ip:start"],
    [() => s.died("web"), "abort(ip:start)"],
    [() => s.ends("ip:start", "ended"), "ip:stop"],
    [() => s.ends("ip:stop"), "web:stop"],
    [() => s.ends("web:stop"), "web:start"],
    [() => s.ends("web:start"), "ip:start"],
    [() => s.ends("ip:start"), "started"],
  );
});

Deno.test("monitors come by their interval, one at a time, and only when all is up", () => {
  const web = resource("process", "web", { monitorInterval: 1000 });
  const s = new Script(web, IP);
  table(
    [() => s.event(START), "web:start"],
    [() => s.ends("web:start"), "ip:start"],
    [() => s.pass(900), ""],
    [() => s.ends("ip:start"), "started"],
    [() => s.pass(100), "web:monitor"],
    [() => s.ends("web:monitor"), ""],
    [() => s.pass(999), ""],
    [() => s.pass(1), "web:monitor"],
    [() => s.pass(300), "abort(web:monitor)"],
    [() => s.ends("web:monitor", "ended"), "ip:stop"],
  );
});

Deno.test("a monitor that fails restarts; one whose answer no longer matters does not", () => {
  const web = resource("process", "web", { monitorInterval: 1000 });
  const s = new Script(web).up();
  table(
    [() => s.pass(1000), "web:monitor"],
    [() => s.ends("web:monitor", "exit code 1"), "web:stop"],
    [() => s.ends("web:stop"), "web:start"],
    [() => s.ends("web:start"), ""],
    [() => s.pass(1000), "web:monitor"],
    [() => s.event(STOP), "abort(web:monitor) web:stop"],
    [() => s.ends("web:monitor", "ended"), ""],
    [() => s.ends("web:stop"), "stopped"],
  );
});

Deno.test("a frozen group drops its addresses at once, keeps the rest, and watches nothing", () => {
  const web = resource("process", "web", { monitorInterval: 1000 });
  const s = new Script(VOLUME, web, IP).up();
  table(
    [() => s.pass(1000), "web:monitor"],
    [() => s.event({ type: "suspend" }), "suspend(ip) abort(web:monitor)"],
    [() => s.states(), "running running suspended"],
    [() => s.pass(100_000), ""],
    [() => s.event({ type: "resume" }), "resume(ip)"],
    [() => s.event({ type: "resume" }), ""],
    [() => s.states(), "running running running"],
    [() => s.pass(999), ""],
    [() => s.pass(1), "web:monitor"],
  );
});

Deno.test("frozen while starting: nothing more starts before the lease is back", () => {
  const s = new Script(VOLUME, IP, WEB);
  table(
    [() => s.event(START), "volume:start"],
    [() => s.ends("volume:start"), "ip:start"],
    [() => s.event({ type: "suspend" }), "suspend(ip)"],
    [() => s.ends("ip:start"), "suspend(ip)"],
    [() => s.pass(10_000), ""],
    [() => s.event({ type: "resume" }), "resume(ip) web:start"],
    [() => s.ends("web:start"), "started"],
  );
});

Deno.test("what died in the freeze is restarted after it; a stop in the freeze goes through", () => {
  const s = new Script(WEB, IP).up();
  table(
    [() => s.event({ type: "suspend" }), "suspend(ip)"],
    [() => s.died("web"), ""],
    [() => s.pass(10_000), ""],
    [() => s.event({ type: "resume" }), "resume(ip) ip:stop"],
    [() => s.ends("ip:stop"), "web:stop"],
    [() => s.event({ type: "suspend" }), ""],
    [() => s.ends("web:stop"), ""],
    [() => s.event(STOP), "stopped"],
    [() => s.event(START), "web:start"],
  );
});

Deno.test("whatever happens, the order holds, nothing overlaps, and a stop is answered once", () => {
  const act = fc.oneof(
    fc.constantFrom<RunnerEvent>(START, STOP, FORCE, { type: "suspend" }, { type: "resume" }),
    fc.record({
      type: fc.constant("died" as const),
      resource: fc.nat(2),
      reason: fc.constant("x"),
    }),
    fc.record({ type: fc.constant("wait" as const), time: fc.nat(7000) }),
    fc.record({ type: fc.constant("end" as const), ok: fc.boolean(), which: fc.nat(3) }),
  );
  const all = [VOLUME, resource("process", "web", { monitorInterval: 700 }), IP];
  fc.assert(fc.property(fc.array(act, { maxLength: 80 }), (acts) => {
    const runner = new Runner(all);
    const open = new Map<number, { resource: number; action: string }>();
    const up = [false, false, false];
    let now = 1;
    let stops = 0;
    let stopped = 0;
    const feed = (event: RunnerEvent) => {
      if (event.type === "stop") stops++;
      for (const effect of runner.step(now, event)) {
        if (effect.type === "stopped") stopped++;
        if (effect.type !== "run") continue;
        const { resource, action, operation } = effect;
        if (action === "start") {
          assert.ok(up.slice(0, resource).every((is) => is), "started over one that is down");
          up[resource] = true;
        } else if (action !== "monitor") {
          assert.ok(
            runner.states().slice(resource + 1).every((state) =>
              state === "stopped" || state === "unclean"
            ),
            "stopped below one that is up",
          );
        }
        open.set(operation, { resource, action });
      }
      const sequence = runner.states().filter((state) => /ing$/.test(state) && state !== "running");
      assert.ok(sequence.length <= 1, "two operations of the order at a time");
      runner.states().forEach((state, index) => up[index] = state !== "stopped");
      assert.ok(runner.wakeAt() > now, "it would wake in the past");
    };
    for (const event of acts) {
      if (event.type === "wait") {
        now += event.time;
        feed({ type: "tick" });
      } else if (event.type === "end") {
        const operation = [...open.keys()][event.which % Math.max(1, open.size)];
        if (operation === undefined) continue;
        open.delete(operation);
        feed({ type: "finished", operation, ...(!event.ok && { failure: "x" }) });
      } else {
        feed(event);
      }
    }
    feed(STOP);
    for (let turn = 0; turn < 50 && runner.wakeAt() < Infinity; turn++) {
      now = runner.wakeAt();
      feed({ type: "tick" });
    }
    assert.ok(runner.states().every((state) => state === "stopped" || state === "unclean"));
    assert.ok(stopped >= 1 && stopped <= stops);
  }));
});
